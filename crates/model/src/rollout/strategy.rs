//! Strategies: pure functions from a deployment's settings to a plan. One file each.

use super::plan::{Plan, Step};
use super::state::Deploy;

pub mod all_at_once;
pub mod canary;
pub mod rollback;

/// How a release is exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    AllAtOnce,
    Canary,
}

type Compile = fn(&Deploy) -> Vec<Step>;

/// Every strategy that compiles to a plan, with the name people read.
pub fn all() -> Vec<(&'static str, Compile)> {
    vec![
        ("all at once", all_at_once::steps),
        ("canary", canary::steps),
        ("rollback", rollback::steps),
    ]
}

/// The plan of a deployment. An environment's first release has nothing to compare with: it goes all at once.
pub fn plan(deploy: &Deploy, first: bool) -> Plan {
    match deploy.strategy {
        Strategy::Canary if !first => named("canary", canary::steps(deploy)),
        _ => named("all at once", all_at_once::steps(deploy)),
    }
}

/// The plan that brings the former release back.
pub fn plan_rollback(deploy: &Deploy) -> Plan {
    named("rollback", rollback::steps(deploy))
}

fn named(strategy: &str, steps: Vec<Step>) -> Plan {
    Plan { strategy: strategy.into(), steps }
}

/// What every deployment does before any traffic: gates, a person where one is asked (and the gates again, at that moment), start, checks.
fn opening(deploy: &Deploy) -> Vec<Step> {
    let mut steps = vec![Step::Gate];
    if deploy.approve {
        steps.extend([Step::Approve, Step::Gate]);
    }
    steps.push(Step::Prepare { within_ms: deploy.prepare_ms });
    steps.push(Step::Smoke { through_edge: false, within_ms: deploy.smoke_ms });
    steps
}

/// What every deployment does once it has all traffic: the checks again, and time to be seen healthy while the former release still stands by.
fn closing(deploy: &Deploy) -> Vec<Step> {
    vec![
        Step::Smoke { through_edge: true, within_ms: deploy.smoke_ms },
        Step::Hold { ms: deploy.watch_ms },
        Step::Drain { within_ms: deploy.drain_ms },
    ]
}
