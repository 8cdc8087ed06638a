//! What people and the clock did to the installation itself, in the feed beside the events of runs: settings, policies, expiries.

use std::sync::Arc;

use humdrum_store::{Commit, NewRun, Store, StoreError, Wait};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::clock::now_ms;

/// The run that carries these events. It is always done, so no task ever takes it.
pub const RUN: &str = "installation";

/// Longer than a commit can wait for the disk; nobody else takes the run.
const LEASE_MS: i64 = 60_000;

/// Appends to the feed.
pub struct Journal {
    store: Arc<dyn Store>,
    /// One at a time: each commit is against the version that the one before made.
    turn: Mutex<()>,
}

impl Journal {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, turn: Mutex::new(()) }
    }

    /// Records an event; durable when it resolves.
    ///
    /// # Errors
    /// Those of the store; nothing was recorded then.
    pub async fn record(&self, kind: &str, body: &Value, actor: &str) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let at_ms = now_ms();
        let run = NewRun {
            id: RUN.into(),
            kind: "journal".into(),
            subject: RUN.into(),
            state_version: 1,
            state: "{}".into(),
            wait: Wait::Done,
            at_ms,
        };
        self.store.create(run).await?;
        let owner = "journal".to_owned();
        let claimed = self.store.claim_one(RUN.into(), owner, at_ms, LEASE_MS, true).await?;
        let row = claimed.ok_or(StoreError::Unknown { what: "run", id: RUN.into() })?;
        let commit = Commit {
            run: RUN.into(),
            epoch: row.epoch,
            version: row.version,
            now_ms: at_ms,
            actor: actor.into(),
            state_version: 1,
            state: "{}".into(),
            wait: Wait::Done,
            events: vec![(kind.into(), body.to_string())],
            effects: vec![],
            results: vec![],
            consumed: vec![],
            signals: vec![],
            runs: vec![],
            documents: vec![],
            lines: vec![],
            release: true,
        };
        self.store.commit(commit).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use humdrum_store::MemoryStore;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn events_of_the_installation_are_in_the_feed_and_leave_no_open_run() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let journal = Journal::new(store.clone());
        journal.record("settings_applied", &json!({ "n": 1 }), "ann").await.unwrap();
        journal.record("settings_applied", &json!({ "n": 2 }), "ben").await.unwrap();
        let feed = store.feed(0, 10).await.unwrap();
        let seen: Vec<_> = feed.iter().map(|row| (row.kind.as_str(), row.actor.as_str())).collect();
        assert_eq!(seen, [("settings_applied", "ann"), ("settings_applied", "ben")]);
        assert_eq!(feed[1].body, r#"{"n":2}"#);
        let filter = humdrum_store::RunFilter { open_only: true, limit: 10, ..Default::default() };
        assert!(store.runs(filter).await.unwrap().is_empty());
        assert_eq!(store.verify_chain().await.unwrap(), 2);
    }
}
