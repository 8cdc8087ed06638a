//! The style of the repository, checked by a machine. Rules are data in `xtask/tidy.toml`; each check is a function from files to findings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

mod files;
mod imports;
mod pages;
mod purity;
mod rooms;
mod words;

/// The files of the repository that git knows or would add: path with `/` → text. Binary files have an empty text.
pub(crate) struct Repository {
    pub(crate) files: BTreeMap<String, String>,
}

/// One broken rule at a place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) file: String,
    /// From 1; 0 is the whole file.
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// `xtask/tidy.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    imports: BTreeMap<String, Vec<String>>,
    purity: purity::Rules,
    rooms: Vec<rooms::Room>,
    files: files::Rules,
    /// Path → why the file is longer than allowed.
    long: BTreeMap<String, String>,
    words: words::Rules,
}

impl Repository {
    /// Reads what git tracks or would track.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("git cannot be run")?;
        anyhow::ensure!(
            output.status.success(),
            "git ls-files failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let mut files = BTreeMap::new();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            // A tracked file may be deleted in the working tree.
            if let Ok(bytes) = std::fs::read(root.join(name)) {
                files.insert(name.to_owned(), String::from_utf8(bytes).unwrap_or_default());
            }
        }
        Ok(Self { files })
    }

    /// Whether a file or a folder with files is there.
    fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path)
            || self
                .files
                .range(folder.clone()..)
                .next()
                .is_some_and(|(name, _)| name.starts_with(&folder))
    }

    fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(name, _)| name.ends_with(".rs"))
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Repository {
    fn from(files: [(&str, &str); N]) -> Self {
        Self { files: files.into_iter().map(|(name, text)| (name.into(), text.into())).collect() }
    }
}

/// Every finding of every check, sorted by place.
pub(crate) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let rules = repository.files.get("xtask/tidy.toml").context("xtask/tidy.toml is missing")?;
    let rules: Rules = toml::from_str(rules).context("xtask/tidy.toml")?;
    let mut findings = vec![];
    findings.extend(imports::check(repository, &rules.imports));
    findings.extend(purity::check(repository, &rules.purity));
    findings.extend(rooms::check(repository, &rules.rooms));
    findings.extend(files::check(repository, &rules.files, &rules.long));
    findings.extend(words::check(repository, &rules.words));
    findings.extend(pages::check(repository, &rules.imports, rules.files.architecture_lines_max));
    findings.extend(crate::docs::drift(repository));
    findings.sort();
    Ok(findings)
}

/// The part of a source file above its inline tests.
fn without_tests(text: &str) -> &str {
    let end = ["\n#[cfg(test)]\nmod ", "\n#[cfg(all(test"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let findings = check(&Repository::read(&root).unwrap()).unwrap();
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
    }
}
