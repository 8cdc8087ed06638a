//! How strong the walls can be on this machine, said in words that provenance and `doctor` repeat.

use std::process::Stdio;

use serde::{Deserialize, Serialize};

use crate::confine;
use crate::launch::Launcher;
use crate::spec::{Limits, Network, Spec};

/// How strong the walls of a jail are. The numbers are those of the sandbox ladder in `docs/builds.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// 0: only a clean environment, limits and a killed process tree.
    None,
    /// 2: Landlock: the host's files, of which only the named ones can be opened; no outgoing or listening TCP.
    Landlock,
    /// 3: own mount, pid, network, IPC, host name (and user) namespaces, an own root.
    Namespaces,
}

impl Rung {
    /// The label that provenance uses, such as `isolation=ns`.
    pub fn label(self) -> &'static str {
        match self {
            Rung::Namespaces => "isolation=ns",
            Rung::Landlock => "isolation=landlock",
            Rung::None => "isolation=none",
        }
    }

    /// Its number on the ladder.
    pub fn number(self) -> u8 {
        match self {
            Rung::Namespaces => 3,
            Rung::Landlock => 2,
            Rung::None => 0,
        }
    }
}

/// Whether this machine permits a rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungReport {
    /// The rung.
    pub rung: Rung,
    /// Whether a jail of this rung can be made here and now, by this user.
    pub permitted: bool,
    /// Why not, or what it rests on.
    pub reason: String,
    /// Whether a user namespace is what permits it: file owners inside are then this user alone.
    pub user_namespace: bool,
}

/// Tries each rung, strongest first. The last, `None`, is always permitted.
pub fn probe(launcher: &Launcher) -> Vec<RungReport> {
    let landlock = confine::supported();
    vec![
        probe_namespaces(launcher),
        RungReport {
            rung: Rung::Landlock,
            permitted: landlock.is_ok(),
            reason: landlock.unwrap_or_else(|why| why),
            user_namespace: false,
        },
        RungReport {
            rung: Rung::None,
            permitted: true,
            reason: "clean environment and limits only".into(),
            user_namespace: false,
        },
    ]
}

/// The strongest permitted rung of a report.
pub fn best(reports: &[RungReport]) -> Rung {
    reports.iter().filter(|r| r.permitted).map(|r| r.rung).max().unwrap_or(Rung::None)
}

/// Makes a real jail, because what a kernel, a container engine and a security module permit together cannot be
/// read from any one of their settings.
fn probe_namespaces(launcher: &Launcher) -> RungReport {
    let mut spec = Spec::new(Rung::Namespaces, [] as [&str; 0]);
    spec.network = Network::Isolated;
    spec.hostname = Some("probe".into());
    spec.limits = Limits { wall_ms: Some(PROBE_MS), ..Limits::default() };
    let made = launcher
        .spawn(&spec, Stdio::null(), Stdio::null())
        .and_then(|mut jailed| Ok((jailed.wait()?.ending, jailed.notes().user_namespace)));
    let (permitted, reason, user_namespace) = match made {
        Ok((ending, user)) if ending.is_success() => (true, words(user), user),
        Ok((ending, _)) => (false, format!("the trial jail ended with {ending}"), false),
        Err(error) => (false, format!("{error}{}", hint()), false),
    };
    RungReport { rung: Rung::Namespaces, permitted, reason, user_namespace }
}

/// A trial jail takes some 10 ms; a machine that needs seconds is broken, and must not hang `doctor`.
const PROBE_MS: u64 = 5_000;

fn words(user_namespace: bool) -> String {
    let by = if user_namespace { "by a user namespace" } else { "as root" };
    format!("mount, pid, network, ipc and host name namespaces work {by}")
}

/// Names the setting that usually forbids user namespaces.
fn hint() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").trim() == "1" {
        return "; kernel.apparmor_restrict_unprivileged_userns is 1".into();
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone").trim() == "0" {
        return "; kernel.unprivileged_userns_clone is 0".into();
    }
    if read("/proc/sys/user/max_user_namespaces").trim() == "0" {
        return "; user.max_user_namespaces is 0".into();
    }
    String::new()
}
