//! Decimal numbers of any length, compared as text: a version may hold more digits than a machine word.

use std::cmp::Ordering;

/// Whether a text is one or more ASCII digits.
pub(super) fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The order of two runs of digits as numbers. An empty run is 0.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Whether a run of digits is the number 0. An empty run is.
pub(super) fn is_zero(digits: &str) -> bool {
    digits.bytes().all(|byte| byte == b'0')
}

/// Splits off the leading ASCII digits.
pub(super) fn split(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Orders two runs of items one by one; where one ends, `alone` says how an item of the other compares with nothing.
pub(super) fn order_lists<T>(
    a: &[T],
    b: &[T],
    order: impl Fn(&T, &T) -> Ordering,
    alone: impl Fn(&T) -> Ordering,
) -> Ordering {
    for index in 0..a.len().max(b.len()) {
        let found = match (a.get(index), b.get(index)) {
            (Some(a), Some(b)) => order(a, b),
            (Some(a), None) => alone(a),
            (None, Some(b)) => alone(b).reverse(),
            (None, None) => Ordering::Equal,
        };
        if found.is_ne() {
            return found;
        }
    }
    Ordering::Equal
}
