//! The commands as people run them: the real program, in folders of its own.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

mod advisories;
mod api;
mod backup;
mod build;
mod docs;
mod doctor;
mod errors;
mod init;
mod judge;
mod log;
mod plan;
mod scan;
mod secrets;
mod ship;
mod sim;
mod stage;
mod verify;
