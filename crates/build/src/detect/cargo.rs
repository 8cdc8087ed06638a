//! Cargo projects: one binary, locked dependencies.

use std::path::Path;

use super::{Proposal, text};

pub(super) fn propose(folder: &Path) -> Option<Proposal> {
    let manifest: toml::Value = toml::from_str(&text(folder, "Cargo.toml")?).ok()?;
    let mut notes = Vec::new();
    let (package, binary) = match binaries(folder, &manifest) {
        found if found.is_empty() => {
            notes.push(
                "no binary was found in Cargo.toml; name it in `build.files` and `run.command`"
                    .into(),
            );
            let name = name_of(&manifest).unwrap_or_else(|| "service".into());
            (name.clone(), name)
        }
        found => {
            if found.len() > 1 {
                let names: Vec<_> = found.iter().map(|(_, name)| name.as_str()).collect();
                notes.push(format!("several binaries ({}); the first was taken", names.join(", ")));
            }
            found.into_iter().next()?
        }
    };
    let locked = folder.join("Cargo.lock").exists();
    if !locked {
        notes.push("there is no Cargo.lock: run `cargo generate-lockfile` and commit it".into());
    }
    Some(Proposal {
        name: Some(package),
        intro: "A Rust service.",
        fetch: Some("cargo fetch --locked".into()),
        run: Some(format!("cargo build --release --locked --offline --bin {binary}")),
        files: vec![(format!("/app/{binary}"), format!("target/release/{binary}"), "app")],
        test: Some("cargo test --locked --offline".into()),
        command: vec![format!("/app/{binary}")],
        health: "/healthz",
        notes,
        ..Proposal::default()
    })
}

fn name_of(manifest: &toml::Value) -> Option<String> {
    Some(manifest.get("package")?.get("name")?.as_str()?.to_owned())
}

/// Package and binary names: of the root package, else of the workspace's members.
fn binaries(folder: &Path, manifest: &toml::Value) -> Vec<(String, String)> {
    let own = own_binaries(folder, manifest);
    if !own.is_empty() {
        return own;
    }
    let members = manifest.get("workspace").and_then(|w| w.get("members")?.as_array().cloned());
    let mut found = Vec::new();
    for member in members.into_iter().flatten().filter_map(|m| Some(m.as_str()?.to_owned())) {
        for path in member_folders(folder, &member) {
            let inner = text(&path, "Cargo.toml").and_then(|text| toml::from_str(&text).ok());
            found.extend(inner.map(|inner| own_binaries(&path, &inner)).unwrap_or_default());
        }
    }
    found
}

/// `crates/*` or `tools/one`.
fn member_folders(folder: &Path, member: &str) -> Vec<std::path::PathBuf> {
    let Some(parent) = member.strip_suffix("/*") else { return vec![folder.join(member)] };
    let entries = std::fs::read_dir(folder.join(parent)).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.map(|e| e.path()).filter(|p| p.join("Cargo.toml").exists()).collect();
    found.sort();
    found
}

/// Cargo's own rules: `default-run`, `[[bin]]`, `src/main.rs`, `src/bin/*.rs`.
fn own_binaries(folder: &Path, manifest: &toml::Value) -> Vec<(String, String)> {
    let Some(package) = name_of(manifest) else { return vec![] };
    let mut names = Vec::new();
    let mut add = |name: &str| {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    if let Some(name) = manifest["package"].get("default-run").and_then(|name| name.as_str()) {
        add(name);
    }
    let declared = manifest.get("bin").and_then(|bins| bins.as_array()).into_iter().flatten();
    declared.filter_map(|bin| bin.get("name")?.as_str()).for_each(&mut add);
    if folder.join("src/main.rs").exists() {
        add(&package);
    }
    let entries = std::fs::read_dir(folder.join("src/bin")).into_iter().flatten().flatten();
    let mut more: Vec<_> =
        entries.filter_map(|e| Some(e.path().file_stem()?.to_str()?.to_owned())).collect();
    more.sort();
    more.iter().for_each(|name| add(name));
    names.into_iter().map(|name| (package.clone(), name)).collect()
}
