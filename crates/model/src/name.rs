//! Names and digests: small checked strings, so that a bare `String` never stands for a thing.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {why}")]
pub struct NameError {
    pub what: &'static str,
    pub text: String,
    pub why: &'static str,
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(why) => Err(NameError { what: $what, text, why }),
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

/// A DNS label: it becomes part of host names, folders and registry paths.
fn label(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 40 {
        return Err("it must have 1 to 40 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err("only a-z, 0-9 and - are allowed");
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.ends_with('-') {
        return Err("it must start with a letter and not end with -");
    }
    Ok(())
}

fn digest(text: &str) -> Result<(), &'static str> {
    let Some(hex) = text.strip_prefix("sha256:") else { return Err("it must start with sha256:") };
    if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("sha256: must be followed by 64 lower-case hex digits");
    }
    Ok(())
}

fn commit(text: &str) -> Result<(), &'static str> {
    if !(text.len() == 40 || text.len() == 64)
        || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err("a commit has 40 or 64 lower-case hex digits");
    }
    Ok(())
}

text_type!(
    /// What is released.
    ServiceName, "service name", label);
text_type!(
    /// An ordered place: dev, staging, production.
    EnvName, "environment name", label);
text_type!(
    /// `sha256:` and 64 hex digits.
    Digest, "digest", digest);
text_type!(
    /// A full git commit id.
    Commit, "commit", commit);

impl Digest {
    /// The digest of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first 12 hex digits, as people quote them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl Commit {
    /// The first 10 digits, as people quote them.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

/// One of the two persistent places in which a service keeps a release.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    A,
    B,
}

impl Slot {
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// A service in an environment; printed `shop/production`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlacementId {
    pub service: ServiceName,
    pub environment: EnvName,
}

impl PlacementId {
    /// The edge's name for the traffic of this placement: `shop.production`.
    pub fn route(&self) -> String {
        format!("{}.{}", self.service, self.environment)
    }

    /// The agent's name for the instances of one slot: `shop.production.a`.
    pub fn unit(&self, slot: Slot) -> String {
        format!("{}.{}.{slot}", self.service, self.environment)
    }
}

impl fmt::Display for PlacementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(ServiceName::new("shop").is_ok());
        for bad in ["", "Shop", "-a", "a-", "9a", "a_b", "a.b"] {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
        assert!(Digest::new("sha256:00").is_err());
    }
}
