//! What runs now, for everybody who asks: one status for each unit and a number that grows with every change.

use std::collections::BTreeMap;
use std::sync::Mutex;

use humdrum_model::unit::{InstanceState, InstanceStatus, UnitSpec, UnitStatus};
use tokio::sync::watch;

/// The shared status of all units.
pub(crate) struct Board {
    units: Mutex<BTreeMap<String, Entry>>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct Entry {
    fence: u64,
    generation: u64,
    /// Of the unit as a whole, such as a missing image.
    problem: Option<String>,
    instances: BTreeMap<u32, Shown>,
}

/// An instance and why its last start failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    pub(crate) status: InstanceStatus,
    pub(crate) problem: Option<String>,
}

impl Board {
    /// The number begins at the time of the start in ms, so that it grows over restarts of the agent, too.
    pub(crate) fn new(now_ms: i64) -> Board {
        let first = u64::try_from(now_ms).unwrap_or_default();
        Board { units: Mutex::default(), version: watch::Sender::new(first) }
    }

    /// A receiver of the number.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The number and all units, of one moment.
    pub(crate) fn all(&self) -> (u64, Vec<UnitStatus>) {
        let units = self.lock();
        let version = *self.version.borrow();
        (version, units.iter().map(|(unit, entry)| entry.status(unit)).collect())
    }

    /// One unit.
    pub(crate) fn one(&self, unit: &str) -> Option<UnitStatus> {
        self.lock().get(unit).map(|entry| entry.status(unit))
    }

    /// Whether no instance of any unit is left.
    pub(crate) fn is_quiet(&self) -> bool {
        let ended = |shown: &Shown| shown.status.state == InstanceState::Exited;
        self.lock().values().all(|entry| entry.instances.values().all(ended))
    }

    /// A wish was accepted.
    pub(crate) fn accepted(&self, spec: &UnitSpec) {
        self.change(&spec.unit, |entry| {
            (entry.fence, entry.generation) = (spec.fence, spec.generation);
        });
    }

    /// Sets or clears the problem of a unit.
    pub(crate) fn problem(&self, unit: &str, problem: Option<String>) {
        self.change(unit, |entry| entry.problem = problem);
    }

    /// Shows an instance; `None` takes it from the board.
    pub(crate) fn show(&self, unit: &str, index: u32, shown: Option<Shown>) {
        self.change(unit, |entry| {
            match shown {
                Some(shown) => entry.instances.insert(index, shown),
                None => entry.instances.remove(&index),
            };
        });
    }

    fn change(&self, unit: &str, act: impl FnOnce(&mut Entry)) {
        let mut units = self.lock();
        let entry = units.entry(unit.to_owned()).or_default();
        let before = entry.status(unit);
        act(entry);
        if entry.status(unit) != before {
            // Under the lock, so that nobody reads a new status with the old number.
            self.version.send_modify(|version| *version += 1);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.units.lock().expect("nothing panics while it holds the board")
    }
}

impl Entry {
    fn status(&self, unit: &str) -> UnitStatus {
        let of_instances = || self.instances.values().find_map(|shown| shown.problem.clone());
        UnitStatus {
            unit: unit.to_owned(),
            fence: self.fence,
            generation: self.generation,
            instances: self.instances.values().map(|shown| shown.status.clone()).collect(),
            problem: self.problem.clone().or_else(of_instances),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_grows_only_with_a_change() {
        let board = Board::new(100);
        board.problem("a.b.a", None);
        assert_eq!(board.all().0, 100);
        board.problem("a.b.a", Some("x".into()));
        board.problem("a.b.a", Some("x".into()));
        assert_eq!(board.all().0, 101);
        assert_eq!(board.one("a.b.a").unwrap().problem.as_deref(), Some("x"));
        assert!(board.one("none").is_none());
    }
}
