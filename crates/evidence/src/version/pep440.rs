//! Python: `EPOCH!RELEASE{a|b|rc}N.postN.devN+LOCAL`.
//!
//! Source: the version specifiers of the Python packaging specifications (PEP 440), with all spellings its appendix B reads.

use std::cmp::Ordering;

use super::decimal;

#[derive(Debug)]
pub(super) struct Pep440 {
    epoch: String,
    /// Without zeros at the end.
    release: Vec<String>,
    pre: Option<(Stage, String)>,
    post: Option<String>,
    dev: Option<String>,
    local: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Alpha,
    Beta,
    Candidate,
}

/// Longer spellings before the shorter that they begin with.
const STAGES: [(&str, Stage); 8] = [
    ("alpha", Stage::Alpha),
    ("a", Stage::Alpha),
    ("beta", Stage::Beta),
    ("b", Stage::Beta),
    ("preview", Stage::Candidate),
    ("pre", Stage::Candidate),
    ("c", Stage::Candidate),
    ("rc", Stage::Candidate),
];

pub(super) fn parse(text: &str) -> Result<Pep440, &'static str> {
    let lower = text.trim().to_ascii_lowercase();
    let mut rest = lower.strip_prefix('v').unwrap_or(&lower);
    let mut epoch = "";
    if let Some((digits, after)) = rest.split_once('!') {
        if !decimal::is_decimal(digits) {
            return Err("its epoch is not a number");
        }
        (epoch, rest) = (digits, after);
    }
    let release = release(&mut rest)?;
    let pre = STAGES.iter().find_map(|(word, stage)| Some((*stage, marked(&mut rest, &[word])?)));
    let post = dashed_post(&mut rest).or_else(|| marked(&mut rest, &["post", "rev", "r"]));
    let dev = marked(&mut rest, &["dev"]);
    let local = local(&mut rest)?;
    if !rest.is_empty() {
        return Err(
            "it has more than release, pre-release, post-release, development release and local version",
        );
    }
    Ok(Pep440 { epoch: epoch.to_owned(), release, pre, post, dev, local })
}

fn release(rest: &mut &str) -> Result<Vec<String>, &'static str> {
    let (first, mut after) = decimal::split(rest);
    if first.is_empty() {
        return Err("it does not begin with a number");
    }
    let mut release = vec![first.to_owned()];
    while let Some(next) = after.strip_prefix('.') {
        let (number, tail) = decimal::split(next);
        if number.is_empty() {
            break;
        }
        release.push(number.to_owned());
        after = tail;
    }
    *rest = after;
    while release.len() > 1 && release.last().is_some_and(|number| decimal::is_zero(number)) {
        release.pop();
    }
    Ok(release)
}

const SEPARATORS: [char; 3] = ['-', '_', '.'];

/// `[-_.]?WORD[-_.]?NUMBER?`; the number is empty (0) when there is none.
fn marked(rest: &mut &str, words: &[&str]) -> Option<String> {
    let after = rest.strip_prefix(SEPARATORS).unwrap_or(rest);
    let after = words.iter().find_map(|word| after.strip_prefix(word))?;
    let (number, tail) = decimal::split(after.strip_prefix(SEPARATORS).unwrap_or(after));
    *rest = tail;
    Some(number.to_owned())
}

/// `-NUMBER`, the old spelling of a post-release.
fn dashed_post(rest: &mut &str) -> Option<String> {
    let (number, tail) = decimal::split(rest.strip_prefix('-')?);
    if number.is_empty() {
        return None;
    }
    *rest = tail;
    Some(number.to_owned())
}

fn local(rest: &mut &str) -> Result<Option<Vec<String>>, &'static str> {
    let Some(text) = rest.strip_prefix('+') else { return Ok(None) };
    let parts: Vec<String> = text.split(SEPARATORS).map(str::to_owned).collect();
    let is_part =
        |part: &String| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !parts.iter().all(is_part) {
        return Err("its local version is malformed");
    }
    *rest = "";
    Ok(Some(parts))
}

pub(super) fn order(a: &Pep440, b: &Pep440) -> Ordering {
    let number = |a: &String, b: &String| decimal::order(a, b);
    decimal::order(&a.epoch, &b.epoch)
        .then_with(|| decimal::order_lists(&a.release, &b.release, number, |_| Ordering::Greater))
        .then_with(|| order_pre(a, b))
        .then_with(|| order_option(a.post.as_deref(), b.post.as_deref()))
        // A development release comes before what it leads to.
        .then_with(|| match (&a.dev, &b.dev) {
            (Some(a), Some(b)) => decimal::order(a, b),
            (a, b) => a.is_none().cmp(&b.is_none()),
        })
        .then_with(|| order_local(a.local.as_deref(), b.local.as_deref()))
}

fn order_pre(a: &Pep440, b: &Pep440) -> Ordering {
    // `1.0.dev1` is before `1.0a1`; `1.0` and `1.0.post1` are after every pre-release.
    let rank = |version: &Pep440| match (&version.pre, &version.post, &version.dev) {
        (None, None, Some(_)) => 0,
        (Some(_), ..) => 1,
        (None, ..) => 2,
    };
    rank(a).cmp(&rank(b)).then_with(|| match (&a.pre, &b.pre) {
        (Some((a_stage, a)), Some((b_stage, b))) => {
            a_stage.cmp(b_stage).then_with(|| decimal::order(a, b))
        }
        _ => Ordering::Equal,
    })
}

fn order_option(a: Option<&str>, b: Option<&str>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => decimal::order(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn order_local(a: Option<&[String]>, b: Option<&[String]>) -> Ordering {
    let part = |a: &String, b: &String| match (decimal::is_decimal(a), decimal::is_decimal(b)) {
        (true, true) => decimal::order(a, b),
        (a_number, b_number) => a_number.cmp(&b_number).then_with(|| a.cmp(b)),
    };
    match (a, b) {
        (Some(a), Some(b)) => decimal::order_lists(a, b, part, |_| Ordering::Greater),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}
