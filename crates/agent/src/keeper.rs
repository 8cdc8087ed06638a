//! Keeps one instance as it is wished: finds it again, starts it, asks its health, restarts it, stops it.
//!
//! One task for each unit and index. What it remembers over its own death is in `memory.json`; what runs is found by
//! the shim's pid file.

mod start;

use std::sync::Arc;
use std::time::Duration;

use humdrum_model::unit::{Health, InstanceState, InstanceStatus, UnitSpec};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::board::Shown;
use crate::health::{self, Counter};
use crate::host::{Host, now_ms};
use crate::identity::{Identity, Watched};
use crate::image::Image;
use crate::listener::{self, Owner};
use crate::order::{Exit, Folder, StopOrder};
use crate::{backoff, durable, environment, logs};

/// Log lines shown after a failed start or an unwished end.
const LAST_LINES: usize = 20;
/// After the grace the shim kills the jail and writes down the end; then the shim itself is ended.
const STOP_SLACK: Duration = Duration::from_secs(5);
/// How long a killed process may take to vanish before we look away.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// How the note begins where `/proc` keeps the owners of sockets secret.
const UNPROVEN: &str = "whose socket answers is not checked";

/// What a keeper must reach.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) spec: Arc<UnitSpec>,
    pub(crate) key: String,
    /// `None` while it is being pulled; nothing is stopped for a release that cannot be started yet.
    pub(crate) image: Option<Image>,
}

/// What is wanted of one index.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// `None` when nothing shall run.
    pub(crate) run: Option<Wish>,
    /// For what runs now and is not wanted any more.
    pub(crate) grace_ms: u64,
}

/// What must not be forgotten when the agent dies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    /// Of what was started last; empty when it was retired.
    key: String,
    attempt: u64,
    /// That attempt was begun, and its end is not counted yet.
    open: bool,
    restarts: u32,
    /// Ends in a row, for the pause before the next start.
    failures: u32,
    /// Not before this Unix time in ms.
    next_start_ms: i64,
    last_exit: Option<String>,
    last_lines: Vec<String>,
    problem: Option<String>,
    /// The start that became ready, and when.
    ready: Option<(u64, i64)>,
    name: String,
    /// How the walls of the last start came out.
    notes: Vec<String>,
}

/// A living instance with its shim.
struct Running {
    shim: Watched,
    shim_pid: u32,
    instance: Identity,
    key: String,
    port: u16,
    state: InstanceState,
    since_ms: i64,
    counter: Counter,
    next_probe: Instant,
    /// When a starting instance must be ready, or an unhealthy one must have recovered.
    deadline: Option<Instant>,
    ready_since: Option<Instant>,
    /// Who answered in its place, in words.
    foreign: Option<String>,
}

/// What a question for health brought.
enum Heard {
    Good,
    Bad,
    /// An answer, but not the instance's.
    Foreign(String),
    /// A good answer, and no telling whose.
    Unproven(String),
}

pub(crate) struct Keeper {
    host: Arc<Host>,
    unit: String,
    index: u32,
    folder: Folder,
    memory: Memory,
    wish: watch::Receiver<Wanted>,
    running: Option<Running>,
}

impl Keeper {
    /// Finds what runs already and shows it, before anybody can ask.
    pub(crate) fn adopt(
        host: Arc<Host>,
        unit: String,
        index: u32,
        wish: watch::Receiver<Wanted>,
    ) -> Keeper {
        let folder = host.folder(&unit, index);
        let memory = durable::read_json(&folder.memory()).unwrap_or_else(|error| {
            tracing::warn!(unit, index, %error, "the memory of an instance is lost");
            None
        });
        let memory = memory.unwrap_or_default();
        let mut keeper = Keeper { host, unit, index, folder, memory, wish, running: None };
        keeper.running = keeper.find();
        match keeper.running.take() {
            Some(running) => {
                keeper.show_running(&running);
                keeper.running = Some(running);
            }
            None => keeper.bury(),
        }
        keeper
    }

    /// Runs until the wish's sender is gone. That is the agent's end and not the instance's: it runs on for the next.
    pub(crate) async fn run(mut self) {
        let mut running = self.running.take();
        while self.wish.has_changed().is_ok() {
            let wanted = self.wish.borrow_and_update().clone();
            running = match (running, wanted.run) {
                (Some(running), Some(wish)) if running.key == wish.key || wish.image.is_none() => {
                    self.watch_over(running, &wish).await
                }
                (Some(running), _) => {
                    self.stop(running, wanted.grace_ms).await;
                    None
                }
                (None, Some(wish)) => self.bring_up(&wish).await,
                (None, None) => {
                    self.rest();
                    drop(self.wish.changed().await);
                    None
                }
            };
        }
    }

    /// Watches until the instance ends or the wish changes; the instance is returned while it lives.
    async fn watch_over(&mut self, mut running: Running, wish: &Wish) -> Option<Running> {
        let check = &wish.spec.health;
        self.set_deadline(&mut running, wish);
        self.show_running(&running);
        loop {
            let asked = async {
                sleep_until(running.next_probe).await;
                hear(&running, check).await
            };
            let late = async {
                match running.deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let heard = tokio::select! {
                biased;
                () = running.shim.ended() => {
                    self.ended_by_itself(running, None).await;
                    return None;
                }
                changed = self.wish.changed() => {
                    drop(changed);
                    return Some(running);
                }
                () = late => {
                    let why = self.too_late(&running, wish);
                    self.end(&running, wish.spec.stop.grace_ms).await;
                    self.ended_by_itself(running, Some(why)).await;
                    return None;
                }
                heard = asked => heard,
            };
            let good = matches!(heard, Heard::Good | Heard::Unproven(_));
            let state = running.counter.count(good, running.state, check);
            let mut pause = running.counter.pause(state, check);
            if matches!(heard, Heard::Foreign(_)) {
                // The look at /proc costs more than a question, and nothing will be better in a moment.
                pause = Duration::from_millis(check.interval_ms);
            }
            running.next_probe = Instant::now() + pause;
            self.note(&mut running, heard);
            if state != running.state {
                self.enter(&mut running, state, wish);
            }
        }
    }

    /// Shows what an answer told beside good or bad, once.
    fn note(&mut self, running: &mut Running, heard: Heard) {
        match heard {
            Heard::Good | Heard::Bad => {}
            Heard::Foreign(why) if running.foreign.as_ref() != Some(&why) => {
                tracing::warn!(name = self.memory.name, why, "an instance is not ready");
                self.memory.problem = Some(format!("{} is not ready: {why}", self.memory.name));
                running.foreign = Some(why);
                self.show_running(running);
            }
            Heard::Foreign(_) => {}
            Heard::Unproven(why) => {
                let known = self.memory.notes.iter().any(|note| note.starts_with(UNPROVEN));
                if !known {
                    tracing::warn!(
                        name = self.memory.name,
                        why,
                        "whose socket answers is not known"
                    );
                    self.memory.notes.push(format!("{UNPROVEN}: {why}"));
                }
            }
        }
    }

    fn enter(&mut self, running: &mut Running, state: InstanceState, wish: &Wish) {
        running.state = state;
        running.since_ms = now_ms();
        running.ready_since = (state == InstanceState::Ready).then(Instant::now);
        running.deadline = None;
        self.set_deadline(running, wish);
        self.memory.ready =
            (state == InstanceState::Ready).then_some((self.memory.attempt, running.since_ms));
        if state == InstanceState::Ready {
            self.memory.problem = None;
        }
        // Shown before it is remembered: a rollout waits for the one and nobody for the other.
        self.show_running(running);
        self.remember();
    }

    fn set_deadline(&self, running: &mut Running, wish: &Wish) {
        let waits = matches!(running.state, InstanceState::Starting | InstanceState::Unhealthy);
        if waits && running.deadline.is_none() {
            let allowed = Duration::from_millis(wish.spec.health.start_ms);
            running.deadline = Some(Instant::now() + allowed);
        }
    }

    fn too_late(&self, running: &Running, wish: &Wish) -> String {
        let what = if running.state == InstanceState::Starting {
            "not ready within"
        } else {
            "unhealthy for"
        };
        let late = format!("{what} {} s", wish.spec.health.start_ms as f64 / 1_000.0);
        match &running.foreign {
            Some(why) => format!("{late}: {why}"),
            None => late,
        }
    }

    /// Counts an end that nobody asked for, and plans the next start.
    async fn ended_by_itself(&mut self, running: Running, why: Option<String>) {
        self.end_leftovers(&running).await;
        let exit = self.exit();
        let how = why.unwrap_or_else(|| match exit {
            Some(exit) => exit.how,
            None => "its shim was killed".to_owned(),
        });
        let was_ready =
            self.memory.ready.is_some_and(|(attempt, _)| attempt == self.memory.attempt);
        let ready_for = running.ready_since.map(|since| since.elapsed());
        let problem = (!was_ready).then(|| format!("{} failed to start: {how}", self.memory.name));
        self.failed(how, problem, ready_for);
    }

    /// Remembers a failure and its pause.
    fn failed(&mut self, how: String, problem: Option<String>, ready_for: Option<Duration>) {
        let lines = logs::last_of_run(&self.folder.logs(), self.memory.attempt, LAST_LINES);
        let memory = &mut self.memory;
        memory.restarts = memory.restarts.saturating_add(1);
        memory.failures = backoff::failures_after(memory.failures, ready_for);
        let pause = i64::try_from(backoff::pause(memory.failures).as_millis()).unwrap_or(i64::MAX);
        memory.next_start_ms = now_ms().saturating_add(pause);
        memory.problem = problem.map(|problem| match lines.last() {
            Some(line) => format!("{problem}; its last line: {line}"),
            None => problem,
        });
        memory.last_exit = Some(how);
        memory.last_lines = lines;
        memory.open = false;
        memory.ready = None;
        let shown = self.status(InstanceState::BackingOff, now_ms(), None);
        self.show(shown);
        self.remember();
    }

    /// Stops an instance that is not wished for any more, or not in this form.
    async fn stop(&mut self, mut running: Running, grace_ms: u64) {
        running.state = InstanceState::Stopping;
        running.since_ms = now_ms();
        self.show_running(&running);
        self.end(&running, grace_ms).await;
        self.memory.last_exit = self.exit().map(|exit| exit.how);
        self.memory.ready = None;
        self.memory.open = false;
        // Whatever is wished for next begins without a past.
        self.memory.key = String::new();
        self.remember();
    }

    /// SIGTERM by the shim, SIGKILL after the grace; returns when nothing of the instance is left.
    async fn end(&self, running: &Running, grace_ms: u64) {
        let told = durable::write_fleeting(&self.folder.stop(), &StopOrder { grace_ms });
        if let Err(error) = told.and_then(|()| running.shim.signal(Signal::TERM)) {
            tracing::warn!(name = self.memory.name, %error, "a shim cannot be told to stop");
        }
        let patience = Duration::from_millis(grace_ms) + STOP_SLACK;
        if timeout(patience, running.shim.ended()).await.is_err() {
            drop(running.shim.signal(Signal::KILL));
            drop(timeout(KILL_WAIT, running.shim.ended()).await);
        }
        self.end_leftovers(running).await;
    }

    /// A jail dies with its shim; where the machine could not promise that, the instance is ended by its own identity.
    async fn end_leftovers(&self, running: &Running) {
        let Some(owned) = running.instance.open() else { return };
        drop(owned.signal(Signal::KILL));
        if let Ok(watched) = owned.watched() {
            drop(timeout(KILL_WAIT, watched.ended()).await);
        }
    }

    /// Counts an end that happened while no agent looked. An instance that still ends is left for later.
    fn bury(&mut self) {
        let exit = self.exit();
        if !self.memory.open || (exit.is_none() && self.living_shim().is_some()) {
            return;
        }
        let how = exit.map_or_else(|| "its shim was killed".to_owned(), |exit| exit.how);
        self.failed(how, None, None);
    }

    fn exit(&self) -> Option<Exit> {
        let exit: Option<Exit> = durable::read_json(&self.folder.exit()).ok().flatten();
        exit.filter(|exit| exit.attempt == self.memory.attempt)
    }

    fn rest(&self) {
        if self.memory.name.is_empty() {
            return self.host.board.show(&self.unit, self.index, None);
        }
        self.show(self.status(InstanceState::Exited, now_ms(), None));
    }

    fn remember(&self) {
        if let Err(error) = durable::write_fleeting(&self.folder.memory(), &self.memory) {
            tracing::warn!(name = self.memory.name, %error, "an instance's memory is not written");
        }
    }

    fn show_running(&self, running: &Running) {
        let pid = Some(running.instance.pid);
        self.show(self.status(running.state, running.since_ms, pid));
    }

    fn show(&self, status: InstanceStatus) {
        let (problem, key) = (self.memory.problem.clone(), self.memory.key.clone());
        let shown = Shown { status, problem, key };
        self.host.board.show(&self.unit, self.index, Some(shown));
    }

    fn status(&self, state: InstanceState, since_ms: i64, pid: Option<u32>) -> InstanceStatus {
        let memory = &self.memory;
        InstanceStatus {
            name: memory.name.clone(),
            index: self.index,
            pid,
            addr: addr(self.host.ports.held(&self.unit, self.index)),
            state,
            since_ms,
            restarts: memory.restarts,
            last_exit: memory.last_exit.clone(),
            last_lines: memory.last_lines.clone(),
            notes: memory.notes.clone(),
        }
    }

    /// A new form of the instance has no restarts, no pause and another name.
    fn forget_former(&mut self, wish: &Wish) {
        if self.memory.key != wish.key {
            let attempt = self.memory.attempt;
            let name = environment::name(&wish.spec, self.index);
            self.memory = Memory { key: wish.key.clone(), attempt, name, ..Memory::default() };
        }
    }
}

/// Asks an instance once. Until it is ready its answer counts only when the socket that answers is its own.
async fn hear(running: &Running, check: &Health) -> Heard {
    let (port, shim, instance) = (running.port, running.shim_pid, running.instance.pid);
    if !health::probe(addr(port), check).await {
        return Heard::Bad;
    }
    if running.state == InstanceState::Ready {
        // While it listens nobody else can.
        return Heard::Good;
    }
    let looked = tokio::task::spawn_blocking(move || listener::owner(port, shim, instance)).await;
    match looked {
        Ok(Owner::Instance) => Heard::Good,
        Ok(Owner::Foreign { uid }) => Heard::Foreign(format!(
            "port {port} is answered by another program (of user {uid}), not by the instance"
        )),
        Ok(Owner::Unknown(why)) => Heard::Unproven(why),
        Err(error) => Heard::Unproven(error.to_string()),
    }
}

/// Instances listen on loopback only.
fn addr(port: u16) -> std::net::SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, port).into()
}
