//! The embedded store: one SQLite file, one writing thread, two reading ones. Opened by [`crate::open()`].

mod backup;
mod read;
mod reader;
mod rows;
pub(crate) mod schema;
mod verify;
mod write;
mod writer;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use self::backup::{BackupError, backup_of, copy_of};
use self::reader::Readers;
pub use self::verify::verify_file;
use self::writer::{WriteTx, Writer};
use crate::chain::Head;
use crate::open::DirLock;
use crate::{
    Commit, Committed, Document, EffectRow, FeedRow, Line, LineBatch, NewRun, NewSignal, Pending,
    RunFilter, RunRow, SignalAccepted, SignalRow, Store, StoreError, limits,
};

/// Rows that one step of the chain check reads, so that other readers come in between.
const VERIFY_PAGE_ROWS: u32 = 2_000;

/// A data folder on this machine. Dropping it waits for requests that were taken, then gives the lock back.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
    /// Released last: the next process may open the file only when our threads have left it.
    _lock: DirLock,
}

impl SqliteStore {
    pub(crate) fn start(conn: Connection, path: &Path, lock: DirLock) -> rusqlite::Result<Self> {
        let readers = Readers::start(path)?;
        Ok(Self { path: path.to_owned(), writer: Writer::start(conn)?, readers, _lock: lock })
    }

    fn write<T, F>(&self, op: F) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        Box::pin(self.writer.request(op))
    }

    /// A request that is checked before it waits for the writer.
    fn write_checked<T, F>(&self, check: Result<(), StoreError>, op: F) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        match check {
            Ok(()) => self.write(op),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn read<T, F>(&self, question: F) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        Box::pin(self.readers.ask(question))
    }

    async fn walk_chain(&self) -> Result<u64, StoreError> {
        let (end, last_pos) = self.read(read::chain_end).await?;
        let mut head = Head::START;
        while head.pos < end.pos {
            let after = head.pos;
            let rows = self.read(move |conn| read::feed(conn, after, VERIFY_PAGE_ROWS)).await?;
            if rows.is_empty() {
                let why = format!("the row is missing, {} rows were recorded", end.pos);
                return Err(StoreError::Chain { pos: head.pos + 1, why });
            }
            for row in &rows {
                // What was appended since the walk began is another walk's business.
                if head.pos == end.pos {
                    break;
                }
                head = head
                    .follow(row)
                    .map_err(|broken| StoreError::Chain { pos: broken.pos, why: broken.why })?;
            }
        }
        chain_ends(head, end, last_pos)?;
        Ok(end.pos)
    }
}

/// Whether a walk that came to `head` came to the recorded end, with nothing behind it.
fn chain_ends(head: Head, end: Head, last_pos: u64) -> Result<(), StoreError> {
    if head.hash != end.hash {
        let why =
            "its hash is not the one recorded as the end of the chain: it was replaced".to_owned();
        return Err(StoreError::Chain { pos: end.pos, why });
    }
    if last_pos > end.pos {
        let why =
            "the row is behind the recorded end of the chain: it was added from outside".to_owned();
        return Err(StoreError::Chain { pos: end.pos + 1, why });
    }
    Ok(())
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Readers first: SQLite empties its WAL into the file when the writer is the last to close.
        self.readers.close();
        self.writer.close();
    }
}

/// A thread that the system refuses is a fault of the same kind as a file that cannot be opened.
fn thread_refused(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

impl Store for SqliteStore {
    fn create(&self, run: NewRun) -> Pending<'_, bool> {
        self.write_checked(limits::check_run(&run), move |tx| write::create(tx, &run))
    }

    fn claim(
        &self,
        owner: String,
        now_ms: i64,
        lease_ms: i64,
        limit: u32,
    ) -> Pending<'_, Vec<RunRow>> {
        let limit = limit.min(limits::PAGE_ROWS_MAX);
        self.write(move |tx| write::claim(tx, &owner, now_ms, lease_ms, limit))
    }

    fn claim_one(
        &self,
        id: String,
        owner: String,
        now_ms: i64,
        lease_ms: i64,
        steal: bool,
    ) -> Pending<'_, Option<RunRow>> {
        self.write(move |tx| write::claim_one(tx, &id, &owner, (now_ms, lease_ms), steal))
    }

    fn renew(&self, owner: String, ids: Vec<String>, until_ms: i64) -> Pending<'_, Vec<String>> {
        self.write(move |tx| write::renew(tx, &owner, &ids, until_ms))
    }

    fn commit(&self, commit: Commit) -> Pending<'_, Committed> {
        self.write_checked(limits::check_commit(&commit), move |tx| write::commit(tx, &commit))
    }

    fn signal(&self, signal: NewSignal) -> Pending<'_, SignalAccepted> {
        self.write_checked(limits::check_signal(&signal), move |tx| write::signal(tx, &signal))
    }

    fn run(&self, id: String) -> Pending<'_, Option<RunRow>> {
        self.read(move |conn| read::run(conn, &id))
    }

    fn runs(&self, filter: RunFilter) -> Pending<'_, Vec<RunRow>> {
        self.read(move |conn| read::runs(conn, &filter))
    }

    fn signals(&self, run: String) -> Pending<'_, Vec<SignalRow>> {
        self.read(move |conn| read::signals(conn, &run))
    }

    fn effects(&self, run: String) -> Pending<'_, Vec<EffectRow>> {
        self.read(move |conn| read::effects(conn, &run))
    }

    fn feed(&self, after: u64, limit: u32) -> Pending<'_, Vec<FeedRow>> {
        self.read(move |conn| read::feed(conn, after, limit))
    }

    fn events(&self, run: String, after_seq: u64, limit: u32) -> Pending<'_, Vec<FeedRow>> {
        self.read(move |conn| read::events(conn, &run, after_seq, limit))
    }

    fn document(&self, kind: String, id: String) -> Pending<'_, Option<String>> {
        self.read(move |conn| read::document(conn, &kind, &id))
    }

    fn documents(&self, kind: String, prefix: String) -> Pending<'_, Vec<(String, String)>> {
        self.read(move |conn| read::documents(conn, &kind, &prefix))
    }

    fn put_document(&self, document: Document) -> Pending<'_, ()> {
        self.write_checked(limits::check_document(&document), move |tx| {
            write::put_document(tx, &document)
        })
    }

    fn append_lines(&self, run: String, batch: LineBatch) -> Pending<'_, u64> {
        self.write_checked(limits::check_lines(&batch), move |tx| {
            write::append_lines(tx, &run, &batch)
        })
    }

    fn lines(&self, run: String, key: String, after: u64, limit: u32) -> Pending<'_, Vec<Line>> {
        self.read(move |conn| read::lines(conn, &run, &key, after, limit))
    }

    fn verify_chain(&self) -> Pending<'_, u64> {
        Box::pin(self.walk_chain())
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::future::join_all;

    use super::*;

    fn document(id: usize, bytes: usize) -> Document {
        Document { kind: "k".into(), id: id.to_string(), body: "x".repeat(bytes) }
    }

    fn set_page_limit(store: &SqliteStore, pages: u32) {
        let limit = store.write(move |tx| {
            // The pragma refuses a bound parameter, and SQLite takes no limit below the present size.
            let sql = format!("PRAGMA max_page_count = {pages}");
            Ok(tx.conn.query_row(&sql, [], |row| row.get::<_, u32>(0))?)
        });
        block_on(limit).unwrap();
    }

    #[test]
    fn a_request_too_large_for_the_disk_does_not_fail_its_neighbours() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::open(dir.path()).unwrap().store;
        set_page_limit(&store, 100);
        let writes =
            (0..20).map(|id| store.put_document(document(id, if id == 7 { 1 << 20 } else { 100 })));
        let answers = block_on(join_all(writes));
        for (id, answer) in answers.into_iter().enumerate() {
            let expected = if id == 7 { Err(StoreError::Full) } else { Ok(()) };
            assert_eq!(answer, expected, "{id}");
            let found = block_on(store.document("k".into(), id.to_string())).unwrap();
            assert_eq!(found.is_some(), id != 7, "{id}");
        }
        set_page_limit(&store, 1_000_000);
        block_on(store.put_document(document(7, 1 << 20))).unwrap();
        assert!(block_on(store.document("k".into(), "7".into())).unwrap().is_some());
    }

    #[test]
    fn a_failing_request_leaves_no_trace_in_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::open(dir.path()).unwrap().store;
        let writes = (0..50).map(|id| {
            store.write(move |tx| {
                write::put_document(tx, &document(id, 10))?;
                tx.head.pos += 1;
                if id % 2 == 0 {
                    Ok(())
                } else {
                    Err(StoreError::Invalid { what: "odd".into(), why: "a test" })
                }
            })
        });
        let answers = block_on(join_all(writes));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 25);
        let kept = block_on(store.documents("k".into(), String::new())).unwrap();
        assert!(kept.len() == 25 && kept.iter().all(|(id, _)| id.parse::<u32>().unwrap() % 2 == 0));
        let (end, _) = block_on(store.read(read::chain_end)).unwrap();
        assert_eq!(end.pos, 25, "the chain's head is rolled back with its request");
    }

    #[test]
    fn an_order_in_flight_is_finished_before_the_lock_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::open(dir.path()).unwrap().store;
        let mut write = Box::pin(store.put_document(document(1, 10)));
        // Sent, but nobody waits for the answer.
        assert!(futures::FutureExt::now_or_never(&mut write).is_none());
        drop(write);
        drop(store);
        let store = crate::open(dir.path()).unwrap().store;
        assert!(block_on(store.document("k".into(), "1".into())).unwrap().is_some());
    }
}
