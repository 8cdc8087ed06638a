//! A run's hands, as `humdrum_control::engine::effects`: one act at a time for each target, the newest wish replaces those that wait.

use std::collections::{BTreeMap, BTreeSet};

use humdrum_model::run::Effect;
use humdrum_store::EffectRow;

#[derive(Debug, Default)]
pub(crate) struct Hands {
    /// Intents without a result; `true` when they are from before this process.
    pub open: BTreeMap<String, bool>,
    pub finished: BTreeSet<String>,
    /// The key that is worked on for each target, with its effect.
    pub workers: BTreeMap<String, (String, Effect)>,
}

impl Hands {
    pub(crate) fn know(&mut self, rows: Vec<EffectRow>) {
        for row in rows {
            if row.status == "intended" {
                self.open.insert(row.key, true);
            } else {
                self.finished.insert(row.key);
            }
        }
    }

    /// New intents among what is wanted, and open ones that are not wanted any more.
    pub(crate) fn plan(&mut self, wanted: &[Effect]) -> (Vec<Effect>, Vec<String>) {
        let keys: BTreeSet<String> = wanted.iter().map(Effect::key).collect();
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

    pub(crate) fn finished(&mut self, key: &str) {
        self.open.remove(key);
        self.finished.insert(key.into());
        self.workers.retain(|_, (working, _)| working != key);
    }

    /// Gives work to free hands; answers the keys to begin with.
    pub(crate) fn start(&mut self, wanted: Vec<Effect>) -> Vec<String> {
        let mut begun = Vec::new();
        for effect in wanted {
            let key = effect.key();
            if !self.open.contains_key(&key) {
                continue;
            }
            let target = effect.target();
            if self.workers.get(&target).is_some_and(|(working, _)| *working == key) {
                continue;
            }
            self.workers.insert(target, (key.clone(), effect));
            begun.push(key);
        }
        begun
    }

    pub(crate) fn work(&self, key: &str) -> Option<&Effect> {
        self.workers.values().find(|(working, _)| working == key).map(|(_, effect)| effect)
    }
}
