//! Bringing an instance up: its port, its jail, its shim; and finding it again when the agent was replaced.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use humdrum_jail::{Limits, Network, Root, Rung, Spec, Tmpfs, User};
use humdrum_model::unit::InstanceState;
use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{Keeper, Running, Wish};
use crate::health::Counter;
use crate::host::{Walls, now_ms};
use crate::identity::Watched;
use crate::image::Image;
use crate::order::{Answer, Exit, Folder, LOCKED_CODE, Order, ShimFile, Started, VERSION};
use crate::ports::PortError;
use crate::{backoff, durable, environment};

/// A shim that says nothing for this long will not.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// How often the files of a shim that somebody else started are looked at, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS_MAX: u32 = 250;
/// Memory for `/tmp` and `/run` of an instance; its memory limit counts it, too.
const TMP_BYTES: u64 = 256 << 20;
const RUN_BYTES: u64 = 16 << 20;

/// Why an instance is not there.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("`{}` cannot be written", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("the shim `{}` cannot be started", exe.display())]
    Shim { exe: PathBuf, source: io::Error },
    #[error("the shim said nothing within {} s", ANSWER_WAIT.as_secs())]
    Silent,
    #[error("{}", .0.not_started.as_deref().unwrap_or(&.0.how))]
    Ended(Exit),
    #[error("another process holds `{}` and is no shim of ours", path.display())]
    Foreign { path: PathBuf },
}

impl Keeper {
    /// Waits for the image and the pause, then starts. Returns early when the wish changes.
    pub(super) async fn bring_up(&mut self, wish: &Wish) -> Option<Running> {
        self.bury();
        self.forget_former(wish);
        let Some(image) = &wish.image else {
            self.show(self.status(InstanceState::Starting, now_ms(), None));
            drop(self.wish.changed().await);
            return None;
        };
        let pause = u64::try_from(self.memory.next_start_ms - now_ms()).unwrap_or(0);
        let pause = Duration::from_millis(pause).min(backoff::LONGEST);
        tokio::select! {
            changed = self.wish.changed() => {
                drop(changed);
                return None;
            }
            () = sleep(pause) => {}
        }
        match self.start(wish, image).await {
            Ok(running) => Some(running),
            Err(error) => {
                let how = crate::chain(&error);
                let problem = format!("{} failed to start: {how}", self.memory.name);
                self.failed(how, Some(problem), None);
                None
            }
        }
    }

    async fn start(&mut self, wish: &Wish, image: &Image) -> Result<Running, StartError> {
        let walls = self.host.walls().await;
        if !prepare(&self.folder)? {
            return self.find_late().await;
        }
        let port = self.host.ports.take(&self.unit, self.index)?;
        self.memory.attempt += 1;
        self.memory.open = true;
        self.memory.next_start_ms = 0;
        self.memory.ready = None;
        self.remember();
        let order = self.order(wish, image, port, &walls);
        let written = durable::write_fleeting(&self.folder.order(), &order);
        written.map_err(disk(self.folder.order()))?;
        self.show(self.status(InstanceState::Starting, now_ms(), None));
        let started = match self.spawn_shim().await? {
            Some(started) => started,
            None => return self.find_late().await,
        };
        let missing = || StartError::Foreign { path: self.folder.lock() };
        let (file, shim) = self.living_shim().ok_or_else(missing)?;
        self.memory.notes = notes(&started, walls.note, wish.spec.uid);
        self.remember();
        Ok(running(file, shim, started))
    }

    /// Starts the shim and hears its first words; `None` when another one holds the lock.
    async fn spawn_shim(&self) -> Result<Option<Started>, StartError> {
        let exe = &self.host.exe;
        let failed = |source| StartError::Shim { exe: exe.clone(), source };
        let log = self.folder.path().join("shim.log");
        let log = fs::File::options().append(true).create(true).open(log).map_err(failed)?;
        let mut child = Command::new(exe)
            .arg(crate::shim::HIDDEN_COMMAND)
            .arg(self.folder.path())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(false)
            .spawn()
            .map_err(failed)?;
        let out = child.stdout.take().expect("it was asked for as a pipe");
        match timeout(ANSWER_WAIT, answer(out)).await {
            Ok(Some(Answer::Started(started))) => Ok(Some(started)),
            Ok(Some(Answer::Ended(exit))) => Err(StartError::Ended(exit)),
            Ok(None) => {
                let status = timeout(ANSWER_WAIT, child.wait()).await;
                let status = status.map_err(|_| StartError::Silent)?.map_err(failed)?;
                if status.code() == Some(LOCKED_CODE) {
                    return Ok(None);
                }
                // The instance ended before it could be shown as running, or the shim was killed.
                Err(self.exit().map_or_else(
                    || failed(io::Error::other(status.to_string())),
                    StartError::Ended,
                ))
            }
            Err(_) => {
                drop(child.start_kill());
                Err(StartError::Silent)
            }
        }
    }

    /// Another shim has the lock: one that a former agent started just before it died.
    async fn find_late(&mut self) -> Result<Running, StartError> {
        for _ in 0..LOOKS_MAX {
            if let Some(running) = self.find() {
                return Ok(running);
            }
            if lock(&self.folder)?.is_some() {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        let foreign = || StartError::Foreign { path: self.folder.lock() };
        Err(self.exit().map_or_else(foreign, StartError::Ended))
    }

    /// The instance that runs in this folder by its pid files; what these do not prove to be ours is left alone.
    pub(super) fn find(&mut self) -> Option<Running> {
        let (file, shim) = self.living_shim()?;
        let started: Started = durable::read_json(&self.folder.started()).ok().flatten()?;
        if started.attempt != file.attempt || started.instance.open().is_none() {
            return None;
        }
        self.memory.attempt = file.attempt;
        self.memory.open = true;
        self.memory.key.clone_from(&file.key);
        self.memory.name.clone_from(&file.name);
        let mut running = running(file, shim, started);
        if let Some((attempt, since_ms)) = self.memory.ready
            && attempt == self.memory.attempt
        {
            running.state = InstanceState::Ready;
            running.since_ms = since_ms;
            running.counter = Counter::ready();
            running.ready_since = Some(Instant::now());
        }
        Some(running)
    }

    pub(super) fn living_shim(&self) -> Option<(ShimFile, Watched)> {
        let file: ShimFile = durable::read_json(&self.folder.shim()).ok().flatten()?;
        let shim = file.shim.open()?.watched().ok()?;
        Some((file, shim))
    }

    fn order(&self, wish: &Wish, image: &Image, port: u16, walls: &Walls) -> Order {
        let spec = &wish.spec;
        Order {
            version: VERSION,
            attempt: self.memory.attempt,
            key: wish.key.clone(),
            name: self.memory.name.clone(),
            port,
            grace_ms: spec.stop.grace_ms,
            labels: serde_json::json!(environment::log_labels(&spec.labels)),
            jail: jail(wish, image, port, &self.memory.name, walls),
        }
    }
}

fn running(file: ShimFile, shim: Watched, started: Started) -> Running {
    Running {
        shim,
        shim_pid: file.shim.pid,
        instance: started.instance,
        key: file.key,
        port: file.port,
        state: InstanceState::Starting,
        since_ms: started.at_ms,
        counter: Counter::default(),
        next_probe: Instant::now(),
        deadline: None,
        ready_since: None,
        foreign: None,
    }
}

fn notes(started: &Started, walls: Option<String>, uid: Option<u32>) -> Vec<String> {
    let mut notes = started.notes.clone();
    notes.extend(walls);
    if uid.is_some() && !geteuid().is_root() {
        notes.push("no own user: the agent is not root".to_owned());
    }
    notes
}

/// The image read-only as the root, with fresh memory for `/tmp` and `/run`; the network is the host's.
fn jail(wish: &Wish, image: &Image, port: u16, name: &str, walls: &Walls) -> Spec {
    let unit = &wish.spec;
    let mut spec = Spec::new(walls.rung, environment::command(unit, port));
    spec.root = Root::Folder { path: image.rootfs.clone(), read_only: true };
    let tmpfs = |target: &str, size_bytes, mode| Tmpfs { target: target.into(), size_bytes, mode };
    spec.tmpfs = vec![
        tmpfs("/tmp", TMP_BYTES, 0o1777),
        tmpfs("/var/tmp", TMP_BYTES, 0o1777),
        tmpfs("/run", RUN_BYTES, 0o755),
    ];
    spec.network = Network::Host;
    let own = geteuid();
    let uid = if own.is_root() { unit.uid.unwrap_or(0) } else { own.as_raw() };
    spec.user = User { uid, gid: uid };
    spec.cwd = unit.workdir.clone().unwrap_or_else(|| "/".to_owned()).into();
    spec.env = environment::environment(unit, &image.env, port, name);
    spec.limits = Limits {
        memory_bytes: unit.limits.memory_bytes,
        cpu_millis: unit.limits.cpu_millis.map(|m| u32::try_from(m).unwrap_or(u32::MAX)),
        open_files: unit.limits.open_files,
        ..Limits::default()
    };
    spec.init = true;
    if spec.rung != Rung::Namespaces {
        // Without an own root the paths are those of the host.
        spec.cwd = spec.outside(&spec.cwd);
        if let Some(program) = spec.argv.first().filter(|program| program.starts_with('/')) {
            spec.argv[0] = spec.outside(program.as_ref()).to_string_lossy().into_owned();
        }
    }
    spec
}

/// The folder is ours alone; answers of the former start are cleared, its logs stay. `false` when a shim is at work
/// there, whose answers must stay.
fn prepare(folder: &Folder) -> Result<bool, StartError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.path());
    made.map_err(disk(folder.path().to_owned()))?;
    let Some(_lock) = lock(folder)? else { return Ok(false) };
    for path in [folder.started(), folder.exit(), folder.stop()] {
        durable::remove(&path).map_err(disk(path.clone()))?;
    }
    Ok(true)
}

fn lock(folder: &Folder) -> Result<Option<fs::File>, StartError> {
    crate::shim::lock(folder).map_err(disk(folder.lock()))
}

async fn answer(out: ChildStdout) -> Option<Answer> {
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

fn disk(path: PathBuf) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Disk { path, source }
}
