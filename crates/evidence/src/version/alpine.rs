//! Alpine: `1.2.3a_rc1_p2~hash-r4`.
//!
//! Source: apk-package(5) and the behaviour of apk-tools 3. Version 2 differs where a number has a leading zero (`1.010` and `1.09`).

use std::cmp::Ordering;

use super::decimal;

/// The suffixes in their order; those up to `rc` come before the version without one.
const SUFFIXES: [&str; 9] = ["alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"];
const PRE_SUFFIXES: usize = 4;

#[derive(Debug)]
enum Token<'a> {
    First(&'a str),
    Number(&'a str),
    Letter(u8),
    /// Its place in [`SUFFIXES`].
    Suffix(usize),
    SuffixNumber(&'a str),
    Hash(&'a str),
    Revision(&'a str),
}

impl Token<'_> {
    /// The order in which tokens may follow each other; the end is after all of them.
    fn rank(&self) -> u8 {
        match self {
            Token::First(_) => 0,
            Token::Number(_) => 1,
            Token::Letter(_) => 2,
            Token::Suffix(_) => 3,
            Token::SuffixNumber(_) => 4,
            Token::Hash(_) => 5,
            Token::Revision(_) => 6,
        }
    }
}

const END: u8 = 7;

#[derive(Debug)]
pub(super) struct Alpine<'a>(Vec<Token<'a>>);

pub(super) fn parse(text: &str) -> Result<Alpine<'_>, &'static str> {
    let (first, mut rest) = decimal::split(text);
    if first.is_empty() {
        return Err("it does not begin with a number");
    }
    let mut tokens = vec![Token::First(first)];
    while let Some(lead) = rest.bytes().next() {
        let rank = tokens.last().map_or(0, Token::rank);
        let token;
        (token, rest) = match lead {
            b'a'..=b'z' if rank <= 1 => (Token::Letter(lead), &rest[1..]),
            b'.' if rank <= 1 => number(&rest[1..], Token::Number)?,
            b'_' if rank <= 4 => suffix(&rest[1..])?,
            b'0'..=b'9' if rank == 3 => number(rest, Token::SuffixNumber)?,
            b'~' if rank < 5 => hash(&rest[1..])?,
            b'-' if rank < 6 => {
                let digits =
                    rest.strip_prefix("-r").ok_or("after `-` only `r` and a number may follow")?;
                number(digits, Token::Revision)?
            }
            _ => return Err("its parts do not follow the order number, letter, suffix, revision"),
        };
        tokens.push(token);
    }
    Ok(Alpine(tokens))
}

type Read<'a> = Result<(Token<'a>, &'a str), &'static str>;

fn number<'a>(text: &'a str, token: fn(&'a str) -> Token<'a>) -> Read<'a> {
    match decimal::split(text) {
        ("", _) => Err("a number is missing"),
        (digits, rest) => Ok((token(digits), rest)),
    }
}

fn suffix(text: &str) -> Read<'_> {
    let (word, rest) = text.split_at(text.bytes().take_while(u8::is_ascii_lowercase).count());
    match SUFFIXES.iter().position(|suffix| *suffix == word) {
        Some(place) => Ok((Token::Suffix(place), rest)),
        None => Err("it has an unknown suffix"),
    }
}

fn hash(text: &str) -> Read<'_> {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match text.split_at(text.bytes().take_while(is_hex).count()) {
        ("", _) => Err("its commit hash is empty"),
        (hash, rest) => Ok((Token::Hash(hash), rest)),
    }
}

pub(super) fn order(a: &Alpine<'_>, b: &Alpine<'_>) -> Ordering {
    let pairs = a.0.iter().zip(&b.0);
    let same = pairs.take_while(|(a, b)| order_token(a, b) == Some(Ordering::Equal)).count();
    match (a.0.get(same), b.0.get(same)) {
        (None, None) => Ordering::Equal,
        (Some(Token::Suffix(place)), b) if *place < PRE_SUFFIXES && !is_suffix(b) => Ordering::Less,
        (a, Some(Token::Suffix(place))) if *place < PRE_SUFFIXES && !is_suffix(a) => {
            Ordering::Greater
        }
        (Some(a), Some(b)) if a.rank() == b.rank() => order_token(a, b).unwrap_or(Ordering::Equal),
        // The one that goes on with the earlier kind of token is the greater; the end is the last kind.
        (a, b) => b.map_or(END, Token::rank).cmp(&a.map_or(END, Token::rank)),
    }
}

fn is_suffix(token: Option<&Token<'_>>) -> bool {
    matches!(token, Some(Token::Suffix(_)))
}

/// `None` for tokens of different kinds.
fn order_token(a: &Token<'_>, b: &Token<'_>) -> Option<Ordering> {
    Some(match (a, b) {
        // A leading zero makes it a fraction, which is compared as text.
        (Token::Number(a), Token::Number(b)) if a.starts_with('0') || b.starts_with('0') => {
            a.cmp(b)
        }
        (Token::First(a), Token::First(b))
        | (Token::Number(a), Token::Number(b))
        | (Token::SuffixNumber(a), Token::SuffixNumber(b))
        | (Token::Revision(a), Token::Revision(b)) => decimal::order(a, b),
        (Token::Letter(a), Token::Letter(b)) => a.cmp(b),
        (Token::Suffix(a), Token::Suffix(b)) => a.cmp(b),
        (Token::Hash(a), Token::Hash(b)) => a.cmp(b),
        _ => return None,
    })
}
