//! The threads that read, each on its own read-only connection: a long answer never holds up the writer or an async thread.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::open::open_reader;

/// Two, so that one long answer leaves one for the loop; more would only share two cores.
const THREADS: usize = 2;
/// Requests that may wait for a reader; more callers wait for a place.
const QUEUE_MAX: usize = 256;

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// The callers' end of the readers.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Option<mpsc::Sender<Question>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(path: &Path) -> rusqlite::Result<Self> {
        let (queue, questions) = mpsc::channel(QUEUE_MAX);
        let questions = Arc::new(Mutex::new(questions));
        let mut threads = Vec::with_capacity(THREADS);
        for number in 0..THREADS {
            let conn = open_reader(path)?;
            let questions = Arc::clone(&questions);
            let thread = std::thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || answer_all(&conn, &questions))
                .map_err(super::thread_refused)?;
            threads.push(thread);
        }
        Ok(Self { queue: Some(queue), threads })
    }

    pub(super) async fn ask<T, F>(&self, question: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        let question: Question = Box::new(move |conn| {
            // A caller that is gone does not want the answer.
            let _ = reply.send(question(conn));
        });
        queue.send(question).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn close(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader of the store had panicked");
            }
        }
    }
}

fn answer_all(conn: &Connection, questions: &Mutex<mpsc::Receiver<Question>>) {
    loop {
        // The guard ends with the statement, so the others can take the next question while this one is answered.
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match next {
            Some(question) => question(conn),
            None => return,
        }
    }
}
