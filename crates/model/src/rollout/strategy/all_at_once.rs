//! Strategy: all traffic in one step. For an environment's first release, and for what does not matter.

use super::{closing, opening};
use crate::rollout::plan::Step;
use crate::rollout::state::Deploy;
use crate::route::WEIGHT_TOTAL;

/// The steps of a deployment without a comparison.
pub fn steps(deploy: &Deploy) -> Vec<Step> {
    let mut steps = opening(deploy);
    steps.push(Step::Expose { weight: WEIGHT_TOTAL });
    steps.extend(closing(deploy));
    steps
}
