//! `humdrum registry`: what is kept in the registry, and for how long.

mod lifecycle;

use clap::{Args, Subcommand};

use crate::exit::Outcome;
use crate::places::Places;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct Registry {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lifecycle policies in ECR's form: which images go, and why.
    Lifecycle(lifecycle::Lifecycle),
}

impl Registry {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        match self.what {
            What::Lifecycle(command) => command.run(places, ui),
        }
    }
}
