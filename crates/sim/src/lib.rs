//! The rehearsal stage: fake clock, fake world, seeded scheduler. Whole histories of releases are played with the real decisions and
//! the real store port, and what must always hold is checked after every event. `docs/simulation.md` is its page.
//!
//! Nothing here opens a socket, starts a runtime or reads a clock.

mod acts;
mod cast;
pub mod command;
mod coverage;
mod history;
mod invariant;
mod many;
mod people;
mod queue;
mod replica;
mod rng;
mod scenario;
mod stage;
mod trial;
mod words;
mod world;

pub use crate::coverage::Coverage;
pub use crate::history::{Options, Summary, Violation, run, shrink};
pub use crate::many::{Report, run_many};
pub use crate::scenario::{Played, ScenarioError, play};
