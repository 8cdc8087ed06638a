//! Keeps one unit as it is wished: pulls its image, tells each index's keeper, cleans up when it was retired for long.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use humdrum_model::unit::{InstanceState, UnitSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::host::{Host, now_ms};
use crate::image::Image;
use crate::keeper::{Keeper, Wanted, Wish};
use crate::{backoff, durable, environment};

/// The file of an accepted wish in the unit's folder. It outlives the clean-up, because it holds the highest fence.
pub(crate) const WISH_FILE: &str = "wish.json";

/// An accepted wish as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) version: u32,
    pub(crate) spec: UnitSpec,
    pub(crate) at_ms: i64,
}

/// One unit at work.
pub(crate) struct Unit {
    host: Arc<Host>,
    name: String,
    wish: watch::Receiver<Arc<Accepted>>,
    indexes: BTreeMap<u32, watch::Sender<Wanted>>,
    keepers: JoinSet<()>,
}

impl Unit {
    /// Takes over what runs of this unit. Everything found is on the board when this returns.
    pub(crate) fn open(host: Arc<Host>, wish: watch::Receiver<Arc<Accepted>>) -> Unit {
        let accepted = wish.borrow().clone();
        let name = accepted.spec.unit.clone();
        host.board.accepted(&accepted.spec);
        let indexes = BTreeMap::new();
        let mut unit = Unit { host, name, wish, indexes, keepers: JoinSet::new() };
        let image = unit.host.images.ready(&accepted.spec.image.digest);
        for index in unit.indexes_on_disk() {
            unit.keep(index, wish_for(&accepted.spec, index, image.as_ref()));
        }
        unit
    }

    /// Runs until the agent ends.
    pub(crate) async fn run(mut self) {
        let mut failures = 0;
        while self.wish.has_changed().is_ok() {
            let accepted = self.wish.borrow_and_update().clone();
            let spec = Arc::new(accepted.spec.clone());
            let image = self.host.images.ready(&spec.image.digest);
            self.tell(&spec, image.as_ref());
            if spec.instances > 0 && image.is_none() {
                failures = self.pull(&spec, failures).await;
                continue;
            }
            failures = 0;
            self.host.board.problem(&self.name, None);
            self.wait(&accepted).await;
        }
        self.keepers.abort_all();
    }

    /// Pulls the image; answers the number of failures in a row.
    async fn pull(&mut self, spec: &UnitSpec, failures: u32) -> u32 {
        let pulled = tokio::select! {
            changed = self.wish.changed() => {
                drop(changed);
                return 0;
            }
            pulled = self.host.images.ensure(&spec.image) => pulled,
        };
        let Err(error) = pulled else { return 0 };
        let text = format!("image {}: {}", spec.image.digest.short(), crate::chain(&error));
        tracing::warn!(unit = self.name, error = text, "an image is missing");
        self.host.board.problem(&self.name, Some(text));
        let failures = failures.saturating_add(1);
        tokio::select! {
            changed = self.wish.changed() => {
                drop(changed);
                0
            }
            () = sleep(backoff::pause(failures)) => failures,
        }
    }

    /// Tells every index what is wished of it.
    fn tell(&mut self, spec: &Arc<UnitSpec>, image: Option<&Image>) {
        for index in 0..spec.instances {
            if !self.indexes.contains_key(&index) {
                self.keep(index, wish_for(spec, index, image));
            }
        }
        for (index, sender) in &self.indexes {
            sender.send_replace(wish_for(spec, *index, image));
        }
    }

    fn keep(&mut self, index: u32, wish: Wanted) {
        let (sender, receiver) = watch::channel(wish);
        let keeper = Keeper::adopt(self.host.clone(), self.name.clone(), index, receiver);
        self.keepers.spawn(keeper.run());
        self.indexes.insert(index, sender);
    }

    /// Until the wish changes; meanwhile a retired unit is cleaned and a broken keeper is replaced.
    async fn wait(&mut self, accepted: &Accepted) {
        let retired = accepted.spec.instances == 0;
        let kept_ms = i64::try_from(self.host.retired_keep.as_millis()).unwrap_or(i64::MAX);
        loop {
            let left_ms = accepted.at_ms.saturating_add(kept_ms).saturating_sub(now_ms());
            let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
            tokio::select! {
                changed = self.wish.changed() => {
                    drop(changed);
                    return;
                }
                () = sleep(left), if retired && !self.indexes.is_empty() => self.clean().await,
                Some(ended) = self.keepers.join_next(), if !self.keepers.is_empty() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        self.replace_broken();
                        return;
                    }
                }
            }
        }
    }

    /// A panic is a bug of one keeper; its instance runs on and is adopted by a new one.
    fn replace_broken(&mut self) {
        tracing::error!(unit = self.name, "the keeper of an instance failed and is replaced");
        self.indexes.retain(|_, sender| !sender.is_closed());
    }

    /// Removes files and ports of a unit that is retired and at rest; else looks again a little later.
    async fn clean(&mut self) {
        let status = self.host.board.one(&self.name);
        let at_rest = status.is_none_or(|status| {
            status.instances.iter().all(|instance| instance.state == InstanceState::Exited)
        });
        if !at_rest {
            return sleep(backoff::LONGEST.min(self.host.retired_keep)).await;
        }
        let indexes = std::mem::take(&mut self.indexes);
        for (index, sender) in indexes {
            drop(sender);
            let folder = self.host.folder(&self.name, index);
            if let Err(error) = durable::remove(folder.path()) {
                tracing::warn!(unit = self.name, index, %error, "files of a retired unit stay");
            }
            self.host.board.show(&self.name, index, None);
        }
        if let Err(error) = self.host.ports.release(&self.name) {
            tracing::warn!(unit = self.name, error = crate::chain(&error), "its ports stay");
        }
    }

    fn indexes_on_disk(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(self.host.units.join(&self.name)) else { return vec![] };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter_map(|name| name.parse().ok()).collect()
    }
}

fn wish_for(spec: &UnitSpec, index: u32, image: Option<&Image>) -> Wanted {
    let run = (index < spec.instances).then(|| Wish {
        spec: Arc::new(spec.clone()),
        key: environment::key(spec),
        image: image.cloned(),
    });
    Wanted { run, grace_ms: spec.stop.grace_ms }
}
