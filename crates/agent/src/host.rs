//! What every keeper of an instance shares: the configuration, the board, the ports, the images, the walls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use humdrum_jail::{Launcher, Rung, probe};
use tokio::sync::OnceCell;

use crate::board::Board;
use crate::image::Images;
use crate::order::Folder;
use crate::ports::Ports;

/// The host as its instances' keepers see it.
pub(crate) struct Host {
    pub(crate) exe: PathBuf,
    /// `units/` in the agent's folder.
    pub(crate) units: PathBuf,
    pub(crate) board: Board,
    pub(crate) ports: Ports,
    pub(crate) images: Arc<Images>,
    /// How long the logs and files of a retired unit stay.
    pub(crate) retired_keep: std::time::Duration,
    walls: OnceCell<Walls>,
}

/// The strongest jail that this machine permits.
#[derive(Debug, Clone)]
pub(crate) struct Walls {
    pub(crate) rung: Rung,
    /// Why it is not the strongest.
    pub(crate) note: Option<String>,
}

impl Host {
    pub(crate) fn new(
        config: &crate::AgentConfig,
        units: PathBuf,
        ports: Ports,
        images: Images,
    ) -> Host {
        Host {
            exe: config.exe.clone(),
            units,
            board: Board::new(now_ms()),
            ports,
            images: Arc::new(images),
            retired_keep: config.retired_keep,
            walls: OnceCell::new(),
        }
    }

    /// Tried once, by a real jail, when the first instance is to be started.
    pub(crate) async fn walls(&self) -> Walls {
        let launcher = Launcher::with_program(&self.exe);
        let tried = || async {
            let reports = tokio::task::spawn_blocking(move || probe(&launcher)).await;
            reports.map_or_else(|_| Walls::none("it could not be tried"), |r| Walls::of(&r))
        };
        self.walls.get_or_init(tried).await.clone()
    }

    pub(crate) fn folder(&self, unit: &str, index: u32) -> Folder {
        Folder(self.units.join(unit).join(index.to_string()))
    }
}

impl Walls {
    fn none(why: &str) -> Walls {
        Walls { rung: Rung::None, note: Some(format!("no own root: {why}")) }
    }

    fn of(reports: &[humdrum_jail::RungReport]) -> Walls {
        let rung = humdrum_jail::best(reports);
        if rung == Rung::Namespaces {
            return Walls { rung, note: None };
        }
        let own_root = reports.iter().find(|report| report.rung == Rung::Namespaces);
        // An instance must listen, which the middle rung forbids.
        Walls::none(own_root.map_or("not tried", |report| report.reason.as_str()))
    }
}

/// Unix time in ms.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
