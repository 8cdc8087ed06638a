//! The hook before each commit: written once, recognised by its mark, and never put over somebody else's.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exit::{Exit, Failure, Outcome};
use crate::ui::Ui;

/// What makes a hook ours.
const MARK: &str = "# Written by `humdrum secrets install-hook`.";

fn script(program: &Path) -> String {
    // A quote in the path ends the quoted text, stands escaped, and begins it again.
    let program = program.display().to_string().replace('\'', r"'\''");
    format!(
        "#!/bin/sh\n{MARK}\n# A commit with a secret is refused; `git commit --no-verify` commits it nevertheless.\n\
         exec '{program}' secrets --staged\n"
    )
}

pub(super) fn install(folder: &Path, ui: &Ui) -> Outcome {
    let path = hook_path(folder)?;
    let failed = |what: &str, error: &std::io::Error| {
        Failure::new(Exit::Failed, "hook", format!("`{}` cannot be {what}", path.display()))
            .cause(error)
            .next("mend the owner and mode of the repository's hooks")
    };
    match std::fs::read_to_string(&path) {
        Ok(text) if text.contains(MARK) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        // One that is not text is not ours either.
        Ok(_) => return Err(foreign(&path)),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(foreign(&path));
        }
        Err(error) => return Err(failed("read", &error)),
    }
    let program = std::env::current_exe().map_err(|error| failed("written", &error))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed("written", &error))?;
    }
    // Renamed into place, so that a commit at this moment finds the old hook or the new one.
    let new = path.with_extension(format!("humdrum-{}", std::process::id()));
    let written = std::fs::write(&new, script(&program))
        .and_then(|()| std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::rename(&new, &path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&new);
        return Err(failed("written", &error));
    }
    ui.line(format!("{} scans what is staged before every commit", path.display()));
    ui.document(&serde_json::json!({ "hook": path }));
    Ok(Exit::Ok)
}

fn foreign(path: &Path) -> Failure {
    let what = format!("`{}` is there and was not written by humdrum", path.display());
    Failure::new(Exit::Refused, "hook-exists", what)
        .next("add the line `humdrum secrets --staged || exit 1` to it, or move it away")
}

/// Where git looks for the hook: `core.hooksPath` counts.
fn hook_path(folder: &Path) -> Result<PathBuf, Failure> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["rev-parse", "--path-format=absolute", "--git-path", "hooks/pre-commit"])
        .output()
        .map_err(|error| {
            Failure::new(Exit::Failed, "hook", "the program `git` cannot be started")
                .cause(&error)
                .next("install git")
        })?;
    if !output.status.success() {
        let what = format!("`{}` is in no git repository", folder.display());
        return Err(Failure::new(Exit::BadInput, "not-a-repository", what).next("git init"));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n')))
}
