//! Where releases run. One implementation per file in `targets/`.

use humdrum_model::unit::{UnitSpec, UnitStatus};
use serde::{Deserialize, Serialize};

use crate::{AdapterError, Pending};

pub mod agent;

/// The port to a place where units run. Wishes are absolute and numbered; a late writer is refused by its fence.
pub trait Target: Send + Sync {
    /// What runs now; changes nothing. `None` for a unit it does not know.
    fn observe<'a>(
        &'a self,
        unit: &'a str,
    ) -> Pending<'a, Result<Option<UnitStatus>, AdapterError>>;
    /// Asks for it. Returns when the wish is accepted and kept, not when it is healthy: the next status tells that.
    fn ensure<'a>(&'a self, spec: &'a UnitSpec) -> Pending<'a, Result<UnitStatus, AdapterError>>;
    /// Everything it knows, once its version is past `after` or `wait_ms` are over.
    fn watch(&self, after: u64, wait_ms: u64) -> Pending<'_, Result<Seen, AdapterError>>;
    /// The last log lines of a unit, as JSON lines.
    fn logs<'a>(&'a self, unit: &'a str, lines: u32) -> Pending<'a, Result<String, AdapterError>>;
}

/// All units under one version number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    pub version: u64,
    pub units: Vec<UnitStatus>,
}

/// Every target, by the name that settings use.
pub fn all() -> Vec<&'static str> {
    vec!["agent"]
}
