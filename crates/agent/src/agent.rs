//! The agent as a whole: its folder, its units, and the acceptance of wishes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humdrum_model::unit::{UnitSpec, UnitStatus};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::host::{Host, now_ms};
use crate::image::{Images, Registry};
use crate::ports::Ports;
use crate::unit::{Accepted, Unit, WISH_FILE};
use crate::{AgentConfig, AgentError, admin, check, durable};

/// The form of stored wishes.
const WISH_VERSION: u32 = 1;
/// How often unused images are looked for.
const COLLECT_EVERY: Duration = Duration::from_hours(1);
/// Beyond the longest grace, until a halt is given up.
const HALT_SLACK: Duration = Duration::from_secs(15);
/// Units of one host; each has at least one task and one folder.
const UNITS_MAX: usize = 1_000;

/// Why a wish is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error("unit `{unit}` has accepted fence {fence} generation {generation} already")]
    Stale { unit: String, fence: u64, generation: u64 },
    #[error("the wish has {} problems: {}", problems.len(), problems.join("; "))]
    Invalid { problems: Vec<String> },
    #[error("this host has {UNITS_MAX} units already")]
    TooMany,
    #[error("the wish cannot be stored in `{}`", path.display())]
    Unstored { path: PathBuf, source: io::Error },
}

/// Everything that the admin interface needs.
pub(crate) struct Agent {
    pub(crate) host: Arc<Host>,
    pub(crate) boot: String,
    units: Mutex<Units>,
}

#[derive(Default)]
struct Units {
    wishes: BTreeMap<String, watch::Sender<Arc<Accepted>>>,
    tasks: JoinSet<()>,
}

pub(crate) async fn run(
    config: AgentConfig,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let folder = config.data.join("agent");
    make_folder(&folder, 0o711)?;
    let _lock = lock(&folder)?;
    let agent = Arc::new(open(&config, &folder)?);
    agent.adopt_all().await?;
    // Only now: whoever can ask shall see what was found.
    let listener = admin::bind(&config.admin_socket)?;
    tracing::info!(socket = %config.admin_socket.display(), "the agent works");
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = admin::serve(listener, agent.clone()) => {}
        () = agent.collect() => {}
    }
    // Keepers first: they take the end of their wish's sender as the agent's end, never as the instance's.
    agent.units.lock().await.tasks.shutdown().await;
    Ok(())
}

fn open(config: &AgentConfig, folder: &Path) -> Result<Agent, AgentError> {
    let units = folder.join("units");
    make_folder(&units, 0o700)?;
    let ports = folder.join("ports.json");
    let ports = Ports::open(ports.clone(), config.port_range.clone()).map_err(disk(&ports))?;
    let registry = Registry::new(config.registry_user.clone(), config.registry_password.clone());
    let images = Images::open(folder, registry).map_err(|error| AgentError::Images {
        path: folder.to_owned(),
        why: crate::chain(&error),
    })?;
    let host = Arc::new(Host::new(config, units, ports, images));
    let boot = crate::identity::boot_id().unwrap_or_default();
    Ok(Agent { host, boot, units: Mutex::default() })
}

impl Agent {
    /// Accepts a wish: it is on the disk when this returns, and on its way to be met.
    pub(crate) async fn put(&self, spec: UnitSpec) -> Result<UnitStatus, PutError> {
        let problems = check::problems(&spec);
        if !problems.is_empty() {
            return Err(PutError::Invalid { problems });
        }
        // Held over the write: of two writers, the later number is also the later file.
        let mut units = self.units.lock().await;
        let newest = units.wishes.get(&spec.unit).map(|wish| wish.borrow().clone());
        match &newest {
            Some(newest) => admit(&newest.spec, &spec)?,
            None if units.wishes.len() >= UNITS_MAX => return Err(PutError::TooMany),
            None => {}
        }
        let unit = spec.unit.clone();
        let accepted = Accepted { version: WISH_VERSION, spec, at_ms: now_ms() };
        let accepted = Arc::new(accepted);
        self.store(accepted.clone()).await?;
        self.host.board.accepted(&accepted.spec);
        match units.wishes.get(&unit) {
            Some(wish) => drop(wish.send_replace(accepted)),
            None => self.begin(&mut units, accepted),
        }
        drop(units);
        Ok(self.host.board.one(&unit).expect("it was put on the board just now"))
    }

    /// Stops every instance gracefully and says whether none is left. Wishes stay on the disk: the next agent meets them again.
    pub(crate) async fn halt(&self) -> bool {
        let mut grace_ms = 0;
        for wish in self.units.lock().await.wishes.values() {
            wish.send_modify(|accepted| {
                grace_ms = grace_ms.max(accepted.spec.stop.grace_ms);
                let spec = UnitSpec { instances: 0, ..accepted.spec.clone() };
                *accepted =
                    Arc::new(Accepted { version: accepted.version, spec, at_ms: accepted.at_ms });
            });
        }
        let until = tokio::time::Instant::now() + Duration::from_millis(grace_ms) + HALT_SLACK;
        while tokio::time::Instant::now() < until {
            if self.host.board.is_quiet() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn store(&self, accepted: Arc<Accepted>) -> Result<(), PutError> {
        let units = self.host.units.clone();
        let folder = units.join(&accepted.spec.unit);
        let path = folder.join(WISH_FILE);
        let written = tokio::task::spawn_blocking(move || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            durable::write_json(&folder.join(WISH_FILE), &*accepted)?;
            durable::sync_folder(&units)
        });
        let written = written.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|source| PutError::Unstored { path, source })
    }

    fn begin(&self, units: &mut Units, accepted: Arc<Accepted>) {
        let name = accepted.spec.unit.clone();
        let (sender, receiver) = watch::channel(accepted);
        let unit = Unit::open(self.host.clone(), receiver);
        units.tasks.spawn(unit.run());
        units.wishes.insert(name, sender);
    }

    /// Reads every stored wish and finds what runs of it.
    async fn adopt_all(&self) -> Result<(), AgentError> {
        let mut units = self.units.lock().await;
        let folder = &self.host.units;
        for entry in fs::read_dir(folder).map_err(disk(folder))?.flatten() {
            let path = entry.path().join(WISH_FILE);
            let unread = |source| AgentError::Wish { path: path.clone(), source };
            // A folder without a wish was never accepted: the agent died between the two.
            let Some(accepted) = durable::read_json::<Accepted>(&path).map_err(unread)? else {
                continue;
            };
            if accepted.version != WISH_VERSION {
                let found = format!("its version is {}", accepted.version);
                return Err(unread(io::Error::other(found)));
            }
            self.begin(&mut units, Arc::new(accepted));
        }
        Ok(())
    }

    /// Removes what no unit needs, from time to time.
    async fn collect(&self) {
        loop {
            tokio::time::sleep(COLLECT_EVERY).await;
            let units = self.units.lock().await;
            let wishes = units.wishes.values().map(|wish| wish.borrow().spec.image.digest.clone());
            let used: BTreeSet<_> = wishes.collect();
            drop(units);
            let host = self.host.clone();
            let work = move || host.images.collect(&used, SystemTime::now());
            drop(tokio::task::spawn_blocking(work).await);
        }
    }
}

/// A wish must not be older than the newest accepted one; the same one may be repeated.
fn admit(newest: &UnitSpec, spec: &UnitSpec) -> Result<(), PutError> {
    if (spec.fence, spec.generation) >= (newest.fence, newest.generation) {
        return Ok(());
    }
    let (unit, fence, generation) = (newest.unit.clone(), newest.fence, newest.generation);
    Err(PutError::Stale { unit, fence, generation })
}

fn make_folder(path: &Path, mode: u32) -> Result<(), AgentError> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(disk(path))
}

fn lock(folder: &Path) -> Result<File, AgentError> {
    let path = folder.join("lock");
    let open = File::options().write(true).create(true).truncate(false).open(&path);
    let file = open.map_err(disk(&path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::Busy { data: folder.to_owned() }),
        Err(error) => Err(disk(&path)(error.into())),
    }
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> AgentError {
    let path = path.to_owned();
    move |source| AgentError::Disk { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::good;

    #[test]
    fn only_older_wishes_are_refused() {
        #[rustfmt::skip]
        let cases = [
            // newest    wish      accepted
            ((2, 5),    (2, 5),   true),
            ((2, 5),    (2, 6),   true),
            ((2, 5),    (3, 1),   true),
            ((2, 5),    (2, 4),   false),
            ((2, 5),    (1, 9),   false),
        ];
        for (newest, wish, accepted) in cases {
            let spec = |(fence, generation)| UnitSpec { fence, generation, ..good() };
            assert_eq!(admit(&spec(newest), &spec(wish)).is_ok(), accepted, "{newest:?} {wish:?}");
        }
    }
}
