//! `humdrum registry trash` and `restore DIGEST`.

use clap::Args;
use humdrum_api::routes::garbage::RestoreWish;
use humdrum_registry::collect::{TrashItem, Undone};

use super::spoken;
use crate::client::Client;
use crate::commands::{block_on, me};
use crate::exit::{Exit, Outcome};
use crate::places::Places;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct Trash {}

impl Trash {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let client = Client::of(places)?;
        let things: Vec<TrashItem> = block_on(client.get("/api/v1/garbage/trash"))?;
        ui.document(&things);
        for thing in &things {
            let kind = if thing.manifest { "manifest" } else { "blob" };
            let tags = match thing.tags.as_slice() {
                [] => String::new(),
                tags => format!(", was tagged {}", tags.join(", ")),
            };
            let at = jiff::Timestamp::from_millisecond(thing.trashed_ms).unwrap_or_default();
            ui.line(format!(
                "{at:.0} {kind:8} {}@{} ({}): {}{tags}",
                thing.repository,
                thing.digest,
                spoken(thing.bytes),
                thing.reason
            ));
        }
        if things.is_empty() {
            ui.line("The trash is empty.");
        }
        Ok(Exit::Ok)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// As `humdrum registry trash` lists it: `sha256:…`.
    digest: String,
    /// Only in this repository; else wherever it was deleted or collected.
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

impl Restore {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let client = Client::of(places)?;
        let wish = RestoreWish { digest: self.digest, repository: self.repository, by: me() };
        let done: Undone = block_on(client.post("/api/v1/garbage/restore", &wish))?;
        ui.document(&done);
        let lists = [("manifest", &done.manifests), ("blob", &done.blobs), ("tag", &done.tags)];
        for (kind, list) in lists {
            list.iter().for_each(|name| ui.line(format!("restored {kind:8} {name}")));
        }
        for tag in &done.taken {
            ui.line(format!("kept     tag      {tag} names something else by now"));
        }
        Ok(Exit::Ok)
    }
}
