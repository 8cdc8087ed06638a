//! People at the door: each act becomes a durable signal, is repeated until it was accepted, and is heard once.

use humdrum_model::hold::{HoldCommand, HoldSubject};
use humdrum_model::rollout::Command as PlacementCommand;
use humdrum_model::run::{Command, HOLDS_RUN, State, placement_run};
use humdrum_model::ship::{Phase, Ship, ShipCommand};
use humdrum_store::{SignalAccepted, Store};

use crate::cast::{Character, placement, release, request};
use crate::people::{Act, Point};
use crate::queue::Happening;
use crate::replica::Over;
use crate::stage::{Stage, now_ready};

/// A person tries again after this, ms, and gives up after so many times.
const AGAIN_MS: i64 = 700;
const TRIES_MAX: u32 = 60;

impl Stage {
    pub(crate) fn person(&mut self, act: Act, number: usize, tries: u32) {
        let up = |it: &&crate::replica::Replica| it.alive && it.frozen_until <= self.now;
        let Some(replica) = self.replicas.iter().filter(up).map(|it| it.index).next() else {
            return self.again(act, number, tries);
        };
        if tries == 0 {
            self.say(|_| format!("person: {act:?}"));
        }
        let outcome = self.ask(replica, &act, number);
        if let Err(Over::Crashed { down_ms }) = outcome {
            self.kill(replica, down_ms);
            // No answer came: whoever asks cannot know, and asks again.
            self.again(act, number, tries);
        }
    }

    fn again(&mut self, act: Act, number: usize, tries: u32) {
        if tries < TRIES_MAX {
            let happening = Happening::Person { act, number, tries: tries + 1 };
            self.queue.push(self.now + AGAIN_MS, happening);
        }
    }

    fn ask(&mut self, replica: usize, act: &Act, number: usize) -> Result<(), Over> {
        if let Act::Ship { name } = act {
            return self.ship(replica, name, number);
        }
        let Some((run, command)) = self.command_of(act, number) else { return Ok(()) };
        self.seen.count("person", act_word(act));
        self.point(replica, Point::BeforeSignal)?;
        let signal = self.new_signal(&run, &format!("person-{number}"), &command, "ada", replica);
        let id = signal.id.clone();
        let accepted = now_ready(self.store.signal(signal));
        self.point(replica, Point::AfterSignal)?;
        match accepted {
            Ok(SignalAccepted::New) => {
                self.ledger.accepted_signal(&run, &id);
                let process = self.replicas[replica].process();
                self.nudge(process, &run);
            }
            Ok(SignalAccepted::Repeated) => self.seen.count("event", "repeated wish heard once"),
            _ => {}
        }
        Ok(())
    }

    fn ship(&mut self, replica: usize, name: &str, number: usize) -> Result<(), Over> {
        if !self.world.cast.knows(name) {
            let mut rng = self.rng.fork(number_of(name));
            let stages = self.world.settings.deploy.judge.stages.len();
            self.world.cast.enter(name, Character::drawn(&mut rng, stages));
        }
        self.seen.count("person", "ship");
        self.point(replica, Point::BeforeSignal)?;
        let id = format!("s-{number}");
        let state = Ship::new(id.clone(), request(name, "ada"), self.wall(replica));
        let subject = format!("shop {name}");
        self.create_run(&id, &subject, &State::Ship(Box::new(state)), replica);
        self.ships += 1;
        self.ledger.accepted_run(&id);
        self.point(replica, Point::AfterSignal)
    }

    fn command_of(&self, act: &Act, number: usize) -> Option<(String, Command)> {
        let by = || "ada".to_owned();
        let of = |environment: &usize| {
            let name = self.world.settings.environments.get(*environment)?;
            Some(placement_run(&placement(name)))
        };
        let to = |environment, command| Some((of(environment)?, Command::Placement(command)));
        let hold = |subject| {
            let command = HoldCommand::Place { subject, by: by(), why: "incident 7".into() };
            Some((HOLDS_RUN.to_owned(), Command::Holds(command)))
        };
        match act {
            Act::Ship { .. } => None,
            Act::Approve { environment } => to(environment, PlacementCommand::Approve { by: by() }),
            Act::Abort { environment } => {
                to(environment, PlacementCommand::Abort { by: by(), why: "wrong branch".into() })
            }
            Act::Rollback { environment, id } => {
                let (why, deployment_id) = ("complaints".into(), format!("{id}{number}"));
                to(environment, PlacementCommand::Rollback { by: by(), why, deployment_id })
            }
            Act::HoldRelease { environment } => {
                let at = self.placement_at(*environment)?;
                let bundle = at.rollout.as_ref().map(|it| &it.bundle).or(at.stable_bundle())?;
                hold(HoldSubject::Release(bundle.release.id.clone()))
            }
            Act::HoldDigest { name } => hold(HoldSubject::Digest(release(name).artifact.digest)),
            Act::HoldService => hold(HoldSubject::Service(crate::cast::service())),
            Act::HoldEnvironment { environment } => {
                let name = self.world.settings.environments.get(*environment)?;
                hold(HoldSubject::Environment(name.clone()))
            }
            Act::Unhold => {
                let State::Holds(book) = &**self.published.get(HOLDS_RUN)? else { return None };
                let subject = book.holds.values().next()?.subject.clone();
                let command = HoldCommand::Lift { subject, by: by(), why: "mended".into() };
                Some((HOLDS_RUN.to_owned(), Command::Holds(command)))
            }
            Act::AbortShip { name } => {
                let commit = crate::cast::commit(name);
                let open = |it: &&Ship| {
                    it.request.commit == commit && !matches!(it.phase, Phase::Done { .. })
                };
                let ship = self.all_ships().find(open)?;
                let command = ShipCommand::Abort { by: by(), why: "not now".into() };
                Some((ship.id.clone(), Command::Ship(command)))
            }
        }
    }
}

fn act_word(act: &Act) -> &'static str {
    match act {
        Act::Ship { .. } => "ship",
        Act::Approve { .. } => "approve",
        Act::Abort { .. } => "abort",
        Act::Rollback { .. } => "rollback",
        Act::HoldRelease { .. } => "hold release",
        Act::HoldDigest { .. } => "hold digest",
        Act::HoldService => "hold service",
        Act::HoldEnvironment { .. } => "hold environment",
        Act::Unhold => "unhold",
        Act::AbortShip { .. } => "abort ship",
    }
}

/// A number for a name, the same on every machine.
fn number_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
