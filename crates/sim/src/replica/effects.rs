//! Effects on their way: an attempt leaves control, reaches the world or not, and its answer comes back or not.

use humdrum_model::report::Refusal;
use humdrum_model::rollout::{self, Admission, Bundle, Kind, Placement, SmokeThrough};
use humdrum_model::run::{Command, Effect, HOLDS_RUN, State, placement_run};
use humdrum_model::ship::{ShipCommand, ShipEffect, deployment_id};
use humdrum_store::{Document, NewSignal, SignalAccepted, Store};

use super::task::json;
use crate::cast::{Smoke, built, placement};
use crate::people::Point;
use crate::queue::{Ended, Happening, Input, Worker};
use crate::stage::{Stage, now_ready};

/// Until an attempt without an answer is repeated, ms; doubled to four times.
const PATIENCE_MS: i64 = 600;
/// As in production: a command's answer is waited for so long, ms.
const ANSWER_MS: i64 = 10_000;

/// Where requests go.
enum Place {
    Agent,
    Edge,
    Evidence,
    Here,
}

fn place(effect: &Effect) -> Place {
    match effect {
        Effect::Placement(rollout::Effect::Unit { .. }) => Place::Agent,
        Effect::Placement(rollout::Effect::Route { .. } | rollout::Effect::Smoke { .. }) => {
            Place::Edge
        }
        Effect::Placement(rollout::Effect::Facts { .. }) => Place::Evidence,
        Effect::Ship(_) => Place::Here,
    }
}

impl Stage {
    fn unreachable(&self, effect: &Effect) -> bool {
        let until = match place(effect) {
            Place::Agent => self.world.agent_down_until,
            Place::Edge => self.world.edge_down_until,
            Place::Evidence => self.world.evidence_down_until,
            Place::Here => 0,
        };
        self.now < until
    }

    /// The effect that a living worker has in hand.
    fn in_hand(&self, worker: &Worker) -> Option<Effect> {
        let task = self.replicas[worker.process.replica].tasks.get(&worker.run)?;
        let mine = task.epoch == worker.epoch && task.hands.open.contains_key(&worker.key);
        task.hands.work(&worker.key).filter(|_| mine).cloned()
    }

    pub(crate) fn begin_effect(&mut self, worker: Worker, tries: u32) {
        let Some(effect) = self.in_hand(&worker) else { return };
        let task = &self.replicas[worker.process.replica].tasks[&worker.run];
        let unknown = tries == 0 && task.hands.open.get(&worker.key) == Some(&true);
        if unknown {
            self.seen.count("event", "unknown effect observed");
            if let Some(ended) = self.observe(&effect) {
                self.seen.count("event", "unknown effect was done");
                return self.report(&worker, ended);
            }
        }
        if let Err(super::Over::Crashed { down_ms }) =
            self.point(worker.process.replica, Point::BeforeEffect)
        {
            return self.kill(worker.process.replica, down_ms);
        }
        let broken = self.ledger.attempted(&worker, &self.store);
        self.breaks(broken);
        let copies = if self.loses() { 0 } else { 1 + usize::from(self.repeats()) };
        for _ in 0..copies {
            let at = self.now + self.delay();
            let arrive = Happening::Arrive {
                worker: worker.clone(),
                effect: Box::new(effect.clone()),
                sent: self.now,
            };
            self.queue.push(at, arrive);
        }
        let patience = match &effect {
            // Builds and checks take their time, and a repeat of them is a second run.
            Effect::Ship(ShipEffect::Build { .. } | ShipEffect::Admit { .. }) => 20_000,
            _ => PATIENCE_MS << tries.min(2),
        };
        self.queue.push(self.now + patience, Happening::Begin { worker, tries: tries + 1 });
    }

    /// A look at the world for an effect of a former process. None: not done, or nobody can tell.
    fn observe(&self, effect: &Effect) -> Option<Ended> {
        if self.unreachable(effect) {
            return None;
        }
        let done = |command| Some(Ended::Done { command, response: "found".into() });
        match effect {
            Effect::Placement(rollout::Effect::Unit { slot, spec }) => {
                let status = self.world.agent.status(&spec.unit);
                (status.generation >= spec.generation).then(|| Ended::Done {
                    command: Command::Placement(rollout::Command::UnitSeen {
                        slot: *slot,
                        status: Box::new(status),
                        known: None,
                    }),
                    response: "found".into(),
                })
            }
            Effect::Placement(rollout::Effect::Route { table }) => {
                let status = self.world.edge.status(self.now, &table.route)?;
                if status.generation < table.generation {
                    return None;
                }
                done(Command::Placement(rollout::Command::RouteSeen {
                    status: Box::new(status),
                    known: None,
                }))
            }
            Effect::Ship(ShipEffect::Build { ship, .. }) => {
                let body = now_ready(self.store.document("built".into(), ship.clone())).ok()??;
                let facts = serde_json::from_str(&body).ok()?;
                done(Command::Ship(ShipCommand::BuildDone(Box::new(facts))))
            }
            // Asking the gates, the checks and the placement again changes nothing.
            _ => None,
        }
    }

    /// A request is at its place. What happens now happens whether or not its sender lives.
    pub(crate) fn arrive(&mut self, worker: &Worker, effect: &Effect, sent: i64) {
        if self.unreachable(effect) {
            return;
        }
        match effect {
            Effect::Placement(effect) => {
                if let Some((ended, takes_ms)) = self.arrive_placement(worker, effect, sent) {
                    self.answer(worker, ended, takes_ms);
                }
            }
            Effect::Ship(effect) => self.arrive_ship(worker, effect),
        }
    }

    fn answer(&mut self, worker: &Worker, ended: Ended, takes_ms: i64) {
        if self.loses() {
            return;
        }
        let at = self.now + takes_ms + self.delay();
        self.queue.push(at, Happening::Answer { worker: worker.clone(), ended });
    }

    pub(crate) fn answered(&mut self, worker: Worker, ended: Ended) {
        let stale = matches!(ended, Ended::Stale);
        if self.in_hand(&worker).is_none() && !stale {
            // The worker was replaced while its answer was under way; what it was told still reaches the mailbox.
            return self.report(&worker, ended);
        }
        if let Err(super::Over::Crashed { down_ms }) =
            self.point(worker.process.replica, Point::AfterEffect)
        {
            return self.kill(worker.process.replica, down_ms);
        }
        self.report(&worker, ended);
    }

    fn report(&mut self, worker: &Worker, ended: Ended) {
        let task = self.replicas[worker.process.replica].tasks.get(&worker.run);
        if task.is_none_or(|task| task.epoch != worker.epoch) {
            return;
        }
        let input = Input::Effect { key: worker.key.clone(), ended };
        let happening =
            Happening::Input { process: worker.process, run: worker.run.clone(), input };
        self.queue.push(self.now + 1, happening);
    }

    fn arrive_placement(
        &mut self,
        worker: &Worker,
        effect: &rollout::Effect,
        sent: i64,
    ) -> Option<(Ended, i64)> {
        let done =
            |command| Ended::Done { command: Command::Placement(command), response: String::new() };
        match effect {
            rollout::Effect::Unit { slot, spec } => {
                let spec =
                    humdrum_model::unit::UnitSpec { fence: worker.epoch, ..(**spec).clone() };
                let broken = self.ledger.before_unit(self.now, &spec, &self.world, &self.published);
                let world = &mut self.world;
                let Some(turns) = world.agent.ensure(self.now, &spec, &world.cast, &mut self.rng)
                else {
                    return Some((self.refused_by_fence(worker), 0));
                };
                self.breaks(broken);
                let broken = self.ledger.accepted(
                    &worker.run,
                    "agent",
                    &spec.unit,
                    spec.fence,
                    spec.generation,
                );
                self.breaks(broken);
                self.say(|_| {
                    format!(
                        "agent: {} runs {} x {}",
                        spec.unit, spec.labels.release, spec.instances
                    )
                });
                self.later(turns);
                self.agent_changed();
                let status = Box::new(self.world.agent.status(&spec.unit));
                Some((done(rollout::Command::UnitSeen { slot: *slot, status, known: None }), 0))
            }
            rollout::Effect::Route { table } => {
                let table =
                    humdrum_model::route::RouteTable { fence: worker.epoch, ..(**table).clone() };
                let Some(turns) = self.world.edge.ensure(self.now, &table, &mut self.rng) else {
                    return Some((self.refused_by_fence(worker), 0));
                };
                let broken = self.ledger.accepted(
                    &worker.run,
                    "edge",
                    &table.route,
                    table.fence,
                    table.generation,
                );
                self.breaks(broken);
                let broken = self.ledger.table(self.now, &table, sent, &self.world);
                self.breaks(broken);
                self.say(|_| format!("edge: {} {}", table.route, crate::words::weights(&table)));
                self.later(turns);
                let status = Box::new(self.world.edge.status(self.now, &table.route)?);
                Some((done(rollout::Command::RouteSeen { status, known: None }), 0))
            }
            rollout::Effect::Facts { deployment_id, index, bundle } => {
                let facts = Box::new(self.gather(worker, bundle)?);
                let known = facts.held.is_none()
                    && matches!(facts.signature, humdrum_model::gate::Fact::Verified { .. });
                self.ledger.gathered(deployment_id, *index, known);
                let deployment_id = deployment_id.clone();
                Some((
                    done(rollout::Command::FactsGathered { deployment_id, index: *index, facts }),
                    5,
                ))
            }
            rollout::Effect::Smoke { deployment_id, index, slot, through, .. } => {
                let failure = self.smoke(worker, *slot, *through);
                let takes_ms = if self.scripted { 50 } else { self.rng.between(5, 400) };
                let command = rollout::Command::SmokeDone {
                    deployment_id: deployment_id.clone(),
                    index: *index,
                    failure,
                    detail: "1 check".into(),
                };
                Some((done(command), takes_ms))
            }
        }
    }

    fn refused_by_fence(&mut self, worker: &Worker) -> Ended {
        self.seen.count("event", "late order refused by its fence");
        self.say(|_| format!("world: {} refused, its fence {} is old", worker.key, worker.epoch));
        Ended::Stale
    }

    fn gather(&mut self, worker: &Worker, bundle: &Bundle) -> Option<humdrum_model::gate::Facts> {
        let environment = self.placement(&worker.run)?.id.environment.clone();
        let held = match self.published.get(HOLDS_RUN).map(|state| &**state) {
            Some(State::Holds(book)) => book.covering(&bundle.release, &environment).cloned(),
            // Without the book nothing is known to be free: the look is repeated.
            _ => return None,
        };
        let digest = &bundle.release.artifact.digest;
        let at = self.world.settings.environments.iter().position(|name| *name == environment)?;
        let before = at.checked_sub(1).and_then(|at| self.placement_at(at));
        let had = before.is_some_and(|before| {
            let now =
                before.stable_bundle().is_some_and(|it| it.release.artifact.digest == *digest);
            now || before
                .history
                .iter()
                .any(|it| it.release.artifact.digest == *digest && it.outcome.is_good())
        });
        let wall = self.wall(worker.process.replica);
        Some(self.world.facts(bundle, &environment, wall, held, had))
    }

    fn smoke(
        &self,
        worker: &Worker,
        slot: humdrum_model::name::Slot,
        through: SmokeThrough,
    ) -> Option<String> {
        let placement = self.placement(&worker.run)?;
        let unit = self.world.agent.units.get(&placement.id.unit(slot));
        let Some(unit) = unit.filter(|unit| unit.ready() > 0) else {
            return Some("connection refused".into());
        };
        let it = self.world.cast.of(&unit.spec.labels.commit);
        match (it.smoke, through) {
            (Smoke::FailsBefore, SmokeThrough::Instances)
            | (Smoke::FailsAtEdge, SmokeThrough::Edge) => {
                Some("GET /cart answered 500, expected 200".into())
            }
            _ => None,
        }
    }

    fn arrive_ship(&mut self, worker: &Worker, effect: &ShipEffect) {
        match effect {
            ShipEffect::Build { ship, request } => {
                let takes_ms = if self.scripted { 1_000 } else { self.rng.between(50, 2_000) };
                let good = self.world.cast.of(request.commit.as_str()).builds;
                let command = if good {
                    let at = self.wall(worker.process.replica);
                    let facts = built(request, &self.world.settings.environments, at);
                    let body = json(&facts);
                    let document = Document { kind: "built".into(), id: ship.clone(), body };
                    let _ = now_ready(self.store.put_document(document));
                    ShipCommand::BuildDone(Box::new(facts))
                } else {
                    let report =
                        humdrum_model::report::Report::new(["`cargo build` ended with exit 101."]);
                    let code = "build-failed".into();
                    ShipCommand::BuildFailed(humdrum_model::ship::BuildFailure { code, report })
                };
                let ended =
                    Ended::Done { command: Command::Ship(command), response: String::new() };
                self.answer(worker, ended, takes_ms);
            }
            ShipEffect::Admit { ship, index, environment, release, .. } => {
                self.admit(worker, ship, *index, environment, release);
            }
            ShipEffect::Verify { index, environment, release, .. } => {
                let failure = self.verify(environment, release);
                let command = ShipCommand::VerifyDone { index: *index, failure };
                let ended =
                    Ended::Done { command: Command::Ship(command), response: String::new() };
                let takes_ms = if self.scripted { 100 } else { self.rng.between(10, 1_500) };
                self.answer(worker, ended, takes_ms);
            }
        }
    }

    fn verify(
        &self,
        environment: &humdrum_model::name::EnvName,
        release: &humdrum_model::release::Release,
    ) -> Option<String> {
        let id = placement(environment);
        let known = self.placement(&placement_run(&id));
        let stable = known.and_then(Placement::stable_bundle);
        if stable.is_none_or(|it| it.release.artifact.digest != release.artifact.digest) {
            return Some(format!("{id} does not run release {} any more", release.id));
        }
        (!self.world.cast.of(release.commit.as_str()).verifies).then(|| "exit 1".into())
    }

    /// Hands the release to the placement, which answers with the end of the rollout.
    fn admit(
        &mut self,
        worker: &Worker,
        ship: &str,
        index: usize,
        environment: &humdrum_model::name::EnvName,
        release: &humdrum_model::release::Release,
    ) {
        if !self.is_alive(worker.process) {
            return;
        }
        let id = placement(environment);
        let run = placement_run(&id);
        let state = State::Placement(Box::new(Placement::new(id.clone())));
        self.create_run(&run, &id.to_string(), &state, worker.process.replica);
        let deployment = deployment_id(ship, index);
        let deploy = self.world.settings.deploy.clone();
        let bundle = Bundle { release: release.clone(), deploy, deployment_id: deployment.clone() };
        let admission = Admission {
            deployment_id: deployment.clone(),
            kind: Kind::Deploy,
            bundle,
            by: "ada".into(),
            ship: Some(ship.into()),
        };
        let command = Command::Placement(rollout::Command::Admit(Box::new(admission)));
        let signal = self.new_signal(
            &run,
            &format!("admit/{deployment}"),
            &command,
            "ada",
            worker.process.replica,
        );
        let id = signal.id.clone();
        match now_ready(self.store.signal(signal)) {
            Ok(SignalAccepted::New) => {
                self.ledger.accepted_signal(&run, &id);
                self.replicas[worker.process.replica].answers.insert(id.clone(), worker.clone());
                self.nudge(worker.process, &run);
                let late = Happening::AnswerLate { worker: worker.clone(), signal: id };
                self.queue.push(self.now + ANSWER_MS, late);
            }
            // It was asked before: the placement answers by itself, with the rollout's end or a refusal.
            Ok(SignalAccepted::Repeated) => {
                self.seen.count("event", "repeated wish heard once");
                self.admit_answered(worker.clone(), None);
            }
            _ => {}
        }
    }

    pub(crate) fn new_signal(
        &self,
        run: &str,
        dedup: &str,
        command: &Command,
        actor: &str,
        replica: usize,
    ) -> NewSignal {
        NewSignal {
            id: format!("{run}/{dedup}"),
            run: run.into(),
            dedup_key: dedup.into(),
            body: json(command),
            actor: actor.into(),
            at_ms: self.wall_ms(replica),
        }
    }

    pub(crate) fn answer_late(&mut self, worker: Worker, signal: &str) {
        if self.replicas[worker.process.replica].answers.remove(signal).is_some() {
            self.admit_answered(worker, None);
        }
    }

    pub(crate) fn admit_answered(&mut self, worker: Worker, refusal: Option<Refusal>) {
        let index = worker.key.rsplit('/').next().and_then(|index| index.parse().ok()).unwrap_or(0);
        let command = match refusal {
            Some(refusal) => ShipCommand::AdmissionRefused { index, refusal },
            None => ShipCommand::Tick,
        };
        let ended = Ended::Done { command: Command::Ship(command), response: String::new() };
        self.report(&worker, ended);
    }
}
