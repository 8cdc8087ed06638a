//! A plan: what every change compiles to, a list of steps that one machine walks.

use serde::{Deserialize, Serialize};

/// The steps of a rollout, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The strategy's name, for people: `canary`, `all at once`, `rollback`.
    pub strategy: String,
    pub steps: Vec<Step>,
}

/// One step. It is entered once, waits for what it names, and has a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The gates hold at this moment.
    Gate,
    /// A person says yes.
    Approve,
    /// The idle slot runs all its instances, ready.
    Prepare { within_ms: u64 },
    /// The smoke checks pass: against the instances before any weight, or through the edge.
    Smoke { through_edge: bool, within_ms: u64 },
    /// The edge gives the new release this weight (parts of [`crate::route::WEIGHT_TOTAL`]).
    Expose { weight: u32 },
    /// The judge rules out the stage's regression.
    Judge { stage: usize },
    /// Healthy for this long.
    Hold { ms: u64 },
    /// The release that went before has no open request.
    Drain { within_ms: u64 },
}

impl Step {
    /// In words, as the tree of a watched rollout prints it.
    pub fn words(&self) -> String {
        match self {
            Self::Gate => "check the gates".into(),
            Self::Approve => "wait for a person's approval".into(),
            Self::Prepare { .. } => "start all instances in the idle slot".into(),
            Self::Smoke { through_edge: false, .. } => "smoke checks before any traffic".into(),
            Self::Smoke { through_edge: true, .. } => "smoke checks at full traffic".into(),
            Self::Expose { weight } => {
                format!("give it {} of the traffic", crate::report::percent(*weight))
            }
            Self::Judge { stage } => format!("judge stage {}", stage + 1),
            Self::Hold { ms } => format!("soak for {}", crate::report::spoken(*ms as i64)),
            Self::Drain { .. } => "let open requests of the former release end".into(),
        }
    }
}
