//! Secrets that stand encoded: percent, Unicode escapes, hexadecimal and base64, decoded where they stand and looked at again.
//!
//! The passes, the alphabets and which encoding wins where two overlap are gitleaks', so that the same rule file finds the same.
//! What decodes to something unprintable was never encoded text and stays as it is.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;

use super::pattern::Pattern;

/// How often decoded text is decoded again; gitleaks' default.
pub(super) const DEPTH_MAX: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Percent,
    Unicode,
    Hex,
    Base64,
}

/// In the order in which one wins over the next.
const ENCODINGS: [Encoding; 4] =
    [Encoding::Percent, Encoding::Unicode, Encoding::Hex, Encoding::Base64];

static ENCODED: LazyLock<Regex> = LazyLock::new(|| {
    let patterns = [
        r"(%[0-9A-Fa-f]{2}(?:.*%[0-9A-Fa-f]{2})?)",
        r"((?:U\+[a-fA-F0-9]{4}(?:\s|$))+|(?i)(?:\\{1,2}u[a-fA-F0-9]{4})+)",
        r"([0-9A-Fa-f]{32,})",
        r"([\w\/+-]{16,}={0,2})",
    ];
    let pattern = Pattern::parse(&patterns.join("|")).expect("a test uses it");
    super::pattern::compile(pattern.hir())
});

/// gitleaks decodes base64 whose last bits are not zero, too.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
const PADDED: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const UNPADDED: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    LENIENT.with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

/// A part of a text, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Part {
    /// Touching counts.
    fn overlaps(self, other: Self) -> bool {
        other.start <= self.end && other.end >= self.start
    }
}

/// A decoded part: where it stands in the text of this pass, and where in the original.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    original: Part,
    encoded: Part,
    decoded: Part,
    kinds: u8,
}

/// One pass over a text: the text with its encoded parts decoded.
#[derive(Debug, Default)]
pub(super) struct Pass {
    pub(super) segments: Vec<Segment>,
    /// Of the passes before, the latest last.
    before: Vec<Vec<Segment>>,
}

impl Pass {
    pub(super) fn depth(&self) -> usize {
        self.before.len() + usize::from(!self.segments.is_empty())
    }

    /// Decodes what is encoded; none when nothing is.
    pub(super) fn next(mut self, text: &[u8]) -> Option<(Vec<u8>, Self)> {
        if !may_decode(text) {
            return None;
        }
        if !self.segments.is_empty() {
            self.before.push(std::mem::take(&mut self.segments));
        }
        let mut out = Vec::with_capacity(text.len());
        let mut copied = 0;
        for (encoding, encoded) in encoded_parts(text) {
            let Some(value) = decode(encoding, &text[encoded.start..encoded.end]) else { continue };
            out.extend_from_slice(&text[copied..encoded.start]);
            let start = out.len();
            out.extend_from_slice(&value);
            copied = encoded.end;
            let mut kinds = 1 << encoding as u8;
            for earlier in self.before.last().into_iter().flatten() {
                if encoded.overlaps(earlier.decoded) {
                    kinds |= earlier.kinds;
                }
            }
            let original = original(&self.before, encoded);
            self.segments.push(Segment {
                original,
                encoded,
                decoded: Part { start, end: out.len() },
                kinds,
            });
        }
        if self.segments.is_empty() {
            return None;
        }
        out.extend_from_slice(&text[copied..]);
        Some((out, self))
    }

    /// Where a match of this pass stands in the original text, and its tags; none when nothing in it was decoded.
    pub(super) fn place(&self, found: Part) -> Option<(Part, Vec<String>)> {
        let touched: Vec<Segment> = self
            .segments
            .iter()
            .filter(|segment| segment.decoded.overlaps(found))
            .cloned()
            .collect();
        let kinds = touched.iter().map(|segment| segment.kinds).reduce(|a, b| a | b)?;
        let names = ["percent", "unicode", "hex", "base64"];
        let mut tags: Vec<String> = names
            .iter()
            .enumerate()
            .filter(|(bit, _)| kinds & (1 << bit) != 0)
            .map(|(_, name)| format!("decoded:{name}"))
            .collect();
        tags.push(format!("decode-depth:{}", self.depth()));
        let mut passes = self.before.clone();
        passes.push(touched);
        Some((original(&passes, found), tags))
    }

    /// The line of this pass's text around the decoded parts that a match touches.
    pub(super) fn line<'t>(&self, text: &'t [u8], found: Part) -> &'t [u8] {
        let touched = self.segments.iter().filter(|segment| segment.decoded.overlaps(found));
        let Some(span) = touched.map(|segment| segment.decoded).reduce(merge) else { return text };
        let start = memchr::memrchr(b'\n', &text[..(span.start + 1).min(text.len())]).unwrap_or(0);
        let end = memchr::memchr(b'\n', &text[span.end.min(text.len())..])
            .map_or(text.len(), |at| span.end + at);
        &text[start..end]
    }
}

fn merge(a: Part, b: Part) -> Part {
    Part { start: a.start.min(b.start), end: a.end.max(b.end) }
}

/// Where a part of the newest pass's text stands in the text before all passes.
fn original(passes: &[Vec<Segment>], part: Part) -> Part {
    let Some((latest, earlier)) = passes.split_last() else { return part };
    let mut encoded: Option<Part> = None;
    for segment in latest.iter().filter(|segment| segment.decoded.overlaps(part)) {
        let (inner, outer) = (segment.decoded, merge(segment.decoded, part));
        if outer == inner {
            return segment.original;
        }
        // What stands beyond the decoded text stands as far beyond the encoded one.
        let grown = Part {
            start: segment.encoded.start.saturating_sub(inner.start - outer.start),
            end: segment.encoded.end + (outer.end - inner.end),
        };
        encoded = Some(encoded.map_or(grown, |encoded| merge(encoded, grown)));
    }
    encoded.map_or(part, |encoded| original(earlier, encoded))
}

fn encoded_parts(text: &[u8]) -> Vec<(Encoding, Part)> {
    let mut captures: Captures = ENCODED.create_captures();
    let mut all: Vec<(Encoding, Part)> = Vec::new();
    let mut at = 0;
    while at <= text.len() {
        ENCODED.search_captures(&regex_automata::Input::new(text).range(at..), &mut captures);
        let Some(found) = captures.get_match() else { break };
        for (i, encoding) in ENCODINGS.iter().enumerate() {
            if let Some(span) = captures.get_group(i + 1) {
                all.push((*encoding, Part { start: span.start, end: span.end }));
            }
        }
        at = found.end().max(at + 1);
    }
    let wins = |a: Encoding, b: Encoding| (a as u8) < b as u8;
    let kept = |i: usize| {
        let (encoding, part) = all[i];
        let beside = [i.checked_sub(1), (i + 1 < all.len()).then_some(i + 1)];
        !beside.into_iter().flatten().any(|other| {
            let (stronger, place) = all[other];
            part.overlaps(place) && wins(stronger, encoding)
        })
    };
    (0..all.len()).filter(|i| kept(*i)).map(|i| all[i]).collect()
}

fn printable(byte: u8) -> bool {
    (9..127).contains(&byte)
}

fn decode(encoding: Encoding, text: &[u8]) -> Option<Vec<u8>> {
    let value = match encoding {
        Encoding::Percent => percent(text),
        Encoding::Unicode => Some(unicode(text)),
        Encoding::Hex => hexadecimal(text),
        Encoding::Base64 => base64(text),
    };
    value.filter(|value| !value.is_empty())
}

fn hex_byte(text: &[u8]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    Some((digit(*text.first()?)? * 16 + digit(*text.get(1)?)?) as u8)
}

fn percent(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'%'
            && let Some(byte) = hex_byte(&text[at + 1..])
        {
            if !printable(byte) {
                return None;
            }
            out.push(byte);
            at += 3;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    Some(out)
}

fn unicode(text: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    let mut at = 0;
    while at < text.len() {
        let skip = match &text[at..] {
            [b'U', b'+', ..] => 2,
            [b'\\', b'\\', b'u' | b'U', ..] => 3,
            [b'\\', b'u' | b'U', ..] => 2,
            _ => 0,
        };
        let digits = text.get(at + skip..at + skip + 4).filter(|_| skip > 0);
        let code = digits
            .and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match code {
            Some(code) => {
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                at += skip + 4;
            }
            None => at += 1, // The space between two code points.
        }
    }
    out.into_bytes()
}

fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.iter().any(u8::is_ascii_digit) {
        return None;
    }
    text.chunks(2).map(|pair| hex_byte(pair).filter(|byte| printable(*byte))).collect()
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let likely = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    if !text.iter().any(likely) {
        return None;
    }
    let text_of = |value: Vec<u8>| value.iter().all(|byte| printable(*byte)).then_some(value);
    PADDED
        .decode(text)
        .ok()
        .and_then(text_of)
        .or_else(|| UNPADDED.decode(text).ok().and_then(text_of))
}

/// Whether anything in a text could decode. Runs over every text, so it looks at few bytes: every 16th for the alphabets.
fn may_decode(text: &[u8]) -> bool {
    let hex = |at: usize| text.get(at..at + 2).is_some_and(|pair| hex_byte(pair).is_some());
    if memchr::memchr_iter(b'%', text).any(|at| hex(at + 1)) {
        return true;
    }
    let escape =
        |at: usize| matches!(text.get(at + 1), Some(b'u' | b'U')) && hex(at + 2) && hex(at + 4);
    if memchr::memchr_iter(b'\\', text).any(escape) {
        return true;
    }
    if memchr::memmem::find_iter(text, "U+").any(|at| hex(at + 2) && hex(at + 4)) {
        return true;
    }
    runs(text).any(|run| {
        let value = &text[run.start..run.end];
        let bare = &value[..value.iter().rposition(|byte| *byte != b'=').map_or(0, |at| at + 1)];
        (bare.len() >= 32 && hexadecimal_inside(bare)) || starts_printable(bare)
    })
}

/// A hexadecimal part may stand inside a longer run of the alphabet of base64, which then starts behind it.
fn hexadecimal_inside(run: &[u8]) -> bool {
    let mut parts = run.split(|byte| !byte.is_ascii_hexdigit()).filter(|part| part.len() >= 32);
    parts.any(|part| part.len() < run.len() || hexadecimal(part).is_some())
}

/// Whether the first bytes that base64 gives are printable: nearly every word of a text fails here.
fn starts_printable(run: &[u8]) -> bool {
    let head = &run[..12.min(run.len())];
    let plain = STANDARD.decode(head).or_else(|_| URL_SAFE_NO_PAD.decode(head));
    plain.is_ok_and(|head| head.iter().all(|byte| printable(*byte)))
}

const ALPHABET: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let char = byte as u8;
        table[byte] = char.is_ascii_alphanumeric() || matches!(char, b'_' | b'/' | b'+' | b'-');
        byte += 1;
    }
    table
};

/// The runs of 16 or more characters of base64.
fn runs(text: &[u8]) -> impl Iterator<Item = Part> {
    let inside = |at: usize| text.get(at).is_some_and(|byte| ALPHABET[usize::from(*byte)]);
    let mut at = 15;
    std::iter::from_fn(move || {
        while at < text.len() {
            // A run of 16 that is not yet passed covers this byte, or lies behind it.
            if !inside(at) {
                at += 16;
                continue;
            }
            let mut start = at;
            while start > 0 && inside(start - 1) {
                start -= 1;
            }
            let mut end = at + 1;
            while inside(end) {
                end += 1;
            }
            at = end + 16;
            if end - start >= 16 {
                return Some(Part { start, end });
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        let mut current = text.as_bytes().to_vec();
        let mut pass = Pass::default();
        while all.len() < DEPTH_MAX
            && let Some((next, after)) = pass.next(&current)
        {
            all.push(String::from_utf8(next.clone()).unwrap());
            (current, pass) = (next, after);
        }
        all
    }

    #[test]
    fn what_is_encoded_is_decoded_where_it_stands() {
        #[rustfmt::skip]
        let cases: [(&str, &[&str]); 12] = [
            ("plain words, nothing else",                     &[]),
            ("a %73%65cret b",                                &["a secret b"]),
            ("100%de rien",                                   &[]),
            (r"x \u0073\u0065 y",                             &["x se y"]),
            (r"x \\u0073 y",                                  &["x s y"]),
            ("U+0073 U+0065 z",                               &["sez"]),
            ("'6b65793d303132333435363738396162'",            &["'key=0123456789ab'"]),
            ("v=a2V5PTAxMjM0NTY3ODlhYmNkZWY= ;",              &["v=key=0123456789abcdef ;"]),
            ("v=a2V5PTAxMjM0NTY3ODlhYmNkZWY ;",               &["v=key=0123456789abcdef ;"]),
            ("internationalization",                          &[]),
            ("YTJWNVBUQXhNak0wTlRZM09EbGhZbU5rWldZPQ==",      &["a2V5PTAxMjM0NTY3ODlhYmNkZWY=", "key=0123456789abcdef"]),
            ("deadbeefdeadbeefdeadbeefdeadbeef",              &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(passes(text), expected, "{text}");
        }
    }

    #[test]
    fn a_match_in_decoded_text_has_its_place_in_the_original() {
        let text = b"first\nv=a2V5PTAxMjM0NTY3ODlhYmNkZWY= ;\n";
        let (decoded, pass) = Pass::default().next(text).unwrap();
        let at = memchr::memmem::find(&decoded, b"key=").unwrap();
        let (place, tags) = pass.place(Part { start: at, end: at + 8 }).unwrap();
        assert_eq!(&text[place.start..place.end], b"a2V5PTAxMjM0NTY3ODlhYmNkZWY=");
        assert_eq!(tags, ["decoded:base64", "decode-depth:1"]);
        assert!(pass.place(Part { start: 0, end: 3 }).is_none());
        assert_eq!(
            pass.line(&decoded, Part { start: at, end: at + 8 }),
            b"\nv=key=0123456789abcdef ;"
        );
    }

    #[test]
    fn runs_are_found_wherever_they_start() {
        for before in 0..40 {
            let text = format!("{}{}.", ".".repeat(before), "A".repeat(16));
            let found: Vec<Part> = runs(text.as_bytes()).collect();
            assert_eq!(found, [Part { start: before, end: before + 16 }], "{before}");
        }
        assert_eq!(runs(b"AAAAAAAAAAAAAAA.AAAAAAAAAAAAAAA").count(), 0);
    }
}
