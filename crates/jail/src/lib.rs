//! The one place that enters namespaces: runs a command with only the files, network and power it was given.
//!
//! A jail is three processes of the same executable. The *caller* starts the hidden command `__jail outer` in a fresh,
//! single-threaded process, because a thread of a running server can neither unshare a user namespace nor be trusted
//! with signal masks. The *supervisor* (`outer`) makes the namespaces, keeps the clock and the control group, and is
//! the process the caller waits for or signals. The *inside* stage becomes pid 1, puts the file system together, gives
//! every right away and turns into the command.
//!
//! It deliberately does no user name lookup, no networking beyond loopback, and no system call filter.

mod cgroup;
mod confine;
mod files;
mod identity;
mod inside;
mod launch;
mod loopback;
mod mounts;
mod rung;
mod spec;
mod supervisor;
mod wire;

pub use launch::{JailError, Jailed, Launcher};
pub use rung::{Rung, RungReport, best, probe};
pub use spec::{Bind, Limits, Network, PlainFile, Root, Spec, Symlink, Tmpfs, User};
pub use wire::{Ending, Notes, Outcome};

/// The hidden first argument that marks a process as a stage of a jail.
pub const HIDDEN_COMMAND: &str = "__jail";

/// Becomes a stage of a jail when this process was started as one, else returns at once.
///
/// Call it first in `main`, before any thread, runtime or signal handler exists. When the hidden command was given it
/// never returns.
pub fn inner_main() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != HIDDEN_COMMAND) {
        return;
    }
    let code = match arguments.next() {
        Some(stage) if stage == "outer" => supervisor::run(),
        Some(stage) if stage == "inner" => inside::run(),
        _ => 2,
    };
    std::process::exit(code);
}
