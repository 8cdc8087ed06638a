//! OpenVEX: what is refused, which statement counts, and that what is written is read again.

#![expect(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

use humdrum_evidence::advisory::vex::{Artifact, Author, Document, Status, apply, produce, read};
use humdrum_model::finding::{Finding, FindingKind, ScanReport, Severity};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

const AT: &str = "2026-11-20T00:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn document(statements: Value) -> Value {
    json!({
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex/1", "author": "Team Shop",
        "timestamp": "2026-11-10T00:00:00Z", "version": 1, "statements": statements,
    })
}

fn parsed(statements: Value) -> Document {
    read(document(statements).to_string().as_bytes()).unwrap()
}

fn report() -> ScanReport {
    let finding = |rule: &str, package: &str, fixed: Option<&str>| Finding {
        kind: FindingKind::Vulnerability,
        rule: rule.into(),
        aliases: vec![format!("CVE-of-{rule}")],
        severity: Severity::High,
        score: None,
        title: "a flaw".into(),
        fingerprint: format!("{rule}-{package}"),
        package: Some(package.into()),
        fixed_in: fixed.map(str::to_owned),
        place: None,
        link: Some(format!("https://osv.dev/vulnerability/{rule}")),
    };
    ScanReport {
        kind: FindingKind::Vulnerability,
        scanner: "humdrum test".into(),
        at: at(AT),
        data_as_of: None,
        failed: None,
        findings: vec![
            finding("GHSA-1", "pkg:npm/left@1.0.0", Some("1.5.0")),
            finding("GHSA-2", "pkg:deb/debian/curl@7.88?distro=debian-12", None),
        ],
    }
}

fn artifact() -> Artifact {
    Artifact {
        purls: vec!["pkg:oci/shop@sha256:00ff?tag=v1".into()],
        digests: vec!["sha256:00ff".into()],
    }
}

fn not_affected(name: &str, product: Value) -> Value {
    json!({"vulnerability": {"name": name}, "products": [product], "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path"})
}

/// Rules that are settled, and statuses that are shown beside open findings.
fn outcome(documents: &[Document]) -> (Vec<String>, Vec<Status>) {
    let applied = apply(report(), &artifact(), documents, at(AT));
    assert_eq!(applied.settled.len() + applied.report.findings.len(), 2, "no finding is lost");
    let settled = applied.settled.iter().map(|one| one.finding.rule.clone()).collect();
    (settled, applied.stated.iter().map(|one| one.said.status).collect())
}

#[test]
fn a_product_is_meant_by_any_of_its_names() {
    let settles = |name: &str, product: Value| {
        !outcome(&[parsed(json!([not_affected(name, product)]))]).0.is_empty()
    };
    let by_id = |purl: &str| json!({"@id": purl});
    #[rustfmt::skip]
    let cases = [
        (true,  "GHSA-1",        by_id("pkg:npm/left@1.0.0")),
        (true,  "CVE-of-GHSA-1", by_id("pkg:npm/left")),
        (false, "GHSA-1",        by_id("pkg:npm/left@1.0.1")),
        (false, "GHSA-3",        by_id("pkg:npm/left@1.0.0")),
        (false, "GHSA-1",        by_id("pkg:pypi/left@1.0.0")),
        (true,  "GHSA-2",        by_id("pkg:deb/debian/curl?distro=debian-12")),
        (false, "GHSA-2",        by_id("pkg:deb/debian/curl?distro=debian-11")),
        (true,  "GHSA-1",        json!({"identifiers": {"purl": "pkg:npm/left@1.0.0"}})),
        (true,  "GHSA-1",        by_id("pkg:oci/shop@sha256:00ff")),
        (true,  "GHSA-1",        json!({"hashes": {"sha-256": "00FF"}})),
        (false, "GHSA-1",        json!({"hashes": {"sha-256": "00fe"}})),
        (true,  "GHSA-1",        json!({"@id": "pkg:oci/shop", "subcomponents": [{"@id": "pkg:npm/left"}]})),
        (false, "GHSA-1",        json!({"@id": "pkg:oci/shop", "subcomponents": [{"@id": "pkg:npm/right"}]})),
        (false, "GHSA-1",        json!({"@id": "pkg:oci/other", "subcomponents": [{"@id": "pkg:npm/left"}]})),
        (false, "GHSA-1",        by_id("no purl")),
    ];
    for (expected, name, product) in cases {
        assert_eq!(settles(name, product.clone()), expected, "{name} {product}");
    }
}

#[test]
fn the_latest_statement_counts_and_of_one_moment_the_worse() {
    let said = |status: &str, time: Option<&str>| {
        json!({"vulnerability": {"name": "GHSA-1"}, "products": [{"@id": "pkg:npm/left@1.0.0"}], "status": status,
            "timestamp": time, "impact_statement": "not called", "action_statement": "update"})
    };
    let early = Some("2026-11-01T00:00:00Z");
    let cases = [
        (json!([said("not_affected", None), said("affected", early)]), 1, vec![]),
        (json!([said("not_affected", early), said("affected", None)]), 0, vec![Status::Affected]),
        (json!([said("affected", None), said("fixed", None)]), 0, vec![Status::Affected]),
        (json!([said("under_investigation", None)]), 0, vec![Status::UnderInvestigation]),
        (json!([said("fixed", None)]), 1, vec![]),
        // What is dated in the future does not count yet.
        (
            json!([said("affected", None), said("not_affected", Some("2026-12-01T00:00:00Z"))]),
            0,
            vec![Status::Affected],
        ),
    ];
    for (statements, settled, stated) in cases {
        let found = outcome(&[parsed(statements.clone())]);
        assert_eq!((found.0.len(), found.1), (settled, stated), "{statements}");
    }
    // The same over two documents, in any order.
    let (old, new) =
        (parsed(json!([said("affected", early)])), parsed(json!([said("not_affected", None)])));
    assert_eq!(outcome(&[old.clone(), new.clone()]), outcome(&[new, old]));
}

#[test]
fn fixed_needs_a_version() {
    let fixed = |purl: &str| json!([{"vulnerability": {"name": "GHSA-1"}, "products": [{"@id": purl}], "status": "fixed"}]);
    assert_eq!(outcome(&[parsed(fixed("pkg:npm/left"))]).0.len(), 0);
    assert_eq!(outcome(&[parsed(fixed("pkg:npm/left@1.0.0"))]).0.len(), 1);
}

#[test]
fn documents_that_break_the_rules_are_refused() {
    let product = json!([{"@id": "pkg:npm/left"}]);
    let one = |more: Value| {
        let mut statement = json!({"vulnerability": {"name": "CVE-1"}, "products": product});
        statement.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(document(json!([statement])).to_string().as_bytes()).unwrap_err().to_string()
    };
    let said = "statement 1 about `CVE-1` ";
    assert_eq!(
        one(json!({"status": "not_affected"})),
        format!("{said}says `not_affected` without a justification or an impact statement")
    );
    assert_eq!(
        one(json!({"status": "affected", "action_statement": " "})),
        format!("{said}says `affected` without an action statement")
    );
    assert_eq!(one(json!({"status": "fixed", "products": []})), format!("{said}names no product"));
    assert!(one(json!({"status": "harmless"})).contains("unknown variant `harmless`"));
    assert!(
        one(json!({"status": "not_affected", "justification": "we_think_so"}))
            .contains("unknown variant `we_think_so`")
    );
    let mut other = document(json!([]));
    other["@context"] = json!("https://openvex.dev/ns/v9");
    assert!(
        read(other.to_string().as_bytes())
            .unwrap_err()
            .to_string()
            .starts_with("the document's `@context` is `https://openvex.dev/ns/v9`")
    );
}

#[test]
fn what_is_written_says_the_same_again() {
    let first = parsed(json!([not_affected("GHSA-2", json!({"@id": "pkg:deb/debian/curl"}))]));
    let applied = apply(report(), &artifact(), &[first], at(AT));
    let author = Author { name: "Team Shop".into(), at: at(AT), tooling: "humdrum test".into() };
    let written = produce(&applied, Some("pkg:oci/shop@sha256:00ff"), &author);
    assert_eq!(read(written.to_json().as_bytes()).unwrap(), written);
    let statuses: Vec<_> = written.statements.iter().map(|one| one.status).collect();
    assert_eq!(statuses, [Status::NotAffected, Status::Affected]);
    assert_eq!(
        written.statements[1].action_statement.as_deref(),
        Some("Update to 1.5.0 or newer.")
    );
    let again = apply(report(), &artifact(), &[written], at(AT));
    assert_eq!(again.settled.len(), 1);
    assert_eq!(again.settled[0].said.justification, applied.settled[0].said.justification);
    assert_eq!(again.settled[0].said.at, applied.settled[0].said.at);
    assert_eq!(again.stated[0].said.status, Status::Affected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }
}
