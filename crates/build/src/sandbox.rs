//! The place where the commands of a build run: one fixed path, one fixed environment, the host's programs read-only.

pub mod settings;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use humdrum_jail::{
    Bind, JailError, Jailed, Launcher, Limits, Network, Notes, Outcome, PlainFile, Rung, Spec,
    Symlink, User,
};

use crate::log::{LogSink, Phase, Tail};
use crate::mask::Masker;
use crate::plan::BuildLimits;
use crate::toolchain::{Found, SYSTEM};
use settings::HostSettings;

/// Where the checkout is, inside.
pub const WORK: &str = "/w";
/// The home folder inside; package caches live in it.
pub const HOME: &str = "/home/build";
/// The user of builds: below 61000, where the users of instances begin, and above the users that people have.
pub const BUILD_USER: User = User { uid: 60_999, gid: 60_999 };
/// Enough for a parallel linker over a large service.
const OPEN_FILES: u64 = 16_384;
/// What a version output may take.
const VERSION_BYTES_MAX: u64 = 64 << 10;

/// Files of `/etc` that programs need and that say nothing about the host's users or network.
const ETC: [&str; 9] = [
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/pki",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/mime.types",
];
/// What a name lookup needs, in the fetch phase only.
const ETC_NETWORK: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];

const PASSWD: &str = "root:x:0:0::/root:/bin/false\nbuild:x:60999:60999::/home/build:/bin/sh\n";
const GROUP: &str = "root:x:0:\nbuild:x:60999:\n";

/// A sandbox over three folders of the host: checkout, home and temporary files.
pub struct Sandbox {
    /// Starts the jails.
    pub launcher: Launcher,
    /// How strong they are.
    pub rung: Rung,
    /// The folder with `w`, `home` and `tmp`.
    pub scratch: PathBuf,
    /// The host's toolchains.
    pub found: Found,
    /// Bounds of each command.
    pub limits: BuildLimits,
    /// The commit's time, in seconds since 1970.
    pub epoch_s: i64,
    /// How many processors a command can see; all without it. A second build sees fewer, to find what depends on it.
    pub visible_cpus: Option<u32>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its outcome.
    pub outcome: Outcome,
    /// How the walls came out.
    pub notes: Notes,
    /// Its last lines, masked.
    pub last_lines: Vec<String>,
}

impl Sandbox {
    /// Makes the three folders.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn prepare(&self) -> std::io::Result<()> {
        for (name, mode) in [("w", 0o755), ("home", 0o755), ("tmp", 0o1777)] {
            let folder = self.scratch.join(name);
            std::fs::create_dir_all(&folder)?;
            std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode))?;
        }
        Ok(())
    }

    /// Where the checkout is on the host.
    pub fn work(&self) -> PathBuf {
        self.scratch.join("w")
    }

    /// Gives the folders to the build's user, when root enters without a user namespace.
    ///
    /// # Errors
    /// When an owner cannot be changed.
    pub fn hand_over(&self) -> std::io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        ["w", "home", "tmp"].iter().try_for_each(|name| chown_all(&self.scratch.join(name)))
    }

    /// Runs a shell command and streams its output. `settings` opens the network and gives what belongs to it.
    ///
    /// # Errors
    /// When the jail cannot be made; a command that fails is no error here.
    pub fn run(
        &self,
        phase: Phase,
        command: &str,
        settings: Option<&HostSettings>,
        sink: &dyn LogSink,
        masker: &Masker,
    ) -> Result<Ran, JailError> {
        let spec = self.spec(command, settings);
        let mut jailed = self.launcher.spawn(&spec, Stdio::piped(), Stdio::piped())?;
        let tail = Tail::new(sink, phase);
        let outcome = std::thread::scope(|scope| {
            if let Some(errors) = jailed.take_stderr() {
                let tail = &tail;
                scope.spawn(move || tail.pump(errors, masker.clone()));
            }
            if let Some(output) = jailed.take_stdout() {
                tail.pump(output, masker.clone());
            }
            jailed.wait()
        })?;
        Ok(Ran { outcome, notes: jailed.notes().clone(), last_lines: tail.last() })
    }

    /// The output of a small script inside, without network.
    ///
    /// # Errors
    /// When the jail cannot be made.
    pub fn ask(&self, script: &str) -> Result<String, JailError> {
        let spec = self.spec(script, None);
        let mut jailed: Jailed = self.launcher.spawn(&spec, Stdio::piped(), Stdio::null())?;
        let mut text = Vec::new();
        if let Some(output) = jailed.take_stdout() {
            output.take(VERSION_BYTES_MAX).read_to_end(&mut text)?;
        }
        jailed.wait()?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn spec(&self, command: &str, settings: Option<&HostSettings>) -> Spec {
        let mut spec = Spec::new(self.rung, ["/bin/sh", "-e", "-c", command]);
        spec.user = BUILD_USER;
        spec.hostname = Some("build".into());
        spec.cwd = WORK.into();
        spec.limits = Limits {
            memory_bytes: self.limits.memory_bytes,
            cpu_millis: self.limits.cpu_millis,
            pids: Some(self.limits.pids),
            open_files: Some(OPEN_FILES),
            file_size_bytes: None,
            wall_ms: Some(self.limits.time_ms),
            visible_cpus: self.visible_cpus,
        };
        self.add_folders(&mut spec);
        add_system(&mut spec);
        for folder in &self.found.mounts {
            spec.binds.push(bind(folder, folder, true));
        }
        add_file(&mut spec, "/etc/passwd", PASSWD);
        add_file(&mut spec, "/etc/group", GROUP);
        spec.env = self.environment(&spec);
        match settings {
            Some(settings) => self.open_network(&mut spec, settings),
            None => {
                add_file(&mut spec, "/etc/hosts", "127.0.0.1 localhost build\n::1 localhost\n");
                add_file(&mut spec, "/etc/nsswitch.conf", "passwd: files\nhosts: files\n");
                spec.env.extend(offline());
            }
        }
        spec
    }

    fn add_folders(&self, spec: &mut Spec) {
        for (name, target) in [("w", WORK), ("home", HOME), ("tmp", "/tmp")] {
            spec.binds.push(bind(&self.scratch.join(name), Path::new(target), false));
        }
        let link = |link: &str, to: &str| Symlink { link: link.into(), to: to.into() };
        spec.symlinks.push(link("/var/tmp", "/tmp"));
    }

    fn open_network(&self, spec: &mut Spec, settings: &HostSettings) {
        spec.network = Network::Host;
        for path in ETC_NETWORK.iter().filter(|path| Path::new(path).exists()) {
            spec.binds.push(bind(Path::new(path), Path::new(path), true));
        }
        spec.env.extend(settings.env.clone());
        for (source, target) in &settings.files {
            spec.binds.push(bind(source, target, true));
        }
    }

    /// The same for every command of every build, but for the toolchains and the commit's time.
    fn environment(&self, spec: &Spec) -> BTreeMap<String, String> {
        let inside = |path: &str| spec.outside(Path::new(path)).display().to_string();
        let home = |path: &str| inside(&format!("{HOME}/{path}"));
        let mut env: BTreeMap<String, String> = [
            ("HOME", inside(HOME)),
            ("PATH", self.found.path.join(":")),
            ("TMPDIR", inside("/tmp")),
            ("USER", "build".into()),
            ("LOGNAME", "build".into()),
            ("SHELL", "/bin/sh".into()),
            ("TZ", "UTC".into()),
            ("LANG", "C.UTF-8".into()),
            ("LC_ALL", "C.UTF-8".into()),
            ("CI", "true".into()),
            ("SOURCE_DATE_EPOCH", self.epoch_s.to_string()),
            ("CARGO_HOME", home(".cargo")),
            ("CARGO_INCREMENTAL", "0".into()),
            ("CARGO_TERM_COLOR", "never".into()),
            ("GOPATH", home("go")),
            ("GOMODCACHE", home("go/pkg/mod")),
            ("GOCACHE", home(".cache/go-build")),
            ("GOTOOLCHAIN", "local".into()),
            ("GOFLAGS", "-trimpath -buildvcs=false".into()),
            ("npm_config_cache", home(".npm")),
            ("npm_config_update_notifier", "false".into()),
            ("npm_config_fund", "false".into()),
            ("npm_config_audit", "false".into()),
            ("PIP_CACHE_DIR", home(".cache/pip")),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1".into()),
            ("PYTHONHASHSEED", "0".into()),
            ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        env.extend(self.found.env.clone());
        env
    }
}

/// Tells the package clients that there is no network, so that they say so instead of waiting for it.
fn offline() -> BTreeMap<String, String> {
    let settings = [
        ("CARGO_NET_OFFLINE", "true"),
        ("GOPROXY", "off"),
        ("GOSUMDB", "off"),
        ("npm_config_offline", "true"),
        ("PIP_NO_INDEX", "1"),
        ("UV_OFFLINE", "1"),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn add_system(spec: &mut Spec) {
    for folder in SYSTEM {
        match std::fs::read_link(folder) {
            Ok(to) => spec.symlinks.push(Symlink { link: folder.into(), to }),
            Err(_) if Path::new(folder).is_dir() => {
                spec.binds.push(bind(Path::new(folder), Path::new(folder), true));
            }
            Err(_) => {}
        }
    }
    for path in ETC.iter().map(PathBuf::from).chain(python_settings()) {
        if path.exists() {
            spec.binds.push(bind(&path, &path, true));
        }
    }
}

/// Debian keeps parts of Python's standard library below `/etc/python3.N`.
fn python_settings() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/etc").into_iter().flatten().flatten().map(|e| e.path());
    let named = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("python3"))
    };
    entries.filter(named).collect()
}

fn add_file(spec: &mut Spec, path: &str, text: &str) {
    spec.files.push(PlainFile { path: path.into(), text: text.into() });
}

fn bind(source: &Path, target: &Path, read_only: bool) -> Bind {
    Bind { source: source.into(), target: target.into(), read_only }
}

fn chown_all(path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::lchown(path, Some(BUILD_USER.uid), Some(BUILD_USER.gid))?;
    if std::fs::symlink_metadata(path)?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            chown_all(&entry?.path())?;
        }
    }
    Ok(())
}
