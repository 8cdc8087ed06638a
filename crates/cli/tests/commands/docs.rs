//! `docs/cli.md` is what `humdrum __docs` prints; every error code of the program is in `docs/errors.md`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::stage::Stage;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn the_reference_is_what_the_program_says() {
    let printed = Stage::new().run(&["__docs"]).ok().out;
    let path = root().join("docs/cli.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == printed, "docs/cli.md is not what the program says: run with UPDATE=1");
}

#[test]
fn every_error_code_is_described() {
    let page = std::fs::read_to_string(root().join("docs/errors.md")).unwrap();
    // The first cell of a row has one code or several.
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let described: BTreeSet<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let mut used = BTreeSet::new();
    for folder in ["crates/cli/src", "crates/api/src"] {
        sources(&root().join(folder), &mut |text| codes(text, &mut used));
    }
    assert!(used.len() > 30, "the sources are not read as they are written: {used:?}");
    let lacking: Vec<_> = used.iter().filter(|code| !described.contains(code.as_str())).collect();
    assert!(lacking.is_empty(), "not in docs/errors.md: {lacking:?}");
    let gone: Vec<_> = described.iter().filter(|code| !used.contains(**code)).collect();
    assert!(gone.is_empty(), "in docs/errors.md, and nobody says them: {gone:?}");
}

fn sources(folder: &Path, read: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, read);
        } else if path.extension().is_some_and(|end| end == "rs") {
            read(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// The second argument of `Failure::new(…)` and `ApiError::new(…)`, the first of the local `bad(…)`, and codes that a `let code` chooses.
fn codes(text: &str, used: &mut BTreeSet<String>) {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut add =
        |code: Option<&str>| used.extend(code.filter(|code| is_code(code)).map(str::to_owned));
    for call in ["Failure::new(", "ApiError::new("] {
        for (at, _) in text.match_indices(call) {
            let rest = &text[at + call.len()..];
            add(rest.split_once(',').and_then(|(_, rest)| quoted(rest)));
        }
    }
    for (at, _) in text.match_indices("bad(\"") {
        let rest = &text[at + "bad(".len()..];
        // Where `bad` takes a sentence alone, no code is given there.
        let code = quoted(rest);
        let followed = code.is_some_and(|code| rest[code.len() + 2..].starts_with(','));
        add(code.filter(|_| followed));
    }
    for (at, _) in text.match_indices("let code = ") {
        let choice = text[at..].split("};").next().unwrap_or_default();
        choice.split('"').skip(1).step_by(2).for_each(|code| add(Some(code)));
    }
}

/// The text literal with which the source goes on.
fn quoted(source: &str) -> Option<&str> {
    source.trim_start().strip_prefix('"')?.split('"').next()
}

fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit())
}
