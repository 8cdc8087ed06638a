//! What commands read of a repository: the folder, the commit, its manifest. Nothing here changes anything.

use std::path::{Path, PathBuf};

use humdrum_build::repo::{CommitFacts, Repo, RepoError};
use humdrum_model::manifest::{FILE_NAME, Manifest, Parsed, Problem};

use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// A folder of a repository.
pub(crate) struct Source {
    pub(crate) repo: Repo,
    /// The folder as it was given.
    pub(crate) folder: PathBuf,
    /// The folder relative to the repository's root; empty at the root.
    pub(crate) below_root: PathBuf,
}

impl Source {
    /// Opens the repository that holds the folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let real = real_folder(folder)?;
        let repo = Repo::open(&real).map_err(|error| unreadable(&error, folder))?;
        let root = real.ancestors().find(|parent| parent.join(".git").exists());
        let below_root =
            root.and_then(|root| real.strip_prefix(root).ok()).unwrap_or(Path::new(""));
        Ok(Self { repo, folder: folder.to_owned(), below_root: below_root.to_owned() })
    }

    /// The commit that a name means now.
    pub(crate) fn commit(&self, name: &str) -> Result<CommitFacts, Failure> {
        self.repo.resolve(name).map_err(|error| unreadable(&error, &self.folder))
    }

    /// The manifest's path in the repository.
    pub(crate) fn manifest_path(&self) -> String {
        self.below_root.join(FILE_NAME).display().to_string()
    }

    /// The manifest's text at a commit.
    pub(crate) fn manifest_text(&self, facts: &CommitFacts) -> Result<String, Failure> {
        let path = self.manifest_path();
        match self.repo.read_file(&facts.commit, &path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(RepoError::NoFile { .. }) => {
                let what = format!("commit {} has no `{path}`", facts.commit.short());
                let there = self.folder.join(FILE_NAME).exists();
                let next = if there {
                    format!("git add {FILE_NAME} && git commit -m \"Add {FILE_NAME}\"")
                } else {
                    "humdrum init".into()
                };
                Err(Failure::new(Exit::BadInput, "manifest-missing", what).next(next))
            }
            Err(error) => Err(unreadable(&error, &self.folder)),
        }
    }
}

/// The manifest's path as people say it: no `./` before what is here.
pub(crate) fn manifest_path(folder: &Path) -> PathBuf {
    if folder == Path::new(".") { FILE_NAME.into() } else { folder.join(FILE_NAME) }
}

/// The folder itself, or that it is none.
pub(crate) fn real_folder(folder: &Path) -> Result<PathBuf, Failure> {
    let none = || {
        Failure::new(
            Exit::BadInput,
            "folder",
            format!("`{}` is not a folder that can be read", folder.display()),
        )
        .next("name a folder that exists")
    };
    let real = folder.canonicalize().map_err(|error| none().cause(&error))?;
    if real.is_dir() { Ok(real) } else { Err(none()) }
}

/// Why a repository or a commit cannot be read, with the way out.
fn unreadable(error: &RepoError, folder: &Path) -> Failure {
    let bad = |code: &str, what: String| Failure::new(Exit::BadInput, code, what);
    match error {
        RepoError::NotARepository { .. } => {
            bad("not-a-repository", format!("`{}` is not in a git repository", folder.display()))
                .next("git init && git add . && git commit -m \"First commit\"")
        }
        RepoError::NoCommit { name, .. } if name == "HEAD" => {
            bad("unknown-ref", "the repository has no commit yet".into())
                .next("git add . && git commit -m \"First commit\"")
        }
        RepoError::NoCommit { name, .. } => {
            bad("unknown-ref", format!("`{name}` names no commit of this repository"))
                .next("git log --oneline --all")
        }
        RepoError::NoGit(source) => {
            Failure::new(Exit::Failed, "no-git", "the program `git` cannot be started")
                .cause(source)
                .next("humdrum doctor")
        }
        other => bad("repository", "the repository cannot be read".into()).cause(other),
    }
}

/// Reads a manifest's text. What is wrong is shown with its place in the file: carets for people, a line each with `--json`.
pub(crate) fn parse(name: &str, text: &str, ui: &Ui) -> Result<Parsed, Failure> {
    Manifest::parse_with_warnings(text).map_err(|problems| broken(name, text, &problems, ui))
}

fn broken(name: &str, text: &str, problems: &[Problem], ui: &Ui) -> Failure {
    let counted = if problems.len() == 1 {
        "a problem".into()
    } else {
        format!("{} problems", problems.len())
    };
    let mut failure = Failure::new(Exit::BadInput, "manifest", format!("{name} has {counted}"));
    for problem in problems {
        if ui.json {
            let hint =
                problem.hint.as_ref().map(|hint| format!(" (help: {hint})")).unwrap_or_default();
            failure = failure.why(format!(
                "{name}:{}:{}: {}: {}{hint}",
                problem.line, problem.column, problem.code, problem.message
            ));
        } else {
            ui.remark(problem.render(name, text));
        }
    }
    if let Some(first) = problems.first() {
        failure = failure.at(format!("{name}:{}:{}", first.line, first.column));
    }
    failure.next(format!("mend {name}; every key is described in docs/manifest.md"))
}
