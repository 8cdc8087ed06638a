//! The data plane: splits, drains, counts.
//!
//! One thread and runtime for each core serves callers (`worker.rs`, `serve.rs`, `proxy.rs`); one more thread keeps tables,
//! seals blocks and answers control on a unix socket (`keeper.rs`, `admin.rs`). It works without control from what is on disk.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod admin;
mod answer;
mod blocklog;
mod body;
mod choose;
mod count;
mod disk;
mod flight;
mod gauge;
mod handover;
mod head;
mod keeper;
mod listeners;
mod metrics;
mod pool;
mod proxy;
mod serve;
mod sniff;
mod split;
mod table;
mod tunnel;
mod worker;

pub use disk::DiskError;

use handover::{Frame, Inherited};
use keeper::{Ask, Keeper, Start};
use listeners::Listeners;

/// Questions to the keeper that may wait.
const QUESTIONS_MAX: usize = 64;
/// How long a starting edge waits for one that holds the data folder and is starting or ending itself.
///
/// One that was told to end still finishes open requests, for 30 s by default.
const LOCK_WAIT: Duration = Duration::from_secs(35);

/// How an edge runs.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Folder of tables and blocks; made if missing. One edge at a time uses it.
    pub data: PathBuf,
    /// Unix socket for control; made with mode 0600.
    pub admin_socket: PathBuf,
    /// Worker threads; 0 means one for each core.
    pub threads: usize,
}

/// Why the edge cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("another edge uses `{path}` and did not hand over")]
    InUse { path: PathBuf, source: io::Error },
    #[error("cannot listen on admin socket `{path}`")]
    Admin { path: PathBuf, source: io::Error },
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("a worker thread ended unexpectedly")]
    WorkerDied,
}

/// Serves until `shutdown` or until another process took over, and then until open requests are finished or out of time.
///
/// Starts its own threads and runtimes, so it must not be called from within one. When an edge already runs on the same data
/// folder, it is asked to hand over: no connection is refused or lost meanwhile.
pub fn run(config: EdgeConfig, shutdown: CancellationToken) -> Result<(), EdgeError> {
    disk::folder(&config.data)?;
    let threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n.min(handover::SOCKETS_MAX),
    };
    let inherited = own_or_inherit(&config)?;
    let boot = disk::next_boot(&config.data.join("boot"))?;
    let seed = std::process::id() as u64 ^ boot.rotate_left(40) ^ started_ns().rotate_left(17);
    let workers: io::Result<Vec<_>> = (0..threads)
        .map(|index| worker::start(index, seed.wrapping_add((index as u64) << 56)))
        .collect();
    let workers = workers.map_err(EdgeError::Thread)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EdgeError::Thread)?;
    let result = runtime.block_on(keep(&config, inherited, workers, boot, shutdown));
    runtime.shutdown_background();
    result
}

async fn keep(
    config: &EdgeConfig,
    owned: Owned,
    workers: Vec<worker::WorkerHandle>,
    boot: u64,
    shutdown: CancellationToken,
) -> Result<(), EdgeError> {
    let admin_error = |source| EdgeError::Admin { path: config.admin_socket.clone(), source };
    let (lock, socket, inherited) = match owned {
        Owned::Fresh(lock) => (lock, admin::bind(&config.admin_socket).map_err(admin_error)?, None),
        Owned::Inherited(from) => {
            let mut listeners = Listeners::default();
            listeners.inherit(from.listeners);
            (from.lock, from.admin.into(), Some((listeners, from.stream)))
        }
    };
    let (listeners, predecessor) = inherited.unzip();
    let admin = OwnedFd::from(socket.try_clone().map_err(admin_error)?);
    socket.set_nonblocking(true).map_err(admin_error)?;
    let socket = tokio::net::UnixListener::from_std(socket).map_err(admin_error)?;
    let start =
        Start { data: config.data.clone(), boot, lock, admin, workers, inherited: listeners };
    let keeper = Keeper::open(start).await?;
    let (questions, inbox) = mpsc::channel(QUESTIONS_MAX);
    if let Some(stream) = predecessor {
        follow(stream, questions.clone());
    }
    let door = keeper.door.subscribe();
    let served = tokio::spawn(admin::serve(socket, admin::Admin { keeper: questions, boot }, door));
    let result = keeper.run(inbox, shutdown).await;
    served.abort();
    result
}

/// The data folder is ours: by its lock, or by the lock that a running edge passed on.
enum Owned {
    Fresh(OwnedFd),
    Inherited(Inherited),
}

fn own_or_inherit(config: &EdgeConfig) -> Result<Owned, EdgeError> {
    let path = config.data.join("edge.lock");
    let file = File::create(&path).map_err(disk::io_error(&path, "created"))?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Owned::Fresh(file.into())),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(disk::io_error(&path, "locked")(error.into()).into()),
        }
        match take_over(&config.admin_socket) {
            Ok(inherited) => return Ok(Owned::Inherited(inherited)),
            Err(source) if Instant::now() >= deadline => {
                return Err(EdgeError::InUse { path, source });
            }
            // It may be starting, ending, or handing over to somebody else right now.
            Err(error) => tracing::info!(%error, "waiting for the running edge"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn take_over(admin_socket: &Path) -> io::Result<Inherited> {
    handover::ask(admin_socket)
}

/// Tells the predecessor that we accept, and adds what it still counts to our blocks.
fn follow(stream: std::os::unix::net::UnixStream, questions: mpsc::Sender<Ask>) {
    let reader = move || -> io::Result<()> {
        handover::send(&stream, &Frame::Ready, &[])?;
        stream.set_read_timeout(None)?;
        while let (Frame::Late { route, cells }, _) = handover::receive(&stream)? {
            if questions.blocking_send(Ask::Late { route, cells }).is_err() {
                break;
            }
        }
        Ok(())
    };
    let log = move || match reader() {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            tracing::info!("the former edge has ended")
        }
        Err(error) => tracing::warn!(%error, "late counts of the former edge are lost"),
        Ok(()) => {}
    };
    if let Err(error) = std::thread::Builder::new().name("edge-former".into()).spawn(log) {
        tracing::warn!(%error, "late counts of the former edge are lost");
    }
}

fn started_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_nanos() as u64)
}
