//! The caller's side: starts a jail and waits for it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::HIDDEN_COMMAND;
use crate::spec::Spec;
use crate::wire::{Notes, Outcome, Told, Wire};

/// Why a jail could not be made. Each completes the sentence "cannot run the command in a jail: …".
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The supervisor could not be started at all.
    #[error("`{program}` cannot be started as the jail's supervisor")]
    NotStarted {
        /// The executable with the hidden command.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A step of putting the jail together failed; nothing of the command ran.
    #[error("{step} failed: {error}")]
    Setup {
        /// What was tried.
        step: String,
        /// What the system answered.
        error: String,
    },
    /// The supervisor ended without a word, as when somebody killed it.
    #[error("the jail's supervisor went away ({status})")]
    Vanished {
        /// Its exit status in words.
        status: String,
    },
    /// The socket to the supervisor failed.
    #[error("the jail's supervisor cannot be reached")]
    Wire(#[from] io::Error),
}

/// Starts jails by one executable that calls [`crate::inner_main`] first in its `main`.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
}

impl Default for Launcher {
    /// This process's own executable, also after the file was replaced by an upgrade.
    fn default() -> Self {
        Launcher { program: PathBuf::from("/proc/self/exe") }
    }
}

impl Launcher {
    /// Another executable with the hidden command; tests use it.
    pub fn with_program(program: impl Into<PathBuf>) -> Launcher {
        Launcher { program: program.into() }
    }

    /// Starts the command and returns when it runs. Standard input of the command is empty.
    ///
    /// The calling thread may end before the jail does: death with the parent goes by the returned value (and the
    /// process), not by the thread.
    ///
    /// # Errors
    /// When the machine does not permit what `spec` asks for, with the step that failed.
    pub fn spawn(&self, spec: &Spec, stdout: Stdio, stderr: Stdio) -> Result<Jailed, JailError> {
        self.spawn_as(spec, stdout, stderr, |command| command)
    }

    /// As [`Launcher::spawn`], with a last word on the supervisor's own process, such as another user.
    ///
    /// # Errors
    /// As [`Launcher::spawn`].
    pub fn spawn_as(
        &self,
        spec: &Spec,
        stdout: Stdio,
        stderr: Stdio,
        adjust: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Jailed, JailError> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&self.program);
        command.args([HIDDEN_COMMAND, "outer"]).env_clear().current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(stdout).stderr(stderr);
        adjust(&mut command);
        let spawned = command.spawn();
        drop(command); // It holds the other end of the socket, and with it our only sign that the supervisor is gone.
        let child = spawned
            .map_err(|source| JailError::NotStarted { program: self.program.clone(), source })?;
        let (wire, notes) = (Wire::new(ours), Notes::default());
        let dies_with_us = spec.die_with_parent;
        let mut jailed = Jailed { child, wire, pid: 0, notes, ended: None, dies_with_us };
        jailed.wire.send(spec)?;
        match jailed.wire.receive()? {
            Some(Told::Started { pid, notes }) => {
                (jailed.pid, jailed.notes) = (pid, notes);
                Ok(jailed)
            }
            Some(Told::Failed { step, error }) => {
                jailed.child.wait()?;
                Err(JailError::Setup { step, error })
            }
            Some(Told::Ended(_)) | None => Err(jailed.vanished()),
        }
    }
}

/// A running jail. Dropping it ends a jail that dies with its parent, and leaves any other running.
pub struct Jailed {
    child: Child,
    wire: Wire,
    pid: u32,
    notes: Notes,
    ended: Option<Outcome>,
    dies_with_us: bool,
}

impl Drop for Jailed {
    fn drop(&mut self) {
        if self.dies_with_us && self.ended.is_none() {
            // Waiting takes the milliseconds of the kill, and leaves neither a process nor a zombie behind.
            let _ = self.kill();
            let _ = self.child.wait();
        }
    }
}

impl Jailed {
    /// The supervisor's process id: signals such as SIGTERM sent to it reach the command; SIGKILL ends the whole jail.
    pub fn supervisor_pid(&self) -> u32 {
        self.child.id()
    }

    /// The host's process id of pid 1 inside.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How the walls came out on this machine.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The pipe of the command's output when `Stdio::piped()` was given for it.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The pipe of the command's errors when `Stdio::piped()` was given for it.
    pub fn take_stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// Kills the whole tree now. [`Jailed::wait`] then tells [`crate::Ending::Abandoned`] for a jail that dies with
    /// its parent, and that the supervisor went away for any other.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn kill(&mut self) -> io::Result<()> {
        if self.dies_with_us {
            return self.wire.stream().shutdown(std::net::Shutdown::Write);
        }
        self.child.kill()
    }

    /// Waits for the end. Every process of the jail is gone when it returns.
    ///
    /// # Errors
    /// When the supervisor was killed, and so could not tell how the command ended.
    pub fn wait(&mut self) -> Result<Outcome, JailError> {
        if let Some(outcome) = &self.ended {
            return Ok(outcome.clone());
        }
        match self.wire.receive()? {
            Some(Told::Ended(outcome)) => {
                self.child.wait()?;
                self.ended = Some(outcome.clone());
                Ok(outcome)
            }
            _ => Err(self.vanished()),
        }
    }

    fn vanished(&mut self) -> JailError {
        match self.child.wait() {
            Ok(status) => JailError::Vanished { status: status.to_string() },
            Err(error) => JailError::Wire(error),
        }
    }
}
