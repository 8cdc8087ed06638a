//! Gate: The SBOM is present and verified against the trust root at this moment.

use super::{Facts, GateResult, evidence_gate};

pub fn check(facts: &Facts) -> GateResult {
    evidence_gate("sbom", "the SBOM", &facts.sbom, facts)
}
