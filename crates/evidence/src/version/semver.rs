//! Semantic Versioning 2.0.0 (semver.org) and its three dialects: npm, Go, Pub.
//!
//! Beyond the strict form are read: a leading `v`, a missing minor or patch number (0), and releases of Go (`go1.22rc1`).

use std::cmp::Ordering;

use super::decimal;

/// `MAJOR.MINOR.PATCH-PRE+BUILD`; absent parts are empty, and an empty number is 0.
#[derive(Debug)]
pub(super) struct SemVer<'a> {
    core: [&'a str; 3],
    pre: Vec<&'a str>,
    build: Vec<&'a str>,
}

pub(super) fn parse(text: &str) -> Result<SemVer<'_>, &'static str> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, identifiers(build, "its build metadata is malformed")?),
        None => (text, vec![]),
    };
    let (text, pre) = match text.split_once('-') {
        Some((text, pre)) => (text, identifiers(pre, "its pre-release is malformed")?),
        None => (text, vec![]),
    };
    if pre.iter().any(|part| has_leading_zero(part)) {
        return Err("a number of its pre-release has a leading zero");
    }
    Ok(SemVer { core: core(text)?, pre, build })
}

/// As [`parse`], and the names of Go's own releases, which have no dot before `rc` and `beta`.
pub(super) fn parse_go(text: &str) -> Result<SemVer<'_>, &'static str> {
    let Some(release) = text.strip_prefix("go") else { return parse(text) };
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    let (numbers, pre) = release.split_at(end);
    let core = core(numbers)?;
    if pre.is_empty() {
        return Ok(SemVer { core, pre: vec![], build: vec![] });
    }
    // Distributions append a word after a blank or a dash, as in `go1.22.1 X:nocoverageredesign`.
    let stage = pre.strip_prefix("rc").map(|n| ("rc", n));
    match stage.or_else(|| pre.strip_prefix("beta").map(|n| ("beta", n))) {
        Some((stage, number)) if decimal::is_decimal(number) => {
            Ok(SemVer { core, pre: vec![stage, number], build: vec![] })
        }
        _ => Err("it is no release of Go"),
    }
}

fn core(text: &str) -> Result<[&str; 3], &'static str> {
    let mut core = [""; 3];
    for (index, number) in text.split('.').enumerate() {
        let place = core.get_mut(index).ok_or("it has more than three numbers")?;
        if !decimal::is_decimal(number) {
            return Err("it does not begin with MAJOR.MINOR.PATCH");
        }
        if has_leading_zero(number) {
            return Err("one of its numbers has a leading zero");
        }
        *place = number;
    }
    Ok(core)
}

fn identifiers<'a>(text: &'a str, why: &'static str) -> Result<Vec<&'a str>, &'static str> {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let parts: Vec<_> = text.split('.').collect();
    if parts.iter().all(|part| is_part(part)) { Ok(parts) } else { Err(why) }
}

fn has_leading_zero(part: &str) -> bool {
    part.len() > 1 && part.starts_with('0') && decimal::is_decimal(part)
}

/// Precedence of semver.org, item 11: build metadata does not count.
pub(super) fn order(a: &SemVer<'_>, b: &SemVer<'_>) -> Ordering {
    let core = a.core.iter().zip(&b.core).map(|(a, b)| decimal::order(a, b));
    let core = core.fold(Ordering::Equal, Ordering::then);
    // A pre-release comes before its release.
    let finished = a.pre.is_empty().cmp(&b.pre.is_empty());
    core.then(finished).then_with(|| order_identifiers(&a.pre, &b.pre))
}

/// Pub's order: of two versions that are equal otherwise, the one with build metadata is later, and it is compared like a pre-release.
pub(super) fn order_with_build(a: &SemVer<'_>, b: &SemVer<'_>) -> Ordering {
    order(a, b).then_with(|| order_identifiers(&a.build, &b.build))
}

fn order_identifiers(a: &[&str], b: &[&str]) -> Ordering {
    let order = |a: &&str, b: &&str| match (decimal::is_decimal(a), decimal::is_decimal(b)) {
        (true, true) => decimal::order(a, b),
        (a_number, b_number) => b_number.cmp(&a_number).then_with(|| a.cmp(b)),
    };
    decimal::order_lists(a, b, order, |_| Ordering::Greater)
}
