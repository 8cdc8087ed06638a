//! Go modules: the main package at the root or below `cmd/`.

use std::path::Path;

use super::{Proposal, text};

pub(super) fn propose(folder: &Path) -> Option<Proposal> {
    let module = text(folder, "go.mod")?;
    let path = module.lines().find_map(|line| line.trim().strip_prefix("module "))?.trim();
    let path = path.trim_matches('"');
    let mut parts = path.rsplit('/');
    let last = parts.next()?;
    // `example.com/shop/v2` is called `shop`.
    let versioned = last.strip_prefix('v').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let name = if versioned { parts.next().unwrap_or(last) } else { last }.to_owned();
    let (package, mut notes) = main_package(folder);
    if folder.join("vendor").is_dir() {
        notes.push("dependencies are vendored, so nothing is fetched".into());
    }
    let requires = module.lines().any(|line| line.trim_start().starts_with("require"));
    let fetch = requires && !folder.join("vendor").is_dir();
    Some(Proposal {
        name: Some(name.clone()),
        intro: "A Go service.",
        fetch: fetch.then(|| "go mod download".into()),
        run: Some(format!("go build -trimpath -o out/{name} {package}")),
        files: vec![(format!("/app/{name}"), format!("out/{name}"), "app")],
        test: Some("go test ./...".into()),
        command: vec![format!("/app/{name}")],
        health: "/healthz",
        notes,
        ..Proposal::default()
    })
}

fn main_package(folder: &Path) -> (String, Vec<String>) {
    if is_main(folder) {
        return (".".into(), vec![]);
    }
    let entries = std::fs::read_dir(folder.join("cmd")).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| is_main(&entry.path()))
        .filter_map(|entry| Some(entry.file_name().to_str()?.to_owned()))
        .collect();
    found.sort();
    match found.as_slice() {
        [] => (".".into(), vec!["no main package was found at the root or below cmd/".into()]),
        [one] => (format!("./cmd/{one}"), vec![]),
        [one, ..] => {
            let note = format!("several main packages ({}); the first was taken", found.join(", "));
            (format!("./cmd/{one}"), vec![note])
        }
    }
}

fn is_main(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let mut sources = entries.filter(|path| path.extension().is_some_and(|end| end == "go"));
    sources.any(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| line.trim() == "package main")
    })
}
