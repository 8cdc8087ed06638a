//! `humdrum hold SUBJECT`: keeps a release, digest, service or environment from being deployed.

use clap::Args;
use humdrum_api::routes::holds::HoldWish;

use crate::exit::Outcome;
use crate::places::Places;
use crate::ui::Ui;
use crate::wish::{Wish, subject};

#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// `release:r-…`, `digest:sha256:…`, `service:NAME` or `env:NAME`.
    subject: String,
    /// Why; everybody who is stopped by it reads this.
    #[arg(long)]
    why: String,
}

impl Hold {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let subject = subject(&self.subject)?;
        let wish = Wish::new(places, ui, self.why)?;
        let body = HoldWish { subject, wish: wish.body.clone() };
        wish.send_body("/api/v1/holds", &body)
    }
}
