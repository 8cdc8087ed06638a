//! Starts the roles, adopts those that run, and starts again what ended. Deliberately stateless: everything it knows is in pid files.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::places::{Places, unusable};

/// A role that ends at once again is started with pauses up to this: control is to go on within 2 s, however often it was killed.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A role that ran this long starts without a pause again.
const STEADY: Duration = Duration::from_secs(10);
/// All roles answer within this after a start.
pub(crate) const READY: Duration = Duration::from_secs(20);
/// A role that was asked to stop is killed after this.
const STOP: Duration = Duration::from_secs(20);

/// The roles in the order in which they start; they stop the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Agent,
    Edge,
    Control,
}

pub(crate) const ROLES: [Role; 3] = [Role::Agent, Role::Edge, Role::Control];

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Edge => "edge",
            Self::Control => "control",
        }
    }
}

/// Who a pid was: pids are used again, start times are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    pid: i32,
    /// Field 22 of `/proc/PID/stat`, clock ticks since boot.
    start: u64,
}

impl Identity {
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command may contain spaces and brackets; what follows the last bracket is regular.
        let rest = stat.rsplit_once(')')?.1;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let start = fields.nth(18)?.parse().ok()?;
        (state != "Z").then_some(Self { pid, start })
    }

    fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    fn signal(self, signal: Signal) {
        if self.lives()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            let _ = kill_process(pid, signal);
        }
    }
}

struct Kept {
    role: Role,
    child: Option<Child>,
    identity: Option<Identity>,
    started: Instant,
    pause: Duration,
    not_before: Instant,
}

/// Keeps the roles of one data folder running.
pub(crate) struct Supervisor {
    places: Places,
    exe: PathBuf,
    /// Further arguments of control.
    control: Vec<String>,
    /// Environment of the roles, beside the caller's.
    env: Vec<(String, String)>,
    kept: Vec<Kept>,
}

impl Supervisor {
    pub(crate) fn new(
        places: &Places,
        control: Vec<String>,
        env: Vec<(String, String)>,
    ) -> Result<Self, Failure> {
        places.make()?;
        let exe = std::env::current_exe().map_err(|error| {
            Failure::new(Exit::Failed, "executable", "this executable cannot be found")
                .cause(&error)
        })?;
        let now = Instant::now();
        let keep = |role: Role| Kept {
            role,
            child: None,
            identity: adopted(places, role),
            started: now,
            pause: Duration::ZERO,
            not_before: now,
        };
        Ok(Self {
            places: places.clone(),
            exe,
            control,
            env,
            kept: ROLES.map(keep).into_iter().collect(),
        })
    }

    /// Roles that ran already.
    pub(crate) fn adopted(&self) -> Vec<&'static str> {
        self.kept
            .iter()
            .filter(|kept| kept.identity.is_some())
            .map(|kept| kept.role.name())
            .collect()
    }

    /// Looks at every role once and starts what does not run. The first end of a role is answered at once.
    pub(crate) fn tick(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        for index in 0..self.kept.len() {
            let kept = &mut self.kept[index];
            let ended = match &mut kept.child {
                Some(child) => !matches!(child.try_wait(), Ok(None)),
                None => kept.identity.is_none_or(|identity| !identity.lives()),
            };
            if !ended {
                continue;
            }
            if kept.identity.take().is_some() {
                kept.child = None;
                if now.duration_since(kept.started) > STEADY {
                    kept.pause = Duration::ZERO;
                }
                kept.not_before = now + kept.pause;
                kept.pause = (kept.pause * 2).clamp(Duration::from_millis(100), PAUSE_MAX);
            }
            if now >= kept.not_before {
                self.start(index)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<(), Failure> {
        let role = self.kept[index].role;
        let log = self.places.logs().join(format!("{}.log", role.name()));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|error| unusable(&log, &error))?;
        let err = out.try_clone().map_err(|error| unusable(&log, &error))?;
        let mut command = Command::new(&self.exe);
        command.arg("--data").arg(&self.places.data).arg("role").arg(role.name());
        if role == Role::Control {
            command.args(&self.control);
        }
        // A group of its own: Ctrl-C at the terminal is for the supervisor alone.
        command
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0);
        let child = command.spawn().map_err(|error| {
            Failure::new(Exit::Failed, "start", format!("the {} cannot be started", role.name()))
                .cause(&error)
        })?;
        let identity = i32::try_from(child.id()).ok().and_then(Identity::of);
        if let Some(identity) = identity {
            let path = pid_path(&self.places, role);
            let text = serde_json::to_string(&identity).expect("plain data always serialises");
            // Never half a file: who is killed between two writes would leave a role that nobody knows.
            // A name that no role uses for its own drafts: the edge binds its socket as `edge.new`.
            let draft = path.with_extension("pid.new");
            let written =
                std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &path));
            written.map_err(|error| unusable(&path, &error))?;
        }
        let kept = &mut self.kept[index];
        kept.child = Some(child);
        kept.identity = identity.or(Some(Identity { pid: 0, start: 0 }));
        kept.started = Instant::now();
        Ok(())
    }

    /// Whether control keeps ending: then its log says why.
    pub(crate) fn failing(&self) -> Option<(&'static str, String)> {
        let kept = self.kept.iter().find(|kept| kept.pause > Duration::from_millis(300))?;
        let log = self.places.logs().join(format!("{}.log", kept.role.name()));
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(6).collect();
        Some((kept.role.name(), tail.into_iter().rev().collect::<Vec<_>>().join("\n")))
    }
}

fn pid_path(places: &Places, role: Role) -> PathBuf {
    places.run().join(format!("{}.pid", role.name()))
}

fn adopted(places: &Places, role: Role) -> Option<Identity> {
    let text = std::fs::read_to_string(pid_path(places, role)).ok()?;
    let identity: Identity = serde_json::from_str(&text).ok()?;
    identity.lives().then_some(identity)
}

/// Asks a role to stop and waits; kills it when it does not. `false` when it did not run.
pub(crate) fn stop(places: &Places, role: Role) -> bool {
    let Some(identity) = adopted(places, role) else { return false };
    identity.signal(Signal::TERM);
    let until = Instant::now() + STOP;
    while identity.lives() && Instant::now() < until {
        reap(identity.pid);
        std::thread::sleep(Duration::from_millis(10));
    }
    identity.signal(Signal::KILL);
    let _ = std::fs::remove_file(pid_path(places, role));
    true
}

/// Takes the exit status of a child of ours, so that it does not look alive as a zombie.
fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
    }
}
