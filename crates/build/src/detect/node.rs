//! Node.js projects: `npm ci`, a build script when there is one, `node_modules` in a layer of its own.

use std::path::Path;

use super::{Proposal, below_app, text};

/// Files and folders of a service that are never needed to run it.
const LEFT_OUT: [&str; 12] = [
    "node_modules",
    ".git",
    ".github",
    ".gitignore",
    "test",
    "tests",
    "docs",
    "README.md",
    "humdrum.yaml",
    "Dockerfile",
    ".dockerignore",
    "LICENSE",
];

pub(super) fn propose(folder: &Path) -> Option<Proposal> {
    let package: serde_json::Value = serde_json::from_str(&text(folder, "package.json")?).ok()?;
    let mut notes = Vec::new();
    let locked =
        ["package-lock.json", "npm-shrinkwrap.json"].iter().any(|f| folder.join(f).exists());
    let has = |kind: &str| package[kind].as_object().is_some_and(|all| !all.is_empty());
    let depends = has("dependencies") || has("devDependencies");
    if depends && !locked {
        notes.push("there is no package-lock.json: run `npm install` and commit it".into());
    }
    let script = |name: &str| package["scripts"][name].as_str().filter(|s| !s.is_empty());
    let build = script("build").is_some();
    let mut run = build.then(|| "npm run build".to_owned());
    if has("devDependencies") {
        // What only the build needed does not go into the image; nothing is downloaded for it.
        let prune = "npm prune --omit=dev --ignore-scripts";
        run = Some(run.map_or(prune.to_owned(), |run| format!("{run}\n{prune}")));
    }
    let mut files = app_files(folder, build);
    if has("dependencies") {
        files.push(("/app/node_modules".into(), "node_modules".into(), "modules"));
    }
    Some(Proposal {
        name: package["name"]
            .as_str()
            .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()),
        intro: "A Node.js service.",
        fetch: depends.then(|| "npm ci --ignore-scripts".into()),
        run,
        files,
        runtime: Some("node"),
        // Tests after `npm prune` would miss their own tools.
        test: script("test")
            .filter(|t| !t.contains("no test specified") && !has("devDependencies"))
            .map(|_| "npm test".into()),
        command: command(folder, &package, script("start"), &mut notes),
        env: vec![("NODE_ENV", "production".into())],
        health: "/healthz",
        notes,
    })
}

/// `node FILE …` of the start script, else `main`, else the usual names.
fn command(
    folder: &Path,
    package: &serde_json::Value,
    start: Option<&str>,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let simple = start
        .and_then(|start| start.strip_prefix("node "))
        .filter(|rest| !rest.contains(['&', '|', ';', '$', '>', '<', '"', '\'']));
    if let Some(rest) = simple {
        let words = rest.split_whitespace().map(|word| {
            let plain = word.trim_start_matches("./");
            let is_file =
                !word.starts_with('-') && (plain.contains('.') || folder.join(plain).exists());
            if is_file { format!("/app/{plain}") } else { word.to_owned() }
        });
        return std::iter::once("node".to_owned()).chain(words).collect();
    }
    if let Some(start) = start {
        notes.push(format!(
            "the start script `{start}` is no plain `node FILE`; check `run.command`"
        ));
    }
    let main = package["main"].as_str().map(|main| main.trim_start_matches("./").to_owned());
    let usual = ["server.js", "index.js", "app.js", "src/index.js", "server.mjs", "index.mjs"];
    let found = usual.iter().find(|name| folder.join(name).exists()).map(|name| (*name).to_owned());
    let file = main.or(found).unwrap_or_else(|| "index.js".into());
    vec!["node".into(), format!("/app/{file}")]
}

fn app_files(folder: &Path, build: bool) -> Vec<(String, String, &'static str)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.retain(|name| !LEFT_OUT.contains(&name.as_str()) && !name.starts_with('.'));
    let outputs = ["dist", "build", "out", ".next"];
    if build && !names.iter().any(|name| outputs.contains(&name.as_str())) {
        names.push("dist".into());
    }
    names.sort();
    names.iter().map(|name| below_app(name)).collect()
}
