//! SPDX 2.3 JSON of a bill of materials, for tools that read no CycloneDX. The same document in other words: nothing is added.
//!
//! Source: SPDX specification 2.3, clauses 6 (document), 7 (package), 11 (relationships).

use std::collections::BTreeMap;

use serde::Serialize;

use super::cyclonedx::{Bom, Component, Licence};

const UNKNOWN: &str = "NOASSERTION";

/// A whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    pub spdx_version: &'static str,
    pub data_license: &'static str,
    #[serde(rename = "SPDXID")]
    pub id: &'static str,
    pub name: String,
    pub document_namespace: String,
    pub creation_info: CreationInfo,
    pub packages: Vec<Package>,
    pub relationships: Vec<Relationship>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CreationInfo {
    pub created: String,
    pub creators: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    #[serde(rename = "SPDXID")]
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_info: Option<String>,
    pub download_location: String,
    pub files_analyzed: bool,
    pub license_concluded: &'static str,
    pub license_declared: String,
    /// The stated words where they are no expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license_comments: Option<String>,
    pub copyright_text: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_package_purpose: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checksum {
    pub algorithm: String,
    pub checksum_value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRef {
    pub reference_category: &'static str,
    pub reference_type: &'static str,
    pub reference_locator: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Relationship {
    pub spdx_element_id: String,
    pub related_spdx_element: String,
    pub relationship_type: &'static str,
}

impl Document {
    /// The document as JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a document consists of texts")
    }
}

/// Says a bill of materials in SPDX. The same input gives the same bytes.
pub fn document(bom: &Bom) -> Document {
    let root = &bom.metadata.component;
    let all = std::iter::once(root).chain(bom.components.iter());
    // Identifiers may hold only letters, digits, `.` and `-`, so they are numbers in the document's own order.
    let ids: BTreeMap<&str, String> = all
        .clone()
        .enumerate()
        .filter_map(|(at, component)| Some((component.bom_ref.as_deref()?, id(at))))
        .collect();
    let mut relationships = vec![relation("SPDXRef-DOCUMENT", &id(0), "DESCRIBES")];
    for entry in &bom.dependencies {
        let Some(from) = ids.get(entry.reference.as_str()) else { continue };
        let needs = entry.depends_on.iter().filter_map(|needed| ids.get(needed.as_str()));
        relationships.extend(needs.map(|to| relation(from, to, "DEPENDS_ON")));
    }
    let tools = bom.metadata.tools.components.iter();
    let creators = tools.map(|tool| {
        format!("Tool: {}-{}", tool.name, tool.version.as_deref().unwrap_or("unknown"))
    });
    Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: "SPDXRef-DOCUMENT",
        name: root.name.clone(),
        document_namespace: bom.serial_number.clone().unwrap_or_default(),
        creation_info: CreationInfo {
            created: whole_seconds(&bom.metadata.timestamp),
            creators: creators.collect(),
        },
        packages: all.enumerate().map(|(at, component)| package(id(at), component)).collect(),
        relationships,
    }
}

fn id(at: usize) -> String {
    format!("SPDXRef-Package-{at}")
}

fn relation(from: &str, to: &str, kind: &'static str) -> Relationship {
    Relationship {
        spdx_element_id: from.to_owned(),
        related_spdx_element: to.to_owned(),
        relationship_type: kind,
    }
}

/// SPDX allows no fractions: `2026-03-01T12:00:00Z`.
fn whole_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

fn package(id: String, component: &Component) -> Package {
    let (declared, comment) = match component.licenses.first() {
        Some(Licence::Expression(expression)) => (expression.clone(), None),
        Some(Licence::License(named)) => {
            (UNKNOWN.to_owned(), Some(format!("stated as: {}", named.name)))
        }
        None => (UNKNOWN.to_owned(), None),
    };
    let download = component.external_references.iter().find(|known| known.kind == "distribution");
    Package {
        id,
        name: component.name.clone(),
        version_info: component.version.clone(),
        download_location: download
            .map(|known| known.url.clone())
            .filter(|url| url.starts_with("https://") || url.starts_with("http://"))
            .unwrap_or_else(|| UNKNOWN.to_owned()),
        files_analyzed: false,
        license_concluded: UNKNOWN,
        license_declared: declared,
        license_comments: comment,
        copyright_text: UNKNOWN,
        checksums: component
            .hashes
            .iter()
            .map(|hash| Checksum {
                // CycloneDX writes `SHA-256`, SPDX `SHA256`.
                algorithm: hash.alg.replace('-', ""),
                checksum_value: hash.content.clone(),
            })
            .collect(),
        external_refs: component
            .purl
            .iter()
            .map(|purl| ExternalRef {
                reference_category: "PACKAGE-MANAGER",
                reference_type: "purl",
                reference_locator: purl.clone(),
            })
            .collect(),
        primary_package_purpose: match component.kind {
            "application" => Some("APPLICATION"),
            "container" => Some("CONTAINER"),
            "library" => Some("LIBRARY"),
            "file" => Some("FILE"),
            _ => None,
        },
    }
}
