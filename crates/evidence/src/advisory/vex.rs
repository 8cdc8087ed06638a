//! OpenVEX 0.2: statements whether a vulnerability matters in a product, read, applied to findings, and written.
//!
//! A statement that settles a finding is kept beside it with its reason: nothing disappears. Source: openvex/spec
//! `OPENVEX-SPEC.md`, version 0.2.0.

mod apply;
mod produce;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use apply::{Applied, Artifact, Said, Settled, Stated, apply};
pub use produce::{Author, produce};

/// The largest document that is read, in bytes.
pub const VEX_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What `@context` begins with.
const CONTEXT: &str = "https://openvex.dev/ns";
/// The version that is written.
const CONTEXT_WRITTEN: &str = "https://openvex.dev/ns/v0.2.0";

/// Why a file is no OpenVEX document. Statements are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VexError {
    #[error("the document has {bytes} bytes; at most {max} are read")]
    TooLarge { bytes: usize, max: usize },
    #[error("the document is not JSON of the OpenVEX form: {why}")]
    NotVex { why: String },
    #[error(
        "the document's `@context` is `{found}`; read are https://openvex.dev/ns and its version 0.2.0"
    )]
    Context { found: String },
    #[error("statement {number} about `{vulnerability}` {what}")]
    Statement { number: usize, vulnerability: String, what: &'static str },
}

/// A document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    #[serde(rename = "@context")]
    pub context: String,
    #[serde(rename = "@id")]
    pub id: String,
    pub author: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    pub timestamp: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Timestamp>,
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tooling: Option<String>,
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    pub vulnerability: Vulnerability,
    /// When it was made; the document's time without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    #[serde(default)]
    pub products: Vec<Product>,
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_notes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<Justification>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact_statement: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_statement: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vulnerability {
    #[serde(rename = "@id", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// What a statement is about: an artifact, and where given only these components of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    #[serde(flatten)]
    pub component: Component,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subcomponents: Vec<Component>,
}

/// A piece of software by any of its names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    #[serde(rename = "@id", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `purl`, `cpe22`, `cpe23`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identifiers: BTreeMap<String, String>,
    /// By algorithm: `sha-256`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hashes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    NotAffected,
    Fixed,
    UnderInvestigation,
    Affected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Justification {
    ComponentNotPresent,
    VulnerableCodeNotPresent,
    VulnerableCodeNotInExecutePath,
    VulnerableCodeCannotBeControlledByAdversary,
    InlineMitigationsAlreadyExist,
}

/// Reads a document and checks what the specification demands of each statement.
pub fn read(bytes: &[u8]) -> Result<Document, VexError> {
    if bytes.len() > VEX_BYTES_MAX {
        return Err(VexError::TooLarge { bytes: bytes.len(), max: VEX_BYTES_MAX });
    }
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| VexError::NotVex { why: error.to_string() })?;
    if ![CONTEXT, CONTEXT_WRITTEN].contains(&document.context.as_str()) {
        return Err(VexError::Context { found: document.context });
    }
    for (index, statement) in document.statements.iter().enumerate() {
        if let Some(what) = statement.fault() {
            let vulnerability = statement.vulnerability.name.clone();
            return Err(VexError::Statement { number: index + 1, vulnerability, what });
        }
    }
    Ok(document)
}

impl Document {
    /// The document as indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a document consists of texts and numbers")
    }
}

impl Statement {
    fn fault(&self) -> Option<&'static str> {
        let is_empty =
            |text: &Option<String>| text.as_ref().is_none_or(|text| text.trim().is_empty());
        let no_reason = self.justification.is_none() && is_empty(&self.impact_statement);
        match self.status {
            _ if self.vulnerability.name.is_empty() => Some("names no vulnerability"),
            _ if self.products.is_empty() => Some("names no product"),
            Status::NotAffected if no_reason => {
                Some("says `not_affected` without a justification or an impact statement")
            }
            Status::Affected if is_empty(&self.action_statement) => {
                Some("says `affected` without an action statement")
            }
            _ => None,
        }
    }
}
