//! Words that no file of the repository may hold: markers of unfinished work, and places that exist on one machine only.

use serde::Deserialize;

use super::{Finding, Repository};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    unfinished: Vec<Vec<String>>,
    local: Vec<Vec<String>>,
    ignored: Vec<String>,
    registry: String,
}

pub(super) fn check(repository: &Repository, rules: &Rules) -> Vec<Finding> {
    let mut findings = vec![];
    let join =
        |words: &[Vec<String>]| words.iter().map(|halves| halves.concat()).collect::<Vec<_>>();
    let unfinished = join(&rules.unfinished);
    let local = join(&rules.local);
    for (file, text) in &repository.files {
        let name = file.rsplit('/').next().unwrap_or(file);
        if name == "Cargo.lock" {
            findings.extend(sources(file, text, &rules.registry));
        }
        if rules.ignored.iter().any(|ignored| ignored == name) {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = unfinished.iter().find(|word| line.contains(word.as_str())) {
                findings.push(Finding::new(
                    file,
                    index + 1,
                    format!("`{word}`: write an issue or a decision record instead"),
                ));
            }
            if let Some(word) = local.iter().find(|word| line.contains(word.as_str())) {
                findings.push(Finding::new(
                    file,
                    index + 1,
                    format!("`{word}` means nothing on another machine"),
                ));
            }
        }
    }
    findings
}

fn sources(file: &str, text: &str, registry: &str) -> Vec<Finding> {
    let foreign = |line: &str| {
        line.strip_prefix("source = \"").is_some_and(|source| !source.starts_with(registry))
    };
    let lines = text.lines().enumerate().filter(|(_, line)| foreign(line));
    lines
        .map(|(index, line)| {
            Finding::new(file, index + 1, format!("a package comes from elsewhere: {line}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_and_local_places_are_found() {
        let halves = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let rules = Rules {
            unfinished: vec![halves("LA", "TER")],
            local: vec![halves("/my", "/house")],
            ignored: vec!["vectors.json".into()],
            registry: "registry+https://one".into(),
        };
        let repository = Repository::from([
            ("a.rs", "fine\nLATER\n/my/house/x\n"),
            ("b/vectors.json", "LATER"),
            ("Cargo.lock", "source = \"registry+https://one\"\nsource = \"git+https://two\"\n"),
        ]);
        let found: Vec<(String, usize)> =
            check(&repository, &rules).into_iter().map(|f| (f.file, f.line)).collect();
        assert_eq!(
            found,
            [("Cargo.lock".to_owned(), 2), ("a.rs".to_owned(), 2), ("a.rs".to_owned(), 3)]
        );
    }
}
