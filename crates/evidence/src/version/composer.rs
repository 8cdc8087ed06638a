//! Composer: a version is normalized to four numbers and a stability, then ordered as PHP's `version_compare` does.
//!
//! Source: Composer's documentation of versions, PHP's of `version_compare`, and the behaviour of `composer/semver` 3. Branches
//! (`dev-main`) have no place in the order; `1.x-dev` has.

use std::cmp::Ordering;

use super::decimal;

/// The normalized version in PHP's canonical parts.
#[derive(Debug)]
pub(super) struct Composer(Vec<String>);

pub(super) fn parse(text: &str) -> Result<Composer, &'static str> {
    let text = text.trim();
    // `branch as 1.0` gives a branch the version of its alias in other packages only.
    let text = text.split_once(" as ").map_or(text, |(version, _alias)| version);
    let text = text
        .rsplit_once('@')
        .filter(|(_, flag)| is_stability(flag))
        .map_or(text, |(version, _)| version);
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "master" | "trunk" | "default") || lower.starts_with("dev-") {
        return Err("a branch has no place in the order");
    }
    let bare = match text.split_once('+') {
        Some((bare, build)) if !build.is_empty() && !build.contains(char::is_whitespace) => bare,
        _ => text,
    };
    let normal = classical(bare).or_else(|| dated(bare)).or_else(|| branch(bare));
    Ok(Composer(canonical(&normal.ok_or("it is neither numbers with a stability nor a date")?)))
}

fn is_stability(flag: &str) -> bool {
    let flag = flag.to_ascii_lowercase();
    matches!(flag.as_str(), "stable" | "rc" | "beta" | "alpha" | "dev")
}

/// `v?N(.N){0,3}` and a stability: the numbers filled up to four.
fn classical(text: &str) -> Option<String> {
    let (first, mut rest) = decimal::split(text.strip_prefix(['v', 'V']).unwrap_or(text));
    if first.is_empty() || first.len() > 5 {
        return None;
    }
    let mut normal = first.to_owned();
    for _ in 0..3 {
        let next =
            rest.strip_prefix('.').map(decimal::split).filter(|(number, _)| !number.is_empty());
        let (number, after) = next.unwrap_or(("0", rest));
        normal = format!("{normal}.{number}");
        rest = after;
    }
    Some(normal + &stability(rest)?)
}

/// Four digits, one to six groups of two, and at most three digits more, with `.`, `:` or `-` between, and a stability.
fn dated(text: &str) -> Option<String> {
    const SEPARATORS: [char; 3] = ['.', ':', '-'];
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let group = |at: usize, digits: usize| {
        let rest = text.get(at..)?;
        let number = rest.strip_prefix(SEPARATORS).unwrap_or(rest);
        number.get(..digits).filter(|number| decimal::is_decimal(number))?;
        Some(at + rest.len() - number.len() + digits)
    };
    text.get(..4).filter(|year| decimal::is_decimal(year))?;
    let ends = std::iter::successors(Some(4), |at| group(*at, 2)).take(7);
    // As much as possible belongs to the date.
    for end in ends.skip(1).collect::<Vec<_>>().into_iter().rev() {
        for end in [3, 2, 1].iter().filter_map(|digits| group(end, *digits)).chain([end]) {
            if let Some(stability) = stability(&text[end..]) {
                return Some(text[..end].replace([':', '-'], ".") + &stability);
            }
        }
    }
    None
}

/// `1.x-dev`: the last of that line, hence before nothing but later lines.
fn branch(text: &str) -> Option<String> {
    let end = text.len().checked_sub(3)?;
    let name = text.get(..end).filter(|_| text[end..].eq_ignore_ascii_case("dev"))?;
    let name = name.strip_suffix(['.', '-']).unwrap_or(name);
    let parts: Vec<_> = name.strip_prefix(['v', 'V']).unwrap_or(name).split('.').collect();
    let is_any = |part: &str| matches!(part, "x" | "X" | "*");
    let known = parts.iter().all(|part| decimal::is_decimal(part) || is_any(part));
    if parts.len() > 4 || !known || !decimal::is_decimal(parts[0]) {
        return None;
    }
    let number = |index: usize| match parts.get(index) {
        Some(part) if !is_any(part) => (*part).to_owned(),
        _ => "9999999".to_owned(),
    };
    Some(format!("{}.{}.{}.{}-dev", number(0), number(1), number(2), number(3)))
}

/// `[._-]?(stable|beta|b|RC|alpha|a|patch|pl|p)(NUMBERS)?` and `[.-]?dev`; answers their normal spelling.
fn stability(text: &str) -> Option<String> {
    const WORDS: [(&str, &str); 9] = [
        ("stable", ""),
        ("beta", "beta"),
        ("b", "beta"),
        ("rc", "RC"),
        ("alpha", "alpha"),
        ("a", "alpha"),
        ("patch", "patch"),
        ("pl", "patch"),
        ("p", "patch"),
    ];
    let lower = text.to_ascii_lowercase();
    let after = lower.strip_prefix(['.', '_', '-']).unwrap_or(&lower);
    let Some((word, spelling)) = WORDS.iter().find(|(word, _)| after.starts_with(word)) else {
        let dev = dev_suffix(after).or_else(|| dev_suffix(&lower))?;
        return Some(if dev { "-dev".to_owned() } else { String::new() });
    };
    let (numbers, rest) = numbers(&after[word.len()..]);
    let dev = dev_suffix(rest)?;
    if *word == "stable" {
        return Some(String::new());
    }
    let dev = if dev { "-dev" } else { "" };
    Some(format!("-{spelling}{}{dev}", numbers.trim_start_matches(['.', '-'])))
}

/// Splits off numbers, each directly or after a dot or dash.
fn numbers(text: &str) -> (&str, &str) {
    let mut rest = text;
    loop {
        let (number, after) = decimal::split(rest.strip_prefix(['.', '-']).unwrap_or(rest));
        if number.is_empty() {
            return text.split_at(text.len() - rest.len());
        }
        rest = after;
    }
}

/// Whether the rest is `[.-]?dev`; `None` when it is something else.
fn dev_suffix(rest: &str) -> Option<bool> {
    match rest.strip_prefix(['.', '-']).unwrap_or(rest) {
        "dev" => Some(true),
        "" if rest.is_empty() => Some(false),
        _ => None,
    }
}

/// PHP's canonical form: a part ends at `.`, `-`, `_`, `+` and between letters and digits.
fn canonical(normal: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![];
    let mut last = None;
    for character in normal.chars() {
        if matches!(character, '.' | '-' | '_' | '+') {
            last = None;
            continue;
        }
        let digit = character.is_ascii_digit();
        match parts.last_mut() {
            Some(part) if last == Some(digit) => part.push(character),
            _ => parts.push(character.to_string()),
        }
        last = Some(digit);
    }
    parts
}

pub(super) fn order(a: &Composer, b: &Composer) -> Ordering {
    // A part against nothing: a number makes it later, a word is compared with the place of a number.
    let alone = |part: &String| {
        if decimal::is_decimal(part) { Ordering::Greater } else { rank(part).cmp(&NUMBER) }
    };
    decimal::order_lists(&a.0, &b.0, |a, b| order_part(a, b), alone)
}

const NUMBER: i8 = 4;

/// The places of `version_compare`; a word that it does not know comes first.
fn rank(word: &str) -> i8 {
    const WORDS: [(&str, i8); 9] = [
        ("dev", 0),
        ("alpha", 1),
        ("a", 1),
        ("beta", 2),
        ("b", 2),
        ("RC", 3),
        ("rc", 3),
        ("pl", 5),
        ("p", 5),
    ];
    WORDS.iter().find(|(known, _)| word.starts_with(known)).map_or(-1, |(_, rank)| *rank)
}

fn order_part(a: &str, b: &str) -> Ordering {
    match (decimal::is_decimal(a), decimal::is_decimal(b)) {
        (true, true) => decimal::order(a, b),
        (false, false) => rank(a).cmp(&rank(b)),
        (true, false) => NUMBER.cmp(&rank(b)),
        (false, true) => rank(a).cmp(&NUMBER),
    }
}
