//! NuGet: up to four numbers and a pre-release that ignores case.
//!
//! Source: the package versioning page of NuGet's documentation, and the behaviour of `NuGetVersion`.

use std::cmp::Ordering;

use super::decimal;

#[derive(Debug)]
pub(super) struct NuGet<'a> {
    numbers: [&'a str; 4],
    pre: Vec<&'a str>,
}

pub(super) fn parse(text: &str) -> Result<NuGet<'_>, &'static str> {
    let text = text.trim();
    let text = text.split_once('+').map_or(text, |(text, _build)| text);
    let (text, pre) = match text.split_once('-') {
        Some((text, pre)) => (text, pre.split('.').collect()),
        None => (text, vec![]),
    };
    let is_part = |part: &&str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !pre.iter().all(is_part) {
        return Err("its pre-release is malformed");
    }
    let mut numbers = [""; 4];
    for (index, number) in text.split('.').enumerate() {
        let place = numbers.get_mut(index).ok_or("it has more than four numbers")?;
        if !decimal::is_decimal(number) {
            return Err("it does not begin with MAJOR.MINOR.PATCH");
        }
        *place = number;
    }
    Ok(NuGet { numbers, pre })
}

pub(super) fn order(a: &NuGet<'_>, b: &NuGet<'_>) -> Ordering {
    let numbers = a.numbers.iter().zip(&b.numbers).map(|(a, b)| decimal::order(a, b));
    let numbers = numbers.fold(Ordering::Equal, Ordering::then);
    let finished = a.pre.is_empty().cmp(&b.pre.is_empty());
    numbers.then(finished).then_with(|| {
        decimal::order_lists(&a.pre, &b.pre, |a, b| order_part(a, b), |_| Ordering::Greater)
    })
}

fn order_part(a: &str, b: &str) -> Ordering {
    match (decimal::is_decimal(a), decimal::is_decimal(b)) {
        (true, true) => decimal::order(a, b),
        (a_number, b_number) => b_number
            .cmp(&a_number)
            .then_with(|| a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase())),
    }
}
