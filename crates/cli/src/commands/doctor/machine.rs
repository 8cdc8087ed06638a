//! The machine: walls, limits, programs, disk, clock.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use humdrum_control::clock::now_ms;
use humdrum_jail::{Launcher, Limits, Rung, RungReport, Spec, best, probe};

use super::{Check, State};
use crate::commands::build::size;
use crate::places::Places;

/// Below this a release build of one service may not fit, bytes.
const DISK_WARN_BYTES: u64 = 5 << 30;
/// Below this nothing is built, bytes.
const DISK_MIN_BYTES: u64 = 512 << 20;
/// The programs that projects of each kind need; `git` is needed by all.
const TOOLS: [&str; 8] = ["cc", "rustc", "cargo", "go", "node", "npm", "python3", "uv"];
/// No clock may be before this program was written: 2026-01-01, Unix ms.
const CLOCK_MIN_MS: i64 = 1_767_225_600_000;
/// Files written up to this much after "now" are not a clock's fault, ms.
const CLOCK_SLACK_MS: i64 = 60_000;

pub(super) fn checks(places: &Places) -> Vec<Check> {
    let launcher = Launcher::default();
    let reports = probe(&launcher);
    let mut checks = vec![walls(&reports), limits(&launcher, best(&reports)), git()];
    checks.push(tools());
    checks.push(disk(places));
    checks.push(file_system(places));
    checks.push(clock(places));
    checks
}

fn walls(reports: &[RungReport]) -> Check {
    let strongest = best(reports);
    let report = |rung: Rung| reports.iter().find(|report| report.rung == rung);
    let why = report(strongest).map(|report| report.reason.clone()).unwrap_or_default();
    let found = format!("{} (rung {}): {why}", strongest.label(), strongest.number());
    if strongest == Rung::Namespaces {
        return Check::ok("sandbox", found);
    }
    let lacking = report(Rung::Namespaces).map(|report| report.reason.clone()).unwrap_or_default();
    Check::new("sandbox", State::Warn, format!("{found}; no namespaces: {lacking}"))
        .fix(mend(&lacking))
        .without("builds and instances run behind weaker walls, which the provenance names; images may differ between folders")
}

/// The reason names the setting; its opposite is the cure.
fn mend(reason: &str) -> String {
    let settings = [
        ("kernel.apparmor_restrict_unprivileged_userns", "0"),
        ("kernel.unprivileged_userns_clone", "1"),
        ("user.max_user_namespaces", "10000"),
    ];
    let found = settings.iter().find(|(name, _)| reason.contains(name));
    found.map_or_else(
        || "run Humdrum as root, or in a container with --privileged".into(),
        |(name, value)| format!("sudo sysctl -w {name}={value}"),
    )
}

/// A real jail with a limit, since no setting tells whether a control group can be made here.
fn limits(launcher: &Launcher, rung: Rung) -> Check {
    let mut spec = Spec::new(rung, ["true"]);
    if rung == Rung::Namespaces {
        spec.argv.clear(); // Walls alone: nothing has to be there to run.
    }
    spec.limits = Limits {
        pids: Some(64),
        cpu_millis: Some(1_000),
        wall_ms: Some(5_000),
        ..Limits::default()
    };
    spec.env.insert("PATH".into(), "/usr/bin:/bin".into());
    let tried = launcher.spawn(&spec, Stdio::null(), Stdio::null()).and_then(|mut jail| {
        jail.wait()?;
        Ok(jail.notes().clone())
    });
    let name = "limits";
    match tried {
        Ok(notes) if notes.limits_by.starts_with("cgroup") => {
            Check::ok(name, format!("memory, processors and processes by {}", notes.limits_by))
        }
        Ok(notes) => {
            let by = if notes.limits_by.is_empty() { "nothing" } else { &notes.limits_by };
            let why = notes.not_enforced.join("; ");
            Check::new(name, State::Warn, format!("by {by} only; {why}"))
                .fix("systemd-run --user --scope -p Delegate=yes humdrum up, or run as root")
                .without("memory and processes are limited for each process; processors are not, and the provenance says so")
        }
        Err(error) => Check::new(name, State::Warn, format!("not tried: {error}"))
            .without("builds and instances run without limits"),
    }
}

fn git() -> Check {
    match version("git", "--version") {
        Some(version) => Check::ok("git", version),
        None => Check::new("git", State::Missing, "not found in PATH")
            .fix("install git")
            .without("nothing can be shipped: commits are read with it"),
    }
}

fn tools() -> Check {
    let found: Vec<_> = TOOLS.iter().filter_map(|tool| tool_version(tool)).collect();
    if found.is_empty() {
        return Check::new("toolchains", State::Warn, "none found in PATH")
            .fix("install what your service is built with")
            .without("files that are ready in the repository can be packed");
    }
    Check::ok("toolchains", found.join(", "))
}

/// `cargo 1.95.0`: the first word of the version output that has a digit in it.
pub(super) fn tool_version(tool: &str) -> Option<String> {
    let said = version(tool, if tool == "go" { "version" } else { "--version" })?;
    // The shortest of what programs say: `v20.1.0`, `go1.26.8`, `12.2.0-14)`.
    let bare = |word: &'_ str| {
        let digits = word.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
    };
    let number = said.split_whitespace().map(bare).find(|word| word.contains('.'));
    Some(format!("{tool} {}", number.as_deref().unwrap_or("of an unknown version")))
}

/// The first line that a program says about its version; run in `/`, where no repository can choose another one.
fn version(tool: &str, argument: &str) -> Option<String> {
    let output = Command::new(tool)
        .arg(argument)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The data folder, or the nearest folder above it that exists.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn disk(places: &Places) -> Check {
    let folder = nearest(&places.data);
    let name = "disk";
    let Ok(disk) = rustix::fs::statvfs(&folder) else {
        return Check::new(
            name,
            State::Warn,
            format!("the room of `{}` is not known", folder.display()),
        );
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{} free for `{}`", size(free), places.data.display());
    if free >= DISK_WARN_BYTES {
        return Check::ok(name, found);
    }
    let state = if free < DISK_MIN_BYTES { State::Missing } else { State::Warn };
    Check::new(name, state, found)
        .fix("make room there, or choose another folder with --data")
        .without("what runs goes on running; a build that does not fit fails and loses nothing")
}

fn file_system(places: &Places) -> Check {
    let name = "data folder";
    let folder = nearest(&places.data);
    let writable = rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_ok();
    if !writable {
        return Check::new(
            name,
            State::Missing,
            format!("`{}` cannot be written by this user", folder.display()),
        )
        .fix("choose another folder with --data, or mend its owner")
        .without("`init`, `plan` and `judge` work");
    }
    match humdrum_store::network_kind(&folder) {
        Ok(None) => {
            Check::ok(name, format!("`{}` is on a disk of this machine", places.data.display()))
        }
        Ok(Some(kind)) => Check::new(
            name,
            State::Missing,
            format!("`{}` is on a network file system ({kind})", places.data.display()),
        )
        .fix("humdrum --data DIR on a disk of this machine")
        .without("nothing that is kept: control refuses to start there"),
        Err(error) => {
            Check::new(name, State::Warn, format!("its file system is not known: {error}"))
        }
    }
}

/// A clock that is wrong by a day breaks certificates, key periods and the order of people's memories; files here tell of it.
fn clock(places: &Places) -> Check {
    let now = now_ms();
    let written = std::fs::metadata(places.run())
        .or_else(|_| std::fs::metadata(&places.data))
        .and_then(|data| data.modified());
    let written = written.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let latest = written.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let shown = humdrum_control::clock::now().to_string();
    if now >= CLOCK_MIN_MS && latest <= now.saturating_add(CLOCK_SLACK_MS) {
        return Check::ok("clock", shown);
    }
    Check::new("clock", State::Warn, format!("{shown} is before things that happened already"))
        .fix("sudo timedatectl set-ntp true")
        .without(
            "rollouts go on, since they count blocks; certificates and key periods may be refused",
        )
}
