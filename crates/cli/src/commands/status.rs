//! `humdrum status`: what runs where, and what happens now.

use clap::Args;
use humdrum_control::view::StatusView;
use humdrum_model::report::{counted, percent};

use super::block_on;
use crate::client::Client;
use crate::exit::{Exit, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

/// Ships that are listed.
const SHIPS: usize = 5;

#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let client = Client::of(places)?;
        let status: StatusView = block_on(client.get("/api/v1/status"))?;
        ui.document(&status);
        if status.placements.is_empty() {
            ui.line("Nothing was shipped yet. next: humdrum ship");
        }
        for placement in &status.placements {
            let address = placement.address.clone().unwrap_or_default();
            ui.line(format!(
                "{}  {}",
                ui.tone(Tone::Strong, &placement.id),
                ui.tone(Tone::Quiet, &address)
            ));
            for slot in placement.slots.iter().filter(|slot| slot.wanted > 0 || slot.weight > 0) {
                let release = slot.release.as_ref().map_or_else(String::new, |release| {
                    format!("{} commit {}", release.release, &release.commit[..10])
                });
                let problem = slot
                    .problem
                    .as_ref()
                    .map(|problem| format!("  ({problem})"))
                    .unwrap_or_default();
                ui.line(format!(
                    "  slot {}  {release}  {} of the traffic, {}/{} ready, {}{problem}",
                    slot.slot,
                    percent(slot.weight),
                    slot.ready,
                    slot.wanted,
                    counted(u64::from(slot.restarts), "restart")
                ));
            }
            if let Some(problem) = &placement.problem {
                ui.line(format!("  {}", ui.tone(Tone::Bad, problem)));
            }
            for sentence in placement.explanation.report.sentences.iter().take(2) {
                ui.line(format!("  {sentence}"));
            }
        }
        for hold in &status.holds {
            ui.line(format!(
                "{} {} by {}: {}",
                ui.tone(Tone::Bad, "held"),
                hold.subject.word(),
                hold.by,
                hold.why
            ));
        }
        for (run, why) in &status.quarantined {
            ui.line(format!("{} {run}: {why}", ui.tone(Tone::Bad, "quarantined")));
        }
        for ship in status.ships.iter().take(SHIPS) {
            let state = ship.outcome.clone().unwrap_or_else(|| ship.phase.clone());
            ui.line(format!("{}  {} @ {}  {state}", ship.id, ship.service, &ship.commit[..10]));
        }
        Ok(Exit::Ok)
    }
}
