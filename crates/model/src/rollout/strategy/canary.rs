//! Strategy: a ladder of shares, each judged against the running release before the next. At 100 % smoke checks and guardrails watch.

use super::{closing, opening};
use crate::rollout::plan::Step;
use crate::rollout::state::Deploy;
use crate::route::WEIGHT_TOTAL;

/// One `Expose` and one `Judge` for each stage below 100 %, then all traffic.
pub fn steps(deploy: &Deploy) -> Vec<Step> {
    let mut steps = opening(deploy);
    for (stage, settings) in deploy.judge.stages.iter().enumerate() {
        steps.push(Step::Expose { weight: settings.weight });
        steps.push(Step::Judge { stage });
    }
    steps.push(Step::Expose { weight: WEIGHT_TOTAL });
    steps.extend(closing(deploy));
    steps
}
