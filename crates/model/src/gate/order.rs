//! Gate: the environment before this one has the release, healthy.

use super::{Facts, GateResult};

pub fn check(facts: &Facts) -> GateResult {
    match &facts.after {
        None => GateResult::pass("order", "first environment"),
        Some(before) if facts.released_before => {
            GateResult::pass("order", format!("released to {before} before"))
        }
        Some(before) => GateResult::deny(
            "order",
            "order",
            format!("{before} does not have release {}", facts.release),
            format!("let it pass {before} first: `humdrum ship`"),
            &facts.owner,
        ),
    }
}
