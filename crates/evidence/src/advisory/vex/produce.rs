//! Writes what is known about an artifact's findings as an OpenVEX document.

use humdrum_model::finding::Finding;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{
    Applied, CONTEXT_WRITTEN, Component, Document, Product, Said, Statement, Status, Vulnerability,
};

/// Who says it, and when.
#[derive(Debug, Clone)]
pub struct Author {
    pub name: String,
    pub at: Timestamp,
    /// Name and version of the program.
    pub tooling: String,
}

/// A document about every finding: what was settled is said again with its reason and time; what is open is `affected` with the
/// update that mends it, and `under_investigation` where none is known. `product` is the artifact's package URL; without it
/// each package is a product of its own.
pub fn produce(applied: &Applied, product: Option<&str>, author: &Author) -> Document {
    let settled = applied.settled.iter().map(|one| (&one.finding, Some(&one.said)));
    let open = applied.report.findings.iter().map(|finding| {
        let stated = applied.stated.iter().find(|one| one.fingerprint == finding.fingerprint);
        (finding, stated.map(|one| &one.said))
    });
    let statements: Vec<Statement> =
        settled.chain(open).map(|(finding, said)| statement(finding, said, product)).collect();
    let mut document = Document {
        context: CONTEXT_WRITTEN.to_owned(),
        id: String::new(),
        author: author.name.clone(),
        role: None,
        timestamp: author.at,
        last_updated: None,
        version: 1,
        tooling: Some(author.tooling.clone()),
        statements,
    };
    // Named by its content, so that the same facts at the same time are the same document.
    document.id = format!("urn:humdrum:vex:{}", hex::encode(Sha256::digest(document.to_json())));
    document
}

fn statement(finding: &Finding, said: Option<&Said>, product: Option<&str>) -> Statement {
    let component = |purl: &str| Component { id: Some(purl.to_owned()), ..Component::default() };
    let package = finding.package.as_deref().unwrap_or_default();
    let product = match product {
        Some(product) => {
            Product { component: component(product), subcomponents: vec![component(package)] }
        }
        None => Product { component: component(package), subcomponents: vec![] },
    };
    let mut statement = Statement {
        vulnerability: Vulnerability {
            id: finding.link.clone(),
            name: finding.rule.clone(),
            aliases: finding.aliases.clone(),
        },
        timestamp: None,
        products: vec![product],
        status: Status::UnderInvestigation,
        status_notes: None,
        justification: None,
        impact_statement: None,
        action_statement: None,
    };
    match (said, &finding.fixed_in) {
        (Some(said), _) => {
            statement.timestamp = Some(said.at);
            statement.status = said.status;
            statement.justification = said.justification;
            statement.impact_statement.clone_from(&said.impact_statement);
            statement.action_statement.clone_from(&said.action_statement);
            statement.status_notes.clone_from(&said.status_notes);
        }
        (None, Some(version)) => {
            statement.status = Status::Affected;
            statement.action_statement = Some(format!("Update to {version} or newer."));
        }
        (None, None) => {}
    }
    statement
}
