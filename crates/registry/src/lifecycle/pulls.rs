//! When an image was last pulled: kept at most once an hour for a digest, off the way of the request.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use humdrum_store::blobs::{History, Pull};

use crate::observer::{Deed, Observer, RegistryEvent};

/// Pulls of a digest within this are one, ms. Policies count days.
pub const EVERY_MS: i64 = 3_600_000;
/// Digests whose last record is remembered; beyond it all are forgotten, which costs some writes.
const SEEN_MAX: usize = 100_000;
/// Records that may wait for the disk. A pull that finds no place is recorded by the next one.
const QUEUE: usize = 4_096;
/// Records in one transaction.
const GROUP: usize = 256;

/// Looks that are no pulls: control itself reads manifests to judge and show them, and that is no use of an image.
pub const LOOKING: &str = "control";

/// Keeps pull times in the history, and tells `next`.
pub struct PullTimes {
    seen: Mutex<HashMap<(String, String), i64>>,
    queue: SyncSender<Pull>,
    next: Arc<dyn Observer>,
}

impl PullTimes {
    /// Starts the thread that writes; it ends when this is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(history: Arc<History>, next: Arc<dyn Observer>) -> std::io::Result<Self> {
        let (queue, pulls) = sync_channel(QUEUE);
        let name = "registry-pulls".to_owned();
        std::thread::Builder::new().name(name).spawn(move || write(&history, &pulls))?;
        Ok(Self { seen: Mutex::default(), queue, next })
    }

    fn pulled(&self, pull: Pull) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (pull.repository.clone(), pull.digest.clone());
        if seen.get(&key).is_some_and(|last| pull.at_ms.saturating_sub(*last) < EVERY_MS) {
            return;
        }
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        let at_ms = pull.at_ms;
        if self.queue.try_send(pull).is_ok() {
            seen.insert(key, at_ms);
        }
    }
}

impl Observer for PullTimes {
    fn record(&self, event: RegistryEvent) {
        if event.deed == Deed::ManifestPulled
            && event.actor != LOOKING
            && let Some(digest) = &event.digest
        {
            let repository = event.repository.clone();
            self.pulled(Pull { repository, digest: digest.to_string(), at_ms: event.at_ms });
        }
        self.next.record(event);
    }
}

fn write(history: &History, pulls: &Receiver<Pull>) {
    while let Ok(first) = pulls.recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(pull) = pulls.try_recv()
        {
            group.push(pull);
        }
        if let Err(error) = history.pulled(&group) {
            tracing::warn!(%error, pulls = group.len(), "pull times could not be kept");
        }
    }
}
