//! `humdrum doctor`: what this machine, this installation and this folder can do, and the command that mends what they cannot.

mod installation;
mod machine;
mod project;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::build::source::real_folder;
use crate::exit::{Exit, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Folder of a service, whose manifest and language are looked at too.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, and could be better.
    Warn,
    /// Without it, something that was asked for cannot be done.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: String,
    state: State,
    /// What was found.
    found: String,
    /// The command or change that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// What works all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<String>,
}

impl Check {
    fn new(name: &str, state: State, found: impl Into<String>) -> Self {
        Self { name: name.into(), state, found: found.into(), fix: None, without: None }
    }

    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found)
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    fn without(mut self, without: impl Into<String>) -> Self {
        self.without = Some(without.into());
        self
    }
}

#[derive(Debug, Serialize)]
struct Report {
    healthy: bool,
    /// The highest SLSA build level that builds here may claim.
    slsa_build_level: u8,
    checks: Vec<Check>,
}

impl Doctor {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let folder = real_folder(&self.folder)?;
        let mut checks = machine::checks(places);
        checks.extend(installation::checks(places));
        checks.extend(project::checks(places, &folder));
        let report = Report {
            healthy: checks.iter().all(|check| check.state != State::Missing),
            slsa_build_level: installation::MODE.slsa_level(),
            checks,
        };
        show(&report, ui);
        ui.document(&report);
        Ok(if report.healthy { Exit::Ok } else { Exit::Failed })
    }
}

fn show(report: &Report, ui: &Ui) {
    let wide = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &report.checks {
        let (word, tone) = match check.state {
            State::Ok => ("ok     ", Tone::Good),
            State::Warn => ("warn   ", Tone::Strong),
            State::Missing => ("missing", Tone::Bad),
        };
        ui.line(format!("{}  {:<wide$}  {}", ui.tone(tone, word), check.name, check.found));
        let indent = " ".repeat(wide + 11);
        if let Some(fix) = &check.fix {
            ui.line(format!("{indent}mend:    {fix}"));
        }
        if let Some(without) = &check.without {
            ui.line(format!("{indent}without: {without}"));
        }
    }
    let count = |state| report.checks.iter().filter(|check| check.state == state).count();
    ui.line("");
    ui.line(format!(
        "{} ok, {} could be better, {} missing",
        count(State::Ok),
        count(State::Warn),
        count(State::Missing)
    ));
}
