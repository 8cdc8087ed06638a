//! The agent against real processes: it is started, killed and replaced while the instances it keeps run on.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

mod life;
mod registry;
mod stage;
mod survival;
mod walls;
