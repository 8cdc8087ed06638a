//! Digests of blobs: `sha256:` or `sha512:` and hex digits, as the OCI image specification writes them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

/// The registered algorithms of the OCI image specification (`descriptor.md`) that are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    fn hex_digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A checked digest, in its text form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobDigest {
    text: String,
    algorithm: Algorithm,
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest: {why}")]
pub struct DigestError {
    pub text: String,
    pub why: &'static str,
}

impl BlobDigest {
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits after the colon; at least 64.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }
}

impl FromStr for BlobDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let fail = |why| DigestError { text: text.chars().take(200).collect(), why };
        let (name, hex) = text.split_once(':').ok_or_else(|| fail("it has no `:`"))?;
        let algorithm =
            Algorithm::named(name).ok_or_else(|| fail("only sha256 and sha512 are known"))?;
        if hex.len() != algorithm.hex_digits() {
            return Err(fail("it has the wrong number of digits"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fail("only 0-9 and a-f are allowed after the `:`"));
        }
        Ok(Self { text: text.to_owned(), algorithm })
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&humdrum_model::name::Digest> for BlobDigest {
    fn from(digest: &humdrum_model::name::Digest) -> Self {
        Self { text: digest.as_str().to_owned(), algorithm: Algorithm::Sha256 }
    }
}

/// A digest in the making.
#[derive(Clone)]
pub enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(h) => h.update(bytes),
            Self::Sha512(h) => h.update(bytes),
        }
    }

    pub fn finish(self) -> BlobDigest {
        let (algorithm, hex) = match self {
            Self::Sha256(h) => (Algorithm::Sha256, hex::encode(h.finalize())),
            Self::Sha512(h) => (Algorithm::Sha512, hex::encode(h.finalize())),
        };
        BlobDigest { text: format!("{}:{hex}", algorithm.name()), algorithm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_checked() {
        let empty = BlobDigest::of(Algorithm::Sha256, b"");
        assert!(empty.as_str().starts_with("sha256:e3b0c442"));
        assert_eq!(empty.as_str().parse(), Ok(empty.clone()));
        let long = BlobDigest::of(Algorithm::Sha512, b"");
        assert!(long.hex().starts_with("cf83e1357eefb8bd") && long.hex().len() == 128);
        assert_eq!(long.as_str().parse(), Ok(long));
        for bad in [
            "",
            "sha256",
            "sha256:baddigeststring",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &empty.as_str().to_uppercase(),
            &format!("sha512:{}", empty.hex()),
            &format!("sha256:{}/", &empty.hex()[1..]),
        ] {
            assert!(bad.parse::<BlobDigest>().is_err(), "{bad}");
        }
    }
}
