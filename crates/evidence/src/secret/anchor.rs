//! Where a rule can match at all: proofs, read off a regex, that every match has one of the rule's keywords at a known place.
//!
//! gitleaks runs a rule's regex over the whole text as soon as one keyword stands anywhere in it. That is most of its time. When
//! every match provably contains a keyword, a match can only be around a keyword that was seen: from there, what follows the
//! keyword in the regex is tried first, which nearly always fails within a few bytes, and only then the regex itself.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::pattern::compile;

/// Most spellings of the part with the keyword that are looked at; beyond, the rule is tried on whole texts.
const SPELLINGS_MAX: usize = 96;
/// Most alternatives that are proven one by one.
const BRANCHES_MAX: usize = 24;

/// One way to match: what comes before the part with the keyword, and the regex from that part on.
#[derive(Debug)]
pub(super) struct Branch {
    /// Longest text before the part, bytes; none is without limit.
    before_max: Option<usize>,
    /// Which keyword (index in the rule), and how far behind the start of the part it starts.
    offsets: BTreeSet<(usize, usize)>,
    suffix: Hir,
    regex: OnceLock<Regex>,
}

impl Branch {
    fn matches(&self, text: &[u8], at: usize) -> bool {
        let regex = self.regex.get_or_init(|| compile(&self.suffix));
        regex.is_match(Input::new(text).range(at..).anchored(Anchored::Yes).earliest(true))
    }
}

/// The proof for a whole rule.
#[derive(Debug)]
pub(super) struct Anchors {
    branches: Vec<Branch>,
}

/// A place at which a rule may match: where its match starts at the earliest, and where the part with the keyword does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) part: usize,
    pub(super) from: usize,
}

impl Anchors {
    /// None when there is no proof.
    pub(super) fn prove(regex: &Hir, keywords: &[String]) -> Option<Self> {
        if keywords.is_empty() || keywords.iter().any(|word| word.is_empty() || !word.is_ascii()) {
            return None;
        }
        let mut branches = Vec::new();
        prove(&flatten(regex), keywords, &mut branches)?;
        Some(Self { branches })
    }

    /// The candidates that a keyword at `at` makes possible.
    pub(super) fn candidates(
        &self,
        text: &[u8],
        keyword: usize,
        at: usize,
        found: &mut Vec<Candidate>,
    ) {
        for branch in &self.branches {
            for (_, offset) in branch.offsets.range((keyword, 0)..=(keyword, usize::MAX)) {
                let Some(part) = at.checked_sub(*offset) else { continue };
                if found.last().is_some_and(|last| last.part == part) || !branch.matches(text, part)
                {
                    continue;
                }
                let from = branch.before_max.map_or(0, |before| part.saturating_sub(before));
                found.push(Candidate { part, from });
            }
        }
    }
}

/// The parts of a regex in their order, without groups around them.
fn flatten(regex: &Hir) -> Vec<Hir> {
    match regex.kind() {
        HirKind::Concat(parts) => parts.iter().flat_map(flatten).collect(),
        HirKind::Capture(capture) => flatten(&capture.sub),
        HirKind::Empty => Vec::new(),
        _ => vec![regex.clone()],
    }
}

fn prove(parts: &[Hir], keywords: &[String], branches: &mut Vec<Branch>) -> Option<()> {
    for start in 0..parts.len() {
        if let Some(offsets) = keyword_from(&parts[start..], keywords) {
            if branches.len() >= BRANCHES_MAX {
                return None;
            }
            let mut before_max = Some(0_usize);
            for part in &parts[..start] {
                before_max = before_max.zip(part.properties().maximum_len()).map(|(a, b)| a + b);
            }
            let suffix = Hir::concat(parts[start..].to_vec());
            branches.push(Branch { before_max, offsets, suffix, regex: OnceLock::new() });
            return Some(());
        }
    }
    // No part has it for all: perhaps each alternative of one has.
    for (at, part) in parts.iter().enumerate() {
        let HirKind::Alternation(alternatives) = part.kind() else { continue };
        let mut inner = Vec::new();
        let proven = alternatives.iter().all(|alternative| {
            let mut whole = parts[..at].to_vec();
            whole.extend(flatten(alternative));
            whole.extend_from_slice(&parts[at + 1..]);
            inner.len() < BRANCHES_MAX && prove(&whole, keywords, &mut inner).is_some()
        });
        if proven && branches.len() + inner.len() <= BRANCHES_MAX {
            branches.append(&mut inner);
            return Some(());
        }
    }
    None
}

/// The keyword and its offset in each spelling of the text that starts at these parts; none when a spelling has no keyword.
fn keyword_from(parts: &[Hir], keywords: &[String]) -> Option<BTreeSet<(usize, usize)>> {
    let mut spelt = BTreeSet::from([String::new()]);
    for part in parts {
        // Spellings of a part that looks around are that of the empty text.
        let more = spellings(part)?;
        if spelt.len() * more.len() > SPELLINGS_MAX {
            return None;
        }
        spelt = spelt.iter().flat_map(|a| more.iter().map(move |b| format!("{a}{b}"))).collect();
        let found: Option<BTreeSet<_>> =
            spelt.iter().map(|text| first_keyword(text, keywords)).collect();
        // A part that starts later has less before it; only what starts right here counts here.
        if found.is_some() {
            return found;
        }
    }
    None
}

fn first_keyword(text: &str, keywords: &[String]) -> Option<(usize, usize)> {
    let places = keywords.iter().enumerate();
    places
        .filter_map(|(i, word)| text.find(word.as_str()).map(|at| (i, at)))
        .min_by_key(|(_, at)| *at)
}

/// All texts that a part can match, in lower case, when they are few.
fn spellings(part: &Hir) -> Option<BTreeSet<String>> {
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(BTreeSet::from([String::new()])),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok().filter(|text| text.is_ascii())?;
            Some(BTreeSet::from([text.to_lowercase()]))
        }
        HirKind::Class(class) => class_spellings(class),
        HirKind::Capture(capture) => spellings(&capture.sub),
        HirKind::Alternation(alternatives) => {
            let mut all = BTreeSet::new();
            for alternative in alternatives {
                all.extend(spellings(alternative)?);
            }
            (all.len() <= SPELLINGS_MAX).then_some(all)
        }
        HirKind::Concat(parts) => {
            let mut all = BTreeSet::from([String::new()]);
            for part in parts {
                let more = spellings(part)?;
                if all.len() * more.len() > SPELLINGS_MAX {
                    return None;
                }
                all =
                    all.iter().flat_map(|a| more.iter().map(move |b| format!("{a}{b}"))).collect();
            }
            Some(all)
        }
        HirKind::Repetition(repetition) if repetition.max == Some(1) => {
            let mut all = spellings(&repetition.sub)?;
            if repetition.min == 0 {
                all.insert(String::new());
            }
            Some(all)
        }
        HirKind::Repetition(repetition)
            if repetition.max == Some(repetition.min) && repetition.min <= 8 =>
        {
            let mut all = BTreeSet::from([String::new()]);
            let more = spellings(&repetition.sub)?;
            for _ in 0..repetition.min {
                if all.len() * more.len() > SPELLINGS_MAX {
                    return None;
                }
                all =
                    all.iter().flat_map(|a| more.iter().map(move |b| format!("{a}{b}"))).collect();
            }
            Some(all)
        }
        HirKind::Repetition(_) => None,
    }
}

/// Both cases of a letter are one spelling, and so are the two characters outside ASCII (`ſ`, the Kelvin sign) that fold to one.
fn class_spellings(class: &Class) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let mut add = |start: u32, end: u32| {
        for code in start..=end.min(start + 128) {
            let char = match char::from_u32(code)? {
                'ſ' => 's',
                '\u{212a}' => 'k',
                char if char.is_ascii() => char.to_ascii_lowercase(),
                _ => return None,
            };
            all.insert(char.to_string());
        }
        (all.len() <= 16 && end - start <= 128).then_some(())
    };
    match class {
        Class::Unicode(class) => {
            for range in class.ranges() {
                add(u32::from(range.start()), u32::from(range.end()))?;
            }
        }
        Class::Bytes(class) => {
            for range in class.ranges() {
                add(u32::from(range.start()), u32::from(range.end()))?;
            }
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::{Anchors, Candidate};
    use crate::secret::pattern::Pattern;

    fn anchors(regex: &str, keywords: &[&str]) -> Option<Anchors> {
        let keywords: Vec<String> = keywords.iter().map(|word| (*word).into()).collect();
        Anchors::prove(Pattern::parse(regex).unwrap().hir(), &keywords)
    }

    #[test]
    fn a_proof_exists_where_every_match_has_a_keyword() {
        #[rustfmt::skip]
        let cases: [(&str, &[&str], bool); 12] = [
            (r"\b(ghp_[a-z]{36})\b",                       &["ghp_"],              true),
            (r"(?i)[\w.-]{0,50}?(?:api|token)[ ]{0,3}=x",  &["api", "token"],      true),
            (r"(?i)[\w.-]{0,50}?(?:api|token)[ ]{0,3}=x",  &["api"],               false),
            (r"(?:sk|pk)_(?:test|live)_[0-9]{9}",          &["sk_test", "sk_live", "pk_test", "pk_live"], true),
            (r"(?:sk|pk)_(?:test|live)_[0-9]{9}",          &["sk_test"],           false),
            (r"(?:A3T[A-Z0-9]|AKIA|ASIA)[A-Z2-7]{16}",     &["akia", "asia", "a3t"], true),
            (r"x*(?:ab[0-9]+c|de[0-9]+f)",                 &["ab", "de"],          true),
            (r"[a-f]{32}",                                 &["key"],               false),
            (r"[a-f]{32}",                                 &[],                    false),
            (r"passw(?:or)?d",                             &["passw"],             true),
            (r"(?:key)?=[0-9]+",                           &["key"],               false),
            (r"-----BEGIN[ A-Z]{0,20}KEY",                 &["-----begin"],        true),
        ];
        for (regex, keywords, proven) in cases {
            assert_eq!(anchors(regex, keywords).is_some(), proven, "{regex} {keywords:?}");
        }
    }

    #[test]
    fn a_candidate_starts_as_early_as_a_match_could() {
        let anchors = anchors(r"[a-z]{0,3}my_(?:key)=[0-9]", &["key"]).unwrap();
        let text = b"abcdmy_key=1 my_key=x";
        let mut found = Vec::new();
        anchors.candidates(text, 0, 7, &mut found);
        anchors.candidates(text, 0, 16, &mut found);
        assert_eq!(found, [Candidate { part: 4, from: 1 }]);
    }
}
