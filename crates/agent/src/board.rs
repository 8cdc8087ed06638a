//! What runs now, for everybody who asks: one status for each unit and a number that grows with every change.

use std::collections::BTreeMap;
use std::sync::Mutex;

use humdrum_model::unit::{InstanceState, InstanceStatus, UnitSpec, UnitStatus};
use tokio::sync::watch;

use crate::environment;

/// The shared status of all units.
pub(crate) struct Board {
    units: Mutex<BTreeMap<String, Entry>>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct Entry {
    fence: u64,
    generation: u64,
    /// What an instance of the accepted wish is: its key, and how many indexes there are.
    wished: Option<(String, u32)>,
    /// Of the unit as a whole, such as a missing image.
    problem: Option<String>,
    instances: BTreeMap<u32, Shown>,
}

/// An instance and why its last start failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    pub(crate) status: InstanceStatus,
    pub(crate) problem: Option<String>,
    /// The key of the wish that it was started for.
    pub(crate) key: String,
}

impl Shown {
    /// Its status under a wish that it may not be for. Whoever reads a new generation beside instances must never take those of the former
    /// release for ready ones: they stay until their keepers have heard of the wish, or until the image of their successors was pulled.
    fn under(&self, index: u32, wished: Option<&(String, u32)>) -> InstanceStatus {
        let status = self.status.clone();
        if wished.is_none_or(|(key, instances)| *key == self.key && index < *instances) {
            return status;
        }
        let state = match status.state {
            InstanceState::BackingOff | InstanceState::Exited => InstanceState::Exited,
            _ => InstanceState::Stopping,
        };
        InstanceStatus { state, restarts: 0, ..status }
    }
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
            entry.wished = Some((environment::key(spec), spec.instances));
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
        let wished = self.wished.as_ref();
        let of_instances = || {
            let ours = |shown: &&Shown| wished.is_none_or(|(key, _)| *key == shown.key);
            self.instances.values().filter(ours).find_map(|shown| shown.problem.clone())
        };
        let under = |(index, shown): (&u32, &Shown)| shown.under(*index, wished);
        UnitStatus {
            unit: unit.to_owned(),
            fence: self.fence,
            generation: self.generation,
            instances: self.instances.iter().map(under).collect(),
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

    #[test]
    fn an_instance_of_a_former_wish_is_never_ready_under_the_next() {
        use InstanceState::{BackingOff, Exited, Ready, Starting, Stopping, Unhealthy};
        let board = Board::new(0);
        let spec = |release: &str, instances| {
            let mut spec = crate::check::tests::good();
            spec.labels.release = release.into();
            UnitSpec { instances, ..spec }
        };
        let show = |spec: &UnitSpec, state| {
            let status = InstanceStatus {
                name: environment::name(spec, 0),
                index: 0,
                pid: None,
                addr: ([127, 0, 0, 1], 1).into(),
                state,
                since_ms: 0,
                restarts: 3,
                last_exit: None,
                last_lines: vec![],
                notes: vec![],
            };
            let (problem, key) = (Some("it failed to start".into()), environment::key(spec));
            board.show(&spec.unit, 0, Some(Shown { status, problem, key }));
        };
        let (former, next) = (spec("r-1111111111111111", 1), spec("r-2222222222222222", 1));
        let none = spec("r-1111111111111111", 0);
        let unit = &former.unit;
        #[rustfmt::skip]
        let cases = [
            // started for  wished    state       is shown as, restarts, with its problem
            (&former,       &former,  Ready,      Ready,       3,        true),
            (&former,       &former,  BackingOff, BackingOff,  3,        true),
            (&former,       &next,    Ready,      Stopping,    0,        false),
            (&former,       &next,    Starting,   Stopping,    0,        false),
            (&former,       &next,    Unhealthy,  Stopping,    0,        false),
            (&former,       &next,    BackingOff, Exited,      0,        false),
            (&next,         &next,    Ready,      Ready,       3,        true),
            (&former,       &none,    Ready,      Stopping,    0,        true),
        ];
        for (started, wished, state, shown, restarts, problem) in cases {
            board.accepted(wished);
            show(started, state);
            let status = board.one(unit).unwrap();
            let one = &status.instances[0];
            assert_eq!((one.state, one.restarts), (shown, restarts), "{state:?}");
            assert_eq!(status.problem.is_some(), problem, "{state:?}");
        }
    }
}
