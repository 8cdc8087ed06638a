//! Table tests of the gates: each way to be refused has its own code, owner and fix.

use super::*;
use crate::hold::HoldSubject;
use crate::name::ServiceName;

fn good() -> Facts {
    let fine = |detail: &str| Fact::Verified { detail: detail.into() };
    Facts {
        at: Timestamp::UNIX_EPOCH,
        environment: EnvName::new("production").unwrap(),
        owner: "team-shop".into(),
        release: "r-1".into(),
        artifact: Digest::of(b"image"),
        signature: fine("signed by local"),
        sbom: fine("12 components"),
        provenance: fine("commit a"),
        builder: Some("local".into()),
        trusted_builders: vec!["local".into()],
        tests: TestFacts::Passed { cases: 3, skipped: 0 },
        held: None,
        after: Some(EnvName::new("staging").unwrap()),
        released_before: true,
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
    ];
    for (code, break_it) in cases {
        let mut facts = good();
        break_it(&mut facts);
        let results = check(&facts, &facts.environment.clone(), Timestamp::UNIX_EPOCH);
        assert_eq!(results.len(), all().len());
        let denied: Vec<_> = results.iter().filter(|r| !r.passed).collect();
        let codes: Vec<_> = denied.iter().filter_map(|r| r.code.as_deref()).collect();
        assert_eq!(codes, if code.is_empty() { vec![] } else { vec![code] });
        assert!(denied.iter().all(|r| r.fix.is_some() && r.owner.is_some()));
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
