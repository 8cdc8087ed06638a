//! `humdrum waivers [list|revoke ID]`: exceptions in force.

use clap::{Args, Subcommand};
use humdrum_model::waiver::Waiver;

use super::block_on;
use crate::client::Client;
use crate::exit::{Exit, Outcome};
use crate::places::Places;
use crate::ui::Ui;
use crate::wish::Wish;

#[derive(Debug, Args)]
pub(crate) struct Waivers {
    #[command(subcommand)]
    command: Option<WaiversCommand>,
}

#[derive(Debug, Subcommand)]
enum WaiversCommand {
    /// Those in force.
    List,
    /// End one before its time.
    Revoke {
        /// `w-1` …
        id: String,
        /// For the record.
        #[arg(long, default_value = "")]
        why: String,
    },
}

impl Waivers {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        match self.command {
            Some(WaiversCommand::Revoke { id, why }) => {
                let wish = Wish::new(places, ui, why)?;
                wish.send(&format!("/api/v1/waivers/{id}/revoke"))
            }
            Some(WaiversCommand::List) | None => list(places, *ui),
        }
    }
}

fn list(places: &Places, ui: Ui) -> Outcome {
    let client = Client::of(places)?;
    let waivers: Vec<Waiver> = block_on(client.get("/api/v1/waivers"))?;
    ui.document(&waivers);
    if waivers.is_empty() {
        ui.line("No waiver is in force.");
    }
    for waiver in &waivers {
        ui.line(format!(
            "{:<6} {} for {}, until {}, by {}: {}",
            waiver.id,
            waiver.subject,
            waiver.scope(),
            waiver.until.strftime("%F %T UTC"),
            waiver.owner,
            waiver.reason
        ));
    }
    Ok(Exit::Ok)
}
