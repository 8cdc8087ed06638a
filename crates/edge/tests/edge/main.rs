//! The edge on real sockets: what callers, instances and control see of it.

mod admin;
mod counting;
mod survival;
mod traffic;
mod wire;
mod world;
