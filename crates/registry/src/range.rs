//! Byte ranges: `Range` of downloads (RFC 9110) and `Content-Range` of upload chunks (distribution specification).

use std::ops::Range;

/// What a `Range` header asks of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// Reads a `Range` header for `size` bytes. Other units and several ranges at once are answered with the whole, which RFC 9110
/// allows; an end before the start cannot be satisfied.
pub fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|text| text.strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    let Some((from, to)) = spec.trim().split_once('-') else { return Asked::Whole };
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to && from < size => {
            Asked::Part(from..(to.saturating_add(1)).min(size))
        }
        (Some(_), Some(_)) => Asked::Unsatisfiable,
        (Some(from), None) if to.is_empty() && from < size => Asked::Part(from..size),
        (Some(_), None) if to.is_empty() => Asked::Unsatisfiable,
        (None, Some(tail)) if from.is_empty() && tail > 0 && size > 0 => {
            Asked::Part(size.saturating_sub(tail)..size)
        }
        (None, Some(_)) if from.is_empty() => Asked::Unsatisfiable,
        _ => Asked::Whole,
    }
}

/// Reads a chunk's `Content-Range`: `START-END`, both inclusive. The `bytes ` of RFC 9110 is accepted from clients that add it.
pub fn chunk(header: &str) -> Option<Range<u64>> {
    let text = header.strip_prefix("bytes ").unwrap_or(header);
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (from, to) = text.split_once('-')?;
    let (from, to) = (number(from)?, number(to)?);
    (from <= to).then(|| from..to.saturating_add(1))
}

/// Digits only: `u64::from_str` would take a `+`.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_2048_bytes() {
        let cases = [
            (None, Asked::Whole),
            (Some("bytes=500-1499"), Asked::Part(500..1500)),
            (Some("bytes=500-"), Asked::Part(500..2048)),
            (Some("bytes=-500"), Asked::Part(1548..2048)),
            (Some("bytes=-5000"), Asked::Part(0..2048)),
            (Some("bytes=2000-5000"), Asked::Part(2000..2048)),
            (Some("bytes=500-0"), Asked::Unsatisfiable),
            (Some("bytes=5000-10000"), Asked::Unsatisfiable),
            (Some("bytes=2048-"), Asked::Unsatisfiable),
            (Some("bytes=-0"), Asked::Unsatisfiable),
            (Some("bytes=0-0,5-6"), Asked::Whole),
            (Some("bytes=a-b"), Asked::Whole),
            (Some("pages=1-2"), Asked::Whole),
            (Some("bytes=+1-2"), Asked::Whole),
        ];
        for (header, wanted) in cases {
            assert_eq!(asked(header, 2048), wanted, "{header:?}");
        }
        assert_eq!(asked(Some("bytes=-1"), 0), Asked::Unsatisfiable);
    }

    #[test]
    fn chunks() {
        assert_eq!(chunk("0-9"), Some(0..10));
        assert_eq!(chunk("bytes 5-9/*"), Some(5..10));
        for bad in ["", "-", "5", "9-5", "a-b", "-5", "5-", "+1-2"] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }
}
