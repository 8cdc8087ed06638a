//! A thousand injected faults, each seeded: whatever crashes, lies, is late or is missing, nothing is admitted that should not be.

use humdrum_model::finding::{FindingKind, Severity};
use humdrum_model::gate::{Fact, Facts, ScanMode, TestFacts, check};
use humdrum_model::verdict::PolicyVerdict;
use humdrum_policy::worker::{Evaluator, Limits};
use humdrum_policy::{Policies, Sources};
use jiff::SignedDuration;

use crate::world::{clean, finding, policies, production, waiver, with};

/// Histories of faults; each injects one to three.
const HISTORIES: u64 = 1_000;

/// A small generator of its own (splitmix64), so that a seed means the same for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Breaks the facts before the policies see them. Each of these alone must refuse the release.
#[rustfmt::skip]
const FAULTS: &[(&str, fn(&mut Facts, &mut Dice))] = &[
    ("a scanner crashed",        |f, d| { let n = pick(f, d); f.scans[n].report.failed = Some("signal 9".into()); }),
    ("a scan is missing",        |f, d| { let n = pick(f, d); f.scans.remove(n); }),
    ("all scans are missing",    |f, _| f.scans.clear()),
    ("a scan is stale",          |f, d| { let n = pick(f, d); let hours = 169 + d.roll(9_000); f.scans[n].report.at = back(f, hours); }),
    ("advisories are stale",     |f, d| { let hours = 169 + d.roll(9_000); let old = back(f, hours); for s in &mut f.scans { s.report.data_as_of = Some(old); } }),
    ("the scanner's clock",      |f, d| { let n = pick(f, d); let ms = 1 + d.roll(1 << 40); f.scans[n].report.at = f.at.checked_add(SignedDuration::from_millis(ms as i64)).unwrap(); }),
    ("advisories of tomorrow",   |f, d| { let s = 1 + d.roll(1 << 20); for scan in &mut f.scans { scan.report.data_as_of = Some(f.at.checked_add(SignedDuration::from_secs(s as i64)).unwrap()); } }),
    ("the signer is down",       |f, _| f.signature = Fact::Missing),
    ("another key signed",       |f, _| f.signature = Fact::Bad { code: "wrong-key".into(), why: "unknown key".into() }),
    ("no provenance",            |f, _| f.provenance = Fact::Missing),
    ("another builder",          |f, _| f.builder = Some("laptop".into())),
    ("no builder",               |f, _| f.builder = None),
    ("no SBOM",                  |f, _| f.sbom = Fact::Missing),
    ("the SBOM is broken",       |f, _| f.sbom = Fact::Bad { code: "digest".into(), why: "changed".into() }),
    ("tests are missing",        |f, _| f.tests = TestFacts::Missing),
    ("tests failed",             |f, _| f.tests = TestFacts::Failed { cases: 9, failed: vec!["a".into()] }),
    ("not in staging",           |f, _| f.released_before = false),
    ("attestation is lost",      |f, d| { f.vulnerability_scan = ScanMode::BlockingAttested; let n = pick(f, d); f.scans[n].attestation = Fact::Missing; }),
    ("a critical vulnerability", |f, _| { let n = f.scans.len(); f.scans.extend(with(vec![finding(FindingKind::Vulnerability, Severity::Critical, false)]).scans); let _ = n; }),
    ("a secret",                 |f, _| f.scans.extend(with(vec![finding(FindingKind::Secret, Severity::Low, false)]).scans)),
];

fn pick(facts: &Facts, dice: &mut Dice) -> usize {
    assert!(!facts.scans.is_empty(), "faults that remove scans come last");
    dice.roll(facts.scans.len() as u64) as usize
}

fn back(facts: &Facts, hours: u64) -> jiff::Timestamp {
    facts.at.checked_sub(SignedDuration::from_hours(hours as i64)).unwrap()
}

/// Breaks the way between facts and decision. Each of these alone must refuse it, too.
#[rustfmt::skip]
const BREAKS: &[(&str, fn(&mut Facts))] = &[
    ("the policies were not asked",  |f| f.policy = None),
    ("the worker crashed",           |f| f.policy = Some(PolicyVerdict::failure(f.at, "policy-crashed", "signal 11".into(), "x"))),
    ("a policy does not load",       |f| f.policy = Some(PolicyVerdict::failure(f.at, "policy-broken", "p.rego:1:1".into(), "x"))),
    ("a verdict of other facts",     |f| f.policy.as_mut().unwrap().at = back(f, 1)),
    ("a hold was placed meanwhile",  |f| f.held = Some(humdrum_model::hold::Hold { subject: humdrum_model::hold::HoldSubject::Environment(production()), by: "ada".into(), why: "incident".into(), since: f.at })),
];

#[test]
fn a_thousand_faults_let_nothing_through() {
    let mut policies = policies();
    let (mut wrong, mut kinds) = (vec![], std::collections::BTreeSet::new());
    for seed in 0..HISTORIES {
        let mut dice = Dice(seed);
        let mut facts = clean();
        // Waivers that are over, or for something else, help nobody.
        if dice.roll(2) == 0 {
            let mut over = waiver("vulnerability-critical", facts.at);
            over.until = facts.at;
            facts.waivers = vec![over, waiver("window-freeze", facts.at)];
        }
        let mut names = vec![];
        let mut chosen: Vec<usize> =
            (0..=dice.roll(3)).map(|_| dice.roll(FAULTS.len() as u64) as usize).collect();
        // Those that remove scans come after those that change one.
        chosen.sort_by_key(|at| FAULTS[*at].0.contains("missing"));
        chosen.dedup();
        for at in chosen {
            let (name, fault) = FAULTS[at];
            if !facts.scans.is_empty() || !name.contains("scan") {
                fault(&mut facts, &mut dice);
                names.push(name);
            }
        }
        facts.policy = Some(policies.evaluate(&facts));
        if dice.roll(4) == 0 {
            let (name, cut) = BREAKS[dice.roll(BREAKS.len() as u64) as usize];
            cut(&mut facts);
            names.push(name);
        }
        let results = check(&facts, &production(), facts.at);
        if results.iter().all(|result| result.passed) {
            wrong.push(format!("seed {seed}: {names:?}"));
        }
        kinds.extend(names);
    }
    assert_eq!(wrong, [""; 0], "admitted");
    assert_eq!(kinds.len(), FAULTS.len() + BREAKS.len(), "every fault was injected");
}

#[test]
fn each_fault_alone_refuses_and_without_any_it_is_admitted() {
    let mut policies = policies();
    let mut judge = |facts: &Facts, cut: Option<fn(&mut Facts)>| {
        let mut facts = facts.clone();
        facts.policy = Some(policies.evaluate(&facts));
        if let Some(cut) = cut {
            cut(&mut facts);
        }
        check(&facts, &production(), facts.at).iter().all(|result| result.passed)
    };
    assert!(judge(&clean(), None), "the release without faults");
    for (name, fault) in FAULTS {
        let mut facts = clean();
        fault(&mut facts, &mut Dice(7));
        assert!(!judge(&facts, None), "{name}");
    }
    for (name, cut) in BREAKS {
        assert!(!judge(&clean(), Some(*cut)), "{name}");
    }
}

#[test]
fn clocks_that_disagree_refuse() {
    let mut facts = clean();
    facts.policy = Some(policies().evaluate(&facts));
    let after = |ms: i64| facts.at.checked_add(SignedDuration::from_millis(ms)).unwrap();
    for (ms, admitted) in
        [(0, true), (59_000, true), (61_000, false), (-1, false), (-86_400_000, false)]
    {
        let results = check(&facts, &production(), after(ms));
        assert_eq!(results.iter().all(|result| result.passed), admitted, "{ms} ms later");
    }
}

#[test]
fn policies_that_do_not_load_refuse_a_release_that_is_fine() {
    let broken =
        ["package a\ndeny {", "package a\ndeny contains \"x\" if http.send({})", "nonsense"];
    for text in broken {
        let sources = Sources { policies: vec![("p.rego".into(), text.into())], data: vec![] };
        let error = Policies::load(&sources).err().expect(text);
        let mut facts = clean();
        facts.policy = Some(error.verdict(facts.at));
        assert!(check(&facts, &production(), facts.at).iter().any(|result| !result.passed));
    }
    let gone = Evaluator {
        program: "/nonexistent".into(),
        arguments: vec![],
        folder: "/nonexistent".into(),
        limits: Limits::default(),
    };
    let facts = gone.evaluate(&clean()).apply(clean());
    assert!(check(&facts, &production(), facts.at).iter().any(|result| !result.passed));
}
