//! The tables of the store in memory. A commit is checked as a whole before the first change, so it happens or leaves no trace.

use std::collections::{BTreeMap, BTreeSet};

use crate::chain::{Head, hash_row};
use crate::limits::{DOCUMENTS_MAX, PAGE_ROWS_MAX, page, too_many_documents};
use crate::{
    Commit, Committed, Document, EffectResult, EffectRow, FeedRow, Line, LineBatch, NewRun,
    NewSignal, RunFilter, RunRow, SignalAccepted, SignalRow, StoreError, Wait,
};

#[derive(Debug, Default)]
pub(super) struct Tables {
    boot_epoch: u64,
    runs: BTreeMap<String, RunRow>,
    /// Ids in the order of creation.
    order: Vec<String>,
    signals: Vec<Signal>,
    /// Effects in the order of their intents, and where each key is.
    effects: Vec<EffectRow>,
    effect_at: BTreeMap<String, usize>,
    pub(super) feed: Vec<FeedRow>,
    head: Option<Head>,
    pub(super) documents: BTreeMap<(String, String), String>,
    /// By run, key and number.
    lines: BTreeMap<(String, String, u64), String>,
}

#[derive(Debug)]
struct Signal {
    run: String,
    row: SignalRow,
    consumed: bool,
}

impl Tables {
    pub(super) fn restart(&mut self) -> u64 {
        for run in self.runs.values_mut() {
            run.owner = None;
            run.lease_until_ms = None;
        }
        self.boot_epoch += 1;
        self.boot_epoch
    }

    pub(super) fn create(&mut self, new: &NewRun) -> bool {
        if self.runs.contains_key(&new.id) {
            return false;
        }
        self.order.push(new.id.clone());
        let run = RunRow {
            id: new.id.clone(),
            kind: new.kind.clone(),
            subject: new.subject.clone(),
            state_version: new.state_version,
            state: new.state.clone(),
            wait: new.wait.clone(),
            version: 0,
            epoch: 0,
            next_seq: 1,
            owner: None,
            lease_until_ms: None,
            attempts: 0,
            created_ms: new.at_ms,
            updated_ms: new.at_ms,
        };
        self.runs.insert(new.id.clone(), run);
        true
    }

    pub(super) fn claim(
        &mut self,
        owner: &str,
        now_ms: i64,
        lease_ms: i64,
        limit: usize,
    ) -> Vec<RunRow> {
        let mut due: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        let signalled =
            self.signals.iter().filter(|signal| !signal.consumed).map(|signal| &signal.run);
        let mut woken: Vec<(i64, &String)> =
            self.order.iter().filter_map(|id| Some((self.wake_ms(id)?, id))).collect();
        woken.retain(|(wake_ms, _)| *wake_ms <= now_ms);
        woken.sort_by_key(|(wake_ms, _)| *wake_ms);
        for id in signalled.chain(woken.into_iter().map(|(_, id)| id)) {
            if self.is_free(id, now_ms) == Some(true) && seen.insert(id) {
                due.push(id.clone());
            }
        }
        due.truncate(limit);
        due.iter().map(|id| self.lease(id, owner, now_ms.saturating_add(lease_ms))).collect()
    }

    fn wake_ms(&self, id: &str) -> Option<i64> {
        match self.runs.get(id)?.wait {
            Wait::At { ms } | Wait::Both { ms, .. } => Some(ms),
            Wait::For { .. } | Wait::Done => None,
        }
    }

    /// Whether nobody holds the run; `None` when there is none.
    pub(super) fn is_free(&self, id: &str, now_ms: i64) -> Option<bool> {
        Some(self.runs.get(id)?.lease_until_ms.is_none_or(|until| until <= now_ms))
    }

    /// Callers have looked the run up before.
    pub(super) fn lease(&mut self, id: &str, owner: &str, until_ms: i64) -> RunRow {
        let run = self.runs.get_mut(id).expect("only runs that were found are leased");
        run.owner = Some(owner.to_owned());
        run.lease_until_ms = Some(until_ms);
        run.epoch += 1;
        run.attempts += 1;
        run.clone()
    }

    pub(super) fn renew(&mut self, owner: &str, ids: Vec<String>, until_ms: i64) -> Vec<String> {
        let mut kept = ids;
        kept.retain(|id| {
            let Some(run) = self.runs.get_mut(id).filter(|run| run.owner.as_deref() == Some(owner))
            else {
                return false;
            };
            run.lease_until_ms = run.lease_until_ms.max(Some(until_ms));
            true
        });
        kept
    }

    pub(super) fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        self.check(commit)?;
        for run in &commit.runs {
            self.create(run);
        }
        for signal in
            self.signals.iter_mut().filter(|signal| commit.consumed.contains(&signal.row.id))
        {
            signal.consumed = true;
        }
        for signal in &commit.signals {
            self.signal(signal);
        }
        self.write_effects(commit);
        commit.documents.iter().for_each(|document| self.put_document(document));
        for batch in &commit.lines {
            self.insert_lines(&commit.run, batch);
        }
        let first_seq = self.move_on(commit);
        for (seq, (kind, body)) in (first_seq..).zip(&commit.events) {
            self.append(commit, seq, kind, body);
        }
        let feed = (!commit.events.is_empty()).then_some(self.feed.len() as u64);
        Ok(Committed { version: commit.version + 1, first_seq, feed })
    }

    /// Finds every reason to refuse, in the order in which the rows are written.
    fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        let fits = |run: &RunRow| run.epoch == commit.epoch && run.version == commit.version;
        if !self.runs.get(&commit.run).is_some_and(fits) {
            return Err(StoreError::Stale { run: commit.run.clone() });
        }
        let mut consumed = BTreeSet::new();
        for id in &commit.consumed {
            let waits = |signal: &Signal| {
                signal.row.id == *id && signal.run == commit.run && !signal.consumed
            };
            if !self.signals.iter().any(waits) || !consumed.insert(id) {
                return Err(StoreError::Unknown { what: "waiting signal", id: id.clone() });
            }
        }
        for signal in &commit.signals {
            if !self.runs.contains_key(&signal.run)
                && !commit.runs.iter().any(|run| run.id == signal.run)
            {
                return Err(StoreError::Unknown { what: "run", id: signal.run.clone() });
            }
        }
        self.check_effects(commit)?;
        self.check_lines(&commit.run, &commit.lines)
    }

    fn check_effects(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut intended = BTreeSet::new();
        for effect in &commit.effects {
            if self.effect_at.contains_key(&effect.key) || !intended.insert(&effect.key) {
                return Err(StoreError::EffectExists { key: effect.key.clone() });
            }
        }
        let mut recorded: BTreeMap<&str, &EffectResult> = BTreeMap::new();
        for result in &commit.results {
            let before = match recorded.insert(&result.key, result) {
                Some(earlier) => Some((earlier.status.as_str(), earlier.response.as_str())),
                None if intended.contains(&result.key) => None,
                None => self.result_of(&commit.run, &result.key)?,
            };
            if let Some((status, _)) =
                before.filter(|known| *known != (&result.status, &result.response))
            {
                return Err(StoreError::EffectFinished {
                    key: result.key.clone(),
                    status: status.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn result_of(&self, run: &str, key: &str) -> Result<Option<(&str, &str)>, StoreError> {
        let effect =
            self.effect_at.get(key).map(|at| &self.effects[*at]).filter(|effect| effect.run == run);
        let effect =
            effect.ok_or_else(|| StoreError::Unknown { what: "effect", id: key.to_owned() })?;
        Ok(effect.response.as_deref().map(|response| (effect.status.as_str(), response)))
    }

    fn write_effects(&mut self, commit: &Commit) {
        for effect in &commit.effects {
            self.effect_at.insert(effect.key.clone(), self.effects.len());
            self.effects.push(EffectRow {
                key: effect.key.clone(),
                run: commit.run.clone(),
                kind: effect.kind.clone(),
                target: effect.target.clone(),
                request: effect.request.clone(),
                status: "intended".to_owned(),
                response: None,
                at_ms: commit.now_ms,
            });
        }
        for result in &commit.results {
            let effect = &mut self.effects[self.effect_at[&result.key]];
            effect.status.clone_from(&result.status);
            effect.response = Some(result.response.clone());
        }
    }

    /// Writes the run's row; answers the number of the first event.
    fn move_on(&mut self, commit: &Commit) -> u64 {
        let run = self.runs.get_mut(&commit.run).expect("the fence has found the run");
        let first_seq = run.next_seq;
        run.state_version = commit.state_version;
        run.state.clone_from(&commit.state);
        run.wait.clone_from(&commit.wait);
        run.version += 1;
        run.next_seq += commit.events.len() as u64;
        run.attempts = 0;
        run.updated_ms = commit.now_ms;
        if commit.release {
            run.owner = None;
            run.lease_until_ms = None;
        }
        first_seq
    }

    fn append(&mut self, commit: &Commit, seq: u64, kind: &str, body: &str) {
        let head = self.head.unwrap_or(Head::START);
        let mut row = FeedRow {
            pos: head.pos + 1,
            run: commit.run.clone(),
            seq,
            epoch: commit.epoch,
            kind: kind.to_owned(),
            body: body.to_owned(),
            actor: commit.actor.clone(),
            at_ms: commit.now_ms,
            prev_hash: hex::encode(head.hash),
            hash: String::new(),
        };
        let hash = hash_row(&head.hash, &row);
        row.hash = hex::encode(hash);
        self.head = Some(Head { pos: row.pos, hash });
        self.feed.push(row);
    }

    pub(super) fn signal(&mut self, new: &NewSignal) -> SignalAccepted {
        if !self.runs.contains_key(&new.run) {
            return SignalAccepted::NoSuchRun;
        }
        let same = |known: &Signal| {
            known.row.id == new.id || (known.run == new.run && known.row.dedup_key == new.dedup_key)
        };
        if self.signals.iter().any(same) {
            return SignalAccepted::Repeated;
        }
        let row = SignalRow {
            id: new.id.clone(),
            dedup_key: new.dedup_key.clone(),
            body: new.body.clone(),
            actor: new.actor.clone(),
            at_ms: new.at_ms,
        };
        self.signals.push(Signal { run: new.run.clone(), row, consumed: false });
        SignalAccepted::New
    }

    pub(super) fn run(&self, id: &str) -> Option<RunRow> {
        self.runs.get(id).cloned()
    }

    pub(super) fn runs(&self, filter: &RunFilter) -> Vec<RunRow> {
        let wanted = |run: &&RunRow| {
            filter.kind.as_ref().is_none_or(|kind| *kind == run.kind)
                && filter.subject.as_ref().is_none_or(|subject| *subject == run.subject)
                && !(filter.open_only && run.wait == Wait::Done)
        };
        let rows = self.order.iter().map(|id| &self.runs[id]).filter(wanted);
        let limit = page(filter.limit) as usize;
        if filter.newest_first {
            rows.rev().take(limit).cloned().collect()
        } else {
            rows.take(limit).cloned().collect()
        }
    }

    pub(super) fn waiting_signals(&self, run: &str) -> Vec<SignalRow> {
        let waiting = self.signals.iter().filter(|signal| signal.run == run && !signal.consumed);
        waiting.take(PAGE_ROWS_MAX as usize).map(|signal| signal.row.clone()).collect()
    }

    pub(super) fn effects_of(&self, run: &str) -> Vec<EffectRow> {
        let newest = self
            .effects
            .iter()
            .rev()
            .filter(|effect| effect.run == run)
            .take(PAGE_ROWS_MAX as usize);
        let mut rows: Vec<EffectRow> = newest.cloned().collect();
        rows.reverse();
        rows
    }

    pub(super) fn put_document(&mut self, document: &Document) {
        self.documents.insert((document.kind.clone(), document.id.clone()), document.body.clone());
    }

    pub(super) fn documents_with(
        &self,
        kind: &str,
        prefix: &str,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let from = (kind.to_owned(), prefix.to_owned());
        let matching = self
            .documents
            .range(from..)
            .take_while(|((k, id), _)| k == kind && id.starts_with(prefix));
        let found: Vec<_> = matching
            .take(DOCUMENTS_MAX + 1)
            .map(|((_, id), body)| (id.clone(), body.clone()))
            .collect();
        if found.len() > DOCUMENTS_MAX { Err(too_many_documents(kind, prefix)) } else { Ok(found) }
    }

    pub(super) fn append_lines(&mut self, run: &str, batch: &LineBatch) -> Result<u64, StoreError> {
        if !self.runs.contains_key(run) {
            return Err(StoreError::Unknown { what: "run", id: run.to_owned() });
        }
        self.check_lines(run, std::slice::from_ref(batch))?;
        Ok(self.insert_lines(run, batch))
    }

    /// Several batches of one commit may name the same line, so they are checked against each other too.
    fn check_lines(&self, run: &str, batches: &[LineBatch]) -> Result<(), StoreError> {
        let mut fresh: BTreeMap<(&str, u64), &String> = BTreeMap::new();
        for batch in batches {
            for (number, body) in (batch.first_number..).zip(&batch.lines) {
                let stored = self.lines.get(&(run.to_owned(), batch.key.clone(), number));
                let known = stored.or(fresh.insert((&batch.key, number), body));
                if known.is_some_and(|known| known != body) {
                    return Err(StoreError::LineDiffers {
                        run: run.to_owned(),
                        key: batch.key.clone(),
                        number,
                    });
                }
            }
        }
        Ok(())
    }

    fn insert_lines(&mut self, run: &str, batch: &LineBatch) -> u64 {
        let before = self.lines.len();
        for (number, body) in (batch.first_number..).zip(&batch.lines) {
            self.lines.insert((run.to_owned(), batch.key.clone(), number), body.clone());
        }
        (self.lines.len() - before) as u64
    }

    pub(super) fn lines_of(&self, run: &str, key: &str, after: u64, limit: usize) -> Vec<Line> {
        let of = |number| (run.to_owned(), key.to_owned(), number);
        let above = self
            .lines
            .range(of(after)..=of(u64::MAX))
            .filter(|((_, _, number), _)| *number > after);
        above
            .take(limit)
            .map(|((_, _, number), body)| Line { number: *number, body: body.clone() })
            .collect()
    }
}
