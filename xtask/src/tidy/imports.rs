//! Imports between crates only go down the floors: each `Cargo.toml` against the table.

use std::collections::BTreeMap;

use super::{Finding, Repository};

/// Crates that any test may use: the contract suites live there, above what they test.
const TEST_CRATES: [&str; 1] = ["sim"];

pub(super) fn check(
    repository: &Repository,
    allowed: &BTreeMap<String, Vec<String>>,
) -> Vec<Finding> {
    let mut findings = vec![];
    for (file, text) in &repository.files {
        let Some(name) =
            file.strip_prefix("crates/").and_then(|rest| rest.strip_suffix("/Cargo.toml"))
        else {
            continue;
        };
        let Some(may) = allowed.get(name) else {
            findings.push(Finding::new(
                file,
                0,
                format!("crate `{name}` has no row in [imports] of xtask/tidy.toml"),
            ));
            continue;
        };
        let manifest: toml::Table = match toml::from_str(text) {
            Ok(manifest) => manifest,
            Err(error) => {
                findings.push(Finding::new(file, 0, format!("is not TOML: {}", error.message())));
                continue;
            }
        };
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let names = manifest
                .get(section)
                .and_then(toml::Value::as_table)
                .into_iter()
                .flat_map(|table| table.keys());
            for other in names.filter_map(|name| name.strip_prefix("humdrum-")) {
                let test = section == "dev-dependencies" && TEST_CRATES.contains(&other);
                if !test && !may.iter().any(|known| known == other || known == "*") {
                    let message =
                        format!("`{name}` may not use `{other}`; it may use: {}", may.join(", "));
                    findings.push(Finding::new(file, line_of(text, other), message));
                }
            }
        }
    }
    findings
}

fn line_of(text: &str, other: &str) -> usize {
    let start = format!("humdrum-{other}");
    text.lines().position(|line| line.trim_start().starts_with(&start)).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_floors_are_used() {
        let allowed = BTreeMap::from([
            ("model".into(), vec![]),
            ("edge".into(), vec!["model".to_owned()]),
            ("cli".into(), vec!["*".to_owned()]),
        ]);
        let repository = Repository::from([
            (
                "crates/model/Cargo.toml",
                "[dependencies]\nserde.workspace = true\n[dev-dependencies]\nhumdrum-sim.workspace = true\n",
            ),
            (
                "crates/edge/Cargo.toml",
                "[dependencies]\nhumdrum-model.workspace = true\nhumdrum-store.workspace = true\n",
            ),
            ("crates/cli/Cargo.toml", "[dependencies]\nhumdrum-edge.workspace = true\n"),
            ("crates/new/Cargo.toml", "[dependencies]\n"),
        ]);
        let found: Vec<String> =
            check(&repository, &allowed).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/edge/Cargo.toml:3: `edge` may not use `store`; it may use: model",
                "crates/new/Cargo.toml: crate `new` has no row in [imports] of xtask/tidy.toml",
            ]
        );
    }
}
