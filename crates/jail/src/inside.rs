//! The inside stage: pid 1 of the jail, until it becomes the command (or the command's small init).

use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use rustix::process::{Pid, WaitOptions, chdir, set_parent_process_death_signal, umask};

use crate::rung::Rung;
use crate::spec::{Network, Spec};
use crate::wire::{Ending, Go, InStep, InnerTold, Step, Wire};
use crate::{confine, identity, loopback, mounts};

/// What the supervisor hands to this stage.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Handed {
    pub(crate) spec: Spec,
    pub(crate) by_cgroup: bool,
}

/// Runs the stage. Returns only when the command could not be started, or ended under the small init.
pub(crate) fn run() -> i32 {
    // The supervisor's mask came along; the command must start with none.
    let unblocked = SigSet::all().thread_unblock().is_ok();
    let Some(mut wire) = take_wire().ok().filter(|_| unblocked) else { return 125 };
    let Ok(Some(handed)) = wire.receive::<Handed>() else { return 125 };
    match become_command(&handed, &mut wire) {
        Ok(code) => code,
        Err(Step { step, error }) => {
            // A supervisor that is gone kills this process anyway.
            let _ = wire.send(&InnerTold::Failed { step, error });
            125
        }
    }
}

/// Moves the socket away from standard input, which the command finds empty.
pub(crate) fn take_wire() -> io::Result<Wire> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(Wire::new(UnixStream::from(socket)))
}

fn become_command(handed: &Handed, wire: &mut Wire) -> Result<i32, Step> {
    let spec = &handed.spec;
    match spec.rung {
        Rung::Namespaces => build_walls(spec)?,
        Rung::Landlock => {
            rustix::thread::set_no_new_privs(true).step("setting no_new_privs")?;
            confine::enter(spec)?;
        }
        Rung::None => {}
    }
    umask(rustix::fs::Mode::from_raw_mode(spec.umask));
    let cwd = spec.outside(&spec.cwd);
    chdir(&cwd).step(format!("entering `{}`", cwd.display()))?;
    // The address space limit would hit this stage's own last steps, were it set before them.
    identity::give_up_rights(spec.user)?;
    // Changing the user clears it, so it comes after. The question for "go" closes the race: a supervisor that died
    // before this line never answers.
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .step("binding the jail to its supervisor")?;
    wire.send(&InnerTold::Ready).step("reporting to the supervisor")?;
    wire.receive::<Go>().step("waiting for the supervisor")?.ok_or("it is gone").step("waiting")?;
    identity::limit_resources(&spec.limits, handed.by_cgroup)?;
    start(spec, wire)
}

fn build_walls(spec: &Spec) -> Result<(), Step> {
    if let Some(name) = &spec.hostname {
        rustix::system::sethostname(name.as_bytes()).step("setting the host name")?;
    }
    if spec.network == Network::Isolated {
        loopback::bring_up().step("bringing loopback up")?;
    }
    identity::enter_mount_namespace()?;
    mounts::enter(spec)
}

fn start(spec: &Spec, wire: &Wire) -> Result<i32, Step> {
    let Some((program, arguments)) = spec.argv.split_first() else { return Ok(0) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&spec.env).stdin(Stdio::inherit());
    let step = format!("starting `{program}`");
    if spec.init {
        let ending = watch(&mut command, wire).step(step)?;
        let _ = wire.send(&InnerTold::Ended(ending));
        return Ok(ending.code());
    }
    Err(command.exec()).step(step)
}

/// The small init: passes signals on, collects orphans, ends with the command. The kernel kills what is left.
fn watch(command: &mut Command, wire: &Wire) -> io::Result<Ending> {
    // First the start, because the command would inherit the blocked signals.
    let child = Pid::from_child(&command.spawn()?);
    let signals = block_signals()?;
    wire.send(&InnerTold::Running)?;
    loop {
        while let Some((pid, status)) = rustix::process::wait(WaitOptions::NOHANG).unwrap_or(None) {
            if pid == child {
                let status = std::process::ExitStatus::from_raw(status.as_raw());
                return Ok(ending_of(status));
            }
        }
        if let Some(signal) = signals.read_signal()? {
            pass_on(signal.ssi_signo, child);
        }
    }
}

/// The signals a jail passes on, and SIGCHLD, as a readable file. What is started afterwards inherits the blocks.
pub(crate) fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    let passed = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
    let more = [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGCHLD];
    for signal in passed.into_iter().chain(more) {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, nix::sys::signalfd::SfdFlags::SFD_CLOEXEC)?)
}

pub(crate) fn pass_on(number: u32, to: Pid) {
    let signal = i32::try_from(number).ok().and_then(rustix::process::Signal::from_named_raw);
    if let Some(signal) = signal.filter(|signal| *signal != rustix::process::Signal::CHILD) {
        // The command may just have ended; its end is what is reported then.
        let _ = rustix::process::kill_process(to, signal);
    }
}

pub(crate) fn ending_of(status: std::process::ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signaled(signal.unwrap_or(0)),
    }
}
