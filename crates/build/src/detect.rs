//! Looks at a folder and proposes a manifest for `humdrum init`. It reads a few files at the root and runs nothing.

mod cargo;
mod go;
mod node;
mod python;
mod site;

use std::path::Path;

/// What a project seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `Cargo.toml`.
    Cargo,
    /// `package.json`.
    Node,
    /// `pyproject.toml`, `requirements.txt`, `uv.lock`, `poetry.lock`.
    Python,
    /// `go.mod`.
    Go,
    /// `index.html`, at the root or in a usual folder.
    Site,
    /// Nothing known: the manifest is a form to fill in.
    Unknown,
}

/// A proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// What it seems to be.
    pub kind: Kind,
    /// The commented text of `humdrum.yaml`.
    pub manifest: String,
    /// What a person should look at before the first release.
    pub notes: Vec<String>,
}

/// The parts of a manifest that depend on the kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proposal {
    pub(crate) name: Option<String>,
    pub(crate) intro: &'static str,
    pub(crate) fetch: Option<String>,
    pub(crate) run: Option<String>,
    pub(crate) files: Vec<(String, String, &'static str)>,
    pub(crate) runtime: Option<&'static str>,
    pub(crate) test: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(&'static str, String)>,
    pub(crate) health: &'static str,
    pub(crate) notes: Vec<String>,
}

/// The first kind whose files are there. A project with several (a Go server with a Node console) is what its server
/// is written in, so compiled languages come first.
pub fn detect(folder: &Path) -> Detected {
    let kinds = [
        (Kind::Cargo, cargo::propose as fn(&Path) -> Option<Proposal>),
        (Kind::Go, go::propose),
        (Kind::Python, python::propose),
        (Kind::Node, node::propose),
        (Kind::Site, site::propose),
    ];
    let found = kinds.into_iter().find_map(|(kind, propose)| Some((kind, propose(folder)?)));
    let (kind, proposal) = found.unwrap_or_else(|| (Kind::Unknown, unknown()));
    let name = proposal.name.clone().or_else(|| folder_name(folder));
    let name = service_name(&name.unwrap_or_default());
    Detected { kind, manifest: manifest(&name, &proposal), notes: proposal.notes }
}

fn unknown() -> Proposal {
    Proposal {
        intro: "Nothing known was found here: fill in how to build and what to run.",
        run: Some("make".into()),
        files: vec![("/app/service".into(), "build/service".into(), "app")],
        command: vec!["/app/service".into()],
        health: "/healthz",
        notes: vec!["`build.run`, `build.files` and `run.command` are guesses".into()],
        ..Proposal::default()
    }
}

fn folder_name(folder: &Path) -> Option<String> {
    Some(folder.canonicalize().ok()?.file_name()?.to_str()?.to_owned())
}

/// 1 to 40 of a-z, 0-9 and `-`, starting with a letter (the manifest's rule).
pub(crate) fn service_name(text: &str) -> String {
    let mut name = String::new();
    for letter in text.to_ascii_lowercase().chars() {
        match letter {
            'a'..='z' => name.push(letter),
            '0'..='9' if !name.is_empty() => name.push(letter),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    name.truncate(40);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "service".into() } else { name.into() }
}

fn manifest(name: &str, p: &Proposal) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!("# {}", p.intro));
    line(&format!("service: {name}"));
    line("owner: me                               # who is asked when something is wrong");
    line("build:");
    if let Some(fetch) = &p.fetch {
        line("  # The only command with network. What it downloads stays for the next ones.");
        line(&command_line("  fetch", fetch));
    }
    if let Some(run) = &p.run {
        line("  # Runs without network, at the same path for every build of a commit.");
        line(&command_line("  run", run));
    }
    line("  # Path in the image: path in the repository after the build.");
    line("  files:");
    for (target, source, layer) in &p.files {
        let source = quoted(source);
        match *layer {
            "app" => line(&format!("    {}: {source}", quoted(target))),
            layer => line(&format!("    {}: {{ from: {source}, layer: {layer} }}", quoted(target))),
        }
    }
    if let Some(runtime) = p.runtime {
        line(&format!(
            "  runtime: [{runtime}]                       # copied from the build host, with its libraries"
        ));
    }
    if let Some(test) = &p.test {
        line(&command_line("test: { run", test).replace("test: { run: |", "test:\n  run: |"));
        if let Some(last) = out.trim_end().lines().last().filter(|l| l.starts_with("test: {")) {
            let keep = out.trim_end().len() - last.len();
            let closed = format!("{last} }}\n");
            out.truncate(keep);
            out.push_str(&closed);
        }
    }
    out.push_str(&run_section(p));
    out.push_str(&format!("smoke:\n  - {{ get: {}, status: 200 }}\n", p.health));
    out.push_str(ENVIRONMENTS);
    out
}

fn run_section(p: &Proposal) -> String {
    let words: Vec<_> = p.command.iter().map(|word| quoted(word)).collect();
    let mut out = String::from("run:\n");
    out.push_str(&format!("  command: [{}]\n", words.join(", ")));
    out.push_str(
        "  # The edge listens here. Instances listen on 127.0.0.1 at the port in $PORT.\n",
    );
    out.push_str(&format!("  port: 8080\n  health: {}\n  instances: 2\n", p.health));
    if !p.env.is_empty() {
        let pairs: Vec<_> = p.env.iter().map(|(k, v)| format!("{k}: {}", quoted(v))).collect();
        out.push_str(&format!("  env: {{ {} }}\n", pairs.join(", ")));
    }
    out
}

const ENVIRONMENTS: &str = "\
environments:
  dev: {}
  staging: { after: dev, soak: 10s }
  production:
    after: staging
    approve: false                        # true: a person approves each release
    rollout: { canary: { steps: [1, 5, 25, 50, 100] }, on_regression: rollback }
";

fn command_line(key: &str, command: &str) -> String {
    if command.contains('\n') {
        let indent = " ".repeat(key.len() - key.trim_start().len() + 2);
        let lines: Vec<_> = command.lines().map(|line| format!("{indent}{line}")).collect();
        return format!("{key}: |\n{}", lines.join("\n"));
    }
    format!("{key}: {}", quoted(command))
}

/// Plain where YAML and a flow mapping permit it, else a double-quoted scalar, which JSON's quoting is a part of.
pub(crate) fn quoted(text: &str) -> String {
    let first =
        text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '/' || c == '.');
    let safe = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+= @".contains(c));
    let word = !matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off"
    );
    if first && safe && word && !text.ends_with(' ') {
        return text.to_owned();
    }
    serde_json::to_string(text).expect("a string is valid JSON")
}

/// A file at the root, as text.
pub(crate) fn text(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(name)).ok()
}

/// The same path in the image, below `/app`.
pub(crate) fn below_app(name: &str) -> (String, String, &'static str) {
    (format!("/app/{name}"), name.to_owned(), "app")
}

#[cfg(test)]
mod tests;
