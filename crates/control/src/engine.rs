//! The engine: one task for each run, one mailbox for each task. What was accepted is durable before anybody hears of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use humdrum_model::report::{Refusal, Report};
use humdrum_model::run::{Command, STATE_VERSION, State};
use humdrum_store::{
    NewRun, NewSignal, RunFilter, RunRow, SignalAccepted, Store, StoreError, Wait,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::now_ms;
use crate::world::World;

mod effects;
mod task;

/// A run belongs to this process for so long without renewal.
pub const LEASE_MS: i64 = 15_000;
/// Commands that wait in a run's mailbox; senders of observations wait beyond it.
const MAILBOX: usize = 1_024;
/// Runs that are taken at once.
const CLAIM_MAX: u32 = 64;
/// A run that was taken so often without a commit is left alone for [`QUARANTINE`] and shown as quarantined.
pub const ATTEMPTS_MAX: u32 = 5;
/// A process that lived this long ends no more because of the runs it has: those that were left alone are tried again. The guilty one
/// costs at most a restart in this time; one that was only present when others ended the process goes on.
const QUARANTINE: Duration = Duration::from_secs(3);
/// A person's command is answered within this, or told to be accepted and under way.
pub const ANSWER: Duration = Duration::from_secs(10);

/// What a person's command came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Done(Report),
    Refused(Refusal),
    /// Accepted for good; the run has not got to it yet.
    Pending,
    NoSuchRun,
}

/// Something for a run's task.
enum Input {
    Tell(Command),
    /// Signals wait in the store.
    Signals,
    EffectEnded {
        key: String,
        result: effects::Ended,
    },
}

/// A run's state as last committed, for everybody who only looks.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub id: String,
    pub subject: String,
    pub epoch: u64,
    pub version: u64,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub state: Arc<State>,
    /// Why the run is left alone, if it is.
    pub quarantined: Option<String>,
}

impl Snapshot {
    fn of(row: &RunRow, state: State, quarantined: Option<String>) -> Self {
        Self {
            id: row.id.clone(),
            subject: row.subject.clone(),
            epoch: row.epoch,
            version: row.version,
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
            state: Arc::new(state),
            quarantined,
        }
    }
}

/// Drives all runs of this process.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    world: Arc<dyn World>,
    owner: String,
    tracker: TaskTracker,
    stop: CancellationToken,
    mailboxes: Mutex<HashMap<String, mpsc::Sender<Input>>>,
    snapshots: Mutex<HashMap<String, Snapshot>>,
    answers: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    /// Rises with every commit.
    changes: watch::Sender<u64>,
    started: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves maps of ours whole: each change of them is a single insert or remove.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// `owner` names this process and boot: `control-<boot epoch>`.
    pub fn new(
        store: Arc<dyn Store>,
        world: Arc<dyn World>,
        owner: String,
        stop: CancellationToken,
    ) -> Self {
        let shared = Shared {
            store,
            world,
            owner,
            tracker: TaskTracker::new(),
            stop,
            mailboxes: Mutex::default(),
            snapshots: Mutex::default(),
            answers: Mutex::default(),
            changes: watch::Sender::new(0),
            started: Instant::now(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether runs that were left alone are tried again.
    fn is_steady(&self) -> bool {
        self.shared.started.elapsed() >= QUARANTINE
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Rises with every commit; wait on it instead of polling.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Takes every open run at once (the data folder's lock proves that no other process has them), then keeps looking for due ones.
    pub async fn start(&self) -> Result<(), StoreError> {
        let filter =
            RunFilter { open_only: true, limit: u32::from(u16::MAX), ..RunFilter::default() };
        let open = self.shared.store.runs(filter).await?;
        // Runs look at each other, and a hold goes to every placement there is: none may act while another is still unknown.
        open.iter().for_each(|row| self.know(row));
        for row in open {
            self.take(&row.id, false).await?;
        }
        let engine = self.clone();
        self.shared.tracker.spawn(async move { engine.keep().await });
        Ok(())
    }

    /// Shows a run as the store has it, until its own task does.
    fn know(&self, row: &RunRow) {
        let Ok(state) = State::read(row.state_version, &row.state) else {
            return; // The task says what is wrong with it.
        };
        let snapshot = Snapshot::of(row, state, None);
        lock(&self.shared.snapshots).entry(row.id.clone()).or_insert(snapshot);
    }

    /// Waits for all runs to come to rest after the stop was asked for.
    pub async fn stopped(&self) {
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }

    async fn take(&self, id: &str, steal: bool) -> Result<bool, StoreError> {
        let row = self
            .shared
            .store
            .claim_one(id.into(), self.shared.owner.clone(), now_ms(), LEASE_MS, steal)
            .await?;
        let Some(row) = row else { return Ok(false) };
        self.spawn(row);
        Ok(true)
    }

    /// Renews leases and takes runs that became due and are nobody's.
    async fn keep(&self) {
        let mut renew = tokio::time::interval(Duration::from_millis(LEASE_MS as u64 / 3));
        let mut look = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                _ = renew.tick() => {
                    self.renew().await;
                    self.take_stranded().await;
                }
                _ = look.tick() => self.claim_due().await,
            }
        }
    }

    async fn renew(&self) {
        let ids: Vec<String> = lock(&self.shared.mailboxes).keys().cloned().collect();
        for part in ids.chunks(500) {
            let until = now_ms() + LEASE_MS;
            match self.shared.store.renew(self.shared.owner.clone(), part.to_vec(), until).await {
                Ok(kept) => {
                    let mut mailboxes = lock(&self.shared.mailboxes);
                    for lost in part.iter().filter(|id| !kept.contains(id)) {
                        // Dropping the mailbox ends the task: the run is another process's now, or over.
                        mailboxes.remove(lost);
                    }
                }
                Err(error) => tracing::warn!(%error, "leases could not be renewed"),
            }
        }
    }

    /// Runs without a timer or a signal that nobody has: one that was put down, or another process's that died.
    async fn take_stranded(&self) {
        let filter =
            RunFilter { open_only: true, limit: u32::from(u16::MAX), ..RunFilter::default() };
        let Ok(rows) = self.shared.store.runs(filter).await else { return };
        let mine: Vec<String> = lock(&self.shared.mailboxes).keys().cloned().collect();
        for row in rows.into_iter().filter(|row| {
            !mine.contains(&row.id) && (row.attempts <= ATTEMPTS_MAX || self.is_steady())
        }) {
            if let Err(error) = self.take(&row.id, false).await {
                tracing::warn!(run = row.id, %error, "the run could not be taken");
            }
        }
    }

    async fn claim_due(&self) {
        match self
            .shared
            .store
            .claim(self.shared.owner.clone(), now_ms(), LEASE_MS, CLAIM_MAX)
            .await
        {
            Ok(rows) => rows.into_iter().for_each(|row| self.spawn(row)),
            Err(error) => tracing::warn!(%error, "due runs could not be claimed"),
        }
    }

    fn spawn(&self, row: RunRow) {
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        lock(&self.shared.mailboxes).insert(row.id.clone(), sender);
        let engine = self.clone();
        self.shared.tracker.spawn(async move {
            let id = row.id.clone();
            task::run(engine.clone(), row, mailbox).await;
            lock(&engine.shared.mailboxes)
                .retain(|known, sender| known != &id || !sender.is_closed());
        });
    }

    /// Creates a run unless it exists, and takes it.
    pub async fn create(&self, id: &str, subject: &str, state: &State) -> Result<bool, StoreError> {
        let wait = wait_of(state);
        let run = NewRun {
            id: id.into(),
            kind: state.kind().into(),
            subject: subject.into(),
            state_version: STATE_VERSION,
            state: state.write(),
            wait,
            at_ms: now_ms(),
        };
        let new = self.shared.store.create(run).await?;
        if new {
            self.take(id, false).await?;
        }
        Ok(new)
    }

    /// Hands over an observation. It may be lost with the process: the next look at the world makes it again.
    pub async fn tell(&self, run: &str, command: Command) {
        let mailbox = lock(&self.shared.mailboxes).get(run).cloned();
        if let Some(mailbox) = mailbox {
            let _ = mailbox.send(Input::Tell(command)).await;
        }
    }

    /// Records a wish for good and waits for what the run says to it. The same `dedup` is heard once.
    pub async fn submit(
        &self,
        run: &str,
        dedup: &str,
        command: &Command,
        actor: &str,
    ) -> Result<Answer, StoreError> {
        let id = format!("{run}/{dedup}");
        let (sender, answer) = oneshot::channel();
        lock(&self.shared.answers).insert(id.clone(), sender);
        let signal = NewSignal {
            id: id.clone(),
            run: run.into(),
            dedup_key: dedup.into(),
            body: serde_json::to_string(command).expect("plain data always serialises"),
            actor: actor.into(),
            at_ms: now_ms(),
        };
        let accepted = self.shared.store.signal(signal).await;
        if !matches!(accepted, Ok(SignalAccepted::New)) {
            lock(&self.shared.answers).remove(&id);
        }
        match accepted? {
            SignalAccepted::NoSuchRun => return Ok(Answer::NoSuchRun),
            SignalAccepted::Repeated => return Ok(Answer::Pending),
            SignalAccepted::New => {}
        }
        self.nudge(run).await;
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => {
                lock(&self.shared.answers).remove(&id);
                Ok(Answer::Pending)
            }
        }
    }

    /// Says that signals wait. A run that another process left behind is taken at once: a person does not wait for a lease.
    async fn nudge(&self, run: &str) {
        let mailbox = lock(&self.shared.mailboxes).get(run).cloned();
        match mailbox {
            Some(mailbox) => {
                let _ = mailbox.send(Input::Signals).await;
            }
            None => {
                if let Err(error) = self.take(run, false).await {
                    tracing::warn!(run, %error, "the run could not be taken");
                }
            }
        }
    }

    /// A run as last committed by this process.
    pub fn snapshot(&self, run: &str) -> Option<Snapshot> {
        lock(&self.shared.snapshots).get(run).cloned()
    }

    /// Every run that this process has seen.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        lock(&self.shared.snapshots).values().cloned().collect()
    }

    /// Forgets a run that is over; it stays in the store.
    fn forget(&self, run: &str) {
        lock(&self.shared.mailboxes).remove(run);
    }
}

/// What the store is told a run waits for.
pub fn wait_of(state: &State) -> Wait {
    match state.awaits() {
        None => Wait::Done,
        Some((None, party)) => Wait::For { party },
        Some((Some(at), party)) => Wait::Both { ms: at.as_millisecond(), party },
    }
}
