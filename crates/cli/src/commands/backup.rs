//! `humdrum backup PLACE`: everything that cannot be made anew, consistent, while Humdrum works.

use std::path::PathBuf;

use clap::Args;

use super::registry::spoken;
use crate::backup::write::{WriteError, write};
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// A new folder, or a new file when the name ends in `.tar`. On the same disk a folder shares the blobs' bytes.
    #[arg(value_name = "PLACE")]
    to: PathBuf,
}

impl Backup {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let at = format!("{:.0}", humdrum_control::clock::now());
        let done = write(places, &self.to, at).map_err(|error| failure(&error))?;
        ui.document(&serde_json::json!({ "backup": self.to, "written": done }));
        ui.line(format!(
            "{} files and {} blobs, {}, events up to {} are in {}",
            done.files,
            done.blobs,
            spoken(done.bytes),
            done.events,
            self.to.display()
        ));
        ui.line("It holds the signing key, encrypted as it is on the disk, and the API token: keep it as safe as the data folder.");
        if done.password {
            ui.line("The key's password lies beside the key and is in the backup, too. Set HUMDRUM_KEY_PASSWORD instead to keep them apart.");
        }
        ui.line("Left out, because it is made anew: running instances, build caches, logs.");
        ui.line(format!(
            "  next               humdrum restore {} --data NEW_FOLDER",
            self.to.display()
        ));
        Ok(Exit::Ok)
    }
}

fn failure(error: &WriteError) -> Failure {
    let what = "no backup was made";
    let (failure, next) = match error {
        WriteError::NoInstallation { .. } => (
            Failure::new(Exit::BadInput, "no-installation", what),
            "humdrum --data DIR backup PLACE",
        ),
        WriteError::Exists { .. } => (
            Failure::new(Exit::BadInput, "exists", what),
            "choose a new name; a backup never replaces one",
        ),
        WriteError::Blob { .. } => {
            (Failure::new(Exit::Failed, "damaged", what), "humdrum registry fsck")
        }
        WriteError::Log(_) | WriteError::Index(_) => {
            (Failure::new(Exit::Failed, "damaged", what), "humdrum doctor")
        }
        WriteError::Copy { .. } | WriteError::Backup { .. } | WriteError::Database(_) => (
            Failure::new(Exit::Failed, "backup", what),
            "check the folder, its owner and the space on its disk",
        ),
    };
    failure.cause(error).next(next)
}
