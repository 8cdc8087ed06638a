//! What the edge counted: numbered blocks of cells, one cell for each instance. The only food of the judge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Ratio of two neighbouring bucket bounds of the latency histogram.
pub const LATENCY_BASE: f64 = 1.0202;

/// One route in one span of time under one table generation. A change of the table seals the running block early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub route: String,
    /// 1, 2, 3 … for each route, without a gap over restarts of the edge.
    pub number: u64,
    /// Unix time of the block's start, ms.
    pub start_ms: i64,
    pub length_ms: u32,
    /// The table in force during the whole block.
    pub fence: u64,
    pub generation: u64,
    /// The counts of this span were lost (the edge was killed): `cells` is empty and means *unknown*, never zero.
    #[serde(default)]
    pub gap: bool,
    pub cells: Vec<Cell>,
}

/// One instance in one block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub instance: String,
    /// Name of the arm in the table: `baseline`, `canary`.
    pub arm: String,
    /// Requests assigned to the instance, answered or not.
    pub requests: u64,
    /// Answers with status 500–599 and requests without an answer.
    pub errors: u64,
    /// Requests by latency bucket (time to the head of the answer), not cumulative. The key is `k`: upper bound is
    /// `LATENCY_BASE^k` ms; `i32::MAX` stands for +Inf.
    #[serde(default)]
    pub latency: BTreeMap<i32, u64>,
}

/// The bucket of a latency in ms: the smallest `k` with `ms <= LATENCY_BASE^k`, at least 0.
///
/// Below 1 ms everything is one bucket: no user feels it, and on an idle machine a cold cache alone doubles it, which would roll back
/// releases for nothing.
pub fn latency_bucket(ms: f64) -> i32 {
    if ms.is_nan() || ms > 3_600_000.0 {
        return i32::MAX;
    }
    let k = (ms.max(1.0).ln() / LATENCY_BASE.ln()).ceil();
    // A latency that is exactly a bound may land one above by rounding; the judge's margins are five buckets wide.
    k as i32
}

/// The upper bound of a bucket as the judge's files write it: six significant digits, `+Inf` for the last.
pub fn latency_bound(k: i32) -> String {
    if k == i32::MAX {
        return "+Inf".into();
    }
    let bound = LATENCY_BASE.powi(k);
    let digits = 5 - bound.abs().log10().floor() as i32;
    if digits >= 0 {
        let text = format!("{bound:.*}", digits as usize);
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').into()
        } else {
            text
        }
    } else {
        format!("{bound:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_written_like_the_recorded_rollouts() {
        assert_eq!(latency_bound(144), "17.8109");
        assert_eq!(latency_bound(0), "1");
        assert_eq!(latency_bound(i32::MAX), "+Inf");
        let k = latency_bucket(17.8);
        assert_eq!(k, 144);
    }
}
