//! `humdrum registry gc`: what goes, how many bytes, and why.

use std::time::Duration;

use clap::Args;
use humdrum_registry::collect::{Collected, Fate, ITEMS_MAX, Sum};

use super::spoken;
use crate::client::Client;
use crate::commands::block_on;
use crate::exit::{Exit, Outcome};
use crate::places::Places;
use crate::ui::Ui;

/// A first collection of millions of blobs ends well within this; when it does not, it goes on at the next one.
const LONGEST: Duration = Duration::from_secs(3600);
/// Single things shown to a person; `--json` has all.
const SHOWN: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Say what would go, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Gc {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let client = Client::of(places)?;
        let done: Collected = block_on(async {
            match self.dry_run {
                true => client.get("/api/v1/garbage").await,
                false => {
                    let body = serde_json::json!({});
                    client.post_within("/api/v1/garbage/collect", &body, LONGEST).await
                }
            }
        })?;
        ui.document(&done);
        show(&done, ui);
        Ok(Exit::Ok)
    }
}

fn show(done: &Collected, ui: &Ui) {
    for item in done.items.iter().take(SHOWN) {
        let name = match &item.repository {
            Some(repository) => format!("{repository}@{}", item.what),
            None => item.what.clone(),
        };
        let word = match item.fate {
            Fate::ManifestTrashed => "trash    manifest",
            Fate::BlobTrashed => "trash    blob    ",
            Fate::Forgotten => "forget           ",
            Fate::BytesFreed => "free             ",
            Fate::UploadDropped => "drop     upload  ",
        };
        ui.line(format!("{word} {name} ({}): {}", spoken(item.bytes), item.why));
    }
    let all: u64 = sums(done).iter().map(|(_, sum)| sum.count).sum();
    let hidden = all.saturating_sub(done.items.len().min(SHOWN) as u64);
    if hidden > 0 {
        ui.line(format!("… and {hidden} more; --json lists the first {ITEMS_MAX}"));
    }
    if all == 0 {
        ui.line("There is nothing to collect.");
        return;
    }
    ui.line(if done.dry_run { "A collection would take:" } else { "Collected:" });
    for (what, sum) in sums(done).into_iter().filter(|(_, sum)| sum.count > 0) {
        ui.line(format!("  {:>6}  {:>10}  {what}", sum.count, spoken(sum.bytes)));
    }
    if done.busy > 0 {
        ui.line(format!(
            "{} blobs were about to be used by pushes; the next collection looks at them again.",
            done.busy
        ));
    }
    if done.manifests_trashed.count + done.blobs_trashed.count > 0 && !done.dry_run {
        ui.line("What is in the trash comes back with `humdrum registry restore DIGEST`.");
    }
}

fn sums(done: &Collected) -> [(&'static str, Sum); 5] {
    [
        ("manifests to the trash", done.manifests_trashed),
        ("blobs to the trash", done.blobs_trashed),
        ("forgotten: in the trash for longer than it is kept", done.forgotten),
        ("freed: no repository has them", done.bytes_freed),
        ("abandoned uploads dropped", done.uploads_dropped),
    ]
}
