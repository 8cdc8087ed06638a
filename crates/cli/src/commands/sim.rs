//! `humdrum sim`.

use clap::Args;

use crate::exit::{Exit, Outcome};
use crate::places::Places;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct Sim {}

impl Sim {
    pub(crate) fn run(self, _places: &Places, _ui: &Ui) -> Outcome {
        Ok(Exit::Ok)
    }
}
