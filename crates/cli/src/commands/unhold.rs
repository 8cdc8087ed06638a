//! `humdrum unhold SUBJECT`: lifts a hold.

use clap::Args;
use humdrum_api::routes::holds::HoldWish;

use crate::exit::Outcome;
use crate::places::Places;
use crate::ui::Ui;
use crate::wish::{Wish, subject};

#[derive(Debug, Args)]
pub(crate) struct Unhold {
    /// As `humdrum status` prints it: `release:r-…`, `digest:sha256:…`, `service:NAME` or `env:NAME`.
    subject: String,
    /// For the record.
    #[arg(long, default_value = "")]
    why: String,
}

impl Unhold {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let subject = subject(&self.subject)?;
        let wish = Wish::new(places, ui, self.why)?;
        let body = HoldWish { subject, wish: wish.body.clone() };
        wish.send_body("/api/v1/holds/lift", &body)
    }
}
