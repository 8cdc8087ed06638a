//! Gate: nothing held is admitted.

use super::{Facts, GateResult};

pub fn check(facts: &Facts) -> GateResult {
    match &facts.held {
        None => GateResult::pass("hold", "nothing holds it"),
        Some(hold) => GateResult::deny(
            "hold",
            "held",
            format!(
                "the {} is held by {} since {}: {}",
                hold.subject,
                hold.by,
                hold.since.strftime("%F %T UTC"),
                hold.why
            ),
            format!("lift the hold: `humdrum unhold {}`", hold.subject.word()),
            &hold.by,
        ),
    }
}
