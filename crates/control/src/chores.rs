//! Work that comes round by itself: garbage of the registry is collected once a day.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use humdrum_store::{Document, PAGE_ROWS_MAX, RunFilter, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::Pending;
use crate::artifacts::ArtifactError;
use crate::clock::now_ms;

/// A collection comes round this often: grace times are days, and the walk over all bytes is not free.
pub const COLLECT_EVERY: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked whether one is due; a machine that sleeps at night collects when it wakes.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Where the time of the last collection is kept, so that restarts neither repeat nor starve it.
const DOCUMENT: (&str, &str) = ("chore", "collect");
const SHA256: &str = "sha256:";
const HEX_DIGITS: usize = 64;

/// The registry's collector, which lives a floor above.
pub trait Garbage: Send + Sync {
    /// Collects once, sparing these manifests and what belongs to them; answers a line for the log.
    fn collect(&self, protected: HashSet<String>) -> Pending<'_, Result<String, ArtifactError>>;
}

/// Every digest that a run which is not over mentions: what runs, is rolled out, waits, can be rolled back to, or is being built upon.
///
/// Read as text, so that a state from another version, or of a run that is left alone, protects as well as any.
///
/// # Errors
/// That the runs cannot be read, or are too many to be read whole: then nothing may be collected.
pub async fn protected(store: &dyn Store) -> Result<HashSet<String>, StoreError> {
    let filter = RunFilter { open_only: true, limit: PAGE_ROWS_MAX, ..RunFilter::default() };
    let rows = store.runs(filter).await?;
    if rows.len() >= PAGE_ROWS_MAX as usize {
        let what = "a list of all open runs".to_owned();
        return Err(StoreError::Invalid { what, why: "there are too many to read them at once" });
    }
    Ok(rows.iter().flat_map(|row| digests(&row.state)).collect())
}

fn digests(text: &str) -> impl Iterator<Item = String> + '_ {
    text.match_indices(SHA256).filter_map(|(at, _)| {
        let end = at + SHA256.len() + HEX_DIGITS;
        let digest = text.get(at..end)?;
        let is_hex = digest[SHA256.len()..].bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| digest.to_owned())
    })
}

/// Collects whenever it is due, until `stop`.
pub async fn keep_collecting(
    store: Arc<dyn Store>,
    garbage: Arc<dyn Garbage>,
    stop: CancellationToken,
) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        match collect_if_due(&*store, &*garbage, now_ms()).await {
            Ok(None) => {}
            Ok(Some(done)) => tracing::info!(done, "the registry's garbage is collected"),
            Err(error) => tracing::warn!(error, "the registry's garbage could not be collected"),
        }
    }
}

/// One look: collects when the last time is [`COLLECT_EVERY`] ago. A new installation waits for its first day to end.
async fn collect_if_due(
    store: &dyn Store,
    garbage: &dyn Garbage,
    now_ms: i64,
) -> Result<Option<String>, String> {
    let (kind, id) = DOCUMENT;
    let kept = store.document(kind.into(), id.into()).await.map_err(|error| error.to_string())?;
    let last = kept.as_deref().and_then(|text| text.parse::<i64>().ok());
    let every = i64::try_from(COLLECT_EVERY.as_millis()).unwrap_or(i64::MAX);
    // A time in the future was written by a clock that was wrong.
    let is_due = last.is_some_and(|last| last > now_ms || now_ms - last >= every);
    if last.is_some() && !is_due {
        return Ok(None);
    }
    // Written first: a collection that ends the process is not begun again at once.
    let document = Document { kind: kind.into(), id: id.into(), body: now_ms.to_string() };
    store.put_document(document).await.map_err(|error| error.to_string())?;
    if !is_due {
        return Ok(None);
    }
    let protected = protected(store).await.map_err(|error| error.to_string())?;
    garbage.collect(protected).await.map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use humdrum_store::{MemoryStore, NewRun, Wait};

    use super::*;

    #[derive(Default)]
    struct Collector(Mutex<Vec<HashSet<String>>>);

    impl Garbage for Collector {
        fn collect(&self, spared: HashSet<String>) -> Pending<'_, Result<String, ArtifactError>> {
            self.0.lock().expect("no test panics with it").push(spared);
            Box::pin(async { Ok("done".to_owned()) })
        }
    }

    #[tokio::test]
    async fn it_collects_daily_and_spares_what_open_runs_mention() {
        let (store, collector) = (MemoryStore::default(), Collector::default());
        let (one, two) =
            (format!("{SHA256}{}", "a1".repeat(32)), format!("{SHA256}{}", "b2".repeat(32)));
        for (id, wait, digest) in
            [("p", Wait::For { party: "nobody".into() }, &one), ("s", Wait::Done, &two)]
        {
            let run = NewRun {
                id: id.into(),
                kind: "placement".into(),
                subject: "shop/production".into(),
                state_version: 1,
                state: format!(r#"{{"x":"shop@{digest}","y":"sha256:short"}}"#),
                wait,
                at_ms: 1,
            };
            assert!(store.create(run).await.expect("memory takes it"));
        }
        let day = 24 * 3_600_000;
        for (now_ms, collections) in
            [(1, 0), (day, 0), (day + 1, 1), (day + 2, 1), (2 * day + 1, 2), (5, 3)]
        {
            collect_if_due(&store, &collector, now_ms).await.expect("nothing fails here");
            assert_eq!(collector.0.lock().expect("no panic").len(), collections, "{now_ms}");
        }
        let spared = collector.0.lock().expect("no panic")[0].clone();
        assert_eq!(spared, HashSet::from([one]));
    }
}
