//! Python projects: locked requirements installed into a folder that is a layer of its own.

use std::path::Path;

use super::{Proposal, below_app, text};

const LEFT_OUT: [&str; 14] = [
    "venv",
    "env",
    "node_modules",
    "tests",
    "test",
    "docs",
    "README.md",
    "humdrum.yaml",
    "Dockerfile",
    "LICENSE",
    "__pycache__",
    "build",
    "dist",
    "deps",
];

pub(super) fn propose(folder: &Path) -> Option<Proposal> {
    let has = |name: &str| folder.join(name).exists();
    let project: Option<toml::Value> =
        text(folder, "pyproject.toml").and_then(|text| toml::from_str(&text).ok());
    if project.is_none() && !has("requirements.txt") {
        return None;
    }
    let mut notes = Vec::new();
    let fetch = fetch(folder, project.as_ref(), &mut notes);
    let mut files = app_files(folder);
    if fetch.is_some() {
        files.push(("/app/deps".into(), "deps".into(), "deps"));
    }
    Some(Proposal {
        name: project.as_ref().and_then(name_of),
        intro: "A Python service.",
        fetch,
        files,
        runtime: Some("python3"),
        command: command(folder, &mut notes),
        env: vec![
            (
                "PYTHONPATH",
                if has("src") { "/app/deps:/app/src:/app".into() } else { "/app/deps:/app".into() },
            ),
            ("PYTHONUNBUFFERED", "1".into()),
        ],
        health: "/healthz",
        notes,
        ..Proposal::default()
    })
}

fn name_of(project: &toml::Value) -> Option<String> {
    let name = project.get("project").and_then(|p| p.get("name"));
    let poetry = project.get("tool").and_then(|t| t.get("poetry")?.get("name"));
    Some(name.or(poetry)?.as_str()?.to_owned())
}

/// Wheels are unpacked during the fetch, because only then the index can be reached. Nothing of a package runs.
const INSTALL: &str =
    "python3 -m pip install --no-compile --no-deps --only-binary :all: --target deps";

fn fetch(folder: &Path, project: Option<&toml::Value>, notes: &mut Vec<String>) -> Option<String> {
    let has = |name: &str| folder.join(name).exists();
    if let Some(requirements) = text(folder, "requirements.txt") {
        let hashed = requirements.contains("--hash=");
        if !hashed {
            notes.push(
                "requirements.txt has no hashes: `pip-compile --generate-hashes` makes the build repeatable".into(),
            );
        }
        // Without hashes the list may be incomplete, so what it needs comes along.
        return Some(if hashed {
            format!("{INSTALL} --require-hashes -r requirements.txt")
        } else {
            format!("{} -r requirements.txt", INSTALL.replace(" --no-deps", ""))
        });
    }
    if has("uv.lock") {
        return Some(format!(
            "uv export --frozen --no-dev --no-emit-project --format requirements-txt -o /tmp/locked.txt\n{INSTALL} --require-hashes -r /tmp/locked.txt"
        ));
    }
    if has("poetry.lock") {
        notes.push("poetry needs its export plugin on the build host".into());
        return Some(format!(
            "poetry export --only main -f requirements.txt -o /tmp/locked.txt\n{INSTALL} --require-hashes -r /tmp/locked.txt"
        ));
    }
    let depends = project?.get("project")?.get("dependencies")?.as_array()?;
    if depends.is_empty() {
        return None;
    }
    notes.push(
        "dependencies are not locked: add uv.lock, poetry.lock or a hashed requirements.txt".into(),
    );
    let names: Vec<_> =
        depends.iter().filter_map(|one| Some(format!("'{}'", one.as_str()?))).collect();
    Some(format!("{} {}", INSTALL.replace(" --no-deps", ""), names.join(" ")))
}

fn command(folder: &Path, notes: &mut Vec<String>) -> Vec<String> {
    let usual = ["main.py", "app.py", "server.py", "src/main.py", "manage.py"];
    if let Some(file) = usual.iter().find(|name| folder.join(name).exists()) {
        return vec!["python3".into(), format!("/app/{file}")];
    }
    for parent in [folder.to_path_buf(), folder.join("src")] {
        let entries = std::fs::read_dir(&parent).into_iter().flatten().flatten().map(|e| e.path());
        let mut found: Vec<_> = entries.filter(|path| path.join("__main__.py").exists()).collect();
        found.sort();
        if let Some(name) = found.first().and_then(|path| path.file_name()?.to_str()) {
            return vec!["python3".into(), "-m".into(), name.to_owned()];
        }
    }
    notes.push(
        "no main.py, app.py or package with __main__.py was found; check `run.command`".into(),
    );
    vec!["python3".into(), "/app/main.py".into()]
}

fn app_files(folder: &Path) -> Vec<(String, String, &'static str)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.retain(|name| !LEFT_OUT.contains(&name.as_str()) && !name.starts_with('.'));
    names.sort();
    names.iter().map(|name| below_app(name)).collect()
}
