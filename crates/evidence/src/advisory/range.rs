//! Whether a version is affected, and which version mends it.
//!
//! Source: the evaluation algorithm of ossf/osv-schema `docs/schema.md`.

use std::cmp::Ordering;

use super::osv::{Affected, Event};
use crate::version::{Scheme, Unreadable, compare};

/// The most events of one range that are sorted; published ones have a few dozen.
const EVENTS_MAX: usize = 4096;

/// What the comparison said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covered {
    Yes,
    No,
    /// It cannot be told, and why.
    Perhaps(String),
}

/// Whether a version is affected by this entry. No scheme: only listed versions can be told.
pub fn covers(affected: &Affected, scheme: Option<Scheme>, version: &str) -> Covered {
    if affected.versions.iter().any(|listed| is_same(scheme, listed, version)) {
        return Covered::Yes;
    }
    if affected.versions.is_empty() && affected.ranges.is_empty() {
        return Covered::Perhaps(
            "the advisory names neither versions nor ranges of versions".into(),
        );
    }
    let mut doubt = None;
    for range in &affected.ranges {
        let Some(scheme) = scheme else {
            return Covered::Perhaps("the ecosystem's order of versions is not known".into());
        };
        match in_range(range, scheme, version) {
            Ok(true) => return Covered::Yes,
            Ok(false) => {}
            Err(why) => doubt = Some(why),
        }
    }
    doubt.map_or(Covered::No, Covered::Perhaps)
}

/// Equal texts, or two spellings of one version.
fn is_same(scheme: Option<Scheme>, a: &str, b: &str) -> bool {
    a == b || scheme.is_some_and(|scheme| compare(scheme, a, b) == Ok(Ordering::Equal))
}

fn in_range(events: &[Event], scheme: Scheme, version: &str) -> Result<bool, String> {
    if events.len() > EVENTS_MAX {
        return Err(format!(
            "the advisory's range has {} events; at most {EVENTS_MAX} are read",
            events.len()
        ));
    }
    let text = |unreadable: Unreadable| unreadable.to_string();
    let mut limits = events.iter().filter_map(|event| match event {
        Event::Limit(limit) => Some(limit.as_str()),
        _ => None,
    });
    if let Some(first) = limits.next() {
        let mut inside = false;
        for limit in std::iter::once(first).chain(limits) {
            inside |= limit == "*" || compare(scheme, version, limit).map_err(text)?.is_lt();
        }
        if !inside {
            return Ok(false);
        }
    }
    let mut affected = false;
    for event in sorted(events, scheme).map_err(text)? {
        match event {
            Event::Introduced(from) if from == "0" => affected = true,
            Event::Introduced(from) if compare(scheme, version, from).map_err(text)?.is_ge() => {
                affected = true;
            }
            Event::Fixed(at) if compare(scheme, version, at).map_err(text)?.is_ge() => {
                affected = false;
            }
            Event::LastAffected(last) if compare(scheme, version, last).map_err(text)?.is_gt() => {
                affected = false;
            }
            _ => {}
        }
    }
    Ok(affected)
}

/// The events by version; equal ones keep their order. By insertion, because Maven's order is not transitive and a library's sort
/// may refuse such an order; ranges are short, and mostly sorted already.
fn sorted(events: &[Event], scheme: Scheme) -> Result<Vec<&Event>, Unreadable> {
    let mut sorted: Vec<&Event> = Vec::with_capacity(events.len());
    for event in events {
        let Some(version) = version_of(event) else { continue };
        let mut at = sorted.len();
        while at > 0 {
            let before = version_of(sorted[at - 1]).unwrap_or("0");
            let later = match (before, version) {
                (_, "0") => before != "0",
                ("0", _) => false,
                _ => compare(scheme, before, version)?.is_gt(),
            };
            if !later {
                break;
            }
            at -= 1;
        }
        sorted.insert(at, event);
    }
    Ok(sorted)
}

fn version_of(event: &Event) -> Option<&str> {
    match event {
        Event::Introduced(version) | Event::Fixed(version) | Event::LastAffected(version) => {
            Some(version)
        }
        Event::Limit(_) => None,
    }
}

/// The lowest version above `version` that ends a range of one of these entries and is affected by none of them.
pub fn lowest_fix(entries: &[&Affected], scheme: Scheme, version: &str) -> Option<String> {
    let events = entries.iter().flat_map(|affected| affected.ranges.iter().flatten());
    let fixes = events.filter_map(|event| match event {
        Event::Fixed(fix) => Some(fix.as_str()),
        _ => None,
    });
    let mut lowest: Option<&str> = None;
    for fix in fixes {
        let above = compare(scheme, fix, version) == Ok(Ordering::Greater);
        let lower = lowest.is_none_or(|low| compare(scheme, fix, low) == Ok(Ordering::Less));
        if above && lower && entries.iter().all(|one| covers(one, Some(scheme), fix) == Covered::No)
        {
            lowest = Some(fix);
        }
    }
    lowest.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `i1.0 f1.5 l2.0 x3` in the order written; several ranges are separated by `|`.
    fn affected(versions: &[&str], ranges: &str) -> Affected {
        let event = |word: &str| {
            let version = word[1..].to_owned();
            match &word[..1] {
                "i" => Event::Introduced(version),
                "f" => Event::Fixed(version),
                "l" => Event::LastAffected(version),
                _ => Event::Limit(version),
            }
        };
        let ranges = ranges.split('|').map(|range| range.split_whitespace().map(event).collect());
        Affected {
            ecosystem: "x".into(),
            versions: versions.iter().map(|v| (*v).to_owned()).collect(),
            ranges: ranges.filter(|range: &Vec<_>| !range.is_empty()).collect(),
        }
    }

    #[test]
    fn ranges_are_evaluated_as_the_schema_says() {
        let (yes, no) = ("yes", "no");
        #[rustfmt::skip]
        let cases: &[(&str, &str, &str)] = &[
            ("i0",                       "0.0.0-alpha", yes), ("i0 f1.0.0",                  "0.9.0", yes), ("i0 f1.0.0", "1.0.0", no), ("f1.0.0 i0", "0.9.0", yes),
            ("i1.0.0 f1.5.0",            "1.5.0-rc.1",  yes), ("i1.0.0 f1.5.0",              "1.0.0-rc.1", no),
            ("i0 f1.2.0 i2.0.0 f2.1.0",  "1.9.0",       no),  ("i2.0.0 f2.1.0 i0 f1.2.0",    "2.0.5", yes),
            ("i1.0.0 l1.4.0",            "1.4.0",       yes), ("i1.0.0 l1.4.0",              "1.4.1", no),
            ("i1.0.0 x2.0.0",            "1.9.0",       yes), ("i1.0.0 x2.0.0",              "2.0.0", no),  ("i1.0.0 x*", "9.0.0", yes),
            ("i1.0.0 f1.0.0",            "1.0.0",       no),  ("i1.0.0 f1.1.0|i2.0.0",       "2.5.0", yes), ("i1.0.0 l1.0.0", "1.0.0", yes), ("i0 f0", "1.0.0", no),
        ];
        for (ranges, version, expected) in cases {
            let covered = covers(&affected(&[], ranges), Some(Scheme::SemVer), version);
            let said = if covered == Covered::Yes { yes } else { no };
            assert_eq!(said, *expected, "{version} in {ranges}: {covered:?}");
        }
    }

    #[test]
    fn listed_versions_count_in_any_spelling() {
        let one = affected(&["1.0", "weird"], "");
        assert_eq!(covers(&one, Some(Scheme::Pep440), "1.0.0"), Covered::Yes);
        assert_eq!(covers(&one, None, "weird"), Covered::Yes);
        assert_eq!(covers(&one, Some(Scheme::Pep440), "1.1"), Covered::No);
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let why = |affected: &Affected, scheme, version| match covers(affected, scheme, version) {
            Covered::Perhaps(why) => why,
            other => panic!("{other:?}"),
        };
        let range = affected(&[], "i0 f1.0.0");
        assert_eq!(
            why(&range, Some(Scheme::SemVer), "main"),
            "`main` is no semantic version: it does not begin with MAJOR.MINOR.PATCH"
        );
        assert_eq!(why(&range, None, "1"), "the ecosystem's order of versions is not known");
        let nothing = why(&affected(&[], ""), Some(Scheme::SemVer), "1.0.0");
        assert_eq!(nothing, "the advisory names neither versions nor ranges of versions");
    }

    #[test]
    fn the_lowest_fix_is_above_and_mends_all() {
        let scheme = Scheme::SemVer;
        let lines = affected(&[], "i1.0.0 f1.5.2|i2.0.0 f2.3.0");
        assert_eq!(lowest_fix(&[&lines], scheme, "1.2.0").as_deref(), Some("1.5.2"));
        assert_eq!(lowest_fix(&[&lines], scheme, "2.0.0").as_deref(), Some("2.3.0"));
        // What one advisory calls fixed another may still cover.
        let other = affected(&[], "i0 f1.6.0");
        assert_eq!(lowest_fix(&[&lines, &other], scheme, "1.2.0").as_deref(), Some("1.6.0"));
        assert_eq!(lowest_fix(&[&affected(&[], "i0 l2.0.0")], scheme, "1.0.0"), None);
    }

    /// Sorting must not depend on a transitive order, which Maven's is not.
    #[test]
    fn an_order_that_is_not_transitive_ends() {
        let words = ["i1.0-beta-1m1.Final", "f1.0-beta-1.y-M2", "l1.0-beta-1"].repeat(40).join(" ");
        let range = affected(&[], &words);
        assert_ne!(covers(&range, Some(Scheme::Maven), "1.0"), Covered::Perhaps(String::new()));
    }
}
