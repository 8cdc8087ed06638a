//! The agent against real processes: it is started, killed and replaced while the instances it keeps run on.

mod life;
mod registry;
mod stage;
mod survival;
mod walls;
