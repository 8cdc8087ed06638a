//! CycloneDX 1.6 JSON: the part of it that is written here. Field order is the specification's.
//!
//! Source: CycloneDX/specification `schema/bom-1.6.schema.json`.

use serde::Serialize;

/// A whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bom {
    pub bom_format: &'static str,
    pub spec_version: &'static str,
    /// Left out only while the number is derived from the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    pub version: u32,
    pub metadata: Metadata,
    pub components: Vec<Component>,
    pub dependencies: Vec<Dependency>,
    pub compositions: Vec<Composition>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    pub timestamp: String,
    pub lifecycles: Vec<Lifecycle>,
    pub tools: Tools,
    pub component: Component,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lifecycle {
    pub phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tools {
    pub components: Vec<Component>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// `application`, `library`, `container`, `file`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    pub bom_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    /// One expression, or one name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<Licence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_references: Vec<ExternalReference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
}

/// What a package says of its licence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Licence {
    /// A valid SPDX expression.
    Expression(String),
    /// Any other words: `BSD-like`.
    License(NamedLicence),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NamedLicence {
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Hash {
    pub alg: &'static str,
    pub content: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ExternalReference {
    pub url: String,
    /// `distribution`, `vcs`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Property {
    pub name: String,
    pub value: String,
}

/// What a component needs. One without needs is listed too: a missing entry means "not known".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    #[serde(rename = "ref")]
    pub reference: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
}

/// How whole the lists are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Composition {
    /// `complete`, `incomplete`, `unknown`.
    pub aggregate: &'static str,
    /// Whose parts are meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assemblies: Vec<String>,
    /// Whose needs are meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
}

impl Bom {
    /// The document as JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a bill of materials consists of texts and numbers")
    }
}

impl Licence {
    /// Sorts a stated licence: a valid SPDX expression (also in the old form with `/` and in lower case) or a name.
    pub fn of(stated: &str) -> Self {
        match licence_expression(stated) {
            Some(expression) => Self::Expression(expression),
            None => Self::License(NamedLicence { name: stated.to_owned() }),
        }
    }
}

/// The SPDX expression that a package states, in canonical spelling; none when it states something else.
///
/// Source: SPDX specification 2.3, annex D; the lax forms are those that Cargo and npm packages still carry.
pub fn licence_expression(stated: &str) -> Option<String> {
    let lax = spdx::ParseMode::LAX;
    let canonical = spdx::Expression::canonicalize(stated).ok()?;
    let text = canonical.unwrap_or_else(|| stated.to_owned());
    spdx::Expression::parse_mode(&text, lax).ok()?;
    Some(text)
}

impl Property {
    /// A property in our own name space.
    pub fn own(name: &str, value: impl Into<String>) -> Self {
        Self { name: format!("humdrum:{name}"), value: value.into() }
    }
}
