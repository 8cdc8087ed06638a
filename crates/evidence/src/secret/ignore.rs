//! Findings that are known: `.gitleaksignore` files, and baselines, which are reports of an earlier scan.

use std::collections::HashSet;

use serde::Deserialize;

use super::Leak;

/// Findings that are not told again.
#[derive(Debug, Default)]
pub struct Known {
    /// `[COMMIT:]PATH:RULE:LINE`.
    names: HashSet<String>,
    reported: HashSet<(String, String, String, usize, usize)>,
    fingerprints: HashSet<String>,
}

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is no report of a secret scan, neither gitleaks' JSON nor that of `humdrum secrets`: {0}"
)]
pub struct BaselineError(String);

/// A finding in gitleaks' JSON report.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reported {
    #[serde(rename = "RuleID")]
    rule: String,
    file: String,
    commit: String,
    start_line: usize,
    end_line: usize,
}

impl Known {
    /// Adds a `.gitleaksignore`; gives the lines that are no fingerprints, with their numbers from 1.
    pub fn add_ignore_file(&mut self, text: &str) -> Vec<(usize, String)> {
        let mut odd = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut parts: Vec<String> = line.split(':').map(str::to_owned).collect();
            match parts.len() {
                3 => parts[0] = parts[0].replace('\\', "/"),
                4 => parts[1] = parts[1].replace('\\', "/"),
                _ => odd.push((number + 1, line.to_owned())),
            }
            self.names.insert(parts.join(":"));
        }
        odd
    }

    /// Adds a baseline: gitleaks' JSON report, or the one of `humdrum secrets --json`.
    pub fn add_baseline(&mut self, text: &str) -> Result<(), BaselineError> {
        if text.trim_start().starts_with('{') {
            let report: humdrum_model::finding::ScanReport =
                serde_json::from_str(text).map_err(|error| BaselineError(error.to_string()))?;
            self.fingerprints
                .extend(report.findings.into_iter().map(|finding| finding.fingerprint));
            return Ok(());
        }
        let reported: Option<Vec<Reported>> =
            serde_json::from_str(text).map_err(|error| BaselineError(error.to_string()))?;
        for old in reported.unwrap_or_default() {
            self.reported.insert((old.rule, old.file, old.commit, old.start_line, old.end_line));
        }
        Ok(())
    }

    pub fn knows(&self, leak: &Leak) -> bool {
        let commit = leak.commit.clone().unwrap_or_default();
        let place = (leak.rule.clone(), leak.path.clone(), commit, leak.start_line, leak.end_line);
        self.names.contains(&leak.gitleaks_fingerprint())
            || self.names.contains(&format!("{}:{}:{}", leak.path, leak.rule, leak.start_line))
            || self.reported.contains(&place)
            || self.fingerprints.contains(&leak.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::Known;
    use crate::secret::rule::Origin;
    use crate::secret::{Fragment, Leak, Options, RuleSet, Scanner, report};

    fn leak(commit: &str) -> Leak {
        let rules = "[[rules]]\nid = 'token'\nregex = '''tok_\\w{8}'''\n";
        let set = RuleSet::parse("t", rules, &|_| Err(String::new())).unwrap();
        let scanner = Scanner::new(set, Options::default());
        let origin = Origin { path: "a/b.txt", commit };
        scanner.scan(&Fragment { origin, text: b"tok_abcd1234\n", line: 7 }).remove(0)
    }

    #[test]
    fn an_ignore_file_names_findings_with_and_without_commit() {
        #[rustfmt::skip]
        let cases = [
            ("a/b.txt:token:7",            "",    true),
            ("a/b.txt:token:7",            "cd1", true),
            ("a\\b.txt:token:7",           "",    true),
            ("cd1:a/b.txt:token:7",        "cd1", true),
            ("cd1:a/b.txt:token:7",        "cd2", false),
            ("cd1:a/b.txt:token:7",        "",    false),
            ("a/b.txt:token:8",            "",    false),
            ("# a/b.txt:token:7",          "",    false),
        ];
        for (line, commit, expected) in cases {
            let mut known = Known::default();
            assert_eq!(known.add_ignore_file(&format!("\n{line}\n")), []);
            assert_eq!(known.knows(&leak(commit)), expected, "{line} for {commit:?}");
        }
        assert_eq!(Known::default().add_ignore_file("x\nodd\n").len(), 2);
    }

    #[test]
    fn a_report_is_a_baseline() {
        let mut known = Known::default();
        known.add_baseline(&report::gitleaks(&[leak("cd1")]).to_string()).unwrap();
        assert!(known.knows(&leak("cd1")) && !known.knows(&leak("cd2")));
        let mut known = Known::default();
        let report = humdrum_model::finding::ScanReport {
            kind: humdrum_model::finding::FindingKind::Secret,
            scanner: "humdrum".into(),
            at: "2026-03-01T12:00:00Z".parse().unwrap(),
            data_as_of: None,
            failed: None,
            findings: vec![leak("").finding()],
        };
        known.add_baseline(&serde_json::to_string(&report).unwrap()).unwrap();
        assert!(known.knows(&leak("")) && known.knows(&leak("cd1")), "the secret is the same");
        assert!(known.add_baseline("nonsense").is_err());
        assert!(known.add_baseline("null").is_ok(), "gitleaks writes that when there is nothing");
    }
}
