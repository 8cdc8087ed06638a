//! A store in memory with the behaviour of the real one: no threads, no clock, every future ready at once. For the simulator and tests.
//!
//! What is committed survives [`MemoryStore::restart`] as it would survive a crash; nothing survives the process.

mod tables;

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::tables::Tables;
use crate::chain::Head;
use crate::{
    Commit, Committed, Document, EffectRow, FeedRow, Line, LineBatch, NewRun, NewSignal, Pending,
    RunFilter, RunRow, SignalAccepted, SignalRow, Store, StoreError, limits,
};

/// Clones share one content, as replicas share one database.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// What opening a data folder after a crash does: voids every lease. Answers the boot epoch, 1 for the first.
    pub fn restart(&self) -> u64 {
        self.tables().restart()
    }

    /// Each call holds the lock for its own length only, and leaves the tables whole also when it panics half-way in a check.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked<T: Send + 'static>(
        &self,
        check: Result<(), StoreError>,
        op: impl FnOnce(&mut Tables) -> Result<T, StoreError>,
    ) -> Pending<'_, T> {
        Box::pin(ready(check.and_then(|()| op(&mut self.tables()))))
    }

    fn answer<T: Send + 'static>(&self, op: impl FnOnce(&mut Tables) -> T) -> Pending<'_, T> {
        Box::pin(ready(Ok(op(&mut self.tables()))))
    }
}

impl Store for MemoryStore {
    fn create(&self, run: NewRun) -> Pending<'_, bool> {
        self.checked(limits::check_run(&run), |tables| Ok(tables.create(&run)))
    }

    fn claim(
        &self,
        owner: String,
        now_ms: i64,
        lease_ms: i64,
        limit: u32,
    ) -> Pending<'_, Vec<RunRow>> {
        let limit = limit.min(limits::PAGE_ROWS_MAX) as usize;
        self.answer(|tables| tables.claim(&owner, now_ms, lease_ms, limit))
    }

    fn claim_one(
        &self,
        id: String,
        owner: String,
        now_ms: i64,
        lease_ms: i64,
        steal: bool,
    ) -> Pending<'_, Option<RunRow>> {
        self.answer(|tables| {
            let free = tables.is_free(&id, now_ms)?;
            (free || steal).then(|| tables.lease(&id, &owner, now_ms.saturating_add(lease_ms)))
        })
    }

    fn renew(&self, owner: String, ids: Vec<String>, until_ms: i64) -> Pending<'_, Vec<String>> {
        self.answer(|tables| tables.renew(&owner, ids, until_ms))
    }

    fn commit(&self, commit: Commit) -> Pending<'_, Committed> {
        self.checked(limits::check_commit(&commit), |tables| tables.commit(&commit))
    }

    fn signal(&self, signal: NewSignal) -> Pending<'_, SignalAccepted> {
        self.checked(limits::check_signal(&signal), |tables| Ok(tables.signal(&signal)))
    }

    fn run(&self, id: String) -> Pending<'_, Option<RunRow>> {
        self.answer(|tables| tables.run(&id))
    }

    fn runs(&self, filter: RunFilter) -> Pending<'_, Vec<RunRow>> {
        self.answer(|tables| tables.runs(&filter))
    }

    fn signals(&self, run: String) -> Pending<'_, Vec<SignalRow>> {
        self.answer(|tables| tables.waiting_signals(&run))
    }

    fn effects(&self, run: String) -> Pending<'_, Vec<EffectRow>> {
        self.answer(|tables| tables.effects_of(&run))
    }

    fn feed(&self, after: u64, limit: u32) -> Pending<'_, Vec<FeedRow>> {
        let limit = limits::page(limit) as usize;
        self.answer(|tables| tables.feed.iter().skip(after as usize).take(limit).cloned().collect())
    }

    fn events(&self, run: String, after_seq: u64, limit: u32) -> Pending<'_, Vec<FeedRow>> {
        let limit = limits::page(limit) as usize;
        self.answer(|tables| {
            let rows = tables.feed.iter().filter(|row| row.run == run && row.seq > after_seq);
            rows.take(limit).cloned().collect()
        })
    }

    fn document(&self, kind: String, id: String) -> Pending<'_, Option<String>> {
        self.answer(|tables| tables.documents.get(&(kind, id)).cloned())
    }

    fn documents(&self, kind: String, prefix: String) -> Pending<'_, Vec<(String, String)>> {
        self.checked(Ok(()), |tables| tables.documents_with(&kind, &prefix))
    }

    fn put_document(&self, document: Document) -> Pending<'_, ()> {
        self.checked(limits::check_document(&document), |tables| {
            tables.put_document(&document);
            Ok(())
        })
    }

    fn append_lines(&self, run: String, batch: LineBatch) -> Pending<'_, u64> {
        self.checked(limits::check_lines(&batch), |tables| tables.append_lines(&run, &batch))
    }

    fn lines(&self, run: String, key: String, after: u64, limit: u32) -> Pending<'_, Vec<Line>> {
        let limit = limits::page(limit) as usize;
        self.answer(|tables| tables.lines_of(&run, &key, after, limit))
    }

    fn verify_chain(&self) -> Pending<'_, u64> {
        self.checked(Ok(()), |tables| {
            let head = tables.feed.iter().try_fold(Head::START, |head, row| head.follow(row));
            head.map(|head| head.pos)
                .map_err(|broken| StoreError::Chain { pos: broken.pos, why: broken.why })
        })
    }
}
