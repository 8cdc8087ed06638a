//! A run's hands: for each target at most one act at a time, the newest wish replaces those that wait.
//!
//! An effect whose intent is older than this process is *unknown*: it is observed before it is attempted.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use humdrum_model::run::{Command, Effect};
use humdrum_store::EffectRow;
use tokio::task::AbortHandle;

use super::{Engine, Input, lock};
use crate::crash;
use crate::world::{Attempt, Observation};

/// Pause between attempts, doubled up to the second.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What an effect's worker reports.
pub(super) enum Ended {
    Done {
        command: Command,
        response: String,
    },
    /// Not over yet, but there is something to know.
    Told {
        command: Command,
    },
    Stale {
        why: String,
    },
}

pub(super) struct Hands {
    engine: Engine,
    run: String,
    fence: u64,
    /// Intents without a result, by key; `true` when they are from before this process.
    open: HashMap<String, bool>,
    finished: HashSet<String>,
    /// The worker on each target, with the key it works on.
    workers: HashMap<String, (String, AbortHandle)>,
}

impl Hands {
    pub(super) fn new(engine: Engine, run: String, fence: u64) -> Self {
        Self {
            engine,
            run,
            fence,
            open: HashMap::new(),
            finished: HashSet::new(),
            workers: HashMap::new(),
        }
    }

    /// Takes in what the store knows of former intents.
    pub(super) fn know(&mut self, rows: Vec<EffectRow>) {
        for row in rows {
            if row.status == "intended" {
                self.open.insert(row.key, true);
            } else {
                self.finished.insert(row.key);
            }
        }
    }

    /// Whether every wanted effect is known and every open one is wanted: then there is nothing to record.
    pub(super) fn is_settled(&self, wanted: &[Effect]) -> bool {
        let keys: HashSet<String> = wanted.iter().map(Effect::key).collect();
        keys.iter().all(|key| self.open.contains_key(key) || self.finished.contains(key))
            && self.open.keys().all(|key| keys.contains(key))
    }

    /// New intents among what is wanted, and open ones that are not wanted any more.
    pub(super) fn plan(&mut self, wanted: &[Effect]) -> (Vec<Effect>, Vec<String>) {
        let keys: HashSet<String> = wanted.iter().map(Effect::key).collect();
        let fresh = |effect: &&Effect| {
            let key = effect.key();
            !self.open.contains_key(&key) && !self.finished.contains(&key)
        };
        let intents: Vec<Effect> = wanted.iter().filter(fresh).cloned().collect();
        let superseded: Vec<String> =
            self.open.keys().filter(|key| !keys.contains(*key)).cloned().collect();
        for key in &superseded {
            self.finished(key);
        }
        self.open.extend(intents.iter().map(|effect| (effect.key(), false)));
        (intents, superseded)
    }

    pub(super) fn finished(&mut self, key: &str) {
        self.open.remove(key);
        self.finished.insert(key.into());
        self.workers.retain(|_, (working, handle)| {
            if working == key {
                handle.abort();
            }
            working != key
        });
    }

    pub(super) fn is_open(&self, key: &str) -> bool {
        self.open.contains_key(key)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn drop_all(&mut self) {
        for (_, handle) in self.workers.values() {
            handle.abort();
        }
        self.workers.clear();
    }

    /// Puts a worker on every wanted effect that has none. An effect that was finished is not done again.
    pub(super) fn start(&mut self, wanted: Vec<Effect>) {
        for effect in wanted {
            let key = effect.key();
            let Some(unknown) = self.open.get(&key).copied() else { continue };
            let target = effect.target();
            if let Some((working, handle)) = self.workers.get(&target) {
                if *working == key {
                    continue;
                }
                handle.abort(); // An older wish for the same target: the newer one contains it.
            }
            let worker = Worker {
                engine: self.engine.clone(),
                run: self.run.clone(),
                fence: self.fence,
                key: key.clone(),
                effect,
            };
            let handle = self.engine.shared.tracker.spawn(worker.work(unknown)).abort_handle();
            self.workers.insert(target, (key, handle));
        }
    }
}

struct Worker {
    engine: Engine,
    run: String,
    fence: u64,
    key: String,
    effect: Effect,
}

impl Worker {
    async fn work(self, unknown: bool) {
        let stop = self.engine.shared.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.until_done(unknown) => {}
        }
    }

    async fn until_done(&self, unknown: bool) {
        let world = self.engine.shared.world.clone();
        if unknown
            && let Observation::Done { command, response } = world.observe(&self.effect).await
        {
            return self.report(Ended::Done { command, response }).await;
        }
        let mut pause = PAUSE_FIRST;
        loop {
            crash::point(&format!("before-effect {}", point_name(&self.effect)));
            let attempt = world.attempt(self.fence, &self.effect).await;
            crash::point(&format!("after-effect {}", point_name(&self.effect)));
            match attempt {
                Attempt::Done { command, response } => {
                    return self.report(Ended::Done { command, response }).await;
                }
                Attempt::Stale { why } => return self.report(Ended::Stale { why }).await,
                Attempt::Later { why, command } => {
                    tracing::debug!(
                        run = self.run,
                        key = self.key,
                        why,
                        "effect will be tried again"
                    );
                    if let Some(command) = command {
                        self.report(Ended::Told { command }).await;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn report(&self, result: Ended) {
        let mailbox = lock(&self.engine.shared.mailboxes).get(&self.run).cloned();
        if let Some(mailbox) = mailbox {
            let _ = mailbox.send(Input::EffectEnded { key: self.key.clone(), result }).await;
        }
    }
}

/// The same for every run of the same story: kind and target, without generations.
fn point_name(effect: &Effect) -> String {
    use humdrum_model::rollout::Effect as OfPlacement;
    let detail = match effect {
        Effect::Placement(OfPlacement::Route { table }) => table
            .arms
            .iter()
            .map(|arm| format!("{}{}", arm.slot, arm.weight))
            .collect::<Vec<_>>()
            .join(" "),
        Effect::Placement(OfPlacement::Unit { slot, spec }) => {
            format!("{slot} x{}", spec.instances)
        }
        Effect::Placement(OfPlacement::Smoke { index, .. } | OfPlacement::Facts { index, .. }) => {
            format!("step {index}")
        }
        Effect::Ship(_) => String::new(),
    };
    format!("{} {} {detail}", effect.kind(), effect.target().split(':').next().unwrap_or_default())
}
