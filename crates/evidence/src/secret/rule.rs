//! Rules and allowlists as gitleaks 8 defines them, and what they say about one place or one match.

use std::collections::HashSet;

use aho_corasick::AhoCorasick;

use super::pattern::Pattern;

/// One kind of secret.
#[derive(Debug, Clone)]
pub struct Rule {
    pub id: String,
    pub description: String,
    /// Without it the path alone makes a finding.
    pub regex: Option<std::sync::Arc<Pattern>>,
    /// Only files with such a path are looked at.
    pub path: Option<std::sync::Arc<Pattern>>,
    /// Bits a character; a secret at or below it is none. 0 is no limit.
    pub entropy: f64,
    /// Which group is the secret; 0 is the first that is not empty.
    pub secret_group: usize,
    /// Lower case; without one of them in the text the regex is not tried.
    pub keywords: Vec<String>,
    pub tags: Vec<String>,
    pub allowlists: Vec<std::sync::Arc<Allowlist>>,
    /// Other rules that must match nearby.
    pub required: Vec<Required>,
    /// Only serves others as a required rule.
    pub skip_report: bool,
}

/// A rule that must match too, near the finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    pub id: String,
    pub within_lines: Option<u32>,
    pub within_columns: Option<u32>,
}

/// What an allowlist's regexes look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Secret,
    Match,
    Line,
}

/// What is no finding.
#[derive(Debug)]
pub struct Allowlist {
    /// All of its kinds of check must hold, not any.
    pub all: bool,
    /// Lower case.
    pub commits: HashSet<String>,
    /// One pattern of all of them, since a flag that one sets holds for those after it, as in gitleaks.
    pub paths: Option<Pattern>,
    pub regexes: Option<Pattern>,
    pub target: Target,
    /// Lower case.
    pub stopwords: Option<AhoCorasick>,
}

/// A match as allowlists see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) secret: &'a [u8],
    pub(super) matched: &'a [u8],
    pub(super) line: &'a [u8],
}

/// Where a text stands. Both empty: not known, so that nothing about them is allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    pub path: &'a str,
    pub commit: &'a str,
}

impl Allowlist {
    fn commit(&self, origin: Origin) -> bool {
        !origin.commit.is_empty()
            && !self.commits.is_empty()
            && self.commits.contains(&origin.commit.to_lowercase())
    }

    pub(super) fn path(&self, path: &str) -> bool {
        !path.is_empty() && self.paths.as_ref().is_some_and(|paths| paths.is_match(path.as_bytes()))
    }

    /// Whether the whole text is allowed for its path or commit alone.
    pub(super) fn allows_origin(&self, origin: Origin) -> bool {
        if origin.path.is_empty() && origin.commit.is_empty() {
            return false;
        }
        if !self.all {
            return self.commit(origin) || self.path(origin.path);
        }
        if self.regexes.is_some() || self.stopwords.is_some() {
            return false; // Needs the match too.
        }
        (self.commits.is_empty() || self.commit(origin))
            && (self.paths.is_none() || self.path(origin.path))
    }

    /// Whether a match is allowed.
    pub(super) fn allows(&self, seen: Seen, origin: Origin) -> bool {
        let target = match self.target {
            Target::Secret => seen.secret,
            Target::Match => seen.matched,
            Target::Line => seen.line,
        };
        let regex =
            self.regexes.as_ref().map(|regexes| !target.is_empty() && regexes.is_match(target));
        let stopword = self.stopwords.as_ref().map(|words| words.is_match(seen.secret));
        if !self.all {
            return regex == Some(true) || stopword == Some(true);
        }
        regex != Some(false)
            && stopword != Some(false)
            && (self.commits.is_empty() || self.commit(origin))
            && (self.paths.is_none() || self.path(origin.path))
    }
}

/// Shannon's entropy as gitleaks computes it: shares of characters of the length in bytes, in bits.
pub(super) fn entropy(secret: &[u8]) -> f64 {
    if secret.is_empty() {
        return 0.0;
    }
    let share = 1.0 / secret.len() as f64;
    let term = |count: u32| {
        let part = f64::from(count) * share;
        part * part.log2()
    };
    if secret.is_ascii() {
        let mut counts = [0_u32; 128];
        secret.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        return -counts.iter().filter(|count| **count > 0).map(|count| term(*count)).sum::<f64>();
    }
    let mut counts = std::collections::BTreeMap::<char, u32>::new();
    for char in String::from_utf8_lossy(secret).chars() {
        *counts.entry(char).or_default() += 1;
    }
    -counts.values().map(|count| term(*count)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::entropy;

    #[test]
    fn entropy_is_bits_a_byte() {
        #[rustfmt::skip]
        let cases = [("", 0.0), ("aaaa", 0.0), ("ab", 1.0), ("abcd", 2.0), ("aab", 0.918_295_834), ("ä", 0.5)];
        for (text, expected) in cases {
            assert!((entropy(text.as_bytes()) - expected).abs() < 1e-6, "{text}");
        }
    }
}
