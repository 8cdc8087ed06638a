//! The supervisor stage: makes the namespaces, keeps the clock, the control group and the exit status.
//!
//! It is single-threaded and waits in one `poll` for signals, the caller's end of the socket and the clock.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper};

use crate::cgroup::Group;
use crate::inside::{Handed, block_signals, ending_of, pass_on, take_wire};
use crate::rung::Rung;
use crate::spec::Spec;
use crate::wire::{Ending, Go, InStep, InnerTold, Notes, Outcome, Step, Told, Wire};
use crate::{HIDDEN_COMMAND, identity};

/// How often a supervisor of a weaker rung looks for descendants that escaped the first kill. Each round kills at
/// least one generation, and a process limit bounds how fast they can breed.
const SWEEPS_MAX: u32 = 100;

/// Runs the stage and returns the command's exit code.
pub(crate) fn run() -> i32 {
    close_inherited();
    let Ok(mut wire) = take_wire() else { return 125 };
    let Ok(Some(spec)) = wire.receive::<Spec>() else { return 125 };
    match supervise(spec, &wire) {
        Ok(outcome) => {
            let code = outcome.ending.code();
            // A caller that is gone does not need to hear it.
            let _ = wire.send(&Told::Ended(outcome));
            code
        }
        Err(Step { step, error }) => {
            let _ = wire.send(&Told::Failed { step, error });
            125
        }
    }
}

/// Files that the caller left open over exec (listeners that are handed over, say) are nothing a jail may see.
fn close_inherited() {
    let open = std::fs::read_dir("/proc/self/fd").map(|entries| {
        let names = entries.flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse::<i32>().ok()).collect::<Vec<_>>()
    });
    for number in open.unwrap_or_default().into_iter().filter(|number| *number > 2) {
        // The folder that was read to find them is among these, and closed already.
        let _ = nix::unistd::close(number);
    }
}

fn supervise(mut spec: Spec, wire: &Wire) -> Result<Outcome, Step> {
    for bind in &mut spec.binds {
        // Links are followed here, where `/` is still the host's.
        bind.source = std::fs::canonicalize(&bind.source)
            .step(format!("finding `{}`", bind.source.display()))?;
    }
    let signals = block_signals().step("blocking signals")?;
    let (group, mut not_enforced) = Group::make(&spec.limits, std::process::id());
    let user_namespace = match spec.rung {
        Rung::Namespaces => identity::enter_namespaces(&spec)?,
        Rung::Landlock | Rung::None => {
            // Orphans of the command come to us, so that the whole tree can be killed without a pid namespace.
            set_child_subreaper(Some(rustix::process::getpid())).step("becoming the subreaper")?;
            not_enforced.extend(weaker(spec.rung));
            false
        }
    };
    let limits_by = group.as_ref().map_or("rlimits", Group::kind).to_owned();
    let notes = Notes { user_namespace, limits_by, not_enforced };
    let (child, inner) = start_inside(&spec, group.as_ref())?;
    let pid = child.id();
    let _ = wire.send(&Told::Started { pid, notes });
    let mut watch = Watch { spec: &spec, child, inner, group, deadline: None };
    watch.deadline = spec.limits.wall_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    watch.until_the_end(&signals, wire).step("waiting for the command")
}

fn weaker(rung: Rung) -> Option<String> {
    let lacks = match rung {
        Rung::Namespaces => return None,
        Rung::Landlock => "UDP, unix sockets and other processes are not walled off",
        Rung::None => "files, network and other processes are not walled off",
    };
    Some(lacks.to_owned())
}

fn start_inside(spec: &Spec, group: Option<&Group>) -> Result<(Child, Wire), Step> {
    let (ours, theirs) = UnixStream::pair().step("making a socket pair")?;
    let mut command = Command::new("/proc/self/exe");
    command.args([HIDDEN_COMMAND, "inner"]).env_clear().stdin(Stdio::from(OwnedFd::from(theirs)));
    let mut child = command.spawn().step("starting pid 1")?;
    drop(command);
    let mut wire = Wire::new(ours);
    match hand_over(spec, group, &child, &mut wire) {
        Ok(()) => Ok((child, wire)),
        Err(step) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(step)
        }
    }
}

fn hand_over(
    spec: &Spec,
    group: Option<&Group>,
    child: &Child,
    wire: &mut Wire,
) -> Result<(), Step> {
    let handed = Handed { spec: spec.clone(), by_cgroup: group.is_some() };
    wire.send(&handed).step("handing the jail over")?;
    match wire.receive().step("waiting for pid 1")? {
        Some(InnerTold::Ready) => {}
        Some(InnerTold::Failed { step, error }) => return Err(Step { step, error }),
        _ => return Err("it went away").step("waiting for pid 1"),
    }
    if let Some(group) = group {
        group.add(child.id()).step("entering the control group")?;
    }
    wire.send(&Go).step("releasing pid 1")?;
    // The socket closes when the command is started; the small init keeps it and speaks.
    match wire.receive::<InnerTold>().step("waiting for the command")? {
        Some(InnerTold::Failed { step, error }) => Err(Step { step, error }),
        _ => Ok(()),
    }
}

struct Watch<'a> {
    spec: &'a Spec,
    child: Child,
    inner: Wire,
    group: Option<Group>,
    deadline: Option<Instant>,
}

impl Watch<'_> {
    fn until_the_end(&mut self, signals: &SignalFd, caller: &Wire) -> io::Result<Outcome> {
        let pid = Pid::from_child(&self.child);
        let mut caller_counts = self.spec.die_with_parent;
        let mut forced = None;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let ending = forced.unwrap_or_else(|| self.ending(ending_of(status)));
                return Ok(self.clean_up(ending));
            }
            let left = self.deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                (forced, self.deadline) = (Some(Ending::TimedOut), None);
                kill_process(pid, Signal::KILL)?;
                continue;
            }
            let (signalled, caller_gone) = wait(signals, caller_counts.then_some(caller), left)?;
            if caller_gone {
                (forced, caller_counts) = (Some(Ending::Abandoned), false);
                kill_process(pid, Signal::KILL)?;
            }
            if signalled && let Some(signal) = signals.read_signal()? {
                pass_on(signal.ssi_signo, pid);
            }
            self.collect_orphans(pid);
        }
    }

    /// What the small init said, or what the kernel's accounts say, is nearer to the truth than pid 1's status.
    fn ending(&mut self, seen: Ending) -> Ending {
        let said = match self.spec.init.then(|| self.inner.receive::<InnerTold>()) {
            Some(Ok(Some(InnerTold::Ended(said)))) => said,
            _ => seen,
        };
        let killed = !said.is_success();
        if killed && self.group.as_ref().is_some_and(Group::ran_out_of_memory) {
            return Ending::OutOfMemory;
        }
        said
    }

    /// At the weaker rungs orphans are ours to collect; with a pid namespace there are none.
    fn collect_orphans(&self, command: Pid) {
        if self.spec.rung == Rung::Namespaces {
            return;
        }
        for orphan in children().into_iter().filter(|pid| *pid != command) {
            let _ = rustix::process::waitpid(Some(orphan), WaitOptions::NOHANG);
        }
    }

    fn clean_up(&mut self, ending: Ending) -> Outcome {
        for _ in 0..SWEEPS_MAX {
            let left = children();
            if left.is_empty() {
                break;
            }
            for pid in left {
                let _ = kill_process(pid, Signal::KILL);
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            }
        }
        let memory_bytes_max = self.group.as_ref().and_then(Group::memory_bytes_max);
        if let Some(group) = self.group.take() {
            group.remove();
        }
        Outcome { ending, memory_bytes_max }
    }
}

/// Waits for a signal, the end of the caller or the clock: (signal to read, caller gone).
fn wait(
    signals: &SignalFd,
    caller: Option<&Wire>,
    left: Option<Duration>,
) -> io::Result<(bool, bool)> {
    let mut files = vec![PollFd::new(signals, PollFlags::IN)];
    if let Some(caller) = caller {
        files.push(PollFd::new(caller.stream(), PollFlags::IN));
    }
    let timeout = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(&mut files, timeout.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok((false, false)),
        Err(error) => return Err(error.into()),
    }
    // The caller says nothing after the spec, so anything readable there is its end.
    let ready = |index: usize| files.get(index).is_some_and(|file| !file.revents().is_empty());
    Ok((ready(0), ready(1)))
}

/// This process's children, from the kernel's own list or (where it is not built in) from all of `/proc`.
fn children() -> Vec<Pid> {
    let own = std::process::id();
    let numbers: Vec<i32> =
        match std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")) {
            Ok(list) => list.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
            Err(_) => children_by_parent(own),
        };
    numbers.into_iter().filter_map(Pid::from_raw).collect()
}

fn children_by_parent(own: u32) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    let numbers = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| parent_of(*pid) == Some(own)).collect()
}

/// The fourth field of `/proc/PID/stat` (proc(5)); the second is in brackets and may hold anything.
fn parent_of(pid: i32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
