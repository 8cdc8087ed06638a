//! `humdrum explain [WHAT]`: why it waits, was refused, or went back: cause, numbers, next command.

use clap::Args;
use humdrum_api::routes::explain::Why;
use humdrum_model::gate::GateResult;

use super::block_on;
use super::gate::show;
use crate::client::Client;
use crate::exit::{Exit, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// `last`, a ship, a deployment, service/environment, a service or an environment.
    #[arg(default_value = "last")]
    what: String,
}

impl Explain {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let client = Client::of(places)?;
        let why: Why = block_on(client.get(&format!("/api/v1/explain/{}", self.what)))?;
        ui.document(&why);
        ui.line(format!(
            "{}: {}",
            ui.tone(Tone::Strong, &why.subject),
            why.state.replace('_', " ")
        ));
        why.sentences.iter().for_each(|sentence| ui.line(sentence));
        if let Some(ended) = &why.ended {
            let told = |gate: &&GateResult| !gate.passed || gate.waived.is_some() || gate.reported;
            let told: Vec<_> = ended.gates.iter().filter(told).cloned().collect();
            show(&told, *ui);
        }
        if let Some(next) = &why.next {
            ui.line(format!("next: {next}"));
        }
        Ok(Exit::Ok)
    }
}
