//! Takes secrets out of a stream of bytes, in the forms in which programs print them.
//!
//! Nothing that may still become a secret is let through: a possible beginning waits for the bytes that decide.
//! Secrets under six bytes are refused: masking them would tear ordinary text apart and so tell where they are.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The shortest text that is masked, in bytes.
pub const SECRET_BYTES_MIN: usize = 6;
/// What is printed in place of a secret.
pub const MASK: &[u8] = b"***";

/// The secrets of one build, ready for search.
#[derive(Debug, Clone)]
pub struct Masker {
    /// By first byte, longest first.
    needles: Vec<Vec<Vec<u8>>>,
}

impl Default for Masker {
    fn default() -> Self {
        Masker { needles: vec![vec![]; 256] }
    }
}

/// A secret that is too short to be masked; its value is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret `{name}` has {bytes} bytes, fewer than {SECRET_BYTES_MIN}, and cannot be masked")]
pub struct TooShort {
    /// The secret's name.
    pub name: String,
    /// Its length.
    pub bytes: usize,
}

impl Masker {
    /// A masker for these named secrets.
    ///
    /// # Errors
    /// When a secret is too short to mask. An empty one is no secret and passes.
    pub fn new<'a>(
        secrets: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Masker, TooShort> {
        let mut masker = Masker::default();
        for (name, value) in secrets.into_iter().filter(|(_, value)| !value.is_empty()) {
            if value.len() < SECRET_BYTES_MIN {
                return Err(TooShort { name: name.to_owned(), bytes: value.len() });
            }
            for needle in forms(value) {
                masker.add(needle);
            }
        }
        Ok(masker)
    }

    fn add(&mut self, needle: Vec<u8>) {
        if needle.len() < SECRET_BYTES_MIN {
            return;
        }
        let bucket = &mut self.needles[usize::from(needle[0])];
        if !bucket.contains(&needle) {
            bucket.push(needle);
            bucket.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        }
    }

    /// Masks one whole text.
    pub fn mask(&self, text: &[u8]) -> Vec<u8> {
        let mut stream = MaskStream::new(self.clone());
        let mut out = stream.push(text);
        out.extend(stream.finish());
        out
    }

    fn longest_at(&self, text: &[u8]) -> Option<usize> {
        let bucket = &self.needles[usize::from(*text.first()?)];
        bucket.iter().find(|needle| text.starts_with(needle)).map(Vec::len)
    }

    /// Whether more bytes could make a secret, or a longer one, of what begins here.
    fn may_grow(&self, text: &[u8]) -> bool {
        let Some(first) = text.first() else { return false };
        let bucket = &self.needles[usize::from(*first)];
        bucket.iter().any(|needle| needle.len() > text.len() && needle.starts_with(text))
    }
}

/// The forms in which a value shows up in logs.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let mut all = vec![value.as_bytes().to_vec(), escaped(value), hex::encode(value).into_bytes()];
    all.push(hex::encode_upper(value).into_bytes());
    all.extend(value.lines().map(|line| line.trim().as_bytes().to_vec()));
    for lower in [false, true] {
        all.push(url_encoded(value, lower, false));
        all.push(url_encoded(value, lower, true));
    }
    for shift in 0..3 {
        all.push(base64_core(value.as_bytes(), shift, &STANDARD_NO_PAD));
        all.push(base64_core(value.as_bytes(), shift, &URL_SAFE_NO_PAD));
    }
    all
}

fn escaped(value: &str) -> Vec<u8> {
    let quoted = serde_json::to_string(value).expect("a string is valid JSON");
    quoted.as_bytes()[1..quoted.len() - 1].to_vec()
}

fn url_encoded(value: &str, lower: bool, plus: bool) -> Vec<u8> {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' if plus => out.push('+'),
            _ if lower => out.push_str(&format!("%{byte:02x}")),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out.into_bytes()
}

/// The part of a base64 text that the value alone decides, when it stands `shift` bytes into a group of three.
fn base64_core(value: &[u8], shift: usize, engine: &impl Engine) -> Vec<u8> {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(value);
    let text = engine.encode(&padded).into_bytes();
    let first = (shift * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    text[first.min(whole)..whole].to_vec()
}

/// A masker and what it still holds back.
#[derive(Debug)]
pub struct MaskStream {
    masker: Masker,
    held: Vec<u8>,
}

impl MaskStream {
    /// A fresh stream.
    pub fn new(masker: Masker) -> MaskStream {
        MaskStream { masker, held: vec![] }
    }

    /// Takes bytes, and gives back what is decided by now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.decide(false)
    }

    /// Gives back the rest at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        self.decide(true)
    }

    fn decide(&mut self, at_end: bool) -> Vec<u8> {
        let text = std::mem::take(&mut self.held);
        let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
        while at < text.len() {
            if !at_end && self.masker.may_grow(&text[at..]) {
                break;
            }
            let Some(mut end) = self.masker.longest_at(&text[at..]).map(|length| at + length)
            else {
                out.push(text[at]);
                at += 1;
                continue;
            };
            // Secrets may overlap: all that belongs to any of them goes, or the rest of the second would show.
            let mut inner = at + 1;
            let mut undecided = false;
            while inner < end {
                undecided |= !at_end && self.masker.may_grow(&text[inner..]);
                if let Some(length) = self.masker.longest_at(&text[inner..]) {
                    end = end.max(inner + length);
                }
                inner += 1;
            }
            if undecided {
                break;
            }
            out.extend_from_slice(MASK);
            at = end;
        }
        self.held = text[at..].to_vec();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    const SECRET: &str = "s3cr\"t/+ pa ss";

    fn masker() -> Masker {
        Masker::new([("token", SECRET), ("pem", "-----BEGIN\nMIIEline\n-----END"), ("none", "")])
            .unwrap()
    }

    #[test]
    fn every_form_is_masked() {
        let encoded = |prefix: &str| STANDARD.encode(format!("{prefix}{SECRET}"));
        #[rustfmt::skip]
        let cases = [
            format!("a {SECRET} b"),
            format!("{}", serde_json::json!({ "token": SECRET })),
            hex::encode(SECRET), hex::encode_upper(SECRET),
            "s3cr%22t%2F%2B%20pa%20ss".into(), "s3cr%22t%2f%2b+pa+ss".into(),
            encoded(""), encoded("u"), encoded("us"), encoded("user:"),
            "x MIIEline y".into(),
        ];
        for text in cases {
            let out = String::from_utf8(masker().mask(text.as_bytes())).unwrap();
            assert!(out.contains("***"), "{text} -> {out}");
            for part in ["s3cr", "pa ss", "MIIE"] {
                assert!(!out.contains(part), "{text} -> {out}");
            }
        }
    }

    #[test]
    fn ordinary_text_stays_and_short_secrets_are_refused() {
        assert_eq!(masker().mask(b"{ s3cret }\n"), b"{ s3cret }\n");
        let error = Masker::new([("pin", "1234")]).unwrap_err();
        assert_eq!(error, TooShort { name: "pin".into(), bytes: 4 });
    }

    #[test]
    fn overlapping_secrets_leave_nothing() {
        let masker = Masker::new([("a", "abcdefgh"), ("b", "fghijklm")]).unwrap();
        assert_eq!(masker.mask(b"x abcdefghijklm y"), b"x *** y");
        let mut stream = MaskStream::new(masker);
        let mut out = stream.push(b"x abcdefgh");
        out.extend(stream.push(b"ijklm y"));
        out.extend(stream.finish());
        assert_eq!(out, b"x *** y");
    }

    proptest! {
        #[test]
        fn cuts_between_chunks_change_nothing(
            before in "[a-s ]{0,12}", after in "[a-s ]{0,12}", cuts in proptest::collection::vec(0usize..64, 0..6),
        ) {
            let text = format!("{before}{SECRET}{after}{SECRET}").into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut stream = MaskStream::new(masker());
            let mut out = vec![];
            for pair in cuts.windows(2) {
                out.extend(stream.push(&text[pair[0]..pair[1]]));
            }
            out.extend(stream.finish());
            prop_assert_eq!(out, masker().mask(&text));
        }
    }
}
