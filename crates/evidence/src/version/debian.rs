//! Debian: `EPOCH:UPSTREAM-REVISION`.
//!
//! Source: Debian Policy 5.6.12 and deb-version(7).

use std::cmp::Ordering;

use super::decimal;

#[derive(Debug)]
pub(super) struct Debian<'a> {
    epoch: &'a str,
    upstream: &'a str,
    revision: &'a str,
}

pub(super) fn parse(text: &str) -> Result<Debian<'_>, &'static str> {
    let text = text.trim();
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) if decimal::is_decimal(epoch) => (epoch, rest),
        Some(_) => return Err("its epoch is not a number"),
        None => ("", text),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    let known = |byte: u8, more: &[u8]| byte.is_ascii_alphanumeric() || more.contains(&byte);
    if upstream.is_empty() || !upstream.bytes().all(|byte| known(byte, b".+-~:")) {
        return Err(
            "its upstream version is empty or has other characters than A-Z a-z 0-9 . + - ~ :",
        );
    }
    if rest.ends_with('-') || !revision.bytes().all(|byte| known(byte, b".+~")) {
        return Err("its revision is empty or has other characters than A-Z a-z 0-9 . + ~");
    }
    Ok(Debian { epoch, upstream, revision })
}

pub(super) fn order(a: &Debian<'_>, b: &Debian<'_>) -> Ordering {
    decimal::order(a.epoch, b.epoch)
        .then_with(|| order_part(a.upstream, b.upstream))
        .then_with(|| order_part(a.revision, b.revision))
}

/// Runs of other characters and runs of digits in turn.
fn order_part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = split_text(a);
        let (b_text, b_rest) = split_text(b);
        let (a_number, a_rest) = decimal::split(a_rest);
        let (b_number, b_rest) = decimal::split(b_rest);
        let order = order_text(a_text, b_text).then_with(|| decimal::order(a_number, b_number));
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn split_text(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(|byte| !byte.is_ascii_digit()).count())
}

/// `~` is before the end, the end before letters, letters before everything else.
fn order_text(a: &str, b: &str) -> Ordering {
    let weight = |text: &str, index: usize| match text.as_bytes().get(index) {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let mut orders = (0..a.len().max(b.len())).map(|i| weight(a, i).cmp(&weight(b, i)));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
