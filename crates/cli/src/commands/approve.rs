//! `humdrum approve [SERVICE/ENVIRONMENT]`: lets a waiting rollout go on.

use clap::Args;

use crate::exit::Outcome;
use crate::places::Places;
use crate::ui::Ui;
use crate::wish::{Wish, pick};

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Default: the one that waits for a person.
    placement: Option<String>,
    /// For the record.
    #[arg(long, default_value = "")]
    why: String,
}

impl Approve {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let waiting = |placement: &humdrum_control::view::PlacementView| {
            use humdrum_model::rollout::WaitKind;
            matches!(placement.explanation.waits_for, WaitKind::Approval | WaitKind::Person)
        };
        let wish = Wish::new(places, ui, self.why)?;
        let placement = pick(&wish.client, self.placement, "waits for a person", waiting)?;
        wish.send(&format!("/api/v1/placements/{placement}/approve"))
    }
}
