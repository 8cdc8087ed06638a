//! A placement (a service in an environment) and its one active rollout: what may happen next, and why.
//!
//! [`Placement::decide`] answers commands with events and a report, [`Placement::apply`] folds events, [`Placement::wanted`] says what the
//! world should look like now. None of them acts, reads a clock or draws a number.

mod advance;
mod apply;
mod decide;
mod event;
mod explain;
mod guardrail;
pub mod plan;
mod settle;
mod state;
pub mod strategy;
mod wanted;

pub use decide::Command;
pub use event::{Event, Outgoing};
pub use explain::{Explanation, Progress, WaitKind};
pub use state::{
    Admission, Bundle, Deploy, Ended, JudgeSettings, Kind, OnRegression, Outcome, Paused,
    Placement, Returning, Rollout, RouteState, Seen, SlotState, StageSettings, StageVerdict,
    UnitWish,
};
pub use wanted::{Effect, SmokeThrough};

#[cfg(test)]
mod tests;
