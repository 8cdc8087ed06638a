//! The port to everything that effects act on. The engine calls it; the real one is put together in `world/real.rs`, the simulator has its own.

use humdrum_model::run::{Command, Effect};

pub mod real;

use crate::Pending;

/// What an attempt came to.
#[derive(Debug)]
pub enum Attempt {
    /// It is so now. The command tells the run; the text is kept as the effect's result.
    Done { command: Command, response: String },
    /// Not now: try again, and tell the run meanwhile, if there is something to tell.
    Later { why: String, command: Option<Command> },
    /// Another process has taken over: this one drops the run.
    Stale { why: String },
}

/// What a look at the world says about an effect whose outcome is unknown.
#[derive(Debug)]
pub enum Observation {
    /// It was done before; it is not done again.
    Done {
        command: Command,
        response: String,
    },
    NotDone,
}

/// Acts and looks. Every effect is absolute and may be attempted again after `NotDone`.
pub trait World: Send + Sync {
    /// `fence`: the epoch of the run that acts.
    fn attempt<'a>(&'a self, fence: u64, effect: &'a Effect) -> Pending<'a, Attempt>;
    fn observe<'a>(&'a self, effect: &'a Effect) -> Pending<'a, Observation>;
}
