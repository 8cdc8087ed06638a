//! The trust root: which public keys count, and when.
//!
//! A key is judged at the moment of verification. A signature carries no trusted time of its own, so an expired or revoked key
//! takes all its signatures with it, whenever they claim to have been made.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::key::{KeyError, PublicKey};

/// The largest trust root that is read, in bytes.
pub const TRUST_ROOT_BYTES_MAX: usize = 1024 * 1024;
/// The most keys in a trust root; each signature may be tried with each of them.
pub const KEYS_MAX: usize = 64;
const VERSION: u32 = 1;

/// Public keys with ids and validity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustRoot {
    keys: Vec<TrustedKey>,
}

/// One key that is trusted between two moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// Unique in its trust root; what people call the key.
    pub id: String,
    pub key: PublicKey,
    /// The first moment of trust; from ever when none.
    pub valid_from: Option<Timestamp>,
    /// The first moment without trust; for ever when none.
    pub valid_until: Option<Timestamp>,
    pub revoked: bool,
}

/// Whether a key counts at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Valid,
    NotYet { from: Timestamp },
    Expired { since: Timestamp },
    Revoked,
}

/// Why a text is not a trust root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("the trust root has {bytes} bytes; at most {max} are read")]
    TooLarge { bytes: usize, max: usize },
    #[error("the trust root is not JSON of its form: {why}")]
    NotJson { why: String },
    #[error("the trust root has version {found}; read is 1")]
    Version { found: u32 },
    #[error("the trust root has {found} keys; at most {max} are read")]
    TooManyKeys { found: usize, max: usize },
    #[error("the trust root has two keys with the {what} `{value}`")]
    Twice { what: &'static str, value: String },
    #[error("the key `{id}` of the trust root is valid until {until}, which is not after {from}")]
    EmptyPeriod { id: String, from: Timestamp, until: Timestamp },
    #[error("the key `{id}` of the trust root cannot be read")]
    Key { id: String, source: KeyError },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    keys: Vec<FileKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKey {
    id: String,
    public_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_until: Option<Timestamp>,
    #[serde(default)]
    revoked: bool,
}

impl TrustRoot {
    /// A trust root of the given keys.
    pub fn new(keys: Vec<TrustedKey>) -> Result<Self, TrustError> {
        if keys.len() > KEYS_MAX {
            return Err(TrustError::TooManyKeys { found: keys.len(), max: KEYS_MAX });
        }
        let (mut ids, mut digests) = (BTreeSet::new(), BTreeSet::new());
        for key in &keys {
            if !ids.insert(&key.id) {
                return Err(TrustError::Twice { what: "id", value: key.id.clone() });
            }
            // One key with two periods would make "expired" depend on the order of the file.
            if !digests.insert(key.key.digest()) {
                return Err(TrustError::Twice {
                    what: "digest",
                    value: key.key.digest().to_string(),
                });
            }
            if let (Some(from), Some(until)) = (key.valid_from, key.valid_until)
                && until <= from
            {
                return Err(TrustError::EmptyPeriod { id: key.id.clone(), from, until });
            }
        }
        Ok(Self { keys })
    }

    /// A trust root of one key without limits of time, named by its digest.
    pub fn of(key: PublicKey) -> Self {
        let id = key.digest().to_string();
        Self {
            keys: vec![TrustedKey { id, key, valid_from: None, valid_until: None, revoked: false }],
        }
    }

    /// Reads the JSON form.
    pub fn read(bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > TRUST_ROOT_BYTES_MAX {
            return Err(TrustError::TooLarge { bytes: bytes.len(), max: TRUST_ROOT_BYTES_MAX });
        }
        let file: File = serde_json::from_slice(bytes)
            .map_err(|error| TrustError::NotJson { why: error.to_string() })?;
        if file.version != VERSION {
            return Err(TrustError::Version { found: file.version });
        }
        let keys = file.keys.into_iter().take(KEYS_MAX + 1).map(|entry| {
            let FileKey { id, public_key, valid_from, valid_until, revoked } = entry;
            match PublicKey::from_pem(&public_key) {
                Ok(key) => Ok(TrustedKey { id, key, valid_from, valid_until, revoked }),
                Err(source) => Err(TrustError::Key { id, source }),
            }
        });
        Self::new(keys.collect::<Result<_, _>>()?)
    }

    /// The JSON form, indented for people.
    pub fn to_json(&self) -> String {
        let keys = self.keys.iter().map(|key| FileKey {
            id: key.id.clone(),
            public_key: key.key.to_pem(),
            valid_from: key.valid_from,
            valid_until: key.valid_until,
            revoked: key.revoked,
        });
        let file = File { version: VERSION, keys: keys.collect() };
        serde_json::to_string_pretty(&file).expect("a trust root consists of texts and flags")
    }

    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }
}

impl TrustedKey {
    /// Whether the key counts at `at`. Revocation wins over any period.
    pub fn validity(&self, at: Timestamp) -> Validity {
        match (self.valid_from, self.valid_until) {
            _ if self.revoked => Validity::Revoked,
            (Some(from), _) if at < from => Validity::NotYet { from },
            (_, Some(until)) if at >= until => Validity::Expired { since: until },
            _ => Validity::Valid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    fn at(text: &str) -> Timestamp {
        format!("2026-01-{text}T00:00:00Z").parse().unwrap()
    }

    fn key(id: &str, seed: u8) -> TrustedKey {
        let key = PrivateKey::from_scalar(&[seed; 32]).unwrap().public();
        TrustedKey {
            id: id.into(),
            key,
            valid_from: Some(at("10")),
            valid_until: Some(at("20")),
            revoked: false,
        }
    }

    #[test]
    fn a_key_is_judged_at_a_moment() {
        let revoked = TrustedKey { revoked: true, ..key("a", 1) };
        #[rustfmt::skip]
        let cases = [
            (key("a", 1), "09", Validity::NotYet { from: at("10") }),
            (key("a", 1), "10", Validity::Valid),
            (key("a", 1), "19", Validity::Valid),
            (key("a", 1), "20", Validity::Expired { since: at("20") }),
            (revoked,     "15", Validity::Revoked),
        ];
        for (key, day, expected) in cases {
            assert_eq!(key.validity(at(day)), expected, "{day}");
        }
    }

    #[test]
    fn the_file_form_is_read_again() {
        let root = TrustRoot::new(vec![key("a", 1), key("b", 2)]).unwrap();
        assert_eq!(TrustRoot::read(root.to_json().as_bytes()).unwrap(), root);
    }

    #[test]
    fn bad_files_are_named() {
        let root = TrustRoot::new(vec![key("a", 1)]).unwrap().to_json();
        let cases = [
            (
                root.replace("\"version\": 1", "\"version\": 2"),
                "the trust root has version 2; read is 1",
            ),
            (
                root.replace("2026-01-20", "2026-01-10"),
                "the key `a` of the trust root is valid until 2026-01-10T00:00:00Z, which is not after 2026-01-10T00:00:00Z",
            ),
            (root.replace("BEGIN PUBLIC", "BEGIN"), "the key `a` of the trust root cannot be read"),
            (
                root.replace("\"revoked\"", "\"revokd\""),
                "the trust root is not JSON of its form: unknown field `revokd`, expected one of `id`, `public_key`, `valid_from`, `valid_until`, `revoked` at line 9 column 14",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(TrustRoot::read(text.as_bytes()).unwrap_err().to_string(), message);
        }
        let twice = TrustRoot::new(vec![key("a", 1), key("a", 2)]).unwrap_err();
        assert_eq!(twice.to_string(), "the trust root has two keys with the id `a`");
        assert!(TrustRoot::new(vec![key("a", 1), key("b", 1)]).is_err());
    }
}
