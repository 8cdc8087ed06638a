//! `humdrum settings`: the environments of the installation and who may do what in them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use humdrum_api::routes::settings::Apply;
use humdrum_model::manifest::Problem;
use humdrum_model::settings::{self, Settings as Model};
use serde_json::{Value, json};

use super::{block_on, me};
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct Settings {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the settings in force.
    Show,
    /// Read a settings file as the server would; changes nothing.
    Check {
        /// The settings file.
        file: PathBuf,
    },
    /// Put a settings file in force, without a restart; who did is recorded.
    Apply {
        /// The settings file.
        file: PathBuf,
    },
}

impl Settings {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        match self.what {
            What::Show => show(places, ui),
            What::Check { file } => {
                let (_, settings) = read(&file, ui)?;
                ui.document(&json!({ "settings": settings }));
                ui.line(format!("{} may be used", file.display()));
                Ok(Exit::Ok)
            }
            What::Apply { file } => {
                let (text, _) = read(&file, ui)?;
                let body = Apply { text, by: me() };
                let answer: Value = block_on(Client::of(places)?.post("/api/v1/settings", &body))?;
                ui.document(&answer);
                ui.line("the settings are in force");
                Ok(Exit::Ok)
            }
        }
    }
}

fn show(places: &Places, ui: &Ui) -> Outcome {
    let settings: Model = block_on(Client::of(places)?.get("/api/v1/settings"))?;
    ui.document(&settings);
    if settings == Model::default() {
        ui.line("no settings are in force: only this installation's token has rights");
        return Ok(Exit::Ok);
    }
    let list = |names: &[settings::PrincipalName]| match names {
        [] => "nobody".to_owned(),
        names => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    for (name, access) in &settings.repositories {
        let (read, write, admin) = (list(&access.read), list(&access.write), list(&access.admin));
        ui.line(format!("{name}: read {read}; write {write}; admin {admin}"));
    }
    for (name, environment) in &settings.environments {
        let kept = environment.retention.map_or("for ever".into(), |kept| kept.to_string());
        let tags = if settings.is_immutable(name) { "immutable" } else { "movable" };
        let host = environment.docker_registry.as_deref().unwrap_or("no name of its own");
        ui.line(format!("{name}: registry {host}; kept {kept}; tags {tags}"));
    }
    Ok(Exit::Ok)
}

/// Reads and checks; what is wrong is shown with its place in the file.
fn read(file: &Path, ui: &Ui) -> Result<(String, Model), Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(Exit::BadInput, "file", format!("`{name}` cannot be read")).cause(&error)
    })?;
    match Model::parse(&text) {
        Ok(parsed) => {
            parsed.warnings.iter().for_each(|warning| ui.remark(warning.render(&name, &text)));
            Ok((text, parsed.settings))
        }
        Err(problems) => Err(broken(&name, &text, &problems, ui)),
    }
}

/// Settings that may not be used, told as the manifest's problems are: carets for people, a line each with `--json`.
pub(crate) fn broken(name: &str, text: &str, problems: &[Problem], ui: &Ui) -> Failure {
    let counted = if problems.len() == 1 {
        "a problem".into()
    } else {
        format!("{} problems", problems.len())
    };
    let mut failure = Failure::new(Exit::BadInput, "settings", format!("{name} has {counted}"));
    for problem in problems {
        if ui.json {
            let hint = problem.hint.as_ref().map(|hint| format!(" (help: {hint})"));
            let (code, message) = (problem.code, &problem.message);
            let place = format!("{name}:{}:{}", problem.line, problem.column);
            failure =
                failure.why(format!("{place}: {code}: {message}{}", hint.unwrap_or_default()));
        } else {
            ui.remark(problem.render(name, text));
        }
    }
    if let Some(first) = problems.first() {
        failure = failure.at(format!("{name}:{}:{}", first.line, first.column));
    }
    failure.next(format!("mend {name}; every key is described in docs/settings.md"))
}
