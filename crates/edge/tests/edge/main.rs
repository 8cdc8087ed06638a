//! The edge on real sockets: what callers, instances and control see of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod admin;
mod counting;
mod survival;
mod traffic;
mod wire;
mod world;
