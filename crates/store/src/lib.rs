//! The disks: event log, run table, leases, projections and content-addressed blobs.
//!
//! [`Store`] is the one port to a database. SQLite (`sqlite.rs`) is the embedded one; nothing here names a database, so that
//! another fits without a change above. Times are Unix ms and JSON is text: the store interprets neither.

pub mod blobs;
pub mod chain;
mod export;
mod limits;
mod memory;
mod open;
mod sqlite;

use std::future::Future;
use std::pin::Pin;

pub use crate::export::{ExportError, export_chain};
pub use crate::limits::{BATCH_ROWS_MAX, DOCUMENTS_MAX, PAGE_ROWS_MAX, TEXT_BYTES_MAX};
pub use crate::memory::MemoryStore;
pub use crate::open::{
    DATABASE_FILE, FolderLock, LOCK_FILE, OpenError, Opened, network_kind, open,
};
pub use crate::sqlite::{BackupError, SqliteStore, backup_of, copy_of, verify_file};

/// An answer of the store; dropping it does not take back a write that was sent.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The event log and the run table. All writes are durable when the future resolves (fsync done).
pub trait Store: Send + Sync {
    /// Creates a run if none has this id; `false` when it was there already.
    fn create(&self, run: NewRun) -> Pending<'_, bool>;
    /// Takes due runs (wake-up passed, or an unconsumed signal) whose lease is free or expired: sets owner and lease, adds one to the epoch.
    ///
    /// Runs with signals come first, by the age of their oldest signal, then by wake-up. A done run with an unconsumed signal is due too,
    /// so that no accepted wish stays without an answer.
    fn claim(
        &self,
        owner: String,
        now_ms: i64,
        lease_ms: i64,
        limit: u32,
    ) -> Pending<'_, Vec<RunRow>>;
    /// Takes one run whatever its wake-up; `steal` takes it even from a living lease (a person's abort).
    /// `None` when no run has this id or its lease lives, the caller's own included.
    fn claim_one(
        &self,
        id: String,
        owner: String,
        now_ms: i64,
        lease_ms: i64,
        steal: bool,
    ) -> Pending<'_, Option<RunRow>>;
    /// Extends the leases of runs that are still `owner`'s; answers the ids that are.
    fn renew(&self, owner: String, ids: Vec<String>, until_ms: i64) -> Pending<'_, Vec<String>>;
    /// One transaction: state, events, effects, consumed signals, signals to others, new runs, documents, lines. Only while epoch and version match.
    ///
    /// Errors: [`StoreError::Stale`] when the fence fails; [`StoreError::Unknown`] for a consumed signal that is not waiting, a result
    /// without its effect, or a signal to a run that does not exist; [`StoreError::EffectExists`] and [`StoreError::EffectFinished`]
    /// for a second intent and a second, different result. New runs and signals that are there already are left as they are.
    fn commit(&self, commit: Commit) -> Pending<'_, Committed>;
    /// Records a wish of a person or of another run. Durable when resolved; the same `dedup_key` is accepted once.
    fn signal(&self, signal: NewSignal) -> Pending<'_, SignalAccepted>;
    fn run(&self, id: String) -> Pending<'_, Option<RunRow>>;
    fn runs(&self, filter: RunFilter) -> Pending<'_, Vec<RunRow>>;
    /// Signals of a run not consumed yet, oldest first.
    fn signals(&self, run: String) -> Pending<'_, Vec<SignalRow>>;
    fn effects(&self, run: String) -> Pending<'_, Vec<EffectRow>>;
    /// The feed after a position, in order, without gaps: every event of every run, hash-chained.
    fn feed(&self, after: u64, limit: u32) -> Pending<'_, Vec<FeedRow>>;
    fn events(&self, run: String, after_seq: u64, limit: u32) -> Pending<'_, Vec<FeedRow>>;
    fn document(&self, kind: String, id: String) -> Pending<'_, Option<String>>;
    fn documents(&self, kind: String, prefix: String) -> Pending<'_, Vec<(String, String)>>;
    fn put_document(&self, document: Document) -> Pending<'_, ()>;
    /// Keeps recorded lines of a run (the judge's blocks) outside of a commit; answers how many were new. See [`LineBatch`].
    fn append_lines(&self, run: String, batch: LineBatch) -> Pending<'_, u64>;
    /// The lines of one key with a number above `after`, ascending.
    fn lines(&self, run: String, key: String, after: u64, limit: u32) -> Pending<'_, Vec<Line>>;
    /// Walks the chain from the first event; answers the number of rows, or the first bad one.
    fn verify_chain(&self) -> Pending<'_, u64>;
}

#[derive(Debug, Clone)]
pub struct NewRun {
    pub id: String,
    pub kind: String,
    /// What the run is about, for lists: `shop/production`.
    pub subject: String,
    pub state_version: u32,
    pub state: String,
    pub wait: Wait,
    /// When it was asked for, Unix ms.
    pub at_ms: i64,
}

/// Every run that is not done waits for a time, a named party, or both: the schema refuses silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    At { ms: i64 },
    For { party: String },
    Both { ms: i64, party: String },
    Done,
}

#[derive(Debug, Clone)]
pub struct RunRow {
    pub id: String,
    pub kind: String,
    pub subject: String,
    pub state_version: u32,
    pub state: String,
    pub wait: Wait,
    pub version: u64,
    pub epoch: u64,
    pub next_seq: u64,
    pub owner: Option<String>,
    pub lease_until_ms: Option<i64>,
    /// Claims since the last commit; a run that only fails is quarantined by the loop.
    pub attempts: u32,
    pub created_ms: i64,
    /// The time of the last commit, or of the creation.
    pub updated_ms: i64,
}

#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub kind: Option<String>,
    pub subject: Option<String>,
    pub open_only: bool,
    pub limit: u32,
    /// Newest first when true.
    pub newest_first: bool,
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub run: String,
    pub epoch: u64,
    pub version: u64,
    pub now_ms: i64,
    pub actor: String,
    pub state_version: u32,
    pub state: String,
    pub wait: Wait,
    /// Type name and JSON body; numbered and hash-chained by the store.
    pub events: Vec<(String, String)>,
    pub effects: Vec<NewEffect>,
    pub results: Vec<EffectResult>,
    pub consumed: Vec<String>,
    pub signals: Vec<NewSignal>,
    pub runs: Vec<NewRun>,
    pub documents: Vec<Document>,
    /// Lines of this run, so that a cursor in `state` and the lines it has passed move together.
    pub lines: Vec<LineBatch>,
    /// Gives the lease back in the same transaction.
    pub release: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub version: u64,
    pub first_seq: u64,
    /// Position in the feed of the last event, if any was appended.
    pub feed: Option<u64>,
}

/// An intent, written before the act. The key is `unit/kind/generation`; a key is accepted once.
#[derive(Debug, Clone)]
pub struct NewEffect {
    pub key: String,
    pub kind: String,
    pub target: String,
    pub request: String,
}

#[derive(Debug, Clone)]
pub struct EffectResult {
    pub key: String,
    /// `done`, `failed`, `superseded`.
    pub status: String,
    pub response: String,
}

#[derive(Debug, Clone)]
pub struct EffectRow {
    pub key: String,
    pub run: String,
    pub kind: String,
    pub target: String,
    pub request: String,
    /// `intended` until a result is recorded: after a restart its outcome is unknown and must be observed.
    pub status: String,
    pub response: Option<String>,
    pub at_ms: i64,
}

#[derive(Debug, Clone)]
pub struct NewSignal {
    pub id: String,
    pub run: String,
    pub dedup_key: String,
    pub body: String,
    pub actor: String,
    pub at_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalAccepted {
    New,
    Repeated,
    NoSuchRun,
}

#[derive(Debug, Clone)]
pub struct SignalRow {
    pub id: String,
    pub dedup_key: String,
    pub body: String,
    pub actor: String,
    pub at_ms: i64,
}

#[derive(Debug, Clone)]
pub struct FeedRow {
    pub pos: u64,
    pub run: String,
    pub seq: u64,
    pub epoch: u64,
    pub kind: String,
    pub body: String,
    pub actor: String,
    pub at_ms: i64,
    pub prev_hash: String,
    pub hash: String,
}

/// Consecutive recorded lines: the first has `first_number` (1 or more), each following one more.
///
/// A number that is there already with the same text counts as kept; with another text the whole request is refused.
/// Numbers may leave gaps between batches: the store does not know what a line means.
#[derive(Debug, Clone)]
pub struct LineBatch {
    /// What the lines record, unique within the run: `blocks`.
    pub key: String,
    pub first_number: u64,
    pub lines: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub number: u64,
    pub body: String,
}

/// A small projection or setting; the newest body wins.
#[derive(Debug, Clone)]
pub struct Document {
    pub kind: String,
    pub id: String,
    pub body: String,
}

/// Why the store could not do it. Whatever the reason, nothing of the request was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("run `{run}` moved on: epoch or version is not what was read")]
    Stale { run: String },
    #[error("effect `{key}` was intended before")]
    EffectExists { key: String },
    #[error("effect `{key}` has the result `{status}` already")]
    EffectFinished { key: String, status: String },
    #[error("line {number} of `{key}` in run `{run}` was recorded with another text")]
    LineDiffers { run: String, key: String, number: u64 },
    #[error("no {what} `{id}` is known to this run")]
    Unknown { what: &'static str, id: String },
    #[error("{what} is refused: {why}")]
    Invalid { what: String, why: &'static str },
    #[error("the event chain breaks at position {pos}: {why}")]
    Chain { pos: u64, why: String },
    #[error("the disk is full; nothing was accepted")]
    Full,
    #[error("the database cannot be used: {what}")]
    Database { what: String },
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// What the person can do next; `None` where the program itself goes on (it reads again, or has a bug).
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Full => {
                Some("make room on the disk of the data folder; work goes on by itself then")
            }
            Self::Chain { .. } => Some(
                "keep the folder as it is, compare it with an export or a backup, and find out who wrote to it",
            ),
            Self::Database { .. } => {
                Some("look at the disk and its log (`dmesg`); a restart checks the database")
            }
            Self::Closed => Some("start Humdrum again"),
            _ => None,
        }
    }
}
