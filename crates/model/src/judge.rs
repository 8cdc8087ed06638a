//! Turns blocks into a verdict with its evidence: is the canary worse than the baseline?
//!
//! `docs/judge.md` says in words how it decides and where the formulas come from. Deliberately not here: what a
//! rollout does with a verdict, and every source of blocks but the edge's ([`fold`]).

pub mod config;
pub mod error;
pub mod fold;
pub mod formula;
pub mod input;
mod latency;
pub mod measured;
pub mod outcome;
pub mod plan;
mod ratio;
pub mod replay;
mod sequential;
mod series;
pub mod thin;

pub use config::{Config, HistoryCell, Metric, Stage};
pub use error::{InputError, ReplayError};
pub use fold::{BlockFold, FoldCounts, history};
pub use input::{Arm, Histogram, JudgeBlock, JudgeCell, Seconds};
pub use measured::{Measured, measured};
pub use outcome::{
    ArmCounts, Evidence, MetricEvidence, Outcome, ThresholdEvidence, Verdict, Weakest,
};
pub use plan::{StagePlan, TimeLeft, Traffic, plan};
pub use ratio::RatioInterval;
pub use replay::{ReplayReport, replay};
pub use sequential::Judge;
