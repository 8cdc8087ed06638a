//! The distribution specification, row by row: every endpoint, method, status, header and error code, and every request and
//! assertion of its two conformance suites, each a test of its own against a running server. One program, so that it is linked
//! once. `docs/registry.md` has the table; `table.rs` keeps the two together.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "../live/server.rs"]
mod server;

mod wire;
#[macro_use]
mod table;

mod artifacts;
mod auth;
mod catalog;
mod data;
mod deletes;
mod errors;
mod flow;
mod legacy;
mod malformed;
mod manifests;
mod ping;
mod pull;
mod push;
mod ranges;
mod referrers;
mod tags;
mod uploads;
