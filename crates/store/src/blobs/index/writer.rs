//! The one thread that writes the index. Work that waits is committed together: one sync of the disk answers many callers.

use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::IndexError;

/// Writes that may wait; the next caller waits for a place.
const QUEUE: usize = 1024;
/// Writes in one transaction: bounds what one failing disk takes along, and how long the first of them waits.
const GROUP: usize = 128;

/// Does its work inside the transaction and returns what answers the caller once the outcome of the commit is known.
type Work = Box<dyn FnOnce(&Connection) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), IndexError>) + Send>;

pub(super) struct Writer {
    /// Empty only while it is dropped.
    queue: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, IndexError> {
        let (queue, work) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("registry-index".to_owned())
            .spawn(move || serve(&connection, work))
            .map_err(|_| IndexError::Closed)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs a change; it is durable when this resolves with `Ok`, and undone as a whole when the change answers an error.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |tx| {
            let result = apart(tx, change);
            Box::new(move |committed: Result<(), IndexError>| {
                // The caller may be gone; the change stands all the same.
                let _ = reply.send(result.and_then(|value| committed.map(|()| value)));
            })
        });
        let queue = self.queue.as_ref().ok_or(IndexError::Closed)?;
        queue.send(work).await.map_err(|_| IndexError::Closed)?;
        answer.await.map_err(|_| IndexError::Closed)?
    }
}

impl Drop for Writer {
    /// Waits for what is queued, so that who opens the file next finds it as the last caller left it.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // It panics never; were it to, there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// A savepoint, so that one refused change does not undo its neighbours.
fn apart<T>(
    tx: &Connection,
    change: impl FnOnce(&Connection) -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    tx.execute_batch("SAVEPOINT change")?;
    match change(tx) {
        Ok(value) => {
            tx.execute_batch("RELEASE change")?;
            Ok(value)
        }
        Err(error) => {
            // A full disk makes SQLite roll the whole transaction back by itself; the first cause is the one to tell.
            if let Err(undo) = tx.execute_batch("ROLLBACK TO change; RELEASE change") {
                tracing::error!(error = %undo, "a refused change of the registry index was undone by the database");
            }
            Err(error)
        }
    }
}

fn serve(connection: &Connection, mut queue: mpsc::Receiver<Work>) {
    while let Some(first) = queue.blocking_recv() {
        if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
            tracing::error!(%error, "the registry index cannot begin a transaction");
            continue; // Dropping the work answers its caller with `Closed`.
        }
        let mut answers = vec![first(connection)];
        while answers.len() < GROUP
            && let Ok(work) = queue.try_recv()
        {
            answers.push(work(connection));
        }
        let committed = connection.execute_batch("COMMIT");
        if let Err(error) = &committed {
            tracing::error!(%error, "the registry index cannot commit");
            if !connection.is_autocommit() {
                // Fails only when SQLite has rolled back by itself, which is what is wanted.
                let _ = connection.execute_batch("ROLLBACK");
            }
        }
        let full = matches!(&committed, Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull));
        for answer in answers {
            answer(match committed {
                Ok(()) => Ok(()),
                Err(_) if full => Err(IndexError::Full),
                Err(_) => Err(IndexError::Closed),
            });
        }
    }
}
