//! Gate: the tests that the manifest declares ran and passed.

use super::{Facts, GateResult, TestFacts};

/// Failing cases quoted in a denial.
const NAMED: usize = 5;

pub fn check(facts: &Facts) -> GateResult {
    match &facts.tests {
        TestFacts::NotDeclared => {
            GateResult::pass("tests_passed", "the manifest declares no tests")
        }
        TestFacts::Passed { cases, skipped } => {
            GateResult::pass("tests_passed", format!("{cases} cases passed, {skipped} skipped"))
        }
        TestFacts::Failed { cases, failed } => {
            let named: Vec<_> = failed.iter().take(NAMED).cloned().collect();
            GateResult::deny(
                "tests_passed",
                "tests-failed",
                format!("{} of {cases} cases failed: {}", failed.len(), named.join(", ")),
                "mend the cases, commit, `humdrum ship`",
                &facts.owner,
            )
        }
        TestFacts::Missing => GateResult::deny(
            "tests_passed",
            "tests-missing",
            "the manifest declares tests, but no result was recorded",
            "build again: `humdrum ship`",
            &facts.owner,
        ),
    }
}
