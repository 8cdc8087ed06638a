//! `humdrum restore BACKUP --data FOLDER`: an installation from a backup, every digest and the event chain checked first.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use humdrum_registry::fsck::check;

use super::registry::spoken;
use crate::backup::read::{ReadError, read};
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The folder or tar file that `humdrum backup` wrote.
    #[arg(value_name = "BACKUP")]
    from: PathBuf,
}

impl Restore {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let contents = read(&self.from, &places.data).map_err(|error| failure(&error))?;
        let bytes: u64 = contents.files.iter().map(|entry| entry.size).sum();
        ui.document(&serde_json::json!({
            "data": places.data, "at": contents.at, "files": contents.files.len(), "bytes": bytes, "events": contents.events
        }));
        ui.line(format!(
            "{} files, {}, as of {}: every digest is right",
            contents.files.len(),
            spoken(bytes),
            contents.at
        ));
        ui.line(format!("{} events: the chain is whole", contents.events));
        // The bytes were just read, so names are enough. What was missing when the backup was made is told, and no reason to refuse it.
        match check(&places.registry(), false, SystemTime::now()) {
            Ok(checkup) if checkup.damage() > 0 => {
                ui.remark(format!(
                    "the registry had {} faults when it was backed up: humdrum registry fsck",
                    checkup.damage()
                ));
            }
            _ => {}
        }
        ui.line(format!(
            "Restored into {}. Stop the old installation before this one starts.",
            places.data.display()
        ));
        ui.line(format!("  next               humdrum --data {} up", places.data.display()));
        Ok(Exit::Ok)
    }
}

fn failure(error: &ReadError) -> Failure {
    let what = "nothing was restored";
    let (failure, next) = match error {
        ReadError::NotEmpty { .. } => (
            Failure::new(Exit::BadInput, "not-empty", what),
            "choose a folder that is empty or does not exist: --data NEW_FOLDER",
        ),
        ReadError::NoBackup { .. } => (
            Failure::new(Exit::BadInput, "no-backup", what),
            "name the folder or tar file that `humdrum backup` wrote",
        ),
        ReadError::Format { .. } => (
            Failure::new(Exit::BadInput, "no-backup", what),
            "use the version of humdrum that wrote it, or a newer one",
        ),
        ReadError::Damaged { .. } | ReadError::Log(_) => {
            (Failure::new(Exit::Failed, "damaged", what), "use another backup")
        }
        ReadError::Io { .. } => (
            Failure::new(Exit::Failed, "backup", what),
            "check the folder, its owner and the space on its disk",
        ),
    };
    failure.cause(error).next(next)
}
