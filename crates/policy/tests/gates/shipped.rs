//! The shipped policies, end to end: facts in, gates out; and what is said about denials.

use crate::world::{clean, codes, finding, hours, judged, policies, production, with};
use humdrum_model::finding::{FindingKind, Severity};
use humdrum_model::gate::{Fact, GateResult, ScanMode, check};
use humdrum_model::gate::{Review, Vex};
use humdrum_policy::document::Document;
use humdrum_policy::shipped::SHIPPED;
use humdrum_policy::{Policies, PolicyError, Sources};

#[test]
fn what_denies_and_what_is_only_reported() {
    use FindingKind::{Configuration, Licence, Secret, Static, Vulnerability};
    use Severity::{Critical, High, Info, Low, Medium, Unknown};
    #[rustfmt::skip]
    let cases = [
        // kind          severity  new    fixed  denied by
        (Vulnerability, Critical, true,  true,  "vulnerability-critical"),
        (Vulnerability, Critical, false, false, "vulnerability-critical"),
        (Vulnerability, High,     true,  true,  "vulnerability-new"),
        (Vulnerability, Unknown,  true,  true,  "vulnerability-new"),
        (Vulnerability, Low,      true,  true,  "vulnerability-new"),
        (Vulnerability, Info,     true,  true,  ""),
        (Vulnerability, High,     true,  false, ""),
        (Vulnerability, High,     false, true,  ""),
        (Secret,        Medium,   false, false, "secret-found"),
        (Licence,       High,     false, false, "licence-denied"),
        (Static,        High,     true,  false, "static-finding"),
        (Static,        Unknown,  true,  false, "static-finding"),
        (Static,        High,     false, false, ""),
        (Static,        Medium,   true,  false, ""),
        (Configuration, Critical, false, false, "configuration-finding"),
    ];
    let mut policies = policies();
    for (kind, severity, new, fixed, code) in cases {
        let mut facts = with(vec![finding(kind, severity, fixed)]);
        if !new {
            facts.known.insert("f-1".into());
        }
        let name = format!("{kind:?} {severity:?} new {new} fixed {fixed}");
        let results = judged(&mut policies, facts.clone());
        assert_eq!(codes(&results), if code.is_empty() { vec![] } else { vec![code] }, "{name}");
        facts.vulnerability_scan = ScanMode::Advisory;
        let results = judged(&mut policies, facts.clone());
        assert_eq!(codes(&results), [""; 0], "{name}, advisory");
        let reported: Vec<_> = results.iter().filter(|r| r.reported).collect();
        assert!(!reported.is_empty(), "{name}");
        facts.vulnerability_scan = ScanMode::Blocking;
        facts.vex = vec![Vex {
            subject: "CVE-2026-1".into(),
            status: "not_affected".into(),
            justification: "vulnerable_code_not_in_execute_path".into(),
            by: "ada".into(),
        }];
        assert_eq!(codes(&judged(&mut policies, facts.clone())), [""; 0], "{name}, VEX");
        facts.vex[0].status = "under_investigation".into();
        let results = judged(&mut policies, facts);
        assert_eq!(codes(&results).is_empty(), code.is_empty(), "{name}, investigated");
    }
}

#[test]
fn scans_that_are_missing_failed_stale_or_impossible_deny_with_a_code_of_their_own() {
    type Break = fn(&mut humdrum_model::gate::Facts);
    #[rustfmt::skip]
    let cases: [(&str, Break); 10] = [
        ("scan-missing-vulnerability",  |f| { f.scans.remove(0); }),
        ("scan-missing-secret",         |f| { f.scans.remove(1); }),
        ("scan-missing-licence",        |f| { f.scans.remove(2); }),
        ("scan-failed-secret",          |f| f.scans[1].report.failed = Some("out of memory".into())),
        ("scan-stale-secret",           |f| f.scans[1].report.at = hours(f.at, -24 * 7 - 1)),
        ("scan-from-future-secret",     |f| f.scans[1].report.at = hours(f.at, 1)),
        ("scan-from-future-vulnerability", |f| f.scans[0].report.data_as_of = Some(hours(f.at, 1))),
        ("scan-data-stale-vulnerability",  |f| f.scans[0].report.data_as_of = Some(hours(f.at, -24 * 7 - 1))),
        ("scan-data-undated-vulnerability", |f| f.scans[0].report.data_as_of = None),
        ("scan-unattested-licence",     |f| {
            f.vulnerability_scan = ScanMode::BlockingAttested;
            f.scans[2].attestation = Fact::Bad { code: "wrong-key".into(), why: "another key".into() };
        }),
    ];
    let mut policies = policies();
    assert_eq!(codes(&judged(&mut policies, clean())), [""; 0]);
    for (code, break_it) in cases {
        let mut facts = clean();
        break_it(&mut facts);
        assert_eq!(codes(&judged(&mut policies, facts.clone())), [code]);
        facts.vulnerability_scan = ScanMode::Advisory;
        let results = judged(&mut policies, facts);
        assert_eq!(codes(&results), [""; 0], "{code}, advisory");
        let attestation = code.starts_with("scan-unattested");
        assert_eq!(results.iter().any(|r| r.reported), !attestation, "{code} is reported");
    }
}

#[test]
fn windows_approvals_and_reviews() {
    let settings = "gates:\n  roles: { sre: [bob] }\n  approvals: [{ role: sre, environments: [production] }]\n  review_required: true\n  hotfix_skips: [window-freeze]\n  windows:\n    - { name: weekend, kind: freeze, rrule: \"FREQ=WEEKLY;BYDAY=SA,SU\", from: \"2026-01-03T00:00\", hours: 24, owner: sre, reason: nobody is there }\n";
    let sources = Sources { policies: vec![], data: vec![("data.yaml".into(), settings.into())] };
    let mut policies = Policies::load(&sources).unwrap();
    let mut facts = clean(); // A Saturday.
    let all = ["approval-lacks", "review-missing", "window-freeze"];
    assert_eq!(codes(&judged(&mut policies, facts.clone())), all);
    facts.author = Some("ada".into());
    facts.commit = "c1".into();
    facts.review =
        Some(Review { commit: "c1".into(), by: vec!["ada".into(), "eve".into()], link: None });
    let bob = humdrum_model::approval::Approval { by: "bob".into(), at: facts.at };
    facts.approvals = vec![bob];
    assert_eq!(codes(&judged(&mut policies, facts.clone())), ["window-freeze"]);
    facts.waivers = vec![crate::world::waiver("hotfix", facts.at)];
    assert_eq!(codes(&judged(&mut policies, facts.clone())), [""; 0]);
    facts.review.as_mut().unwrap().commit = "c0".into();
    assert_eq!(
        codes(&judged(&mut policies, facts)),
        ["review-missing"],
        "a review of another commit"
    );
}

/// Every denial that any fixture of these tests gives, against the published schema.
#[test]
fn every_denial_is_whole() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../../docs/denial.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut denials: Vec<GateResult> = vec![];
    for facts in crate::world::corpus() {
        let results = judged(&mut policies(), facts);
        denials.extend(results.into_iter().filter(|result| !result.passed));
    }
    let mut kinds: Vec<_> = denials.iter().filter_map(|denial| denial.code.clone()).collect();
    kinds.sort();
    kinds.dedup();
    assert!(kinds.len() >= 25, "the corpus shows {} rules: {kinds:?}", kinds.len());
    for denial in denials {
        let json = serde_json::to_value(&denial).unwrap();
        let problems: Vec<_> =
            validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{json:#}\n{problems:?}");
    }
    let bare = serde_json::json!({ "gate": "sbom", "passed": false, "what": "x" });
    assert!(!validator.is_valid(&bare), "the schema refuses what is not whole");
}

/// The published schema of the document is the type's, and real documents satisfy it.
#[test]
fn the_schema_of_facts_is_published() {
    let schema = serde_json::to_value(schemars::schema_for!(Document)).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/facts.schema.json");
    let text = format!("{:#}\n", schema);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(published == text, "UPDATE=1 cargo test -p humdrum-policy --test gates");
    let validator = jsonschema::validator_for(&schema).unwrap();
    for facts in crate::world::corpus() {
        let json = serde_json::to_value(Document::of(&facts)).unwrap();
        let problems: Vec<_> =
            validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}");
    }
}

#[test]
fn a_policy_of_the_installation_replaces_the_shipped_one_and_conftests_names_work() {
    let lax = "package humdrum.scans\nwarn contains \"scans are somebody else's\"\n";
    let team = "package team\n\nexception contains [\"base_image\"] if input.service == \"shop\"\n\ndeny_base_image contains \"alpine is not ours\"\n\nviolation_name contains {\"msg\": \"the name is wrong\", \"details\": {}} if input.service == \"shop\"\n\nwarn_soon contains \"this will be denied\"\n\ntest_name if count(violation_name) == 1 with input as {\"service\": \"shop\"}\n";
    let policies = vec![("lax.rego".into(), lax.into()), ("team/team.rego".into(), team.into())];
    let mut policies = Policies::load(&Sources { policies, data: vec![] }).unwrap();
    assert_eq!(policies.tests(), 1);
    let mut facts = clean();
    facts.scans.clear();
    let results = judged(&mut policies, facts);
    assert_eq!(codes(&results), ["team/violation_name"]);
    let said: Vec<_> = results.iter().map(|r| r.what.as_str()).collect();
    assert!(said.contains(&"excepted by the policy: alpine is not ours"), "{said:?}");
    assert!(results.iter().any(|r| r.reported && r.what == "this will be denied"));
}

#[test]
fn a_policy_that_cannot_be_trusted_is_refused_with_its_place() {
    #[rustfmt::skip]
    let cases = [
        ("package a\ndeny contains \"x\" if { io.jwt.decode(input.t) }\n",              "policy-builtin", "p.rego:2:24: built-in `io.jwt.decode` is not available"),
        ("package a\ndeny contains \"x\" if crypto.sha256(input.t) == \"\"\n",            "policy-builtin", "`crypto.sha256`"),
        ("package a\ndeny contains \"x\" if net.lookup_ip_addr(input.t)\n",               "policy-builtin", "`net.lookup_ip_addr`"),
        ("package a\ndeny contains \"x\" if opa.runtime().env\n",                         "policy-builtin", "`opa.runtime`"),
        ("package a\ndeny contains \"x\" if rand.intn(\"a\", 2) == 1\n",                  "policy-builtin", "same facts"),
        ("package a\ndeny contains \"x\" if helper(1)\n",                                 "policy-builtin", "`helper`"),
        ("package a\nimport data.lib\ndeny contains \"x\" if lib.helper(1)\n",            "policy-broken",  "p.rego:3:22: no function `lib.helper`"),
        ("package a\ndeny contains \"x\" if data.lib.helper(1)\n",                        "policy-broken",  "no function `data.lib.helper`"),
        ("package a\ndeny[msg] { msg := \"x\" }\n",                                       "policy-broken",  "p.rego:2:"),
        ("package a\ntest_a if input.b\n",                                                "policy-test-failed", "data.a.test_a"),
    ];
    for (text, code, why) in cases {
        let sources = Sources { policies: vec![("p.rego".into(), text.into())], data: vec![] };
        let error = Policies::load(&sources).err().unwrap_or_else(|| panic!("accepted: {text}"));
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let fine = "package a\nimport data.lib as l\nhelper(x) := lower(x)\nown.helper(x) := x\ndeny contains \"x\" if { helper(\"A\") == l.up(own.helper(\"a\")); time.now_ns() > 0; every c in [1] { c > 0 } }\n";
    let lib = "package lib\nup(x) := upper(x)\n";
    let policies = vec![("a.rego".into(), fine.into()), ("lib.rego".into(), lib.into())];
    let refused = Policies::load(&Sources { policies, data: vec![] }).err();
    assert_eq!(refused, None);
}

#[test]
fn a_policys_clock_is_the_facts() {
    let text = "package a\ndeny contains \"early\" if time.now_ns() < time.parse_rfc3339_ns(\"2030-01-01T00:00:00Z\")\n";
    let sources = Sources { policies: vec![("p.rego".into(), text.into())], data: vec![] };
    let mut policies = Policies::load(&sources).unwrap();
    assert_eq!(codes(&judged(&mut policies, clean())), ["a/deny"]);
    let mut late = clean();
    late.at = hours(late.at, 24 * 365 * 5);
    late.scans.iter_mut().for_each(|scan| {
        scan.report.at = late.at;
        scan.report.data_as_of = Some(late.at);
    });
    assert_eq!(codes(&judged(&mut policies, late)), [""; 0]);
}

#[test]
fn folders_are_read_with_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Sources::read(&folder.path().join("none")).unwrap(), Sources::default());
    std::fs::create_dir_all(folder.path().join("team/deep")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("team/p.rego", "package p\n");
    write("team/data.json", "{\"list\": [1]}");
    write(".hidden.rego", "nonsense");
    write("README.md", "nonsense");
    let sources = Sources::read(folder.path()).unwrap();
    assert_eq!(sources.policies[0].0, "team/p.rego");
    let policy = "package q\ndeny contains \"x\" if data.team.list[0] == 1\n";
    write("q.rego", policy);
    let mut policies = Policies::load(&Sources::read(folder.path()).unwrap()).unwrap();
    assert_eq!(codes(&judged(&mut policies, clean())), ["q/deny"]);
    std::fs::write(folder.path().join("bad.rego"), [0xff, 0xfe]).unwrap();
    assert!(matches!(Sources::read(folder.path()), Err(PolicyError::Unreadable { .. })));
    let deep = (0..12).fold(folder.path().join("x"), |path, _| path.join("x"));
    std::fs::create_dir_all(deep).unwrap();
    std::fs::remove_file(folder.path().join("bad.rego")).unwrap();
    assert!(matches!(Sources::read(folder.path()), Err(PolicyError::TooLarge { .. })));
}

#[test]
fn every_shipped_policy_is_its_own_package_and_explains_itself() {
    for shipped in SHIPPED {
        assert!(shipped.text.starts_with("# "), "{} begins with what it is for", shipped.name);
        assert!(shipped.text.contains(&format!("\npackage humdrum.{}\n", shipped.name)));
        let copy = vec![("copy.rego".into(), shipped.text.into())];
        let policies = Policies::load(&Sources { policies: copy, data: vec![] }).unwrap();
        assert_eq!(policies.packages().len(), SHIPPED.len(), "a copy replaces, it does not add");
    }
    let results = judged(&mut policies(), clean());
    assert!(check(&clean(), &production(), clean().at).iter().any(|r| !r.passed), "unevaluated");
    assert!(results.iter().all(|r| r.passed));
}
