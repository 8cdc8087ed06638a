//! Facts in, gates out: the shipped policies, faults that must not let anything through, and `opa` as the judge of the engine.

#![expect(
    clippy::unwrap_used,
    clippy::type_complexity,
    reason = "a test ends where something is not as it says"
)]

mod gates {
    mod faults;
    mod opa;
    mod shipped;
    pub(crate) mod world;
}

use gates::world;
