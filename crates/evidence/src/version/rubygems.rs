//! RubyGems: dotted segments, in which a word makes a pre-release.
//!
//! Source: the documentation of `Gem::Version`, and its behaviour.

use std::cmp::Ordering;

use super::decimal;

/// Segments without the zeros that do not count.
#[derive(Debug)]
pub(super) struct Gem<'a>(Vec<&'a str>);

pub(super) fn parse(text: &str) -> Result<Gem<'_>, &'static str> {
    let text = text.trim();
    check(text)?;
    let mut segments = vec![];
    for (index, piece) in text.split('-').enumerate() {
        // A dash stands for `.pre.`.
        if index > 0 {
            segments.push("pre");
        }
        split_segments(piece, &mut segments);
    }
    Ok(Gem(canonical(&segments)))
}

/// `NUMBER(.WORD)*(-WORD(.WORD)*)?`
fn check(text: &str) -> Result<(), &'static str> {
    let (front, back) = match text.split_once('-') {
        Some((front, back)) => (front, Some(back)),
        None => (text, None),
    };
    let is_word = |part: &str, dash: bool| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || dash && byte == b'-';
        !part.is_empty() && part.bytes().all(known)
    };
    if !decimal::is_decimal(front.split('.').next().unwrap_or_default()) {
        return Err("it does not begin with a number");
    }
    let words = front.split('.').all(|part| is_word(part, false))
        && back.is_none_or(|back| back.split('.').all(|part| is_word(part, true)));
    if words {
        Ok(())
    } else {
        Err("it has an empty segment or other characters than letters and digits")
    }
}

/// Runs of digits and runs of letters; what separates them does not matter.
fn split_segments<'a>(text: &'a str, segments: &mut Vec<&'a str>) {
    let mut rest = text;
    while let Some(lead) = rest.bytes().next() {
        let belongs = |byte: &u8| {
            byte.is_ascii_alphanumeric() && byte.is_ascii_digit() == lead.is_ascii_digit()
        };
        let len = rest.bytes().take_while(belongs).count();
        if len == 0 {
            rest = &rest[1..];
            continue;
        }
        segments.push(&rest[..len]);
        rest = &rest[len..];
    }
}

/// Drops zeros at the end of the numbers before the first word, and at the end of all.
fn canonical<'a>(segments: &[&'a str]) -> Vec<&'a str> {
    let is_word = |segment: &&str| !decimal::is_decimal(segment);
    let first_word = segments.iter().position(is_word).unwrap_or(segments.len());
    let (numbers, words) = segments.split_at(first_word);
    let trimmed = |part: &[&'a str]| {
        let zeros = part.iter().rev().take_while(|s| !is_word(s) && decimal::is_zero(s)).count();
        part[..part.len() - zeros].to_vec()
    };
    let mut kept = trimmed(numbers);
    kept.extend(trimmed(words));
    kept
}

pub(super) fn order(a: &Gem<'_>, b: &Gem<'_>) -> Ordering {
    let order = |a: &&str, b: &&str| match (decimal::is_decimal(a), decimal::is_decimal(b)) {
        (true, true) => decimal::order(a, b),
        (false, false) => a.cmp(b),
        (a_number, b_number) => a_number.cmp(&b_number),
    };
    // What is missing counts as 0, and a word is before every number.
    decimal::order_lists(&a.0, &b.0, order, |alone| order(alone, &"0"))
}
