//! `humdrum init`: looks at a folder and writes a commented manifest. It never overwrites and changes nothing else.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use humdrum_build::detect::{Kind, detect};
use humdrum_build::repo::Repo;
use humdrum_model::manifest::{FILE_NAME, Manifest};
use serde::Serialize;

use super::build::source::{manifest_path, real_folder};
use crate::exit::{Exit, Failure, Outcome};
use crate::places::{Places, unusable};
use crate::ui::{Tone, Ui};

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Folder of the service.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Do not ask, even where nothing known was found.
    #[arg(long, short)]
    yes: bool,
}

/// What was found and written.
#[derive(Debug, Serialize)]
struct Written {
    manifest: PathBuf,
    kind: &'static str,
    service: String,
    repository: bool,
    /// What a person should look at.
    notes: Vec<String>,
    next: Vec<String>,
}

impl Init {
    pub(crate) fn run(self, _places: &Places, ui: &Ui) -> Outcome {
        let folder = real_folder(&self.folder)?;
        let path = manifest_path(&self.folder);
        if path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
        let found = detect(&folder);
        let manifest = Manifest::parse(&found.manifest).map_err(|problems| {
            let why = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
            Failure::new(
                Exit::Failed,
                "bug",
                "the proposed manifest is not valid; this is a mistake in humdrum",
            )
            .why(why)
        })?;
        if found.kind == Kind::Unknown && !self.yes && !wanted(ui) {
            ui.line("Nothing was written.");
            return Ok(Exit::Ok);
        }
        write(&path, &found.manifest)?;
        let repository = Repo::open(&folder).is_ok();
        let written = Written {
            kind: word(found.kind),
            service: manifest.service.to_string(),
            repository,
            notes: notes(found.notes, &manifest),
            next: next(&self.folder, repository),
            manifest: path,
        };
        show(&written, ui);
        ui.document(&written);
        Ok(Exit::Ok)
    }
}

/// A form full of guesses is not written behind somebody's back.
fn wanted(ui: &Ui) -> bool {
    let asked = std::io::stdin().is_terminal() && !ui.json && std::io::stdout().is_terminal();
    if !asked {
        return true;
    }
    ui.remark("Nothing known was found here (Cargo, Node, Python, Go, static site). Write a form to fill in? [Y/n]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && !answer.trim().to_ascii_lowercase().starts_with('n')
}

fn exists(path: &Path) -> Failure {
    let what = format!("`{}` exists already, and init never overwrites", path.display());
    Failure::new(Exit::BadInput, "manifest-exists", what).next("humdrum plan")
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    // Made anew or not at all: somebody else may write the same name between the look and this.
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => unusable(path, &error),
    })
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Cargo => "cargo",
        Kind::Node => "node",
        Kind::Python => "python",
        Kind::Go => "go",
        Kind::Site => "site",
        Kind::Unknown => "unknown",
    }
}

fn words(kind: &str) -> &'static str {
    match kind {
        "cargo" => "a Cargo project",
        "node" => "a Node.js project",
        "python" => "a Python project",
        "go" => "a Go module",
        "site" => "a static site",
        _ => "nothing known",
    }
}

/// What no look at the files can tell comes after what the look found.
fn notes(mut notes: Vec<String>, manifest: &Manifest) -> Vec<String> {
    notes.push("`owner`: who is asked when something is wrong".into());
    notes.push("`run.command`: the program must listen on 127.0.0.1 at the port in $PORT".into());
    if let Some(path) = &manifest.run.health.path {
        notes.push(format!("`run.health`: `{path}` must answer 200 when the service is ready; leave the key out where an open port is enough"));
        if !manifest.smoke.is_empty() {
            notes.push(format!("`smoke`: what every release must answer before it gets traffic; now `{path}` with 200"));
        }
    }
    notes
}

fn next(folder: &Path, repository: bool) -> Vec<String> {
    let here = folder == Path::new(".");
    let place = if here { String::new() } else { format!(" {}", folder.display()) };
    let mut next = vec![format!("humdrum plan{place}")];
    if !here {
        next.push(format!("cd {}", folder.display()));
    }
    if repository {
        next.push(format!("git add {FILE_NAME} && git commit -m \"Ship with Humdrum\""));
    } else {
        next.push("git init && git add . && git commit -m \"First commit\"".into());
    }
    next.push("humdrum ship".into());
    next
}

fn show(written: &Written, ui: &Ui) {
    ui.line(format!("Found    {}: service `{}`", words(written.kind), written.service));
    ui.line(format!("Wrote    {}", written.manifest.display()));
    ui.line("Look at");
    for note in &written.notes {
        ui.line(format!("  - {note}"));
    }
    if !written.repository {
        ui.line(
            "This folder is in no git repository. Humdrum ships commits: `git init` comes first.",
        );
    }
    ui.line("Next");
    for command in &written.next {
        ui.line(format!("  {}", ui.tone(Tone::Strong, command)));
    }
}
