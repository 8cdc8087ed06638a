//! Every source file says what it is for, has a telling name and a readable length.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Finding, Repository, without_tests};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    lines_max: usize,
    pub(super) architecture_lines_max: usize,
    names: Vec<String>,
}

pub(super) fn check(
    repository: &Repository,
    rules: &Rules,
    long: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let mut findings = vec![];
    for (file, text) in repository.rust() {
        if !text.starts_with("//!") {
            findings.push(Finding::new(
                file,
                1,
                "the file does not start with `//!` and what it is for",
            ));
        }
        let stem = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".rs");
        if rules.names.iter().any(|name| name == stem) {
            findings.push(Finding::new(
                file,
                0,
                format!("`{stem}` says nothing; name the file by what it holds"),
            ));
        }
        let lines = without_tests(text).lines().count();
        let excused = long.get(file).is_some_and(|reason| !reason.trim().is_empty());
        if lines > rules.lines_max && !excused {
            let message = format!(
                "{lines} lines without tests, more than {}; split it, or give a reason in [long]",
                rules.lines_max
            );
            findings.push(Finding::new(file, 0, message));
        }
    }
    for file in long.keys() {
        let lines =
            repository.files.get(file).map_or(0, |text| without_tests(text).lines().count());
        if lines <= rules.lines_max {
            findings.push(Finding::new(
                "xtask/tidy.toml",
                0,
                format!("[long] excuses `{file}`, which needs no excuse"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_described_and_short() {
        let rules = Rules { lines_max: 3, architecture_lines_max: 0, names: vec!["utils".into()] };
        let long = BTreeMap::from([
            ("d.rs".to_owned(), "one table".to_owned()),
            ("a.rs".to_owned(), "old".to_owned()),
        ]);
        let repository = Repository::from([
            ("a.rs", "//! Fine.\n\n#[cfg(test)]\nmod tests {\n}\n}\n}\n"),
            ("b/utils.rs", "//! Fine.\n"),
            ("c.rs", "fn x() {}\n\n\n\n"),
            ("d.rs", "//! Long.\n\n\n\n"),
        ]);
        let found: Vec<(String, usize)> =
            check(&repository, &rules, &long).into_iter().map(|f| (f.file, f.line)).collect();
        let names = [("b/utils.rs", 0), ("c.rs", 1), ("c.rs", 0), ("xtask/tidy.toml", 0)];
        assert_eq!(found, names.map(|(name, line)| (name.to_owned(), line)));
    }
}
