//! Texts in, leaks out: keywords, regexes, entropy, allowlists and decoding, with gitleaks' meaning of each.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_automata::Input;

use super::anchor::{Anchors, Candidate};
use super::config::RuleSet;
use super::decode::{DEPTH_MAX, Part, Pass};
use super::fragment::{chunks, is_binary};
use super::leak::{Hidden, Leak};
use super::place::{Lines, Region};
use super::rule::{Allowlist, Origin, Rule, Seen, entropy};

/// A comment that keeps a line from being a finding.
const ALLOW_COMMENT: &[u8] = b"gitleaks:allow";

/// How far behind a candidate the sieve looks for a match that an earlier one covers, bytes.
const NEAR_BYTES: usize = 4_096;

/// A part of a file or of a change.
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    pub origin: Origin<'a>,
    pub text: &'a [u8],
    /// The line on which it starts, counted from 1.
    pub line: usize,
}

/// How a scan differs from the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Passes over decoded text; 0 decodes nothing.
    pub decode_depth: usize,
    /// Lines with `gitleaks:allow` are findings nevertheless.
    pub ignore_allow_comments: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { decode_depth: DEPTH_MAX, ignore_allow_comments: false }
    }
}

#[derive(Debug)]
struct Prepared {
    rule: Rule,
    anchors: Option<Anchors>,
    generic: bool,
}

/// Rules, ready to run. Shared by all threads.
#[derive(Debug)]
pub struct Scanner {
    rules: Vec<Prepared>,
    allowlists: Vec<std::sync::Arc<Allowlist>>,
    keywords: AhoCorasick,
    /// For each keyword the rules that have it, and which of theirs it is.
    users: Vec<Vec<(usize, usize)>>,
    options: Options,
}

/// Where a rule may match in a text.
#[derive(Debug, Clone, Default)]
enum Reach {
    #[default]
    Nowhere,
    At(Vec<Candidate>),
    Anywhere,
}

/// What a scan wants to know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Report,
    /// Whether there might be anything, wherever the text stands.
    Sieve,
    /// All that might be anything, wherever the text stands.
    Compare,
}

impl Scanner {
    pub fn new(set: RuleSet, options: Options) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut users: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut rules = Vec::with_capacity(set.rules.len());
        for (index, rule) in set.rules.into_values().enumerate() {
            for (which, word) in rule.keywords.iter().enumerate() {
                let known = words.iter().position(|known| known == word).unwrap_or_else(|| {
                    words.push(word.clone());
                    users.push(Vec::new());
                    words.len() - 1
                });
                users[known].push((index, which));
            }
            let anchors =
                rule.regex.as_ref().and_then(|regex| Anchors::prove(regex.hir(), &rule.keywords));
            let generic = rule.id.to_lowercase().contains("generic");
            rules.push(Prepared { rule, anchors, generic });
        }
        let keywords = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&words)
            .expect("a rule file is too small for too many words");
        Self { rules, allowlists: set.allowlists, keywords, users, options }
    }

    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter().map(|prepared| &prepared.rule)
    }

    /// Whether a folder or file with this path is allowed as a whole, so that it need not be opened.
    pub fn skips_path(&self, path: &str) -> bool {
        self.allowlists.iter().any(|list| list.path(path))
    }

    /// Whether a rule looks at paths alone.
    pub fn path_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules().filter(|rule| rule.regex.is_none() && rule.path.is_some())
    }

    /// The findings of one file, of a working tree or of an image layer. A binary file has none but for its path.
    pub fn scan_bytes(&self, path: &str, bytes: &[u8]) -> Vec<Leak> {
        let origin = Origin { path, commit: "" };
        if is_binary(bytes) {
            return self.scan(&Fragment { origin, text: b"", line: 1 });
        }
        let mut line = 1;
        let mut found = Vec::new();
        for range in chunks(bytes) {
            let text = &bytes[range];
            found.extend(self.scan(&Fragment { origin, text, line }));
            line += memchr::memchr_iter(b'\n', text).count();
        }
        found
    }

    /// The findings of one text.
    pub fn scan(&self, fragment: &Fragment) -> Vec<Leak> {
        if self.allowlists.iter().any(|list| list.allows_origin(fragment.origin)) {
            return Vec::new();
        }
        let mut found = Vec::new();
        self.passes(fragment, Purpose::Report, &mut found);
        self.without_generic_doubles(found)
    }

    /// Whether a text may have findings at any path and in any commit, or as a part of it. Never wrong when it says no,
    /// but for rules that are bound to the start of a text.
    pub fn may_leak(&self, text: &[u8]) -> bool {
        !self.anywhere(text, Purpose::Sieve).is_empty()
    }

    /// Equal for two texts in which the same lines may be findings, in the same order.
    pub(super) fn suspicion(&self, text: &[u8]) -> u64 {
        let mut found = self.anywhere(text, Purpose::Compare);
        found.sort_by(Leak::compare);
        let mut hasher = DefaultHasher::new();
        if found.is_empty() {
            text.hash(&mut hasher); // Only a part of it may be one: equal to nothing else.
        }
        let ends: Vec<usize> = memchr::memchr_iter(b'\n', text).collect();
        for leak in &found {
            let start = leak.start_line.checked_sub(2).map_or(0, |line| ends[line]);
            let end = ends.get(leak.end_line - 1).copied().unwrap_or(text.len());
            (&leak.rule, &text[start.min(end)..end]).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn anywhere(&self, text: &[u8], purpose: Purpose) -> Vec<Leak> {
        let mut found = Vec::new();
        self.passes(&Fragment { origin: Origin::default(), text, line: 1 }, purpose, &mut found);
        found
    }

    fn passes(&self, fragment: &Fragment, purpose: Purpose, found: &mut Vec<Leak>) {
        self.pass(fragment, fragment.text, &Pass::default(), purpose, found);
        let mut pass = Pass::default();
        let mut current: Option<Vec<u8>> = None;
        for _ in 0..self.options.decode_depth {
            if purpose == Purpose::Sieve && !found.is_empty() {
                return;
            }
            let Some((text, next)) = pass.next(current.as_deref().unwrap_or(fragment.text)) else {
                return;
            };
            self.pass(fragment, &text, &next, purpose, found);
            (current, pass) = (Some(text), next);
        }
    }

    fn pass(
        &self,
        fragment: &Fragment,
        text: &[u8],
        pass: &Pass,
        purpose: Purpose,
        found: &mut Vec<Leak>,
    ) {
        let mut reaches = self.reaches(text);
        let lines = Lines::new(fragment.text);
        let job = Job { scanner: self, fragment, text, pass, purpose, lines: &lines };
        for (index, prepared) in self.rules.iter().enumerate() {
            let reach = std::mem::take(&mut reaches[index]);
            if matches!(reach, Reach::Nowhere) || prepared.rule.skip_report {
                continue;
            }
            let leaks = job.rule(prepared, reach);
            if prepared.rule.required.is_empty() || leaks.is_empty() || purpose != Purpose::Report {
                found.extend(leaks);
            } else {
                found.extend(self.with_required(&job, prepared, leaks));
            }
            if purpose == Purpose::Sieve && !found.is_empty() {
                return;
            }
        }
    }

    /// Where each rule may match.
    fn reaches(&self, text: &[u8]) -> Vec<Reach> {
        let mut reaches: Vec<Reach> = self
            .rules
            .iter()
            .map(|prepared| match prepared.rule.keywords.is_empty() {
                true => Reach::Anywhere,
                false => Reach::Nowhere,
            })
            .collect();
        for hit in self.keywords.find_overlapping_iter(text) {
            for (index, which) in &self.users[hit.pattern().as_usize()] {
                let reach = &mut reaches[*index];
                match (&self.rules[*index].anchors, &mut *reach) {
                    (_, Reach::Anywhere) => {}
                    (None, _) => *reach = Reach::Anywhere,
                    (Some(anchors), Reach::At(found)) => {
                        anchors.candidates(text, *which, hit.start(), found)
                    }
                    (Some(anchors), Reach::Nowhere) => {
                        let mut found = Vec::new();
                        anchors.candidates(text, *which, hit.start(), &mut found);
                        if !found.is_empty() {
                            *reach = Reach::At(found);
                        }
                    }
                }
            }
        }
        reaches
    }

    /// The leaks of a rule near which all its required rules match too.
    fn with_required(&self, job: &Job, prepared: &Prepared, leaks: Vec<Leak>) -> Vec<Leak> {
        let beside: Vec<(&super::rule::Required, Vec<Leak>)> = prepared
            .rule
            .required
            .iter()
            .map(|required| {
                let rule = self.rules.iter().find(|other| other.rule.id == required.id);
                (required, rule.map(|rule| job.rule(rule, Reach::Anywhere)).unwrap_or_default())
            })
            .collect();
        let near = |leak: &Leak, required: &super::rule::Required, other: &Leak| {
            let within = |limit: Option<u32>, a: usize, b: usize| {
                limit.is_none_or(|limit| a.abs_diff(b) <= limit as usize)
            };
            within(required.within_lines, leak.start_line, other.start_line)
                && within(required.within_columns, leak.start_column, other.start_column)
        };
        leaks
            .into_iter()
            .filter(|leak| {
                beside.iter().all(|(required, others)| {
                    others.iter().any(|other| near(leak, required, other))
                })
            })
            .collect()
    }

    /// A rule named "generic" gives way to a precise one that found the same secret on the same line.
    fn without_generic_doubles(&self, found: Vec<Leak>) -> Vec<Leak> {
        let generic: HashSet<&str> = self
            .rules
            .iter()
            .filter(|prepared| prepared.generic)
            .map(|prepared| prepared.rule.id.as_str())
            .collect();
        let mut precise: HashMap<usize, Vec<&Leak>> = HashMap::new();
        for leak in found.iter().filter(|leak| !generic.contains(leak.rule.as_str())) {
            precise.entry(leak.start_line).or_default().push(leak);
        }
        let doubled = |leak: &Leak| {
            generic.contains(leak.rule.as_str())
                && precise.get(&leak.start_line).is_some_and(|others| {
                    others.iter().any(|other| other.secret.contains(&leak.secret))
                })
        };
        let keep: Vec<bool> = found.iter().map(|leak| !doubled(leak)).collect();
        found.into_iter().zip(keep).filter_map(|(leak, keep)| keep.then_some(leak)).collect()
    }
}

/// One pass over one text.
struct Job<'a> {
    scanner: &'a Scanner,
    fragment: &'a Fragment<'a>,
    text: &'a [u8],
    pass: &'a Pass,
    purpose: Purpose,
    lines: &'a Lines<'a>,
}

impl Job<'_> {
    fn rule(&self, prepared: &Prepared, reach: Reach) -> Vec<Leak> {
        let rule = &prepared.rule;
        let origin = self.fragment.origin;
        if rule.allowlists.iter().any(|list| list.allows_origin(origin)) {
            return Vec::new();
        }
        let decoded = !self.pass.segments.is_empty();
        if let Some(path) = rule.path.as_ref().filter(|_| self.purpose == Purpose::Report) {
            let matches = path.is_match(origin.path.as_bytes());
            if rule.regex.is_none() {
                return if matches && !decoded {
                    vec![Leak::of_path(rule, origin)]
                } else {
                    Vec::new()
                };
            }
            if !matches {
                return Vec::new();
            }
        }
        let Some(regex) = &rule.regex else { return Vec::new() };
        let regex = regex.regex();
        match reach {
            Reach::Nowhere => Vec::new(),
            Reach::Anywhere => regex
                .find_iter(self.text)
                .filter_map(|found| {
                    self.leak(rule, Part { start: found.start(), end: found.end() })
                })
                .collect(),
            Reach::At(mut candidates) => {
                candidates.sort_unstable();
                let mut found = self.around(rule, regex, &candidates);
                if self.purpose == Purpose::Sieve && found.is_empty() {
                    found = self.each(rule, regex, &candidates);
                }
                found
            }
        }
    }

    /// The matches that a search of the whole text would find, looked for only where the candidates are.
    fn around(
        &self,
        rule: &Rule,
        regex: &regex_automata::meta::Regex,
        candidates: &[Candidate],
    ) -> Vec<Leak> {
        let mut found = Vec::new();
        let mut at = 0;
        for candidate in candidates {
            if candidate.part < at {
                continue; // Inside the match before.
            }
            let input = Input::new(self.text).range(candidate.from.max(at)..);
            let Some(next) = regex.find(input) else { break };
            at = next.end().max(next.start() + 1);
            found.extend(self.leak(rule, Part { start: next.start(), end: next.end() }));
        }
        found
    }

    /// Matches that start at a candidate, though an earlier match covers it: in a part of the text that one may be missing.
    fn each(
        &self,
        rule: &Rule,
        regex: &regex_automata::meta::Regex,
        candidates: &[Candidate],
    ) -> Vec<Leak> {
        let leak = |candidate: &Candidate| {
            // Near, so that many candidates without a match cost no search of the whole text each.
            let end = (candidate.part + NEAR_BYTES).min(self.text.len());
            let starts = [candidate.part, candidate.from].into_iter();
            let mut matches =
                starts.filter_map(|start| regex.find(Input::new(self.text).range(start..end)));
            matches
                .find_map(|found| self.leak(rule, Part { start: found.start(), end: found.end() }))
        };
        candidates.iter().find_map(leak).into_iter().collect()
    }

    /// What a match is, when nothing allows it.
    fn leak(&self, rule: &Rule, found: Part) -> Option<Leak> {
        let matched = trimmed(&self.text[found.start..found.end]);
        let (place, tags) = if self.pass.segments.is_empty() {
            (Part { start: found.start, end: found.start + matched.len() }, Vec::new())
        } else {
            self.pass.place(found)?
        };
        let region = self.lines.region(place);
        let line = self.lines.text(&region, place);
        if !self.scanner.options.ignore_allow_comments
            && memchr::memmem::find(line, ALLOW_COMMENT).is_some()
        {
            return None;
        }
        let secret = secret_of(rule, matched);
        let entropy = entropy(secret);
        if rule.entropy != 0.0 && entropy <= rule.entropy {
            return None;
        }
        let line =
            if self.pass.segments.is_empty() { line } else { self.pass.line(self.text, found) };
        let seen = Seen { secret, matched, line };
        let origin = self.fragment.origin;
        let mut lists = self.scanner.allowlists.iter().chain(&rule.allowlists);
        if lists.any(|list| list.allows(seen, origin)) {
            return None;
        }
        let Region { start_line, end_line, start_column, end_column } = region;
        Some(Leak {
            rule: rule.id.clone(),
            description: rule.description.clone(),
            tags: rule.tags.iter().cloned().chain(tags).collect(),
            entropy,
            path: origin.path.into(),
            commit: (!origin.commit.is_empty()).then(|| origin.commit.into()),
            start_line: self.fragment.line + start_line,
            end_line: self.fragment.line + end_line,
            start_column,
            end_column,
            secret: Hidden::new(secret),
        })
    }
}

fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| *byte != b'\n').unwrap_or(text.len());
    let end = text.iter().rposition(|byte| *byte != b'\n').map_or(start, |at| at + 1);
    &text[start..end]
}

/// The group that is the secret, by matching the match again, as gitleaks does; else the whole match.
fn secret_of<'t>(rule: &Rule, matched: &'t [u8]) -> &'t [u8] {
    let Some(regex) = rule.regex.as_ref().filter(|regex| regex.groups() > 0) else {
        return matched;
    };
    let regex = regex.regex();
    let mut captures = regex.create_captures();
    regex.captures(matched, &mut captures);
    if !captures.is_match() {
        return matched;
    }
    let group = |index: usize| {
        captures.get_group(index).map_or(&matched[..0], |span| &matched[span.range()])
    };
    if rule.secret_group > 0 {
        return group(rule.secret_group);
    }
    (1..captures.group_len()).map(group).find(|text| !text.is_empty()).unwrap_or(matched)
}

#[cfg(test)]
mod tests;
