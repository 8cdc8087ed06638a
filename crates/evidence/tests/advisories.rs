//! Advisories from import to finding: OSV records in, signed shards, an SBOM, and what is said about it.

#![expect(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

use humdrum_evidence::advisory::inventory::Package;
use humdrum_evidence::advisory::matching::{Answer, Database, Question, find};
use humdrum_evidence::advisory::osv::{self, RecordError};
use humdrum_evidence::advisory::shard::{self, Dates, Row, Shard, ShardError};
use humdrum_evidence::key::PrivateKey;
use humdrum_evidence::trust::TrustRoot;
use humdrum_model::finding::Severity;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: &str = "2026-11-20T12:00:00Z";

fn key() -> PrivateKey {
    PrivateKey::from_scalar(&[7; 32]).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A record about one package with one range from the start to a fix.
fn record(id: &str, ecosystem: &str, name: &str, fixed: &str, more: Value) -> Value {
    let kind = if ecosystem == "crates.io" { "SEMVER" } else { "ECOSYSTEM" };
    let mut record = json!({
        "schema_version": "1.7.4", "id": id, "modified": "2026-11-19T00:00:00Z", "published": "2026-11-01T00:00:00Z",
        "affected": [{
            "package": {"ecosystem": ecosystem, "name": name},
            "ranges": [
                {"type": "GIT", "repo": "https://example.com/x", "events": [{"introduced": "0"}]},
                {"type": kind, "events": [{"introduced": "0"}, {"fixed": fixed}]},
            ],
        }],
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

fn rows(records: &[Value], ecosystem: &str) -> Vec<Row> {
    let mut rows = vec![];
    for record in records {
        let read = osv::read(record.to_string().as_bytes()).unwrap();
        for one in read.statements.iter().filter(|one| one.ecosystem == ecosystem) {
            let advisory = serde_json::to_vec(&one.advisory).unwrap();
            let (id, modified) = (read.id.clone(), read.modified);
            rows.push(Row { name: one.name.clone(), id, modified, advisory });
        }
    }
    rows
}

fn shard(ecosystem: &str, records: &[Value]) -> Vec<u8> {
    let dates = Dates { as_of: at("2026-11-19T12:00:00Z"), imported_at: at(NOW), unreadable: 0 };
    shard::write(ecosystem, rows(records, ecosystem), &dates, &key())
}

fn scan(records: &[Value], purls: &[&str]) -> Answer {
    let mut database = Database::new();
    for ecosystem in ["crates.io", "npm", "PyPI", "Debian", "Go", "Packagist"] {
        let shard = Shard::open(shard(ecosystem, records), &TrustRoot::of(key().public()), at(NOW));
        database.insert(ecosystem.into(), shard.unwrap());
    }
    let package =
        |purl: &&str| Package { name: "x".into(), version: None, purl: Some((*purl).into()) };
    let packages: Vec<_> = purls.iter().map(package).collect();
    let question = Question {
        packages: &packages,
        at: at(NOW),
        max_age: SignedDuration::from_hours(48),
        scanner: "humdrum test",
    };
    find(&question, &mut database).unwrap()
}

#[test]
fn a_finding_names_severity_fix_and_where_to_read() {
    let high = json!({"summary": "Reads too far", "aliases": ["CVE-2026-1"], "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}]});
    let records = [record("RUSTSEC-2026-0001", "crates.io", "left", "1.2.3", high)];
    let answer =
        scan(&records, &["pkg:cargo/left@1.2.2", "pkg:cargo/left@1.2.3", "pkg:cargo/right@1.0.0"]);
    assert_eq!((answer.assessed, answer.report.findings.len()), (3, 1), "{answer:?}");
    let finding = &answer.report.findings[0];
    assert_eq!(finding.rule, "RUSTSEC-2026-0001");
    assert_eq!(finding.aliases, ["CVE-2026-1"]);
    assert_eq!((finding.severity, finding.score), (Severity::High, Some(7.5)));
    assert_eq!(finding.package.as_deref(), Some("pkg:cargo/left@1.2.2"));
    assert_eq!(finding.fixed_in.as_deref(), Some("1.2.3"));
    assert_eq!(finding.title, "Reads too far");
    assert_eq!(finding.link.as_deref(), Some("https://osv.dev/vulnerability/RUSTSEC-2026-0001"));
    assert_eq!(answer.report.failed, None);
    assert_eq!(answer.report.data_as_of, Some(at("2026-11-19T12:00:00Z")));
}

#[test]
fn aliases_are_one_finding_with_the_fix_of_all() {
    let ghsa = record(
        "GHSA-a",
        "PyPI",
        "Left.Pad",
        "1.5",
        json!({"aliases": ["CVE-2026-2"], "summary": "One"}),
    );
    let pysec =
        record("PYSEC-2026-1", "PyPI", "left-pad", "1.6", json!({"aliases": ["CVE-2026-2"]}));
    let other = record("PYSEC-2026-2", "PyPI", "left-pad", "2.0", json!({}));
    let all = scan(&[ghsa.clone(), pysec.clone(), other], &["pkg:pypi/left-pad@1.0"]);
    let said: Vec<_> =
        all.report.findings.iter().map(|f| (f.rule.as_str(), f.fixed_in.as_deref())).collect();
    assert_eq!(said, [("GHSA-a", Some("1.6")), ("PYSEC-2026-2", Some("2.0"))]);
    assert_eq!(all.report.findings[0].aliases, ["CVE-2026-2", "PYSEC-2026-1"]);
    // Another database's record of the same CVE, and an update that mends nothing, leave the fingerprint as it is.
    let one = scan(&[ghsa], &["pkg:pypi/left-pad@1.0.1"]);
    assert_eq!(one.report.findings[0].fingerprint, all.report.findings[0].fingerprint);
    assert_ne!(all.report.findings[1].fingerprint, all.report.findings[0].fingerprint);
}

#[test]
fn withdrawn_records_say_nothing() {
    let gone =
        record("GHSA-b", "npm", "left", "2.0.0", json!({"withdrawn": "2026-11-10T00:00:00Z"}));
    assert_eq!(scan(&[gone], &["pkg:npm/left@1.0.0"]).report.findings, []);
}

#[test]
fn distributions_are_told_apart_by_release_and_source() {
    let mut dsa = record(
        "DSA-1",
        "Debian:12",
        "glibc",
        "2.36-9+deb12u4",
        json!({"upstream": ["CVE-2026-3", "CVE-2026-4"]}),
    );
    let eleven =
        record("DSA-1", "Debian:11", "glibc", "2.31-13+deb11u8", json!({}))["affected"][0].clone();
    dsa["affected"].as_array_mut().unwrap().push(eleven);
    let single =
        record("DEBIAN-CVE-2026-5", "Debian:12", "curl", "8", json!({"upstream": ["CVE-2026-5"]}));
    let answer = scan(
        &[dsa, single],
        &[
            "pkg:deb/debian/libc6@2.36-9?distro=debian-12&upstream=glibc",
            "pkg:deb/debian/libc6@2.31-13+deb11u8?distro=debian-11&upstream=glibc",
            "pkg:deb/debian/curl@7.88.1-10?distro=debian-12",
        ],
    );
    let said: Vec<_> = answer
        .report
        .findings
        .iter()
        .map(|f| (f.rule.as_str(), f.fixed_in.as_deref(), f.aliases.len()))
        .collect();
    // A collection of several CVEs is no other name of any of them.
    assert_eq!(said, [("DEBIAN-CVE-2026-5", Some("8"), 1), ("DSA-1", Some("2.36-9+deb12u4"), 0)]);
}

#[test]
fn what_cannot_be_compared_is_a_finding_that_says_so() {
    let records = [
        record("GHSA-c", "Packagist", "a/b", "2.0.0", json!({"summary": "Bad"})),
        record("GO-2026-1", "Go", "example.com/x", "1.2.3", json!({})),
    ];
    let answer = scan(
        &records,
        &["pkg:composer/a/b@dev-main", "pkg:golang/example.com/x", "pkg:generic/thing@1"],
    );
    let titles: Vec<_> = answer.report.findings.iter().map(|f| f.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "perhaps affected (`dev-main` is no Composer version: a branch has no place in the order): Bad",
            "perhaps affected (the SBOM states no version): advisory GO-2026-1",
        ]
    );
    assert_eq!(answer.not_assessed.len(), 1);
    assert_eq!(
        answer.not_assessed[0].why,
        "no database of advisories covers package URLs of type `generic`"
    );
}

#[test]
fn missing_and_old_data_fail_the_scan() {
    let answer = scan(&[], &["pkg:gem/rails@7.0.0"]);
    assert_eq!(answer.report.failed.as_deref(), Some("no advisories of RubyGems were imported"));
    assert_eq!(answer.assessed, 0);
    let trust = TrustRoot::of(key().public());
    let mut database = Database::new();
    database.insert("npm".into(), Shard::open(shard("npm", &[]), &trust, at(NOW)).unwrap());
    let packages =
        [Package { name: "a".into(), version: None, purl: Some("pkg:npm/a@1.0.0".into()) }];
    let question = Question {
        packages: &packages,
        at: at(NOW),
        max_age: SignedDuration::from_hours(12),
        scanner: "x",
    };
    let answer = find(&question, &mut database).unwrap();
    let said = "the advisories of npm are 1.0 days old; the limit is 0.5";
    assert_eq!(answer.report.failed.as_deref(), Some(said));
}

#[test]
fn severity_comes_from_the_best_source() {
    let vector = json!([{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}]);
    let cases = [
        (
            "GHSA-1",
            json!({"severity": vector, "database_specific": {"severity": "LOW"}}),
            Severity::Critical,
        ),
        ("GHSA-2", json!({"database_specific": {"severity": "MODERATE"}}), Severity::Medium),
        ("GHSA-3", json!({"database_specific": ["other form"]}), Severity::Unknown),
        ("MAL-2026-1", json!({}), Severity::Critical),
        ("GHSA-4", json!({"severity": []}), Severity::Unknown),
    ];
    for (id, more, expected) in cases {
        let answer = scan(&[record(id, "npm", "left", "2.0.0", more)], &["pkg:npm/left@1.0.0"]);
        assert_eq!(answer.report.findings[0].severity, expected, "{id}");
    }
    let mut unmaintained = record("RUSTSEC-2", "crates.io", "old", "9.0.0", json!({}));
    unmaintained["affected"][0]["database_specific"] = json!({"informational": "unmaintained"});
    let answer = scan(&[unmaintained], &["pkg:cargo/old@1.0.0"]);
    assert_eq!(answer.report.findings[0].severity, Severity::Info);
}

#[test]
fn a_changed_or_foreign_shard_is_refused() {
    let many: Vec<_> = (0..400)
        .map(|i| {
            record(
                &format!("GHSA-{i}"),
                "npm",
                &format!("p{i}"),
                "1.0.0",
                json!({"summary": format!("{i:x}").repeat(300)}),
            )
        })
        .collect();
    let good = shard("npm", &many);
    let trust = TrustRoot::of(key().public());
    let read = |bytes: Vec<u8>| -> Result<usize, ShardError> {
        Ok(Shard::open(bytes, &trust, at(NOW))?.rows()?.len())
    };
    assert_eq!(read(good.clone()).unwrap(), 400);
    let mut opened = Shard::open(good.clone(), &trust, at(NOW)).unwrap();
    for name in ["p0", "p399", "p77", "p77"] {
        assert_eq!(opened.find(name).unwrap().len(), 1, "{name}");
    }
    assert!(opened.find("p400").unwrap().is_empty());
    // Every byte counts: one changed anywhere, or the end missing, is seen.
    for place in (0..good.len()).step_by(good.len() / 97) {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert!(read(bad).is_err(), "byte {place} of {}", good.len());
        assert!(read(good[..place].to_vec()).is_err(), "cut at {place}");
    }
    let foreign = TrustRoot::of(PrivateKey::from_scalar(&[8; 32]).unwrap().public());
    assert!(matches!(Shard::open(good, &foreign, at(NOW)), Err(ShardError::Untrusted)));
}

#[test]
fn bad_records_are_named() {
    let said = |text: &str| osv::read(text.as_bytes()).unwrap_err();
    assert!(matches!(said("{"), RecordError::NotOsv { .. }));
    assert!(
        said(r#"{"id":"x"}"#)
            .to_string()
            .starts_with("the record is not JSON of the OSV form: missing field `modified`")
    );
    let two = r#"{"id":"x","modified":"2026-01-01T00:00:00Z","schema_version":"2.0.0"}"#;
    assert_eq!(said(two).to_string(), "the record has schema version 2.0.0; read are 1.x");
    let empty = r#"{"id":"","modified":"2026-01-01T00:00:00Z"}"#;
    assert_eq!(said(empty).to_string(), "the record's id is empty or longer than 1024 bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Neither records nor shards nor package URLs of any bytes make it panic.
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), purl in "pkg:[a-z]{2,5}/[ -~]{0,40}") {
        let _ = osv::read(&bytes);
        let trust = TrustRoot::of(key().public());
        let mut file = b"HUMADV1\n".to_vec();
        file.extend(&bytes);
        prop_assert!(Shard::open(file, &trust, at(NOW)).is_err());
        let _ = scan(&[], &[&purl]);
    }
}
