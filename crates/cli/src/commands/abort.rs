//! `humdrum abort [WHAT]`: ends a rollout or a ship; its traffic goes to 0 % first.

use clap::Args;

use crate::exit::Outcome;
use crate::places::Places;
use crate::ui::Ui;
use crate::wish::{Wish, pick};

#[derive(Debug, Args)]
pub(crate) struct Abort {
    /// A ship, or service/environment; default: the one under way.
    what: Option<String>,
    /// For the record.
    #[arg(long, default_value = "no reason was given")]
    why: String,
}

impl Abort {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let wish = Wish::new(places, ui, self.why)?;
        if let Some(ship) = self.what.as_ref().filter(|what| what.starts_with("s-")) {
            return wish.send(&format!("/api/v1/ships/{ship}/abort"));
        }
        let placement = pick(&wish.client, self.what, "has a rollout under way", |placement| {
            placement.rollout.is_some()
        })?;
        wish.send(&format!("/api/v1/placements/{placement}/abort"))
    }
}
