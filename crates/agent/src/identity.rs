//! Which process is ours: a process id alone is reused by the kernel, so its start time and the boot belong to it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

/// A process for ever: no other one on this machine has had or will have the same three values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Clock ticks after boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub(crate) start: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub(crate) boot: String,
}

impl Identity {
    /// Of a living process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, start: start_time(pid)?, boot: boot_id()? })
    }

    /// A handle on exactly this process; `None` when it is gone, whoever has its number now.
    pub(crate) fn open(&self) -> Option<Owned> {
        if boot_id().ok()? != self.boot {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let handle = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        // Read after the handle was taken: were the number reused before that, the start time differs.
        (start_time(self.pid).ok()? == self.start).then_some(Owned { handle })
    }
}

/// A handle that can only ever mean one process.
#[derive(Debug)]
pub(crate) struct Owned {
    handle: OwnedFd,
}

impl Owned {
    /// Sends a signal; a process that has ended already counts as told.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A handle whose end can be awaited. Needs a runtime.
    #[expect(
        deprecated,
        reason = "the other constructor is unsafe; an OwnedFd keeps what it asks for"
    )]
    pub(crate) fn watched(self) -> io::Result<Watched> {
        Ok(Watched { fd: AsyncFd::with_interest(self.handle, tokio::io::Interest::READABLE)? })
    }
}

/// An [`Owned`] process registered with the runtime.
#[derive(Debug)]
pub(crate) struct Watched {
    fd: AsyncFd<OwnedFd>,
}

impl Watched {
    /// Resolves when the process has ended, at once when it already has. May be called again.
    pub(crate) async fn ended(&self) {
        // An error means the reactor is gone with the runtime, which drops this future too.
        drop(self.fd.readable().await);
    }

    /// As [`Owned::signal`].
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.fd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The id of this boot of the machine.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_start_time(&stat)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: no field 22")))
}

/// The name in parentheses may hold spaces and parentheses, so fields are counted after the last one.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_a_hostile_name() {
        let stat = "7 (a) 1 2) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        assert_eq!(parse_start_time(stat), Some(98_765));
        assert_eq!(parse_start_time("7 (sh"), None);
    }

    #[test]
    fn only_the_same_start_and_boot_is_the_same_process() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.open().is_some());
        assert!(Identity { start: me.start + 1, ..me.clone() }.open().is_none());
        assert!(Identity { boot: "another".into(), ..me.clone() }.open().is_none());
        assert!(Identity { pid: 0, ..me }.open().is_none());
    }
}
