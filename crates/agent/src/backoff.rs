//! How long an instance that ended by itself waits before its next start. Pure.

use std::time::Duration;

/// The first pause: long enough that a crash loop does not burn a core, short enough that one crash is hardly seen.
pub(crate) const FIRST: Duration = Duration::from_millis(250);
/// The longest pause: a service whose dependency came back is tried again within this time.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);
/// An instance that was ready for this long has recovered: its next end counts as the first again.
pub(crate) const RECOVERED: Duration = Duration::from_secs(60);

/// The pause after `failures` ends in a row (1 is the first).
pub(crate) fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST.saturating_mul(1 << doublings).min(LONGEST)
}

/// The number of ends in a row after one more, given how long the instance had been ready before it.
pub(crate) fn failures_after(before: u32, ready_for: Option<Duration>) -> u32 {
    match ready_for {
        Some(ready) if ready >= RECOVERED => 1,
        _ => before.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let cases = [(1, 250), (2, 500), (3, 1_000), (7, 16_000), (8, 30_000), (u32::MAX, 30_000)];
        for (failures, expected_ms) in cases {
            assert_eq!(pause(failures), Duration::from_millis(expected_ms), "{failures}");
        }
    }

    #[test]
    fn a_healthy_minute_starts_the_count_again() {
        assert_eq!(failures_after(5, None), 6);
        assert_eq!(failures_after(5, Some(Duration::from_secs(59))), 6);
        assert_eq!(failures_after(5, Some(RECOVERED)), 1);
    }
}
