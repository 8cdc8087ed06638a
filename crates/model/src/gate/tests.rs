//! Table tests of the gates: each way to be refused has its own code, owner and fix.

use super::*;
use crate::hold::HoldSubject;
use crate::name::ServiceName;
use crate::verdict::{Level, PolicyFailure, PolicyResult};

fn good() -> Facts {
    let fine = |detail: &str| Fact::Verified { detail: detail.into() };
    Facts {
        owner: "team-shop".into(),
        release: "r-1".into(),
        signature: fine("signed by local"),
        sbom: fine("12 components"),
        provenance: fine("commit a"),
        builder: Some("local".into()),
        trusted_builders: vec!["local".into()],
        tests: TestFacts::Passed { cases: 3, skipped: 0 },
        held: None,
        after: Some(EnvName::new("staging").unwrap()),
        released_before: true,
        service: "shop".into(),
        policy: Some(verdict(vec![])),
        ..Facts::unknown(
            Timestamp::UNIX_EPOCH,
            EnvName::new("production").unwrap(),
            Digest::of(b"image"),
        )
    }
}

fn verdict(results: Vec<PolicyResult>) -> PolicyVerdict {
    let packages = vec!["humdrum.vulnerabilities".into()];
    PolicyVerdict {
        at: Timestamp::UNIX_EPOCH,
        bundle: "ab".into(),
        packages,
        results,
        failed: None,
    }
}

fn denial(rule: &str, fingerprint: &str) -> PolicyResult {
    PolicyResult {
        level: Level::Deny,
        package: "humdrum.vulnerabilities".into(),
        rule: rule.into(),
        msg: "openssl 3.0.1 has CVE-2026-1".into(),
        fingerprint: Some(fingerprint.into()).filter(|text: &String| !text.is_empty()),
        names: vec!["CVE-2026-1".into()],
        evidence: None,
        since: None,
        owner: None,
        fix: Some("update openssl to 3.0.2".into()),
    }
}

#[test]
fn each_missing_thing_denies_with_its_own_code() {
    let hold = Hold {
        subject: HoldSubject::Service(ServiceName::new("shop").unwrap()),
        by: "ada".into(),
        why: "incident".into(),
        since: Timestamp::UNIX_EPOCH,
    };
    let bad = || Fact::Bad { code: "wrong-key".into(), why: "signed by another key".into() };
    type Break = Box<dyn Fn(&mut Facts)>;
    let cases: Vec<(&str, Break)> = vec![
        ("", Box::new(|_| ())),
        ("held", Box::new(move |f| f.held = Some(hold.clone()))),
        ("order", Box::new(|f| f.released_before = false)),
        (
            "tests-failed",
            Box::new(|f| f.tests = TestFacts::Failed { cases: 2, failed: vec!["a".into()] }),
        ),
        ("tests-missing", Box::new(|f| f.tests = TestFacts::Missing)),
        ("signature-missing", Box::new(|f| f.signature = Fact::Missing)),
        ("wrong-key", Box::new(move |f| f.signature = bad())),
        ("sbom-missing", Box::new(|f| f.sbom = Fact::Missing)),
        ("provenance-missing", Box::new(|f| f.provenance = Fact::Missing)),
        ("builder-untrusted", Box::new(|f| f.builder = None)),
        ("policy-missing", Box::new(|f| f.policy = None)),
        (
            "policy-stale",
            Box::new(|f| {
                f.policy.as_mut().unwrap().at = Timestamp::from_second(1).unwrap();
            }),
        ),
        (
            "policy-timeout",
            Box::new(|f| {
                let failed = PolicyFailure {
                    code: "policy-timeout".into(),
                    why: "stopped after 2 s".into(),
                    fix: "mend it".into(),
                };
                f.policy.as_mut().unwrap().failed = Some(failed);
            }),
        ),
        (
            "vulnerability-critical",
            Box::new(|f| f.policy = Some(verdict(vec![denial("vulnerability-critical", "f1")]))),
        ),
    ];
    for (code, break_it) in cases {
        let mut facts = good();
        break_it(&mut facts);
        let results = check(&facts, &facts.environment.clone(), Timestamp::UNIX_EPOCH);
        assert!(results.len() >= all().len());
        let denied: Vec<_> = results.iter().filter(|r| !r.passed).collect();
        let codes: Vec<_> = denied.iter().filter_map(|r| r.code.as_deref()).collect();
        assert_eq!(codes, if code.is_empty() { vec![] } else { vec![code] });
        let whole = |r: &&GateResult| {
            r.fix.is_some()
                && r.owner.is_some()
                && r.evidence.is_some()
                && r.since.is_some()
                && r.waive.is_some()
        };
        assert!(denied.iter().all(whole), "{denied:?}");
    }
}

#[test]
fn facts_of_another_moment_or_place_deny() {
    let facts = good();
    let late = Timestamp::from_millisecond(FACTS_MAX_AGE_MS + 1).unwrap();
    let stale = check(&facts, &facts.environment, late);
    assert_eq!(stale[0].code.as_deref(), Some("facts-stale"));
    let elsewhere = check(&facts, &EnvName::new("dev").unwrap(), Timestamp::UNIX_EPOCH);
    assert!(!elsewhere[0].passed);
    let before = Timestamp::from_millisecond(-1).unwrap();
    assert!(
        !check(&facts, &facts.environment, before)[0].passed,
        "facts from the future are not facts"
    );
}

#[test]
fn a_waiver_covers_what_it_names_and_nothing_else() {
    let waiver = |subject: &str| Waiver {
        id: "w-1".into(),
        subject: subject.into(),
        service: Some(ServiceName::new("shop").unwrap()),
        environment: None,
        owner: "ada".into(),
        reason: "mended on Monday".into(),
        since: Timestamp::UNIX_EPOCH,
        until: Timestamp::from_second(3600).unwrap(),
    };
    #[rustfmt::skip]
    let cases = [
        // waiver                   denial                                        passes
        ("vulnerability-critical", denial("vulnerability-critical", "f1"),        true),
        ("f1",                     denial("vulnerability-critical", "f1"),        true),
        ("CVE-2026-1",             denial("vulnerability-critical", "f1"),        true),
        ("f2",                     denial("vulnerability-critical", "f1"),        false),
        ("vulnerability-new",      denial("vulnerability-critical", "f1"),        false),
        ("vulnerability-critical", denial("scan-missing-vulnerability", ""),      false),
        ("scan-missing-vulnerability", denial("scan-missing-vulnerability", ""),  true),
        ("hotfix",                 denial("window-freeze", ""),                   true),
        ("hotfix",                 denial("vulnerability-critical", "f1"),        false),
    ];
    for (subject, said, passes) in cases {
        let mut facts = good();
        facts.settings.hotfix_skips = vec!["window-freeze".into()];
        facts.policy = Some(verdict(vec![said.clone()]));
        facts.waivers = vec![waiver(subject)];
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
        let results = check(&facts, &facts.environment.clone(), at(0));
        let one = results.iter().find(|r| r.code.as_deref() == Some(&said.rule)).unwrap();
        assert_eq!(
            (one.passed, one.waived.is_some()),
            (passes, passes),
            "{subject} for {}",
            said.rule
        );
        facts.waivers[0].until = at(1);
        let later = check(&facts, &facts.environment.clone(), at(1));
        assert!(later.iter().any(|r| !r.passed), "{subject} lapses");
    }
    let mut held = good();
    held.held = Some(Hold {
        subject: HoldSubject::Service(ServiceName::new("shop").unwrap()),
        by: "ada".into(),
        why: "incident".into(),
        since: Timestamp::UNIX_EPOCH,
    });
    held.waivers = vec![waiver("held")];
    assert!(
        check(&held, &held.environment.clone(), Timestamp::UNIX_EPOCH).iter().any(|r| !r.passed)
    );
}

#[test]
fn many_denials_are_counted_and_no_waiver_covers_those_that_are_not_listed() {
    let mut facts = good();
    let many = (0..80).map(|n| denial("vulnerability-new", &format!("f{n}"))).collect();
    facts.policy = Some(verdict(many));
    let results = check(&facts, &facts.environment.clone(), Timestamp::UNIX_EPOCH);
    let denied: Vec<_> = results.iter().filter(|r| !r.passed).collect();
    assert_eq!(denied.len(), 51);
    assert!(denied[50].what.starts_with("and 30 more"), "{}", denied[50].what);
    assert_eq!(denied[50].code.as_deref(), Some("more-denials"));
    facts.waivers = (0..80)
        .map(|n| Waiver {
            id: format!("w-{n}"),
            subject: format!("f{n}"),
            service: None,
            environment: None,
            owner: "ada".into(),
            reason: "known".into(),
            since: Timestamp::UNIX_EPOCH,
            until: Timestamp::MAX,
        })
        .collect();
    let results = check(&facts, &facts.environment.clone(), Timestamp::UNIX_EPOCH);
    assert!(results.iter().all(|r| r.passed), "each of the 80 is waived by its own name");
}

#[test]
fn facts_of_older_versions_are_read() {
    let mut old = serde_json::to_value(good()).unwrap();
    let new = [
        "service",
        "commit",
        "author",
        "vulnerability_scan",
        "settings",
        "scans",
        "known",
        "vex",
        "waivers",
        "approvals",
        "approval_follows",
        "review",
        "components",
        "policy",
    ];
    for key in new {
        old.as_object_mut().unwrap().remove(key);
    }
    let facts: Facts = serde_json::from_value(old).unwrap();
    assert_eq!(facts.vulnerability_scan, ScanMode::Advisory);
    let results = check(&facts, &facts.environment.clone(), Timestamp::UNIX_EPOCH);
    let codes: Vec<_> =
        results.iter().filter(|r| !r.passed).filter_map(|r| r.code.as_deref()).collect();
    assert_eq!(codes, ["policy-missing"], "what was not evaluated is not admitted");
}
