//! Pages for people: links lead somewhere, the architecture page is short and true, the changelog is kept.

use std::collections::BTreeMap;

use super::{Finding, Repository};

pub(super) fn check(
    repository: &Repository,
    imports: &BTreeMap<String, Vec<String>>,
    lines_max: usize,
) -> Vec<Finding> {
    let mut findings = links(repository);
    findings.extend(architecture(repository, imports, lines_max));
    for (page, needed) in [
        ("CHANGELOG.md", "## Unreleased"),
        ("README.md", "make demo"),
        ("README.md", "make test"),
        ("STYLE.md", "# "),
    ] {
        if !repository.files.get(page).is_some_and(|text| text.contains(needed)) {
            findings.push(Finding::new(page, 0, format!("the page or its `{needed}` is missing")));
        }
    }
    findings
}

/// Relative links in Markdown must lead to a file or folder.
fn links(repository: &Repository) -> Vec<Finding> {
    let mut findings = vec![];
    for (file, text) in repository.files.iter().filter(|(file, _)| file.ends_with(".md")) {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced {
                continue;
            }
            for target in targets(line).filter(|target| is_relative(target)) {
                let path = target.split(['#', '?']).next().unwrap_or_default();
                match resolve(folder, path) {
                    Some(path) if path.is_empty() || repository.has(&path) => {}
                    _ => findings.push(Finding::new(
                        file,
                        index + 1,
                        format!("the link `{target}` leads nowhere"),
                    )),
                }
            }
        }
    }
    findings
}

/// What stands between `](` and `)`, code spans aside.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let text = line.split('`').step_by(2);
    text.flat_map(|part| part.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()))
}

fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("mailto:") && !target.starts_with('#')
}

/// The path from the root of the repository; `None` when it leaves it.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let start = if target.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = vec![];
    for part in start.split('/').chain(target.split('/')).filter(|part| !matches!(*part, "" | "."))
    {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

fn architecture(
    repository: &Repository,
    imports: &BTreeMap<String, Vec<String>>,
    lines_max: usize,
) -> Vec<Finding> {
    const FILE: &str = "ARCHITECTURE.md";
    let Some(text) = repository.files.get(FILE) else {
        return vec![Finding::new(FILE, 0, "the page is missing")];
    };
    let mut findings = vec![];
    let lines = text.lines().count();
    if lines >= lines_max {
        findings.push(Finding::new(
            FILE,
            0,
            format!("{lines} lines; it must stay below {lines_max} to be read"),
        ));
    }
    let mut section = String::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            section = line.to_lowercase();
        }
        if section.contains("where is") && line.starts_with('|') {
            let missing = paths(line).filter(|path| !repository.has(path));
            findings.extend(
                missing
                    .map(|path| Finding::new(FILE, index + 1, format!("`{path}` does not exist"))),
            );
        }
    }
    for (name, may) in imports {
        let cell = match may.as_slice() {
            [] => "nothing".to_owned(),
            [all] if all == "*" => "everything".to_owned(),
            names => names.join(", "),
        };
        let row = format!("| `{name}` | {cell} |");
        // A crate that does not exist yet has no row.
        if repository.has(&format!("crates/{name}")) && !text.contains(&row) {
            findings.push(Finding::new(
                FILE,
                0,
                format!("the table of allowed imports has no row `{row}`"),
            ));
        }
    }
    findings
}

/// Paths in code spans: what has a `/` or ends like a file.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split('`').skip(1).step_by(2);
    code.filter(|code| {
        !code.contains([' ', '<', '{'])
            && (code.contains('/') || code.ends_with(".rs") || code.ends_with(".md"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_tables_must_be_true() {
        let imports = BTreeMap::from([
            ("a".to_owned(), vec!["b".to_owned(), "c".to_owned()]),
            ("z".to_owned(), vec![]),
        ]);
        let repository = Repository::from([
            (
                "README.md",
                "make demo make test [x](docs/a.md) [y](docs/none.md#part) [z](https://x/y) `[c](no)`\n```\n[f](no.md)\n```\n",
            ),
            ("STYLE.md", "# Style\n"),
            ("docs/a.md", "[up](../README.md#x) [out](../../x.md) [here](#there)\n"),
            ("crates/a/src/lib.rs", ""),
            ("CHANGELOG.md", "# Changelog\n"),
            (
                "ARCHITECTURE.md",
                "| `a` | b |\n## Where is\n| x | `crates/a/src/lib.rs`, `crates/a` |\n| y | `crates/b/` |\n",
            ),
        ]);
        let found: Vec<String> =
            check(&repository, &imports, 4).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "README.md:1: the link `docs/none.md#part` leads nowhere",
                "docs/a.md:1: the link `../../x.md` leads nowhere",
                "ARCHITECTURE.md: 4 lines; it must stay below 4 to be read",
                "ARCHITECTURE.md:4: `crates/b/` does not exist",
                "ARCHITECTURE.md: the table of allowed imports has no row `| `a` | b, c |`",
                "CHANGELOG.md: the page or its `## Unreleased` is missing",
            ]
        );
    }
}
