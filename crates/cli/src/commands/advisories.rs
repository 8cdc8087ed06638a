//! `humdrum advisories`: OSV exports into signed shards of this installation, their age, and an SBOM matched against them. No network.

mod scan;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use humdrum_control::advisories::{Advisories as Folder, AdvisoriesError, ImportOptions, Imported};
use humdrum_control::clock::now;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::roles::secrets;
use crate::ui::{Tone, Ui};

/// The most unreadable records that are listed for people.
const LISTED_MAX: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Advisories {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take in OSV exports as published: a zip, or a folder of JSON records and zips.
    Import {
        /// The zip or folder.
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// When the exports were published; without it, the newest change of a record in each.
        #[arg(long, value_name = "TIME", value_parser = time)]
        as_of: Option<Timestamp>,
        /// Forget records that the exports do not have.
        #[arg(long)]
        replace: bool,
    },
    /// How old the advisories are, and how many of each ecosystem.
    Status {
        /// Refuse (exit code 3) what is older: `7d`, `36h`.
        #[arg(long, value_name = "AGE", value_parser = age)]
        max_age: Option<SignedDuration>,
    },
    /// Match the packages of a CycloneDX SBOM; exit code 3 for findings, 5 when it cannot be told.
    Match(scan::Match),
}

impl Advisories {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        match self.what {
            What::Import { path, as_of, replace } => {
                import(places, ui, &path, ImportOptions { as_of, replace })
            }
            What::Status { max_age } => status(places, ui, max_age),
            What::Match(command) => command.run(places, ui),
        }
    }
}

/// `2026-11-20T12:00:00Z`
fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|error| format!("`{text}` is not a time like 2026-11-20T12:00:00Z: {error}"))
}

/// `7d`, `36h`: a day has 24 hours.
fn age(text: &str) -> Result<SignedDuration, String> {
    let read = text
        .parse::<jiff::Span>()
        .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()));
    match read {
        Ok(age) if age > SignedDuration::ZERO => Ok(age),
        Ok(_) => Err(format!("`{text}` is not a positive age")),
        Err(error) => Err(format!("`{text}` is not an age like 7d or 36h: {error}")),
    }
}

fn folder(places: &Places) -> Folder {
    Folder::at(places.advisories())
}

/// What cannot be used, as people see it.
fn failure(error: &AdvisoriesError) -> Failure {
    match error {
        AdvisoriesError::Shard { .. } => Failure::new(
            Exit::Failed,
            "advisories",
            "the advisories of this installation cannot be used",
        )
        .cause(error)
        .next("remove the file, then import the export again: humdrum advisories import PATH"),
        AdvisoriesError::Busy { .. } => {
            Failure::new(Exit::Refused, "advisories-busy", error.to_string())
                .next("wait until the other import has ended")
        }
        _ => Failure::new(Exit::BadInput, "export", "the advisories cannot be imported")
            .cause(error)
            .next("PATH is an OSV export: a zip, or a folder of JSON records; docs/advisories.md"),
    }
}

fn import(places: &Places, ui: &Ui, path: &Path, options: ImportOptions) -> Outcome {
    if !path.exists() {
        let what = format!("`{}` does not exist", path.display());
        return Err(Failure::new(Exit::BadInput, "export", what)
            .next("humdrum advisories import PATH, a zip or a folder as OSV publishes them"));
    }
    places.make()?;
    secrets::make_signing_key(places)?;
    let (key, trust) = (secrets::signing_key(places)?, secrets::trust(places)?);
    let imported = folder(places).import(path, options, (&key, &trust), now());
    let imported = imported.map_err(|error| failure(&error))?;
    show(&imported, ui);
    ui.document(&imported);
    Ok(Exit::Ok)
}

fn show(imported: &Imported, ui: &Ui) {
    for one in &imported.ecosystems {
        ui.line(format!(
            "{}  {} new, {} changed, {} as before; {} in force, as of {}",
            ui.tone(Tone::Strong, &one.ecosystem),
            one.new,
            one.changed,
            one.unchanged,
            one.advisories,
            one.as_of
        ));
    }
    for (ecosystem, count) in &imported.not_stored {
        ui.line(format!("not stored: {count} about {ecosystem}"));
    }
    for one in imported.unreadable.iter().take(LISTED_MAX) {
        ui.line(ui.tone(Tone::Bad, &format!("unreadable: {}: {}", one.file, one.why)));
    }
    if imported.unreadable.len() > LISTED_MAX {
        let more = imported.unreadable.len() - LISTED_MAX;
        ui.line(ui.tone(Tone::Bad, &format!("unreadable: {more} more")));
    }
}

/// A shard, as `status` tells it.
#[derive(Debug, Serialize)]
struct Shard {
    ecosystem: String,
    as_of: Timestamp,
    imported_at: Timestamp,
    age_hours: f64,
    advisories: u64,
    withdrawn: u64,
    unreadable: u64,
    /// Older than `--max-age`.
    too_old: bool,
}

fn status(places: &Places, ui: &Ui, max_age: Option<SignedDuration>) -> Outcome {
    let at = now();
    let heads = if places.advisories().exists() {
        folder(places).heads(&secrets::trust(places)?, at).map_err(|error| failure(&error))?
    } else {
        vec![]
    };
    let shards: Vec<Shard> = heads
        .into_iter()
        .map(|head| {
            let age = at.duration_since(head.as_of);
            Shard {
                age_hours: (age.as_secs_f64() / 360.0).round() / 10.0,
                too_old: max_age.is_some_and(|limit| age > limit),
                ecosystem: head.ecosystem,
                as_of: head.as_of,
                imported_at: head.imported_at,
                advisories: head.advisories,
                withdrawn: head.withdrawn,
                unreadable: head.unreadable,
            }
        })
        .collect();
    if shards.is_empty() {
        ui.line("No advisories were imported: humdrum advisories import PATH");
    }
    for one in &shards {
        let unreadable = match one.unreadable {
            0 => String::new(),
            count => format!(", {count} unreadable"),
        };
        let text = format!(
            "{:<14} {:>7} in force, {} withdrawn{unreadable}; as of {}, {} h old",
            one.ecosystem, one.advisories, one.withdrawn, one.as_of, one.age_hours
        );
        ui.line(if one.too_old { ui.tone(Tone::Bad, &format!("{text}: too old")) } else { text });
    }
    ui.document(&serde_json::json!({ "shards": shards }));
    let refused = max_age.is_some() && (shards.is_empty() || shards.iter().any(|one| one.too_old));
    Ok(if refused { Exit::Refused } else { Exit::Ok })
}
