//! Gate: the provenance is verified and names a builder that is trusted here.

use super::{Facts, GateResult, evidence_gate};

pub fn check(facts: &Facts) -> GateResult {
    let result = evidence_gate("provenance", "the provenance", &facts.provenance, facts);
    if !result.passed {
        return result;
    }
    match &facts.builder {
        Some(builder) if facts.trusted_builders.contains(builder) => {
            GateResult::pass("provenance", format!("built by {builder}"))
        }
        builder => GateResult::deny(
            "provenance",
            "builder-untrusted",
            format!(
                "built by {}, trusted are {}",
                builder.as_deref().unwrap_or("nobody named"),
                facts.trusted_builders.join(", ")
            ),
            "build with a trusted builder: `humdrum ship`",
            &facts.owner,
        ),
    }
}
