//! in-toto statements: who (subject) and what (predicate), the payload of every signature.
//!
//! Source: in-toto/attestation `spec/v1/statement.md` and `spec/v1/resource_descriptor.md`.

use std::collections::BTreeMap;

use humdrum_model::name::{Commit, Digest};
use serde::{Deserialize, Serialize};

/// `_type` of the statements written here.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// The older `_type`, which cosign still writes for blobs; the fields that are read are the same.
pub const STATEMENT_V0_1: &str = "https://in-toto.io/Statement/v0.1";

/// A claim of type `P` about one or more subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement<P> {
    #[serde(rename = "_type")]
    pub kind: String,
    pub subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    pub predicate: P,
}

/// The thing a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Algorithm to lower-case hex.
    pub digest: BTreeMap<String, String>,
}

/// A thing that a predicate refers to. At least one of `uri` and `digest` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceDescriptor {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl<P> Statement<P> {
    /// A statement about one artifact.
    pub fn about(subject: &Digest, predicate_type: &str, predicate: P) -> Self {
        Self {
            kind: STATEMENT_V1.to_owned(),
            subject: vec![Subject { name: None, digest: sha256(subject) }],
            predicate_type: predicate_type.to_owned(),
            predicate,
        }
    }
}

impl<P: Serialize> Statement<P> {
    /// The bytes to sign.
    ///
    /// # Panics
    /// When `P` does not serialise; all predicates of this crate do.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("predicates have text keys and finite numbers only")
    }
}

impl ResourceDescriptor {
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    #[must_use]
    pub fn with_uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = Some(uri.into());
        self
    }

    #[must_use]
    pub fn with_digest(mut self, digest: &Digest) -> Self {
        self.digest.extend(sha256(digest));
        self
    }

    #[must_use]
    pub fn with_commit(mut self, commit: &Commit) -> Self {
        self.digest.insert("gitCommit".to_owned(), commit.as_str().to_owned());
        self
    }

    #[must_use]
    pub fn with_annotation(mut self, name: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(name.to_owned(), value.into());
        self
    }
}

fn sha256(digest: &Digest) -> BTreeMap<String, String> {
    BTreeMap::from([("sha256".to_owned(), digest.hex().to_owned())])
}
