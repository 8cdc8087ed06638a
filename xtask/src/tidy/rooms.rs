//! Lists are complete: a file beside its list is declared and used there, has its page, and no source file is dead.

use serde::Deserialize;

use super::{Finding, Repository, without_tests};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Room {
    folder: String,
    docs: Option<String>,
}

pub(super) fn check(repository: &Repository, rooms: &[Room]) -> Vec<Finding> {
    let mut findings = dead_files(repository);
    for room in rooms {
        let list = format!("{}.rs", room.folder);
        let code = repository.files.get(&list).map_or("", |text| without_tests(text));
        for name in stems(repository, &room.folder) {
            // Once to declare the module, once to register what it holds.
            if words(code).filter(|word| *word == name).count() < 2 {
                findings.push(Finding::new(
                    &list,
                    0,
                    format!("`{name}` is not in the list of this file"),
                ));
            }
            if let Some(page) =
                room.docs.as_ref().map(|docs| format!("{docs}/{}.md", name.replace('_', "-")))
                && !repository.has(&page)
            {
                findings.push(Finding::new(
                    &page,
                    0,
                    format!("the page of `{}/{name}.rs` is missing", room.folder),
                ));
            }
        }
    }
    findings
}

/// Names of the files directly in a folder.
fn stems<'a>(repository: &'a Repository, folder: &str) -> Vec<&'a str> {
    let prefix = format!("{folder}/");
    let names =
        repository.rust().filter_map(|(file, _)| file.strip_prefix(&prefix)?.strip_suffix(".rs"));
    names.filter(|name| !name.contains('/')).collect()
}

/// A source file that no `mod` names is not compiled: nobody would notice that it is wrong.
fn dead_files(repository: &Repository) -> Vec<Finding> {
    let mut findings = vec![];
    for (file, _) in repository.rust() {
        let Some((root, inner)) = file.split_once("/src/") else { continue };
        if matches!(inner, "lib.rs" | "main.rs" | "build.rs") || inner.starts_with("bin/") {
            continue;
        }
        let stem = inner.strip_suffix(".rs").unwrap_or(inner);
        let (parents, name) = match stem.rsplit_once('/') {
            Some((folder, name)) => (vec![format!("{root}/src/{folder}.rs")], name),
            None => (vec![format!("{root}/src/lib.rs"), format!("{root}/src/main.rs")], stem),
        };
        let declared = parents
            .iter()
            .filter_map(|parent| repository.files.get(parent))
            .any(|text| declares(text, name));
        if !declared {
            findings.push(Finding::new(
                file,
                0,
                format!("no `mod {name};` in {}: the file is not compiled", parents.join(" or ")),
            ));
        }
    }
    findings
}

fn declares(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim().trim_end_matches(';');
        line.strip_suffix(name).is_some_and(|rest| rest.ends_with("mod "))
    })
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_must_be_listed_compiled_and_described() {
        let rooms =
            [Room { folder: "crates/a/src/targets".into(), docs: Some("docs/targets".into()) }];
        let repository = Repository::from([
            ("crates/a/src/lib.rs", "pub mod targets;\n"),
            ("crates/a/src/targets.rs", "mod host;\nmod nomad;\nfn all() { host::new() }\n"),
            ("crates/a/src/targets/host.rs", ""),
            ("crates/a/src/targets/nomad.rs", ""),
            ("crates/a/src/targets/lambda.rs", ""),
            ("docs/targets/host.md", ""),
            ("docs/targets/nomad.md", ""),
        ]);
        let found: Vec<String> =
            check(&repository, &rooms).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/a/src/targets/lambda.rs: no `mod lambda;` in crates/a/src/targets.rs: the file is not compiled",
                "crates/a/src/targets.rs: `lambda` is not in the list of this file",
                "docs/targets/lambda.md: the page of `crates/a/src/targets/lambda.rs` is missing",
                "crates/a/src/targets.rs: `nomad` is not in the list of this file",
            ]
        );
    }
}
