//! Gate: the installation's policies were evaluated over these very facts, and what each of them says.
//!
//! The engine lives elsewhere; here its verdict is only believed while it belongs to the facts and is whole.

use std::collections::BTreeSet;

use super::{Facts, GateResult};
use crate::verdict::{Level, PolicyResult};

/// Denials, reports and waived denials that are kept one by one. What is beyond is counted: a state must not grow with a scan.
const LISTED_MAX: usize = 50;

pub fn check(facts: &Facts) -> GateResult {
    let deny = |code: &str, what: String, fix: &str| {
        GateResult::deny("policy", code, what, fix, &facts.owner)
    };
    let Some(verdict) = &facts.policy else {
        return deny(
            "policy-missing",
            "the policies were not evaluated".into(),
            "see what the policies say: `humdrum gate policies`",
        );
    };
    if let Some(failure) = &verdict.failed {
        return deny(&failure.code, failure.why.clone(), &failure.fix);
    }
    if verdict.at != facts.at {
        return deny(
            "policy-stale",
            format!(
                "the policies were evaluated over facts of {}, not of {}",
                verdict.at, facts.at
            ),
            "ask again: `humdrum ship`",
        );
    }
    let bundle = verdict.bundle.get(..12).unwrap_or(&verdict.bundle);
    GateResult::pass("policy", format!("{} packages evaluated ({bundle})", verdict.packages.len()))
}

/// What each policy says, as results of gates of their own; every sentence one.
pub(super) fn results(facts: &Facts) -> Vec<GateResult> {
    let Some(verdict) = &facts.policy else { return vec![] };
    let mut said: Vec<&PolicyResult> = verdict.results.iter().collect();
    said.sort_by_key(|said| said.level);
    let spoke: BTreeSet<&str> = said.iter().map(|said| said.package.as_str()).collect();
    let silent = verdict.packages.iter().filter(|package| !spoke.contains(package.as_str()));
    let silent = silent.map(|package| GateResult::pass(&name(package), "nothing to say"));
    said.into_iter().map(|said| result(said, facts)).chain(silent).collect()
}

/// Keeps the first [`LISTED_MAX`] denials, reports and exceptions each, and counts the rest. Waivers were applied before:
/// a line that stands for many denials is covered by none that names one of them.
pub(super) fn listed(results: Vec<GateResult>) -> Vec<GateResult> {
    let mut kept = vec![];
    let (mut seen, mut more) = ([0_usize; 3], vec![]);
    for result in results {
        let kind = match (result.passed, result.reported, result.waived.is_some()) {
            (false, ..) => 0,
            (true, true, _) => 1,
            (true, false, true) => 2,
            (true, false, false) => {
                kept.push(result);
                continue;
            }
        };
        seen[kind] += 1;
        if seen[kind] <= LISTED_MAX {
            kept.push(result);
        } else if seen[kind] == LISTED_MAX + 1 {
            more.push((kept.len(), kind, ["denials", "reports", "waived denials"][kind]));
            let code = (kind == 0).then(|| "more-denials".to_owned());
            let fix = code.as_ref().map(|_| "see all of them: `humdrum gate check`".to_owned());
            kept.push(GateResult {
                code,
                fix,
                fingerprint: None,
                names: vec![],
                waive: None,
                waived: None,
                ..result
            });
        }
    }
    for (at, kind, word) in more {
        kept[at].what = format!("and {} more {word}", seen[kind] - LISTED_MAX);
    }
    kept
}

fn result(said: &PolicyResult, facts: &Facts) -> GateResult {
    let gate = name(&said.package);
    let base = match said.level {
        Level::Deny => {
            let owner = said.owner.as_deref().unwrap_or(&facts.owner);
            let fix = said.fix.clone().unwrap_or_else(|| {
                format!("read the policy: `humdrum gate policies --print {}`", said.package)
            });
            GateResult::deny(&gate, &said.rule, said.msg.clone(), fix, owner)
        }
        Level::Warn => {
            let mut result = GateResult::pass(&gate, said.msg.clone());
            result.code = Some(said.rule.clone());
            result.fix.clone_from(&said.fix);
            result.reported = true;
            result
        }
        Level::Exception => {
            GateResult::pass(&gate, format!("excepted by the policy: {}", said.msg))
        }
    };
    GateResult {
        evidence: said.evidence.clone(),
        since: said.since,
        fingerprint: said.fingerprint.clone(),
        names: said.names.clone(),
        ..base
    }
}

/// The shipped policies go by their short names: `vulnerabilities`.
fn name(package: &str) -> String {
    package.strip_prefix("humdrum.").unwrap_or(package).into()
}
