//! How weights become turns: an exact schedule that all workers walk together with one atomic counter.

use humdrum_model::route::WEIGHT_TOTAL;

/// The order in which arms take turns. One pass over it gives every arm exactly its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    turns: Box<[u8]>,
}

impl Schedule {
    /// Spreads the turns of each arm evenly (smooth weighted round robin). No weight at all gives an empty schedule.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        debug_assert!(total <= u64::from(WEIGHT_TOTAL), "checked tables sum to the total");
        let divisor = weights.iter().fold(0, |a, b| gcd(a, u64::from(*b)));
        if divisor == 0 {
            return Self { turns: Box::new([]) };
        }
        let parts: Vec<i64> = weights.iter().map(|w| (u64::from(*w) / divisor) as i64).collect();
        let length = (total / divisor) as i64;
        let mut credit = vec![0_i64; parts.len()];
        let turns = (0..length).map(|_| next(&parts, &mut credit, length)).collect();
        Self { turns }
    }

    /// The arm that takes this turn.
    ///
    /// Each pass starts elsewhere in the order: a client whose requests repeat with the same period as the schedule would
    /// otherwise send, say, every checkout to the canary.
    #[inline]
    pub(crate) fn arm(&self, turn: u64) -> Option<usize> {
        let length = self.turns.len() as u64;
        if length == 0 {
            return None;
        }
        let (pass, place) = (turn / length, turn % length);
        let at = (place + mix(pass) % length) % length;
        Some(usize::from(self.turns[at as usize]))
    }
}

fn next(parts: &[i64], credit: &mut [i64], length: i64) -> u8 {
    let mut best = 0;
    for arm in 0..parts.len() {
        credit[arm] += parts[arm];
        // An arm without weight keeps credit 0 and must not win a tie against one in debt.
        if parts[arm] > 0 && (parts[best] == 0 || credit[arm] > credit[best]) {
            best = arm;
        }
    }
    credit[best] -= length;
    best as u8
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// SplitMix64's finalizer: neighbouring passes get unrelated starts.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_gives_each_arm_exactly_its_weight() {
        #[rustfmt::skip]
        let cases: [&[u32]; 8] = [
            &[10_000, 0], &[0, 10_000], &[9_000, 1_000], &[7_000, 3_000, 0],
            &[9_999, 1], &[3_333, 3_333, 3_334], &[1, 0, 9_999], &[5_000, 0, 5_000],
        ];
        for weights in cases {
            let schedule = Schedule::new(weights);
            for pass in 0..3 {
                let mut seen = vec![0; weights.len()];
                for turn in 0..10_000 {
                    seen[schedule.arm(pass * 10_000 + turn).unwrap()] += 1;
                }
                assert_eq!(seen, weights, "pass {pass}");
            }
        }
    }

    #[test]
    fn turns_of_an_arm_do_not_clump() {
        let schedule = Schedule::new(&[9_000, 1_000]);
        let (mut last, mut longest, mut together) = (0, 0, 0);
        for turn in 0..10_000 {
            if schedule.arm(turn) == Some(1) {
                longest = longest.max(turn - last);
                together += u64::from(turn - last == 1);
                last = turn;
            }
        }
        assert!(longest < 20, "the canary waited {longest} turns");
        assert!(together < 60, "two canary turns in a row {together} times in 1,000");
    }

    #[test]
    fn a_client_in_step_with_the_schedule_still_meets_both_arms() {
        let schedule = Schedule::new(&[9_000, 1_000]);
        let canary = (0..10_000).step_by(10).filter(|t| schedule.arm(*t) == Some(1)).count();
        assert!((50..200).contains(&canary), "{canary} of every tenth request");
    }

    #[test]
    fn no_weight_means_no_turn() {
        assert_eq!(Schedule::new(&[0, 0]).arm(3), None);
        assert_eq!(Schedule::new(&[]).arm(3), None);
    }
}
