//! The store from outside: one contract for every implementation, and what only files and processes can show.

#![expect(
    clippy::unwrap_used,
    reason = "the setting that allows it in tests does not see functions that tests call"
)]

mod backup;
mod build;
mod contract;
mod crash;
mod disk_full;
mod equality;
mod opening;
mod tampering;
