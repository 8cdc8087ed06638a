//! Short ways to the values that the tests write.

use humdrum_store::{
    Commit, EffectResult, LineBatch, NewEffect, NewRun, NewSignal, RunRow, SqliteStore, Store, Wait,
};

pub(crate) const LEASE_MS: i64 = 15_000;

pub(crate) fn new_run(id: &str, wait: Wait) -> NewRun {
    NewRun {
        id: id.into(),
        kind: "rollout".into(),
        subject: "shop/production".into(),
        state_version: 1,
        state: r#"{"phase":"new"}"#.into(),
        wait,
        at_ms: 500,
    }
}

/// An empty commit on what was read, to which a test adds its part.
pub(crate) fn commit(run: &RunRow, now_ms: i64) -> Commit {
    Commit {
        run: run.id.clone(),
        epoch: run.epoch,
        version: run.version,
        now_ms,
        actor: "control".into(),
        state_version: 1,
        state: format!(r#"{{"at":{now_ms}}}"#),
        wait: Wait::At { ms: now_ms + 10 },
        events: vec![],
        effects: vec![],
        results: vec![],
        consumed: vec![],
        signals: vec![],
        runs: vec![],
        documents: vec![],
        lines: vec![],
        release: false,
    }
}

pub(crate) fn event(number: u64) -> (String, String) {
    ("StepEntered".into(), format!(r#"{{"number": {number}}}"#))
}

pub(crate) fn effect(key: &str) -> NewEffect {
    NewEffect {
        key: key.into(),
        kind: "weight".into(),
        target: "edge".into(),
        request: "{}".into(),
    }
}

pub(crate) fn result(key: &str, status: &str) -> EffectResult {
    EffectResult { key: key.into(), status: status.into(), response: format!("\"{status}\"") }
}

pub(crate) fn signal(id: &str, run: &str, dedup_key: &str) -> NewSignal {
    NewSignal {
        id: id.into(),
        run: run.into(),
        dedup_key: dedup_key.into(),
        body: r#"{"abort":true}"#.into(),
        actor: "anna".into(),
        at_ms: 900,
    }
}

pub(crate) fn lines(key: &str, first_number: u64, lines: &[&str]) -> LineBatch {
    LineBatch {
        key: key.into(),
        first_number,
        lines: lines.iter().map(|line| (*line).into()).collect(),
    }
}

/// Creates the run and takes it, as the loop would.
pub(crate) async fn claimed(store: &dyn Store, id: &str) -> RunRow {
    store.create(new_run(id, Wait::At { ms: 0 })).await.unwrap();
    store.claim_one(id.into(), "c1".into(), 1_000, LEASE_MS, false).await.unwrap().unwrap()
}

/// `count` commits on one run, one event each.
pub(crate) async fn commit_events(store: &SqliteStore, id: &str, count: u64) {
    let mut run = claimed(store, id).await;
    for number in 1..=count {
        let mut commit = commit(&run, 1_000 + number as i64);
        commit.events = vec![event(number)];
        run.version = store.commit(commit).await.unwrap().version;
    }
}
