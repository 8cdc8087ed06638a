//! The data folder and what lies where in it.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// Where everything of an installation lies.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) data: PathBuf,
}

/// Longest path of a unix socket that Linux takes, bytes, with the ending zero.
const SOCKET_MAX: usize = 108;

impl Places {
    /// `--data`, else `HUMDRUM_DATA`, else `$XDG_DATA_HOME/humdrum`, else `~/.local/share/humdrum`.
    pub(crate) fn find(data: Option<PathBuf>) -> Result<Self, Failure> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        let user = || {
            std::env::var_os("XDG_DATA_HOME")
                .map(PathBuf::from)
                .filter(|dir| dir.is_absolute())
                .or_else(home)
        };
        let data = data.or_else(|| user().map(|dir| dir.join("humdrum"))).ok_or_else(|| {
            Failure::new(
                Exit::BadInput,
                "no-data-folder",
                "no data folder is known: neither HUMDRUM_DATA nor HOME is set",
            )
            .next("humdrum --data DIR …")
        })?;
        let data = std::path::absolute(&data).unwrap_or(data);
        let places = Self { data };
        let longest = places.agent_socket();
        if longest.as_os_str().len() >= SOCKET_MAX {
            return Err(Failure::new(
                Exit::BadInput,
                "path-too-long",
                format!(
                    "the path of the data folder is too long for a socket: {}",
                    longest.display()
                ),
            )
            .next("choose a shorter --data"));
        }
        Ok(places)
    }

    fn in_data(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.in_data("run")
    }

    pub(crate) fn edge_socket(&self) -> PathBuf {
        self.run().join("edge.sock")
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.run().join("agent.sock")
    }

    /// The API token: who can read it may do everything here.
    pub(crate) fn token(&self) -> PathBuf {
        self.in_data("token")
    }

    /// Address of control's API and registry.
    pub(crate) fn address(&self) -> PathBuf {
        self.in_data("address")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.in_data("control")
    }

    pub(crate) fn registry(&self) -> PathBuf {
        self.in_data("registry")
    }

    /// Environments and rights; see `docs/settings.md`.
    pub(crate) fn settings(&self) -> PathBuf {
        self.in_data(humdrum_model::settings::FILE_NAME)
    }

    pub(crate) fn edge(&self) -> PathBuf {
        self.in_data("edge")
    }

    pub(crate) fn agent(&self) -> PathBuf {
        self.in_data("agent")
    }

    pub(crate) fn builds(&self) -> PathBuf {
        self.in_data("builds")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.in_data("keys")
    }

    /// The installation's own policies and their data.
    pub(crate) fn policies(&self) -> PathBuf {
        self.in_data("policies")
    }

    /// The shards of `humdrum advisories`.
    pub(crate) fn advisories(&self) -> PathBuf {
        self.in_data("advisories")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.in_data("logs")
    }

    /// Makes the folder, for its owner alone.
    pub(crate) fn make(&self) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt;
        for dir in [self.data.clone(), self.run(), self.logs(), self.keys()] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|error| unusable(&dir, &error))?;
        }
        Ok(())
    }
}

/// A folder or file that cannot be used, with the usual reasons told apart.
pub(crate) fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let code = if full { "disk-full" } else { "data-folder" };
    let next = if full {
        "free space there, then run the command again"
    } else {
        "choose another --data, or mend the folder's owner and mode"
    };
    Failure::new(Exit::Failed, code, format!("`{}` cannot be used", path.display()))
        .cause(error)
        .next(next)
}
