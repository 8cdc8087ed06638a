//! The one thread that writes: takes what is ready into one transaction, so that many requests share one sync of the disk.
//!
//! Each request runs inside a savepoint: one that fails leaves no trace and does not fail its neighbours. Nobody gets an answer before
//! the transaction is on disk.

use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::rows;
use crate::StoreError;
use crate::chain::Head;

/// Requests that may wait for the writer; more callers wait for a place.
const QUEUE_MAX: usize = 1_024;
/// Requests in one transaction, so that the first one does not wait for ever longer groups.
const GROUP_MAX: usize = 256;

/// The open transaction, as requests see it.
pub(super) struct WriteTx<'c> {
    pub(super) conn: &'c Connection,
    /// The end of the chain inside this transaction.
    pub(super) head: Head,
}

/// A request whose result waits for the transaction. `perform` may be called again after a rollback.
trait Job: Send {
    fn perform(&mut self, tx: &mut WriteTx<'_>) -> Result<(), StoreError>;
    fn answer(self: Box<Self>);
    fn refuse(self: Box<Self>, error: StoreError);
}

struct Request<T, F> {
    op: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Request<T, F>
where
    T: Send,
    F: FnMut(&mut WriteTx<'_>) -> Result<T, StoreError> + Send,
{
    fn perform(&mut self, tx: &mut WriteTx<'_>) -> Result<(), StoreError> {
        let result = (self.op)(tx);
        let outcome = result.as_ref().map(|_| ()).map_err(Clone::clone);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>) {
        let result = self.result.expect("a request is performed before its transaction commits");
        // A caller that is gone does not want the answer; what it asked for is kept all the same.
        let _ = self.reply.send(result);
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}

/// The callers' end of the writer.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(conn: Connection) -> rusqlite::Result<Self> {
        let head = rows::head(&conn)?;
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || WriterThread { conn, head }.run(requests))
            .map_err(super::thread_refused)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Resolves when the request is on disk, or refused. Dropping the future does not take a sent request back.
    pub(super) async fn request<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue
            .send(Box::new(Request { op, result: None, reply }))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Waits until everything that was taken is on disk.
    pub(super) fn close(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

struct WriterThread {
    conn: Connection,
    /// The end of the chain on disk.
    head: Head,
}

/// Why a group did not become durable.
enum GroupFault {
    /// Rolled back for want of room: each request may still fit alone.
    Full,
    Failed(StoreError),
}

impl WriterThread {
    fn run(mut self, mut requests: mpsc::Receiver<Box<dyn Job>>) {
        let mut last_size = 1;
        while let Some(first) = requests.blocking_recv() {
            let group = gather(first, &mut requests, last_size);
            last_size = group.len();
            self.write_group(group);
        }
        if let Err(error) = self.conn.execute("UPDATE meta SET clean = 1", []) {
            tracing::warn!(%error, "the store could not note that it was closed in order");
        }
    }

    fn write_group(&mut self, mut group: Vec<Box<dyn Job>>) {
        match self.try_group(&mut group) {
            Ok(()) => group.into_iter().for_each(Job::answer),
            // One large request must not turn its neighbours away, so each gets a transaction of its own.
            Err(GroupFault::Full) if group.len() > 1 => {
                for request in group {
                    self.write_group(vec![request]);
                }
            }
            Err(GroupFault::Full) => {
                group.into_iter().for_each(|request| request.refuse(StoreError::Full))
            }
            Err(GroupFault::Failed(error)) => {
                tracing::error!(%error, requests = group.len(), "a group of requests could not be written");
                group.into_iter().for_each(|request| request.refuse(error.clone()));
            }
        }
    }

    fn try_group(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), GroupFault> {
        let outcome = self.begin_and_commit(group);
        if outcome.is_err() && !self.conn.is_autocommit() {
            // Fails only when SQLite has rolled back by itself, which is what is wanted.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        outcome.map(|head| self.head = head)
    }

    fn begin_and_commit(&self, group: &mut [Box<dyn Job>]) -> Result<Head, GroupFault> {
        let mut tx = WriteTx { conn: &self.conn, head: self.head };
        tx.run("BEGIN IMMEDIATE")?;
        for request in group.iter_mut() {
            let before = tx.head;
            tx.run("SAVEPOINT request")?;
            match request.perform(&mut tx) {
                Ok(()) => {}
                Err(StoreError::Full) => return Err(GroupFault::Full),
                // SQLite ends the whole transaction after some faults of the disk.
                Err(error) if self.conn.is_autocommit() => return Err(GroupFault::Failed(error)),
                Err(_) => {
                    tx.run("ROLLBACK TO request")?;
                    tx.head = before;
                }
            }
            tx.run("RELEASE request")?;
        }
        if tx.head != self.head {
            rows::put_head(&self.conn, &tx.head).map_err(GroupFault::from)?;
        }
        tx.run("COMMIT")?;
        Ok(tx.head)
    }
}

/// Takes what is ready, and looks again as long as more comes in: callers that were answered together ask again together, and a
/// group cut in two costs a second sync. A lone request after a lone one is not kept waiting at all.
fn gather(
    first: Box<dyn Job>,
    requests: &mut mpsc::Receiver<Box<dyn Job>>,
    last_size: usize,
) -> Vec<Box<dyn Job>> {
    let mut group = vec![first];
    let mut seen = usize::from(last_size == 1);
    loop {
        while group.len() < GROUP_MAX
            && let Ok(next) = requests.try_recv()
        {
            group.push(next);
        }
        if group.len() == seen || group.len() == GROUP_MAX {
            return group;
        }
        seen = group.len();
        std::thread::yield_now();
    }
}

impl WriteTx<'_> {
    fn run(&self, sql: &str) -> Result<(), GroupFault> {
        self.conn.prepare_cached(sql).and_then(|mut statement| statement.execute([]))?;
        Ok(())
    }
}

impl From<rusqlite::Error> for GroupFault {
    fn from(error: rusqlite::Error) -> Self {
        match StoreError::from(error) {
            StoreError::Full => Self::Full,
            error => Self::Failed(error),
        }
    }
}

/// The kernel's "no space" while the WAL's index grows comes as an I/O error of its own (`SQLITE_IOERR_SHMSIZE`, sqlite3.h).
const IOERR_SHMSIZE: i32 = 4_874;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let full = error.sqlite_error().is_some_and(|fault| {
            fault.code == ErrorCode::DiskFull || fault.extended_code == IOERR_SHMSIZE
        });
        if full { Self::Full } else { Self::Database { what: error.to_string() } }
    }
}
