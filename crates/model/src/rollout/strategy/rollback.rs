//! Strategy: the way back. No smoke checks and no soak: the release was verified when it was deployed, and users wait.

use crate::rollout::plan::Step;
use crate::rollout::state::Deploy;
use crate::route::WEIGHT_TOTAL;

/// Evidence is verified once more (what is held or tampered with is never deployed by any path), then all traffic moves at once.
pub fn steps(deploy: &Deploy) -> Vec<Step> {
    vec![
        Step::Gate,
        Step::Prepare { within_ms: deploy.prepare_ms },
        Step::Expose { weight: WEIGHT_TOTAL },
        Step::Drain { within_ms: deploy.drain_ms },
    ]
}
