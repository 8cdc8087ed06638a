//! `humdrum registry fsck`: finds and names damage, with or without a running control.

use std::time::SystemTime;

use clap::Args;
use humdrum_registry::fsck::{Checkup, FsckError, check, repair};
use humdrum_store::FolderLock;

use super::spoken;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Compare sizes only; do not read every byte.
    #[arg(long)]
    quick: bool,
    /// Move damaged things aside and mend the index; control must be down. Nothing is deleted, every change is recorded.
    #[arg(long)]
    repair: bool,
}

impl Fsck {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let (root, now) = (places.registry(), SystemTime::now());
        let look = || check(&root, !self.quick, now).map_err(|error| failure(places, &error));
        let mut checkup = look()?;
        let mut mended = Vec::new();
        if self.repair && checkup.damage() > 0 {
            let _alone = FolderLock::take(&places.control()).map_err(|error| {
                Failure::new(Exit::Failed, "in-use", "a registry that runs is not repaired")
                    .cause(&error)
                    .next("humdrum down --control-only")
            })?;
            let now_ms = humdrum_control::clock::now_ms();
            show(&checkup, ui);
            mended = repair(&root, &checkup, now_ms).map_err(|error| failure(places, &error))?;
            mended.iter().for_each(|line| ui.line(format!("mended   {line}")));
            checkup = look()?;
        }
        ui.document(&serde_json::json!({ "checkup": checkup, "mended": mended }));
        show(&checkup, ui);
        summary(&checkup, ui);
        Ok(if checkup.damage() == 0 { Exit::Ok } else { Exit::Failed })
    }
}

fn show(checkup: &Checkup, ui: &Ui) {
    for finding in &checkup.findings {
        let word = if finding.kind.is_damage() {
            ui.tone(Tone::Bad, "damage  ")
        } else {
            "leftover".to_owned()
        };
        let places = match finding.repositories.as_slice() {
            [] => String::new(),
            list => format!(" in {}", list.join(", ")),
        };
        ui.line(format!("{word} {}{places}: {}", finding.subject, finding.what));
        ui.line(format!("         next: {}", finding.next));
    }
}

fn summary(checkup: &Checkup, ui: &Ui) {
    let how = if checkup.read { "read" } else { "looked at" };
    ui.line(format!(
        "{} blobs ({}) and {} manifests {how}: {} damaged, {} leftovers",
        checkup.blobs,
        spoken(checkup.bytes),
        checkup.manifests,
        checkup.damage(),
        checkup.findings.len() - checkup.damage()
    ));
}

fn failure(places: &Places, error: &FsckError) -> Failure {
    let what = "the registry cannot be checked";
    let (failure, next) = match error {
        FsckError::NoRegistry { .. } => {
            (Failure::new(Exit::BadInput, "no-registry", what), "humdrum up")
        }
        _ => (Failure::new(Exit::Failed, "registry", what), "humdrum doctor"),
    };
    failure.cause(error).at(places.registry().display().to_string()).next(next)
}
