//! Which statement counts for a finding, and what follows from it.

use std::collections::BTreeSet;

use humdrum_model::finding::{Finding, ScanReport};
use jiff::Timestamp;
use packageurl::PackageUrl;
use serde::Serialize;

use super::{Component, Document, Justification, Product, Statement, Status};

/// What was scanned; statements may name it instead of a package in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Artifact {
    pub purls: Vec<String>,
    /// `sha256:` and hex digits.
    pub digests: Vec<String>,
}

/// A report after the statements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Applied {
    /// With the findings that stay open.
    pub report: ScanReport,
    /// Findings that are none, each with the statement that says so.
    pub settled: Vec<Settled>,
    /// Statements about findings that stay open.
    pub stated: Vec<Stated>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settled {
    pub finding: Finding,
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stated {
    /// Of the finding.
    pub fingerprint: String,
    pub said: Said,
}

/// What was said, by whom, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    pub status: Status,
    pub at: Timestamp,
    pub author: String,
    /// The document's `@id`.
    pub document: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub justification: Option<Justification>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impact_statement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_statement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_notes: Option<String>,
}

/// Applies the statements of all documents. Of several about one finding the latest counts, of two of one moment the worse. A
/// statement dated after `at` does not count yet.
pub fn apply(
    mut report: ScanReport,
    artifact: &Artifact,
    documents: &[Document],
    at: Timestamp,
) -> Applied {
    let (mut open, mut settled, mut stated) = (vec![], vec![], vec![]);
    for finding in std::mem::take(&mut report.findings) {
        match latest(&finding, artifact, documents, at) {
            Some(said) if said.status <= Status::Fixed => settled.push(Settled { finding, said }),
            Some(said) => {
                stated.push(Stated { fingerprint: finding.fingerprint.clone(), said });
                open.push(finding);
            }
            None => open.push(finding),
        }
    }
    report.findings = open;
    Applied { report, settled, stated }
}

fn latest(
    finding: &Finding,
    artifact: &Artifact,
    documents: &[Document],
    at: Timestamp,
) -> Option<Said> {
    let names: BTreeSet<&str> =
        std::iter::once(&finding.rule).chain(&finding.aliases).map(String::as_str).collect();
    let all = documents.iter().flat_map(|one| one.statements.iter().map(move |said| (one, said)));
    let said = all
        .filter(|(_, statement)| statement.is_about(&names))
        .filter(|(_, statement)| statement.covers(finding, artifact))
        .map(|(document, statement)| said(document, statement))
        .filter(|said| said.at <= at);
    said.max_by_key(|said| (said.at, said.status))
}

fn said(document: &Document, statement: &Statement) -> Said {
    Said {
        status: statement.status,
        at: statement.timestamp.unwrap_or(document.timestamp),
        author: document.author.clone(),
        document: document.id.clone(),
        justification: statement.justification,
        impact_statement: statement.impact_statement.clone(),
        action_statement: statement.action_statement.clone(),
        status_notes: statement.status_notes.clone(),
    }
}

impl Statement {
    fn is_about(&self, names: &BTreeSet<&str>) -> bool {
        let vulnerability = &self.vulnerability;
        std::iter::once(&vulnerability.name)
            .chain(&vulnerability.aliases)
            .any(|name| names.contains(name.as_str()))
    }

    fn covers(&self, finding: &Finding, artifact: &Artifact) -> bool {
        let package = finding.package.as_deref().unwrap_or_default();
        self.products.iter().any(|product| product.covers(self.status, package, artifact))
    }
}

impl Product {
    fn covers(&self, status: Status, package: &str, artifact: &Artifact) -> bool {
        let is_package =
            |component: &Component| component.is_one_of(&[package.to_owned()], &[], status);
        if self.component.is_one_of(&artifact.purls, &artifact.digests, status) {
            return self.subcomponents.is_empty() || self.subcomponents.iter().any(is_package);
        }
        self.subcomponents.is_empty() && is_package(&self.component)
    }
}

impl Component {
    fn is_one_of(&self, purls: &[String], digests: &[String], status: Status) -> bool {
        let hash = self.hashes.iter().any(|(kind, hex)| {
            let digest = format!("{}:{}", kind.replace('-', "").to_lowercase(), hex.to_lowercase());
            digests.contains(&digest)
        });
        let names = self.id.iter().chain(self.identifiers.get("purl"));
        hash || names.filter_map(|name| name.parse().ok()).any(|wanted: PackageUrl<'_>| {
            // "Fixed" is true of versions: without one it would settle the unfixed ones, too.
            let precise = status != Status::Fixed || wanted.version().is_some();
            precise && purls.iter().any(|purl| is_same(&wanted, purl))
        })
    }
}

/// Whether a package URL is meant by another, which may leave out version and qualifiers.
fn is_same(wanted: &PackageUrl<'_>, purl: &str) -> bool {
    let Ok(purl) = purl.parse::<PackageUrl<'_>>() else { return false };
    let version = wanted.version().is_none_or(|version| purl.version() == Some(version));
    let qualifiers =
        wanted.qualifiers().iter().all(|(key, value)| purl.qualifiers().get(key) == Some(value));
    (wanted.ty(), wanted.namespace(), wanted.name()) == (purl.ty(), purl.namespace(), purl.name())
        && version
        && qualifiers
}
