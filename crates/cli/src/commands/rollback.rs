//! `humdrum rollback [SERVICE/ENVIRONMENT]`: the former release comes back, byte for byte; the present one is held.

use clap::Args;

use crate::exit::Outcome;
use crate::places::Places;
use crate::ui::Ui;
use crate::wish::{Wish, pick};

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// Default: the only one there is.
    placement: Option<String>,
    /// For the record, and for the hold.
    #[arg(long, default_value = "no reason was given")]
    why: String,
}

impl Rollback {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let wish = Wish::new(places, ui, self.why)?;
        let placement = pick(&wish.client, self.placement, "could be rolled back", |placement| {
            placement.stable.is_some()
        })?;
        wish.send(&format!("/api/v1/placements/{placement}/rollback"))
    }
}
