//! The model stays pure: no clock, I/O, randomness or async in its source, no runtime among its dependencies.

use serde::Deserialize;

use super::{Finding, Repository, without_tests};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    #[serde(rename = "crate")]
    name: String,
    dependencies: Vec<String>,
    forbidden: Vec<String>,
    allowed: Vec<String>,
}

pub(super) fn check(repository: &Repository, rules: &Rules) -> Vec<Finding> {
    let folder = format!("crates/{}/", rules.name);
    let mut findings = vec![];
    for (file, text) in
        repository.rust().filter(|(file, _)| file.starts_with(&format!("{folder}src/")))
    {
        for (index, line) in without_tests(text).lines().enumerate() {
            let mut code = line.split("//").next().unwrap_or_default().to_owned();
            for allowed in &rules.allowed {
                code = code.replace(allowed, "");
            }
            for word in rules.forbidden.iter().filter(|word| has_word(&code, word)) {
                findings.push(Finding::new(
                    file,
                    index + 1,
                    format!("`{word}` has no place in the pure crate `{}`", rules.name),
                ));
            }
        }
    }
    let manifest = format!("{folder}Cargo.toml");
    let table: toml::Table = repository
        .files
        .get(&manifest)
        .and_then(|text| toml::from_str(text).ok())
        .unwrap_or_default();
    let dependencies = table
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flat_map(|table| table.keys());
    for name in dependencies.filter(|name| !rules.dependencies.contains(name)) {
        let message = format!(
            "`{name}` is not in the list of dependencies of a pure crate (xtask/tidy.toml)"
        );
        findings.push(Finding::new(&manifest, 0, message));
    }
    findings
}

/// Whether the code has the word on its own: `Instant` is not in `Instantly`.
fn has_word(code: &str, word: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(start, _)| {
        let before =
            code[..start].chars().next_back().is_some_and(letter) && word.starts_with(letter);
        let after =
            code[start + word.len()..].chars().next().is_some_and(letter) && word.ends_with(letter);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_files_are_found_and_data_is_not() {
        let rules = Rules {
            name: "model".into(),
            dependencies: vec!["serde".into()],
            forbidden: ["std::fs", "std::net", "Instant", ".await"].map(Into::into).to_vec(),
            allowed: vec!["std::net::SocketAddr".into()],
        };
        let source = "//! Doc.\nuse std::net::SocketAddr;\n// std::fs is not used\nlet x = Instant::now();\nlet y = Instantly;\nf().await;\n\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        let repository = Repository::from([
            ("crates/model/src/a.rs", source),
            ("crates/store/src/b.rs", "use std::fs;"),
            ("crates/model/Cargo.toml", "[dependencies]\nserde = \"1\"\ntokio = \"1\"\n"),
        ]);
        let found: Vec<(String, usize)> =
            check(&repository, &rules).into_iter().map(|f| (f.file, f.line)).collect();
        let source = "crates/model/src/a.rs".to_owned();
        assert_eq!(
            found,
            [(source.clone(), 4), (source, 6), ("crates/model/Cargo.toml".into(), 0)]
        );
    }
}
