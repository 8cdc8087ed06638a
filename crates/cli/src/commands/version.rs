//! `humdrum version`: which program this is.

use clap::Args;
use serde_json::json;

use crate::exit::{Exit, Outcome};
use crate::places::Places;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(self, _places: &Places, ui: &Ui) -> Outcome {
        let version = env!("CARGO_PKG_VERSION");
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        ui.line(format!("humdrum {version} ({target})"));
        ui.document(&json!({ "name": "humdrum", "version": version, "target": target }));
        Ok(Exit::Ok)
    }
}
