//! What a command in a jail can and cannot do, tried with real commands on this machine.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is its report")]

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use humdrum_jail::{
    Bind, Ending, JailError, Launcher, Network, Outcome, PlainFile, Root, Rung, Spec, Symlink,
    Tmpfs, User, probe,
};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_humdrum-jail-launcher");
/// An unprivileged user that exists on no machine for real use.
const NOBODY: u32 = 65534;

fn launcher() -> Launcher {
    Launcher::with_program(LAUNCHER)
}

/// A jail with the host's programs, running a shell script.
fn shell(script: &str) -> Spec {
    let mut spec = Spec::new(Rung::Namespaces, ["/bin/sh", "-c", script]);
    for folder in ["/usr", "/bin", "/sbin", "/lib", "/lib64"] {
        match std::fs::read_link(folder) {
            Ok(to) => spec.symlinks.push(Symlink { link: folder.into(), to }),
            Err(_) if Path::new(folder).is_dir() => spec.binds.push(bind(folder, folder, true)),
            Err(_) => {}
        }
    }
    spec.tmpfs.push(Tmpfs { target: "/tmp".into(), size_bytes: 8 << 20, mode: 0o1777 });
    spec.env.insert("PATH".into(), "/usr/bin:/bin".into());
    spec.limits.wall_ms = Some(20_000);
    spec
}

fn bind(source: impl AsRef<Path>, target: &str, read_only: bool) -> Bind {
    Bind { source: source.as_ref().into(), target: target.into(), read_only }
}

fn run(spec: &Spec) -> (Outcome, String) {
    let mut jailed = launcher().spawn(spec, Stdio::piped(), Stdio::inherit()).unwrap();
    let mut output = String::new();
    jailed.take_stdout().unwrap().read_to_string(&mut output).unwrap();
    (jailed.wait().unwrap(), output)
}

fn says(spec: &Spec) -> String {
    let (outcome, output) = run(spec);
    assert_eq!(outcome.ending, Ending::Exited(0), "{output}");
    output.trim().to_owned()
}

#[test]
fn the_command_is_pid_one_and_sees_only_itself() {
    let seen = says(&shell("echo $$; ls /proc | grep -c '^[0-9]'; id -u; id -G; umask"));
    // The shell, `ls` and `grep` are all there is.
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["1", "3", "1000", "1000", "0022"]);
}

#[test]
fn the_network_is_loopback_only_and_loopback_is_up() {
    let seen = says(&shell("cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/net/if_inet6"));
    assert_eq!(seen.split_whitespace().next(), Some("lo"));
    assert_eq!(seen.lines().filter(|line| !line.contains("lo")).count(), 0, "{seen}");
    // The kernel gives ::1 to loopback in the moment it comes up.
    assert!(seen.contains("00000000000000000000000000000001"), "{seen}");
}

#[test]
fn the_hosts_network_is_there_when_it_is_given() {
    let mut spec = shell("readlink /proc/self/ns/net");
    spec.network = Network::Host;
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(Path::new(&says(&spec)), own);
    spec.network = Network::Isolated;
    assert_ne!(Path::new(&says(&spec)), own);
}

#[test]
fn files_that_were_not_given_are_not_there() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("given"), "yes").unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "ls /; cat /w/given; test -e {} && echo leaked; test -e /root && echo leaked; true",
        secret.path().display()
    );
    let mut spec = shell(&script);
    spec.binds.push(bind(scratch.path(), "/w", true));
    let seen = says(&spec);
    assert!(seen.contains("yes") && !seen.contains("leaked"), "{seen}");
    assert!(!seen.lines().any(|line| line == "old" || line == "new"), "{seen}");
}

#[test]
fn read_only_is_read_only_even_below_another_mount() {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["ro", "rw"] {
        let folder = scratch.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let mut spec = shell(
        "for f in /ro/x /rw/x /rw/below/x /x /usr/x /dev/x /etc/x; do (echo a > $f) 2>/dev/null && echo $f; done; true",
    );
    spec.files.push(PlainFile { path: "/etc/passwd".into(), text: "x".into() });
    spec.user = User { uid: 0, gid: 0 }; // Permission bits must not be what refuses.
    spec.binds.push(bind(scratch.path().join("ro"), "/ro", true));
    spec.binds.push(bind(scratch.path().join("rw"), "/rw", false));
    spec.binds.push(bind(scratch.path().join("ro"), "/rw/below", true));
    assert_eq!(says(&spec), "/rw/x");
    let mut again = shell("mount -o remount,bind,rw /ro 2>/dev/null && echo remounted; true");
    again.user = User { uid: 0, gid: 0 };
    again.binds.push(bind(scratch.path().join("ro"), "/ro", true));
    assert_eq!(says(&again), "");
}

#[test]
fn a_folder_can_be_the_root() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let mut spec = shell("echo a > /made && cat /made");
    for link in std::mem::take(&mut spec.symlinks) {
        let name = link.link.strip_prefix("/").unwrap().to_owned();
        std::os::unix::fs::symlink(link.to, scratch.path().join(name)).unwrap();
    }
    spec.root = Root::Folder { path: scratch.path().into(), read_only: false };
    assert_eq!(says(&spec), "a");
    assert_eq!(std::fs::read_to_string(scratch.path().join("made")).unwrap(), "a\n");
    spec.root = Root::Folder { path: scratch.path().into(), read_only: true };
    let (outcome, _) = run(&spec);
    assert_ne!(outcome.ending, Ending::Exited(0));
}

#[test]
fn nothing_of_the_callers_environment_or_files_comes_in() {
    let mut spec = shell("env; ls /proc/self/fd; cat");
    spec.env.insert("GIVEN".into(), "1".into());
    spec.hostname = Some("build".into());
    spec.argv[2].push_str("; hostname");
    // A file that stays open over exec, as a listener that is handed over does.
    let kept = std::fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
    let seen = says(&spec);
    drop(kept);
    let words: Vec<&str> = seen.lines().filter(|line| !line.starts_with("PWD=")).collect();
    // 3 is the folder that `ls` reads.
    for word in &words {
        assert!(
            ["GIVEN=1", "PATH=/usr/bin:/bin", "0", "1", "2", "3", "build"].contains(word)
                || word.starts_with("_=")
                || word.starts_with("SHLVL=")
                || word.starts_with("OLDPWD="),
            "{word} in {words:?}"
        );
    }
}

#[test]
fn no_rights_are_left_and_none_can_be_had() {
    let status =
        says(&shell("grep -E '^(CapEff|CapPrm|CapInh|CapAmb|NoNewPrivs)' /proc/self/status"));
    for line in status.lines() {
        let (name, value) = line.split_once(":\t").unwrap();
        let expected = if name == "NoNewPrivs" { "1" } else { "0000000000000000" };
        assert_eq!(value, expected, "{name}");
    }
}

#[test]
fn limits_are_hit() {
    let mut files = shell("ulimit -n");
    files.limits.open_files = Some(77);
    assert_eq!(says(&files), "77");

    let mut processors = shell("nproc");
    processors.limits.visible_cpus = Some(1);
    assert_eq!(says(&processors), "1");

    let mut pids = shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait");
    pids.limits.pids = Some(6);
    let (outcome, _) = run(&pids);
    assert_ne!(outcome.ending, Ending::Exited(0));

    let mut memory = shell("x=$(head -c 200m /dev/zero | tr '\\0' a); echo ${#x}");
    memory.limits.memory_bytes = Some(32 << 20);
    let (outcome, output) = run(&memory);
    assert_eq!(output, "");
    let by_group = outcome.memory_bytes_max.is_some();
    assert!(!by_group || outcome.ending == Ending::OutOfMemory, "{outcome:?}");
}

#[test]
fn wall_time_kills_the_whole_tree() {
    for rung in [Rung::Namespaces, Rung::None] {
        let mut spec = shell("(setsid sleep 987654 &) ; sleep 987655");
        spec.rung = rung;
        spec.limits.wall_ms = Some(300);
        let begin = Instant::now();
        let (outcome, _) = run(&spec);
        assert_eq!(outcome.ending, Ending::TimedOut, "{rung:?}");
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert_eq!(processes_with("98765"), Vec::<String>::new(), "{rung:?}");
    }
}

fn until(done: impl Fn() -> bool, otherwise: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{otherwise}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn processes_with(argument: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|e| std::fs::read_to_string(e.path().join("cmdline")).ok());
    lines.filter(|line| line.starts_with("sleep\0") && line.contains(argument)).collect()
}

#[test]
fn dropping_ends_a_jail_that_dies_with_its_parent() {
    let spec = shell("sleep 876543");
    let jailed = launcher().spawn(&spec, Stdio::null(), Stdio::null()).unwrap();
    until(|| processes_with("876543").len() == 1, "the command did not start");
    drop(jailed);
    assert_eq!(processes_with("876543"), Vec::<String>::new());

    let mut killed = launcher().spawn(&spec, Stdio::null(), Stdio::null()).unwrap();
    killed.kill().unwrap();
    assert_eq!(killed.wait().unwrap().ending, Ending::Abandoned);
}

#[test]
fn a_signal_reaches_the_command_and_init_reports_its_end() {
    let mut spec =
        shell("trap 'echo stopped; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    spec.init = true;
    let mut jailed = launcher().spawn(&spec, Stdio::piped(), Stdio::inherit()).unwrap();
    let mut output = jailed.take_stdout().unwrap();
    let mut first = [0; 6];
    output.read_exact(&mut first).unwrap();
    terminate(jailed.supervisor_pid());
    assert_eq!(jailed.wait().unwrap().ending, Ending::Exited(7));

    // Without a handler a pid 1 would ignore the signal; under init the command does not.
    let mut plain = shell("exec sleep 100");
    plain.init = true;
    let mut jailed = launcher().spawn(&plain, Stdio::null(), Stdio::null()).unwrap();
    terminate(jailed.supervisor_pid());
    assert_eq!(jailed.wait().unwrap().ending, Ending::Signaled(15));
}

fn terminate(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn an_unprivileged_caller_gets_the_same_walls() {
    let scratch = tempfile::tempdir().unwrap();
    let program = scratch.path().join("launcher");
    std::fs::copy(LAUNCHER, &program).unwrap();
    for path in [scratch.path(), &program] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let work = scratch.path().join("w");
    std::fs::create_dir(&work).unwrap();
    std::fs::set_permissions(&work, PermissionsExt::from_mode(0o777)).unwrap();
    let mut spec = shell(
        "echo $$; id -u; echo made > /w/f; ls /sys 2>/dev/null; grep CapEff /proc/self/status",
    );
    spec.binds.push(bind(&work, "/w", false));
    let launcher = Launcher::with_program(&program);
    let mut jailed = launcher
        .spawn_as(&spec, Stdio::piped(), Stdio::inherit(), |c| c.uid(NOBODY).gid(NOBODY))
        .unwrap();
    assert!(jailed.notes().user_namespace);
    let mut output = String::new();
    jailed.take_stdout().unwrap().read_to_string(&mut output).unwrap();
    assert!(jailed.wait().unwrap().ending.is_success());
    let words: Vec<_> = output.split_whitespace().collect();
    assert_eq!(words, ["1", "1000", "CapEff:", "0000000000000000"]);
    assert_eq!(std::fs::read_to_string(work.join("f")).unwrap(), "made\n");
}

#[test]
fn a_step_that_fails_is_named() {
    let missing = Spec::new(Rung::Namespaces, ["/no/such/program"]);
    let mut bound = Spec::new(Rung::Namespaces, ["/bin/true"]);
    bound.binds.push(bind("/no/such/folder", "/w", true));
    let cases =
        [(missing, "starting `/no/such/program` failed"), (bound, "finding `/no/such/folder`")];
    for (spec, expected) in cases {
        match launcher().spawn(&spec, Stdio::null(), Stdio::null()) {
            Err(error @ JailError::Setup { .. }) => {
                assert!(error.to_string().starts_with(expected), "{error}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it started"),
        }
    }
}

#[test]
fn landlock_opens_only_what_was_given() {
    let reports = probe(&launcher());
    let landlock = reports.iter().find(|report| report.rung == Rung::Landlock).unwrap();
    if !landlock.permitted {
        // An old kernel: the report has to say so, and a jail of this rung has to fail rather than weaken.
        assert!(landlock.reason.contains("not available"), "{}", landlock.reason);
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let hidden = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(hidden.path(), PermissionsExt::from_mode(0o644)).unwrap();
    let script = format!(
        "echo a > made && cat made; cat {} 2>/dev/null && echo leaked; echo b > /usr/x 2>/dev/null; true",
        hidden.path().display()
    );
    let mut spec = shell(&script);
    spec.rung = Rung::Landlock;
    for folder in ["/bin", "/lib", "/lib64"] {
        spec.binds.push(bind(folder, folder, true));
    }
    spec.binds.push(bind(scratch.path(), "/w", false));
    spec.cwd = "/w".into();
    assert_eq!(says(&spec), "a");
}

#[test]
fn the_probe_tells_what_this_machine_permits() {
    let reports = probe(&launcher());
    let rungs: Vec<Rung> = reports.iter().map(|report| report.rung).collect();
    assert_eq!(rungs, [Rung::Namespaces, Rung::Landlock, Rung::None]);
    assert!(reports.iter().all(|report| !report.reason.is_empty()));
    // These tests need namespaces, so the probe must find them.
    assert!(reports[0].permitted, "{}", reports[0].reason);
}
