//! A process of control, in small: it takes runs by lease and epoch, drives them, dies and comes back.
//!
//! Mirrors `humdrum_control::engine`, whose tasks live on a runtime with real time. What is decided, recorded, sent and observed, and
//! in which order, is the same; threads and sockets are not there.

use std::collections::BTreeMap;

use humdrum_model::hold::HoldBook;
use humdrum_model::run::{HOLDS_RUN, STATE_VERSION, State};
use humdrum_store::{NewRun, RunFilter, RunRow, Store, Wait};

use crate::people::Point;
use crate::queue::{Happening, Input, LookAt, Process, Worker};
use crate::stage::{Stage, now_ready};

mod effects;
mod hands;
mod task;
mod watch;

pub(crate) use self::task::Task;

/// As `humdrum_control::engine`: a run belongs to a process for so long without renewal, ms.
const LEASE_MS: i64 = 15_000;
/// Between two looks for due runs and leases, ms: coarser than in production, which looks every half second.
const KEEP_MS: i64 = 1_000;
/// Every so many looks, runs that wait for no time and no signal are taken too, when nobody has them.
const ADOPT_EVERY: u64 = 4;
/// Runs that are taken at once.
const CLAIM_MAX: u32 = 64;

#[derive(Debug)]
pub(crate) struct Replica {
    pub index: usize,
    pub boot: u64,
    pub alive: bool,
    pub frozen_until: i64,
    /// How far its clock is from true time, ms.
    pub skew_ms: i64,
    pub tasks: BTreeMap<String, Task>,
    /// Who waits for the answer to a signal.
    pub answers: BTreeMap<String, Worker>,
    armed: Option<Armed>,
    /// When the next regular look at the agent is due.
    agent_look_at: i64,
    /// When the last observation reaches its run.
    pub told_at: i64,
    kept: u64,
}

/// The process dies when it passes the point for the n-th time.
#[derive(Debug, Clone, Copy)]
struct Armed {
    point: Point,
    pass: u64,
    down_ms: i64,
}

/// Why a task's work stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Left,
    Crashed { down_ms: i64 },
}

impl Replica {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            boot: 0,
            alive: false,
            frozen_until: 0,
            skew_ms: 0,
            tasks: BTreeMap::new(),
            answers: BTreeMap::new(),
            armed: None,
            agent_look_at: 0,
            told_at: 0,
            kept: 0,
        }
    }

    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }

    /// Whether a regular look is on its way already; else the one after this is planned now.
    fn agent_looked(&mut self, now: i64, every_ms: i64) -> bool {
        let planned = self.agent_look_at > now;
        if !planned {
            self.agent_look_at = now + every_ms;
        }
        planned
    }

    pub(crate) fn process(&self) -> Process {
        Process { replica: self.index, boot: self.boot }
    }

    fn owner(&self) -> String {
        format!("control-{}-{}", self.index, self.boot)
    }

    pub(crate) fn arm(&mut self, point: Point, pass: u64, down_ms: i64) {
        if point != Point::Between {
            self.armed = Some(Armed { point, pass, down_ms });
        }
    }
}

impl Stage {
    /// Passes a crash point.
    pub(crate) fn point(&mut self, replica: usize, point: Point) -> Result<(), Over> {
        let Some(armed) = &mut self.replicas[replica].armed else { return Ok(()) };
        if armed.point != point {
            return Ok(());
        }
        if armed.pass > 0 {
            armed.pass -= 1;
            return Ok(());
        }
        let down_ms = armed.down_ms;
        self.replicas[replica].armed = None;
        self.seen.count("crash", point.words());
        let now = self.now;
        self.ledger.troubled(now + down_ms + 10_000);
        Err(Over::Crashed { down_ms })
    }

    /// kill -9: what was not committed is gone. Requests on the wire still arrive.
    pub(crate) fn kill(&mut self, replica: usize, down_ms: i64) {
        if !self.replicas[replica].alive {
            return;
        }
        self.say(|_| format!("control {replica} is killed"));
        self.replicas[replica].alive = false;
        self.replicas[replica].tasks.clear();
        self.replicas[replica].answers.clear();
        self.queue.push(self.now + down_ms, Happening::Start { replica });
    }

    pub(crate) fn start(&mut self, replica: usize) {
        let only = self.replicas.len() == 1;
        if only {
            // The lock of the data folder proves that no other process has it.
            self.store.restart();
            let broken = self.ledger.restarted(&self.store);
            self.breaks(broken);
        }
        let it = &mut self.replicas[replica];
        it.boot += 1;
        it.alive = true;
        it.frozen_until = 0;
        it.agent_look_at = 0;
        let process = it.process();
        self.say(|_| format!("control {replica} starts"));
        if self.replicas[replica].boot > 1 {
            self.seen.count("event", "restart");
        }
        self.create_run(HOLDS_RUN, "holds", &State::Holds(HoldBook::default()), replica);
        self.adopt(process);
        self.queue.push(self.now + KEEP_MS, Happening::Keep { process });
        let look = Happening::Look { process, run: String::new(), at: LookAt::Agent };
        self.queue.push(self.now + 10, look);
    }

    /// Takes every open run that is nobody's.
    fn adopt(&mut self, process: Process) {
        let filter = RunFilter { open_only: true, limit: 1_000, ..RunFilter::default() };
        let rows = now_ready(self.store.runs(filter)).unwrap_or_default();
        for row in rows {
            if self.is_alive(process) && !self.replicas[process.replica].tasks.contains_key(&row.id)
            {
                self.take(process, &row.id);
            }
        }
    }

    pub(crate) fn take(&mut self, process: Process, run: &str) {
        let owner = self.replicas[process.replica].owner();
        let wall = self.wall_ms(process.replica);
        let claim = self.store.claim_one(run.into(), owner, wall, LEASE_MS, false);
        if let Ok(Some(row)) = now_ready(claim) {
            self.spawn(process, row);
        }
    }

    /// Renews leases, takes what became due, and what a dead process left behind.
    pub(crate) fn keep(&mut self, process: Process) {
        let wall = self.wall_ms(process.replica);
        let owner = self.replicas[process.replica].owner();
        let ids: Vec<String> = self.replicas[process.replica].tasks.keys().cloned().collect();
        let renewed = now_ready(self.store.renew(owner.clone(), ids.clone(), wall + LEASE_MS));
        let kept = renewed.unwrap_or_default();
        for lost in ids.iter().filter(|id| !kept.contains(id)) {
            self.replicas[process.replica].tasks.remove(lost);
        }
        let due = now_ready(self.store.claim(owner, wall, LEASE_MS, CLAIM_MAX)).unwrap_or_default();
        for row in due {
            self.spawn(process, row);
        }
        if self.replicas.len() > 1 && self.is_alive(process) {
            self.hear_others(process);
        }
        let it = &mut self.replicas[process.replica];
        it.kept += 1;
        if it.kept.is_multiple_of(ADOPT_EVERY) && self.is_alive(process) {
            self.adopt(process);
        }
        if self.is_alive(process) {
            self.queue.push(self.now + KEEP_MS, Happening::Keep { process });
        }
    }

    /// Signals that reached the store through another process.
    fn hear_others(&mut self, process: Process) {
        let runs: Vec<String> = self.replicas[process.replica].tasks.keys().cloned().collect();
        for run in runs {
            let waiting = now_ready(self.store.signals(run.clone())).unwrap_or_default();
            if !waiting.is_empty() {
                self.queue.push(self.now, Happening::Input { process, run, input: Input::Signals });
            }
        }
    }

    fn spawn(&mut self, process: Process, row: RunRow) {
        let Ok(state) = State::read(row.state_version, &row.state) else { return };
        self.ledger.claimed(&row.id, row.epoch);
        if row.epoch > 1 {
            self.seen.count("event", "take-over");
            self.say(|_| {
                format!("control {} takes {} over, epoch {}", process.replica, row.id, row.epoch)
            });
        }
        let id = row.id.clone();
        let task = Task::new(&row, state);
        self.publish(&id, task.state.clone());
        self.replicas[process.replica].tasks.insert(id.clone(), task);
        self.with_task(process, &id, |stage, task| stage.begin(process, task));
        let looks = self.placement(&id).is_some();
        if looks && self.is_alive(process) {
            for at in [LookAt::Route, LookAt::Judge] {
                let happening = Happening::Look { process, run: id.clone(), at };
                self.queue.push(self.now + 20, happening);
            }
        }
    }

    /// Works on a run's task, and ends it or the process when that is what came of it.
    pub(crate) fn with_task(
        &mut self,
        process: Process,
        run: &str,
        work: impl FnOnce(&mut Self, &mut Task) -> Result<(), Over>,
    ) {
        let Some(mut task) = self.replicas[process.replica].tasks.remove(run) else { return };
        match work(self, &mut task) {
            Ok(()) => {
                self.replicas[process.replica].tasks.insert(run.into(), task);
                self.plan_wake(process, run, false);
            }
            Err(Over::Left) => {}
            Err(Over::Crashed { down_ms }) => self.kill(process.replica, down_ms),
        }
    }

    /// The wake-up that the state asks for; `anew` after the clock jumped.
    pub(crate) fn plan_wake(&mut self, process: Process, run: &str, anew: bool) {
        let (now, wall) = (self.now, self.wall_ms(process.replica));
        let Some(task) = self.replicas[process.replica].tasks.get_mut(run) else { return };
        let at = task.state.awaits().and_then(|(at, _)| at).map(|at| at.as_millisecond());
        if !anew && at == task.wake_at {
            return;
        }
        task.wake_at = at;
        task.wake_token += 1;
        let token = task.wake_token;
        if let Some(at) = at {
            let wait = (at - wall).max(20);
            let run = run.to_owned();
            self.queue.push(now + wait, Happening::Wake { process, run, token });
        }
    }

    pub(crate) fn wake(&mut self, process: Process, run: &str, token: u64) {
        let known = self.replicas[process.replica].tasks.get(run);
        if known.is_none_or(|task| task.wake_token != token) {
            return;
        }
        self.with_task(process, run, |stage, task| {
            task.wake_at = None;
            stage.on_time(process, task)
        });
        self.spins(process, run);
    }

    /// V11: a timer that fired and is still in the past wakes nobody up for anything.
    fn spins(&mut self, process: Process, run: &str) {
        let wall = self.wall_ms(process.replica);
        let Some(task) = self.replicas[process.replica].tasks.get_mut(run) else { return };
        let past = task
            .state
            .awaits()
            .and_then(|(at, party)| Some((at?.as_millisecond(), party)))
            .filter(|(at, _)| *at < wall);
        let Some((_, party)) = past else {
            task.spins = 0;
            return;
        };
        task.spins += 1;
        let spins = task.spins;
        let broken = crate::invariant::v11_timer_wakes(run, spins, &party);
        self.breaks(broken);
    }

    pub(crate) fn create_run(&mut self, id: &str, subject: &str, state: &State, replica: usize) {
        let run = NewRun {
            id: id.into(),
            kind: state.kind().into(),
            subject: subject.into(),
            state_version: STATE_VERSION,
            state: state.write(),
            wait: wait_of(state),
            at_ms: self.wall_ms(replica),
        };
        if now_ready(self.store.create(run)) == Ok(true) {
            self.take(self.replicas[replica].process(), id);
        }
    }
}

/// What the store is told a run waits for.
pub(crate) fn wait_of(state: &State) -> Wait {
    match state.awaits() {
        None => Wait::Done,
        Some((None, party)) => Wait::For { party },
        Some((Some(at), party)) => Wait::Both { ms: at.as_millisecond(), party },
    }
}
