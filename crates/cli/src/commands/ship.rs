//! `humdrum ship [REF]`: a commit of this repository through all environments.

mod forecast;

use std::path::PathBuf;

use clap::Args;
use humdrum_build::repo::Repo;
use humdrum_control::view::ShipView;
use humdrum_model::manifest::{FILE_NAME, Manifest};
use humdrum_model::ship::ShipRequest;

use super::watch::{Follow, follow_ship};
use super::{block_on, me};
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct Ship {
    /// Commit, branch or tag.
    #[arg(default_value = "HEAD", value_name = "REF")]
    reference: String,
    /// Folder of the repository, or of the manifest inside it.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Return as soon as it is accepted.
    #[arg(long)]
    no_wait: bool,
    /// Stop waiting after this (`90s`, `10m`); the release goes on.
    #[arg(long, value_parser = super::watch::duration)]
    timeout: Option<std::time::Duration>,
}

impl Ship {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let (request, manifest) = read(&self.dir, &self.reference)?;
        let client = Client::of(places)?;
        let ship: ShipView = block_on(client.post("/api/v1/ships", &request))?;
        ui.line(format!(
            "{} commit {} of {} ({})",
            ship.id,
            &ship.commit[..10],
            ship.service,
            request.reference
        ));
        forecast::tell(&block_on(forecast::forecasts(&client, &manifest)), ui);
        if self.no_wait {
            ui.document(&ship);
            ui.line(format!("Accepted. Follow it: humdrum watch {}", ship.id));
            return Ok(Exit::Ok);
        }
        block_on(follow_ship(&client, &ship.id, ui, &Follow { timeout: self.timeout }))
    }
}

/// What is asked of control: the repository, the full commit, and the service that the commit's manifest names.
pub(crate) fn request(dir: &std::path::Path, reference: &str) -> Result<ShipRequest, Failure> {
    read(dir, reference).map(|(request, _)| request)
}

/// The request with the manifest of its commit.
fn read(dir: &std::path::Path, reference: &str) -> Result<(ShipRequest, Manifest), Failure> {
    let dir = std::fs::canonicalize(dir).map_err(|error| {
        Failure::new(Exit::BadInput, "folder", format!("`{}` cannot be read", dir.display()))
            .cause(&error)
    })?;
    let root = top(&dir)?;
    let folder = dir.strip_prefix(&root).unwrap_or(std::path::Path::new("")).display().to_string();
    let repo = Repo::open(&root).map_err(|error| {
        Failure::new(
            Exit::BadInput,
            "not-a-repository",
            format!("`{}` is not a git repository that can be read", root.display()),
        )
        .cause(&error)
        .next("git init && git add . && git commit")
    })?;
    let facts = repo.resolve(reference).map_err(|error| {
        Failure::new(Exit::BadInput, "unknown-ref", format!("`{reference}` names no commit here"))
            .cause(&error)
            .at(root.display().to_string())
            .next("git log --oneline")
    })?;
    let path = std::path::Path::new(&folder).join(FILE_NAME).display().to_string();
    let bytes = repo.read_file(&facts.commit, &path).map_err(|error| {
        let hint = if dir.join(FILE_NAME).exists() {
            format!("git add {FILE_NAME} && git commit")
        } else {
            "humdrum init".into()
        };
        Failure::new(
            Exit::BadInput,
            "manifest-missing",
            format!("commit {} has no {path}", facts.commit.short()),
        )
        .cause(&error)
        .next(hint)
    })?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let manifest = Manifest::parse(&text).map_err(|problems| {
        let mut failure = Failure::new(
            Exit::BadInput,
            "manifest",
            format!(
                "the manifest of commit {} has {}",
                facts.commit.short(),
                match problems.len() {
                    1 => "a problem".into(),
                    many => format!("{many} problems"),
                }
            ),
        );
        for problem in &problems {
            failure = failure.why(problem.render(&path, &text));
        }
        let first =
            problems.first().map(|problem| format!("{path}:{}:{}", problem.line, problem.column));
        failure.at(first.unwrap_or(path.clone())).next("humdrum plan")
    })?;
    if repo.is_dirty().unwrap_or(false) {
        Ui::new(false).remark(format!(
            "The working tree has changes that are not part of commit {}; they are not shipped.",
            facts.commit.short()
        ));
    }
    let request = ShipRequest {
        service: manifest.service.clone(),
        repository: root.display().to_string(),
        folder,
        commit: facts.commit,
        reference: reference.into(),
        by: me(),
    };
    Ok((request, manifest))
}

/// The top folder of the work tree that a folder is in.
pub(crate) fn top(dir: &std::path::Path) -> Result<PathBuf, Failure> {
    let mut folder = Some(dir);
    while let Some(here) = folder {
        if here.join(".git").exists() {
            return Ok(here.to_owned());
        }
        folder = here.parent();
    }
    Err(Failure::new(
        Exit::BadInput,
        "not-a-repository",
        format!("`{}` is in no git repository", dir.display()),
    )
    .next("git init && git add . && git commit"))
}
