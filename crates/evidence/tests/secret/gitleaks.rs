//! gitleaks on the same text with the same rule file finds the same: whole histories, working trees, staged changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use humdrum_evidence::secret::config::SHIPPED;
use humdrum_evidence::secret::source::{Scanned, scan_history, scan_staged, scan_tree};
use humdrum_evidence::secret::{Options, RuleSet, Scanner};

use crate::repository::Repository;

/// Rule, file, commit, line.
type Places = BTreeSet<(String, String, String, u64)>;

fn program() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin/gitleaks");
    assert!(path.exists(), "gitleaks is missing: run scripts/test-tools.sh");
    path.canonicalize().unwrap()
}

/// The rules that gitleaks has inside: between its first line and the last of its rules.
fn built_in() -> String {
    let bytes = std::fs::read(program()).unwrap();
    let find = |needle: &[u8], from: usize| {
        let at = bytes[from..].windows(needle.len()).position(|window| window == needle);
        from + at.expect("gitleaks has its rules inside")
    };
    let start = find(b"# This file has been auto-generated. Do not edit manually.", 0);
    let last = b"keywords = [\"zendesk\"]\n";
    let end = find(last, start) + last.len();
    String::from_utf8(bytes[start..end].to_vec()).unwrap()
}

fn scanner(rules: &str) -> Scanner {
    let set = RuleSet::parse("rules.toml", rules, &|_| Err("nothing is extended".into()));
    Scanner::new(set.unwrap_or_else(|error| panic!("{error}")), Options::default())
}

/// What gitleaks finds.
fn theirs(repository: &Repository, rules: &str, command: &[&str]) -> Places {
    let outside = tempfile::tempdir().unwrap();
    let (config, out) = (outside.path().join("rules.toml"), outside.path().join("out.json"));
    std::fs::write(&config, rules).unwrap();
    let output = Command::new(program())
        .args(command)
        .args(["--no-banner", "--log-level=error", "--exit-code=0", "--report-format=json"])
        .arg("--report-path")
        .arg(&out)
        .arg("--config")
        .arg(&config)
        .current_dir(repository.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap().to_owned();
    report
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                text(entry, "RuleID"),
                text(entry, "File"),
                text(entry, "Commit"),
                entry["StartLine"].as_u64().unwrap(),
            )
        })
        .collect()
}

fn ours(scanned: &Scanned) -> Places {
    let place = |leak: &humdrum_evidence::secret::Leak| {
        (
            leak.rule.clone(),
            leak.path.clone(),
            leak.commit.clone().unwrap_or_default(),
            leak.start_line as u64,
        )
    };
    scanned.leaks.iter().map(place).collect()
}

#[track_caller]
fn same(ours: &Places, theirs: &Places, kinds: usize) {
    let ours_only: Vec<_> = ours.difference(theirs).collect();
    let theirs_only: Vec<_> = theirs.difference(ours).collect();
    assert!(
        ours_only.is_empty() && theirs_only.is_empty(),
        "only ours: {ours_only:#?}\nonly theirs: {theirs_only:#?}"
    );
    let found: BTreeSet<_> = ours.iter().map(|(rule, ..)| rule).collect();
    assert!(found.len() >= kinds, "{} kinds were found: {found:?}", found.len());
}

fn compare(rules: &str, seed: u64, kinds: usize) {
    let scanner = scanner(rules);
    let mut repository = Repository::new(seed);
    repository.grow(120);
    let history = scan_history(&scanner, repository.path()).unwrap();
    same(&ours(&history), &theirs(&repository, rules, &["git", "."]), kinds);

    repository.edit();
    let tree = scan_tree(&scanner, repository.path()).unwrap();
    same(&ours(&tree), &theirs(&repository, rules, &["dir", "."]), kinds);

    repository.git(&["add", "-A"]);
    let staged = scan_staged(&scanner, repository.path()).unwrap();
    same(&ours(&staged), &theirs(&repository, rules, &["git", "--staged", "."]), kinds / 2);
}

#[test]
fn the_shipped_rules_find_the_same_in_both() {
    compare(SHIPPED, 1, 80);
}

#[test]
fn gitleaks_own_rules_load_unchanged_and_find_the_same() {
    compare(&built_in(), 2, 40);
}

/// gitleaks does not look at what only a merge has.
#[test]
fn a_secret_that_a_merge_brought_is_found() {
    let repository = Repository::new(3);
    let write =
        |name: &str, text: &str| std::fs::write(repository.path().join(name), text).unwrap();
    let commit = |message: &str| {
        repository.git(&["add", "-A"]);
        repository.git(&["commit", "-q", "-m", message]);
    };
    write("a.txt", "one\n");
    commit("first");
    repository.git(&["checkout", "-q", "-b", "side"]);
    write("b.txt", "two\n");
    commit("second");
    repository.git(&["checkout", "-q", "main"]);
    write("c.txt", "three\n");
    commit("third");
    repository.git(&["merge", "-q", "--no-commit", "side"]);
    write("b.txt", &format!("two\ntok_{}\n", "a1b2c3d4"));
    commit("merge");
    let rules = "[[rules]]\nid = 'token'\nregex = '''tok_\\w{8}'''\nkeywords = ['tok_']\n";
    let found = ours(&scan_history(&scanner(rules), repository.path()).unwrap());
    let merge = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
    assert_eq!(found, BTreeSet::from([("token".into(), "b.txt".into(), merge, 2)]));
    assert!(theirs(&repository, rules, &["git", "."]).is_empty());
}
