//! The grammar of repositories, tags and references of the OCI distribution specification 1.1.

use std::fmt;

use humdrum_store::blobs::{BlobDigest, DigestError};

/// Longest repository name: clients bound host and name together at 255.
pub const REPOSITORY_MAX: usize = 255;
/// Longest tag.
pub const TAG_MAX: usize = 128;

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` in components with `/` between them.
pub fn is_repository(text: &str) -> bool {
    text.len() <= REPOSITORY_MAX && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !word(*first) || !word(*last) {
        return false;
    }
    bytes.split(|b| word(*b)).filter(|separator| !separator.is_empty()).all(|separator| {
        matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// What names a manifest inside a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Tag(String),
    Digest(BlobDigest),
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error(
        "`{text}` is not a tag: 1 to {TAG_MAX} of a-z A-Z 0-9 _ . - and no . or - at the start"
    )]
    Tag { text: String },
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl std::str::FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        // A tag cannot hold a colon, a digest always does.
        if text.contains(':') {
            return Ok(Self::Digest(text.parse()?));
        }
        if is_tag(text) {
            return Ok(Self::Tag(text.to_owned()));
        }
        Err(ReferenceError::Tag { text: text.chars().take(200).collect() })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        for good in ["a", "shop", "team/shop", "a.b/c_d/e__f/g---h/9", "conformance/repo1"] {
            assert!(is_repository(good), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "A", "a/", "/a", "a//b", "a..b", "a___b", "a._b", "-a", "a-", "a b", "ä", "..",
            "a/../b", &long,
        ] {
            assert!(!is_repository(bad), "{bad}");
        }
    }

    #[test]
    fn tags_and_references() {
        for good in ["latest", "_x", "1.0-RC_1", &"t".repeat(128)] {
            assert!(is_tag(good), "{good}");
        }
        for bad in ["", ".a", "-a", "a b", "a/b", "a:b", &"t".repeat(129)] {
            assert!(!is_tag(bad), "{bad}");
        }
        assert!(matches!(
            "sha256:baddigeststring".parse::<Reference>(),
            Err(ReferenceError::Digest(_))
        ));
        assert!(matches!("v1".parse(), Ok(Reference::Tag(_))));
    }
}
