//! RPM: `EPOCH:VERSION-RELEASE`, each by the segments of `rpmvercmp`, with `~` before and `^` after the same version.
//!
//! Source: rpm's manual page rpm-version(7), and its behaviour.

use std::cmp::Ordering;

use super::decimal;

#[derive(Debug)]
pub(super) struct Rpm<'a> {
    epoch: &'a str,
    version: &'a str,
    /// A version without release comes before the same with any.
    release: Option<&'a str>,
}

#[expect(clippy::unnecessary_wraps, reason = "the form that every ordering has")]
pub(super) fn parse(text: &str) -> Result<Rpm<'_>, &'static str> {
    // Only a run of digits before the first colon is an epoch.
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => (epoch, rest),
        _ => ("", text),
    };
    let (version, release) = match rest.rsplit_once('-') {
        Some((version, release)) => (version, Some(release)),
        None => (rest, None),
    };
    Ok(Rpm { epoch, version, release })
}

pub(super) fn order(a: &Rpm<'_>, b: &Rpm<'_>) -> Ordering {
    let release = || match (a.release, b.release) {
        (Some(a), Some(b)) => order_part(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    decimal::order(a.epoch, b.epoch)
        .then_with(|| order_part(a.version, b.version))
        .then_with(release)
}

fn order_part(mut a: &str, mut b: &str) -> Ordering {
    let separator = |c: char| !c.is_ascii_alphanumeric() && c != '~' && c != '^';
    loop {
        a = a.trim_start_matches(separator);
        b = b.trim_start_matches(separator);
        match (a.strip_prefix('~'), b.strip_prefix('~')) {
            (Some(a_rest), Some(b_rest)) => {
                (a, b) = (a_rest, b_rest);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        match (a.strip_prefix('^'), b.strip_prefix('^')) {
            (Some(a_rest), Some(b_rest)) => {
                (a, b) = (a_rest, b_rest);
                continue;
            }
            // After the bare version, but before any further segment.
            (Some(_), None) => {
                return if b.is_empty() { Ordering::Greater } else { Ordering::Less };
            }
            (None, Some(_)) => {
                return if a.is_empty() { Ordering::Less } else { Ordering::Greater };
            }
            (None, None) => {}
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        let numeric = a.starts_with(|c: char| c.is_ascii_digit());
        let (a_segment, a_rest) = segment(a, numeric);
        let (b_segment, b_rest) = segment(b, numeric);
        if b_segment.is_empty() {
            // Different kinds: the number is later.
            return if numeric { Ordering::Greater } else { Ordering::Less };
        }
        let order =
            if numeric { decimal::order(a_segment, b_segment) } else { a_segment.cmp(b_segment) };
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
}

fn segment(text: &str, numeric: bool) -> (&str, &str) {
    let belongs =
        |byte: &u8| if numeric { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
    text.split_at(text.bytes().take_while(belongs).count())
}
