//! One history: true time, the queue of what will happen, the world, the store and the processes of control.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use humdrum_model::rollout::{Placement, Progress};
use humdrum_model::run::State;
use humdrum_model::ship::Ship;
use humdrum_store::{MemoryStore, Pending, StoreError};
use jiff::Timestamp;

use crate::cast::{EPOCH_MS, placement};
use crate::coverage::Coverage;
use crate::invariant::{Broken, Ledger};
use crate::people::{Fault, Programme};
use crate::queue::{Happening, LookAt, Process, Queue, Turn};
use crate::replica::Replica;
use crate::rng::Rng;
use crate::trial::Trials;
use crate::world::World;

/// A history that does not come to rest within so many steps has a bug of its own.
const STEPS_MAX: u64 = 60_000;

/// Everything of one history.
pub(crate) struct Stage {
    pub now: i64,
    pub queue: Queue,
    pub rng: Rng,
    pub store: MemoryStore,
    pub world: World,
    pub replicas: Vec<Replica>,
    pub programme: Programme,
    /// States as last committed: what the store says, without reading it again.
    pub published: BTreeMap<String, Rc<State>>,
    pub trials: Trials,
    pub boards: BTreeMap<String, Progress>,
    pub ledger: Ledger,
    pub seen: Coverage,
    pub trace: Option<Vec<String>>,
    pub broken: Option<Broken>,
    pub steps: u64,
    pub ships: u32,
    /// A person leads the judge and the clock; nothing is late or lost.
    pub scripted: bool,
}

/// Polls a future of the store in memory, which is ready at once.
pub(crate) fn now_ready<T>(future: Pending<'_, T>) -> Result<T, StoreError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(StoreError::Closed),
    }
}

impl Stage {
    pub(crate) fn new(world: World, programme: Programme, rng: Rng, trace: bool) -> Self {
        let replicas = (0..programme.replicas).map(Replica::new).collect();
        let mut stage = Self {
            now: 0,
            queue: Queue::default(),
            rng,
            store: MemoryStore::new(),
            world,
            replicas,
            programme,
            published: BTreeMap::new(),
            trials: Trials::default(),
            boards: BTreeMap::new(),
            ledger: Ledger::default(),
            seen: Coverage::default(),
            trace: trace.then(Vec::new),
            broken: None,
            steps: 0,
            ships: 0,
            scripted: false,
        };
        for replica in 0..stage.replicas.len() {
            stage.queue.push(replica as i64, Happening::Start { replica });
        }
        stage
    }

    /// Puts people's acts and faults on the programme, but for those left out.
    pub(crate) fn invite(&mut self, without: &BTreeSet<usize>) {
        let acts = self.programme.acts.len();
        for (index, (at, act)) in self.programme.acts.iter().enumerate() {
            if !without.contains(&index) {
                let happening = Happening::Person { act: act.clone(), number: index, tries: 0 };
                self.queue.push(at + 10, happening);
            }
        }
        for (index, (at, _)) in self.programme.faults.iter().enumerate() {
            if !without.contains(&(acts + index)) {
                self.queue.push(*at, Happening::Fault(index));
            }
        }
    }

    /// The clock of a process.
    pub(crate) fn wall(&self, replica: usize) -> Timestamp {
        Timestamp::from_millisecond(self.wall_ms(replica)).expect("a history is not that long")
    }

    pub(crate) fn wall_ms(&self, replica: usize) -> i64 {
        EPOCH_MS + self.now + self.replicas[replica].skew_ms
    }

    pub(crate) fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let text = format!("{:>9}  {}", at_words(self.now), line(self));
            if let Some(trace) = &mut self.trace {
                trace.push(text);
            }
        }
    }

    pub(crate) fn breaks(&mut self, broken: Option<Broken>) {
        if self.broken.is_none() {
            self.broken = broken;
        }
    }

    pub(crate) fn placement_at(&self, environment: usize) -> Option<&Placement> {
        let name = self.world.settings.environments.get(environment)?;
        self.placement(&humdrum_model::run::placement_run(&placement(name)))
    }

    pub(crate) fn placement(&self, run: &str) -> Option<&Placement> {
        match &**self.published.get(run)? {
            State::Placement(placement) => Some(placement),
            _ => None,
        }
    }

    pub(crate) fn placements(&self) -> impl Iterator<Item = (&String, &Placement)> {
        self.published.iter().filter_map(|(run, state)| match &**state {
            State::Placement(placement) => Some((run, &**placement)),
            _ => None,
        })
    }

    pub(crate) fn all_ships(&self) -> impl Iterator<Item = &Ship> {
        self.published.values().filter_map(|state| match &**state {
            State::Ship(ship) => Some(&**ship),
            _ => None,
        })
    }

    /// The delay of a message; late ones overtake.
    pub(crate) fn delay(&mut self) -> i64 {
        if self.scripted {
            return 5;
        }
        if self.now < self.world.bad_network_until && self.rng.chance(200) {
            return self.rng.between(50, 3_000);
        }
        self.rng.between(1, 15)
    }

    pub(crate) fn loses(&mut self) -> bool {
        !self.scripted && self.now < self.world.bad_network_until && self.rng.chance(200)
    }

    pub(crate) fn repeats(&mut self) -> bool {
        !self.scripted && self.now < self.world.bad_network_until && self.rng.chance(200)
    }

    /// Whether a process that is meant is still the one that runs.
    pub(crate) fn is_alive(&self, process: Process) -> bool {
        let replica = &self.replicas[process.replica];
        replica.alive && replica.boot == process.boot
    }

    /// Does the next thing. `false`: nothing is left, or an invariant broke.
    pub(crate) fn step(&mut self) -> bool {
        let Some((at, happening)) = self.queue.pop() else { return false };
        self.now = self.now.max(at);
        self.steps += 1;
        if self.steps > STEPS_MAX {
            self.breaks(Some(Broken::new("ends", "the history takes more steps than any should")));
            return false;
        }
        self.happen(happening);
        let broken = self.ledger.world(self.now, &self.world);
        self.breaks(broken);
        self.broken.is_none()
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(process) = process_of(&happening) {
            if !self.is_alive(process) {
                return;
            }
            let frozen = self.replicas[process.replica].frozen_until;
            if self.now < frozen {
                return self.queue.push(frozen, happening);
            }
        }
        match happening {
            Happening::Start { replica } => self.start(replica),
            Happening::Keep { process } => self.keep(process),
            Happening::Wake { process, run, token } => self.wake(process, &run, token),
            Happening::Input { process, run, input } => self.input(process, &run, input),
            Happening::Look { process, run, at } => match at {
                LookAt::Agent => self.look_at_agent(process),
                LookAt::Route => self.look_at_route(process, &run),
                LookAt::Judge => self.look_at_judge(process, &run),
            },
            Happening::Begin { worker, tries } => self.begin_effect(worker, tries),
            Happening::Arrive { worker, effect, sent } => self.arrive(&worker, &effect, sent),
            Happening::Answer { worker, ended } => self.answered(worker, ended),
            Happening::AnswerLate { worker, signal } => self.answer_late(worker, &signal),
            Happening::World(turn) => self.turn(&turn),
            Happening::Person { act, number, tries } => self.person(act, number, tries),
            Happening::Fault(index) => self.fault(index),
            Happening::FaultEnds(index) => self.fault_ends(index),
            Happening::Ease { replica, by_ms } => self.jump(replica, by_ms),
        }
    }

    pub(crate) fn later(&mut self, turns: Vec<(i64, Turn)>) {
        for (at, turn) in turns {
            self.queue.push(at, Happening::World(turn));
        }
    }

    fn turn(&mut self, turn: &Turn) {
        match turn {
            Turn::Instance { unit, index, to, .. } => {
                let turns = self.world.agent.turn(self.now, turn, &self.world.cast, &mut self.rng);
                if let Some(turns) = turns {
                    self.say(|_| format!("world: instance {index} of {unit} is {to:?}"));
                    self.later(turns);
                    self.agent_changed();
                }
            }
            Turn::Drained { route, slot, .. } => {
                if self.world.edge.turn(self.now, turn) {
                    self.say(|_| format!("world: the last request of {route} {slot} ended"));
                }
            }
        }
    }

    /// The agent's watchers hear of a change at once.
    pub(crate) fn agent_changed(&mut self) {
        for index in 0..self.replicas.len() {
            if self.replicas[index].alive {
                let process = self.replicas[index].process();
                let at = self.now + 5;
                self.queue
                    .push(at, Happening::Look { process, run: String::new(), at: LookAt::Agent });
            }
        }
    }

    fn fault(&mut self, index: usize) {
        let fault = self.programme.faults[index].1.clone();
        self.fault_now(&fault);
        if let Fault::ClockJump { ms, .. } = fault {
            self.queue.push(self.now + ms, Happening::FaultEnds(index));
        }
    }

    pub(crate) fn fault_now(&mut self, fault: &Fault) {
        let now = self.now;
        self.seen.count("fault", fault.word());
        self.say(|_| format!("fault: {fault:?}"));
        self.ledger.troubled(now + lasts_ms(fault));
        match fault {
            Fault::Crash { replica, point, pass, down_ms } => {
                self.replicas[*replica].arm(*point, *pass, *down_ms);
                if *point == crate::people::Point::Between {
                    self.kill(*replica, *down_ms);
                }
            }
            Fault::Freeze { replica, ms } => {
                let it = &mut self.replicas[*replica];
                it.frozen_until = it.frozen_until.max(now + ms);
            }
            Fault::ClockJump { replica, by_ms, .. } => self.jump(*replica, *by_ms),
            Fault::AgentUnreachable { ms } => self.world.agent_down_until = now + ms,
            Fault::EdgeUnreachable { ms } => self.world.edge_down_until = now + ms,
            Fault::BadNetwork { ms } => self.world.bad_network_until = now + ms,
            Fault::EvidenceUnreachable { ms } => self.world.evidence_down_until = now + ms,
            Fault::AgentForgets => {
                self.world.agent.forget();
                self.ledger.forgot("agent");
                self.agent_changed();
            }
            Fault::EdgeForgets => {
                self.world.edge.forget();
                self.ledger.forgot("edge");
            }
            Fault::InstanceDies { pick } => {
                if let Some(turn) = self.world.agent.victim(*pick) {
                    self.turn(&turn);
                }
            }
        }
    }

    fn fault_ends(&mut self, index: usize) {
        if let Fault::ClockJump { replica, .. } = self.programme.faults[index].1 {
            self.jump(replica, -self.replicas[replica].skew_ms);
        }
    }

    fn jump(&mut self, replica: usize, by_ms: i64) {
        self.replicas[replica].skew_ms += by_ms;
        self.ledger.clock_jumped();
        let process = self.replicas[replica].process();
        let runs: Vec<String> = self.replicas[replica].tasks.keys().cloned().collect();
        for run in runs {
            self.plan_wake(process, &run, true);
        }
    }
}

/// How long the trouble that a fault makes may last by itself, ms.
fn lasts_ms(fault: &Fault) -> i64 {
    match fault {
        Fault::Crash { down_ms, .. } => down_ms + 10_000,
        Fault::Freeze { ms, .. }
        | Fault::ClockJump { ms, .. }
        | Fault::AgentUnreachable { ms }
        | Fault::EdgeUnreachable { ms }
        | Fault::BadNetwork { ms }
        | Fault::EvidenceUnreachable { ms } => ms + 5_000,
        _ => 5_000,
    }
}

fn process_of(happening: &Happening) -> Option<Process> {
    match happening {
        Happening::Keep { process }
        | Happening::Wake { process, .. }
        | Happening::Input { process, .. }
        | Happening::Look { process, .. } => Some(*process),
        Happening::Begin { worker, .. }
        | Happening::Answer { worker, .. }
        | Happening::AnswerLate { worker, .. } => Some(worker.process),
        _ => None,
    }
}

/// `12.345 s`.
pub(crate) fn at_words(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}
