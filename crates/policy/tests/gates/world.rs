//! Facts for the tests: a release that may go out, and ways in which it may not.

use humdrum_model::finding::{Finding, FindingKind, Place, ScanReport, Severity};
use humdrum_model::gate::{Fact, Facts, GateResult, Scan, ScanMode, TestFacts, check};
use humdrum_model::hold::{Hold, HoldSubject};
use humdrum_model::name::{Digest, EnvName, ServiceName};
use humdrum_model::waiver::Waiver;
use humdrum_model::window::{Window, WindowKind};
use humdrum_policy::{Policies, Sources};
use jiff::{SignedDuration, Timestamp};

pub(crate) fn production() -> EnvName {
    EnvName::new("production").unwrap()
}

pub(crate) fn hours(from: Timestamp, hours: i64) -> Timestamp {
    from.checked_add(SignedDuration::from_hours(hours)).unwrap()
}

pub(crate) fn policies() -> Policies {
    Policies::load(&Sources::default()).unwrap()
}

/// A release that satisfies everything, on a Saturday, in an environment that blocks.
pub(crate) fn clean() -> Facts {
    let at: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let fine = |detail: &str| Fact::Verified { detail: detail.into() };
    Facts {
        owner: "team-shop".into(),
        service: "shop".into(),
        release: "r-1".into(),
        signature: fine("signed by local"),
        sbom: fine("12 components"),
        provenance: fine("commit a"),
        builder: Some("local".into()),
        trusted_builders: vec!["local".into()],
        tests: TestFacts::Passed { cases: 3, skipped: 0 },
        after: Some(EnvName::new("staging").unwrap()),
        released_before: true,
        vulnerability_scan: ScanMode::Blocking,
        scans: [FindingKind::Vulnerability, FindingKind::Secret, FindingKind::Licence]
            .map(|kind| scan(kind, at))
            .to_vec(),
        ..Facts::unknown(at, production(), Digest::of(b"image"))
    }
}

fn scan(kind: FindingKind, at: Timestamp) -> Scan {
    let report = ScanReport {
        kind,
        scanner: "humdrum 0.1.0".into(),
        at: hours(at, -1),
        data_as_of: Some(hours(at, -5)),
        failed: None,
        findings: vec![],
    };
    Scan { report, attestation: Fact::Verified { detail: "signed by local".into() } }
}

pub(crate) fn finding(kind: FindingKind, severity: Severity, fixed: bool) -> Finding {
    Finding {
        kind,
        rule: "GHSA-1".into(),
        aliases: vec!["CVE-2026-1".into()],
        severity,
        score: Some(7.5),
        title: "does what it should not".into(),
        fingerprint: "f-1".into(),
        package: Some("pkg:deb/debian/openssl@3.0.1".into()),
        fixed_in: fixed.then(|| "3.0.2".into()),
        place: Some(Place { path: "src/a.rs".into(), line: Some(3), column: None, commit: None }),
        link: Some("https://osv.example/GHSA-1".into()),
    }
}

/// The clean release with findings of one kind.
pub(crate) fn with(findings: Vec<Finding>) -> Facts {
    let mut facts = clean();
    let kind = findings[0].kind;
    if !facts.scans.iter().any(|scan| scan.report.kind == kind) {
        facts.scans.push(scan(kind, facts.at));
    }
    let own = facts.scans.iter_mut().find(|scan| scan.report.kind == kind).unwrap();
    own.report.findings = findings;
    facts
}

pub(crate) fn waiver(subject: &str, at: Timestamp) -> Waiver {
    Waiver {
        id: "w-1".into(),
        subject: subject.into(),
        service: Some(ServiceName::new("shop").unwrap()),
        environment: Some(production()),
        owner: "ada".into(),
        reason: "mended on Monday".into(),
        since: hours(at, -1),
        until: hours(at, 1),
    }
}

/// Evaluates with the facts' settings replaced by the policies', as the worker does, and asks the gates.
pub(crate) fn judged(policies: &mut Policies, mut facts: Facts) -> Vec<GateResult> {
    if *policies.settings() != Default::default() {
        facts.settings = policies.settings().clone();
    }
    let verdict = policies.evaluate(&facts);
    assert_eq!(verdict.failed, None);
    facts.policy = Some(verdict);
    check(&facts, &production(), facts.at)
}

pub(crate) fn codes(results: &[GateResult]) -> Vec<&str> {
    let denied = results.iter().filter(|result| !result.passed);
    denied.filter_map(|result| result.code.as_deref()).collect()
}

/// Releases that are refused, each for another reason.
pub(crate) fn corpus() -> Vec<Facts> {
    use FindingKind::{Configuration, Dynamic, Licence, Secret, Static, Vulnerability};
    let mut all = vec![clean(), Facts::unknown(clean().at, production(), Digest::of(b"x"))];
    for kind in [Vulnerability, Secret, Licence, Static, Configuration, Dynamic] {
        for severity in [Severity::Critical, Severity::Unknown] {
            for fixed in [true, false] {
                let mut bare = finding(kind, severity, fixed);
                all.push(with(vec![bare.clone()]));
                (bare.link, bare.place, bare.package) = (None, None, None);
                bare.fingerprint = "it's odd; $(rm)".into();
                all.push(with(vec![bare]));
            }
        }
    }
    let many = (0..200).map(|n| Finding {
        fingerprint: format!("f-{n}"),
        ..finding(Vulnerability, Severity::Critical, true)
    });
    all.push(with(many.collect()));
    let mut broken = |break_it: &dyn Fn(&mut Facts)| {
        let mut facts = clean();
        break_it(&mut facts);
        all.push(facts);
    };
    for index in 0..3 {
        broken(&|f| drop(f.scans.remove(index)));
        broken(&|f| f.scans[index].report.failed = Some("it crashed".into()));
        broken(&|f| f.scans[index].report.at = hours(f.at, -500));
        broken(&|f| f.scans[index].report.at = hours(f.at, 2));
        broken(&|f| f.scans[index].report.data_as_of = Some(hours(f.at, -500)));
        broken(&|f| {
            f.vulnerability_scan = ScanMode::BlockingAttested;
            f.scans[index].attestation = Fact::Missing;
        });
    }
    broken(&|f| f.released_before = false);
    broken(&|f| f.builder = Some("somebody".into()));
    broken(&|f| f.tests = TestFacts::Failed { cases: 2, failed: vec!["a".into()] });
    broken(&|f| f.sbom = Fact::Bad { code: "wrong-key".into(), why: "another key".into() });
    broken(&|f| {
        f.held = Some(Hold {
            subject: HoldSubject::Environment(production()),
            by: "ada".into(),
            why: "incident".into(),
            since: f.at,
        });
    });
    for (kind, from) in
        [(WindowKind::Freeze, "2026-11-21T00:00"), (WindowKind::Deploy, "2026-11-23T00:00")]
    {
        broken(&|f| {
            f.settings.windows = vec![Window {
                name: "w".into(),
                kind,
                environments: vec![],
                rrule: None,
                from: from.into(),
                hours: 48,
                owner: "sre".into(),
                reason: "quarter's end".into(),
            }];
        });
    }
    broken(&|f| {
        let rule = serde_json::from_value(serde_json::json!({ "role": "sre", "count": 2 }));
        f.settings.approvals = vec![rule.unwrap()];
    });
    broken(&|f| f.settings.review_required = true);
    all
}
