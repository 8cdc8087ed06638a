//! The formulas of the judge, one function each. All logarithms are natural.
//!
//! The names F1 … F11 are those of `docs/judge.md`, which gives the sources and the reasons. Everything here is
//! computed with `libm` instead of the platform's library, so that a replay gives the same bits on every machine.

use libm::{erfc, exp, lgamma, log, sqrt};

/// Alternatives of F2, as multiples of the margin, and their weights before normalisation.
pub const HARM: [(f64, f64); 14] = [
    (1.1, 1.0),
    (1.25, 2.0),
    (1.5, 3.0),
    (1.75, 3.0),
    (2.0, 3.0),
    (2.5, 3.0),
    (3.0, 2.0),
    (4.0, 2.0),
    (6.0, 2.0),
    (10.0, 1.0),
    (20.0, 1.0),
    (50.0, 1.0),
    (200.0, 0.5),
    (1000.0, 0.5),
];

/// Alternatives of F3, as rate ratios, and their weights before normalisation.
pub const SAFE: [(f64, f64); 6] =
    [(0.25, 0.5), (0.5, 1.0), (0.7, 2.0), (0.85, 3.0), (1.0, 6.0), (1.15, 2.0)];

/// Alternatives of the absolute test, as shares of the rate under its null; equal weights.
pub const ABSOLUTE: [f64; 3] = [0.1, 0.25, 0.5];

/// Tilts of F5.
pub const PERM_TILT: [f64; 4] = [0.1, 0.3, 0.8, 1.5];

/// Caps on a cell's score in F5.
pub const PERM_CLIP: [f64; 2] = [3.0, 8.0];

/// Number of accumulators of one F5 mixture: every cap with every tilt.
pub const PERM_SIZE: usize = PERM_TILT.len() * PERM_CLIP.len();

/// Extra nats that F11 adds to the barrier: what the mixture costs net of the overshoot, measured.
pub const MIXTURE_COST: f64 = 1.25;

/// `ln Σ exp(v)`, without overflow. `-inf` for an empty slice.
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + log(values.iter().map(|v| exp(v - top)).sum())
}

/// `ln` of the mean of `exp(v)`: how e-values with equal weights are merged.
pub fn log_mean_exp(values: &[f64]) -> f64 {
    log_sum_exp(values) - log(values.len() as f64)
}

/// F1: log likelihood ratio of rate ratio `ratio` against `null`, given that `x` of `x + y` errors came from the
/// canary, which had the share `w` of the block's requests.
///
/// Given an error, its arm depends on the rate ratio and the share only, whatever the rate is at that moment
/// (Lindon & Malek, NeurIPS 2022).
pub fn log_lr_binomial(x: u64, y: u64, w: f64, ratio: f64, null: f64) -> f64 {
    let (x, k) = (x as f64, (x + y) as f64);
    x * log(ratio / null) - k * log((1.0 + (ratio - 1.0) * w) / (1.0 + (null - 1.0) * w))
}

/// The mixture of accumulated log likelihood ratios with weights that need not sum to 1: F2 and F3.
pub fn log_mixture(sums: &[f64], weights: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    let parts: Vec<f64> = sums.iter().zip(weights).map(|(s, w)| s + log(w / total)).collect();
    log_sum_exp(&parts)
}

/// F2: evidence that the canary is worse than the margin. `sums[j]` accumulates F1 for `HARM[j]` times the margin.
pub fn log_harm(sums: &[f64; HARM.len()]) -> f64 {
    log_mixture(sums, &HARM.map(|(_, weight)| weight))
}

/// One block of the absolute test, H0: the canary's rate is at least `null`; the alternative is `share * null`.
pub fn log_lr_absolute(x: u64, n: u64, null: f64, share: f64) -> f64 {
    x as f64 * log(share) + (n - x) as f64 * log((1.0 - share * null) / (1.0 - null))
}

/// F5: log e-value of one block under the tilt `tilt`; the first `m` scores are the canary's.
///
/// Under the null every choice of `m` cells is equally likely to be the canary, so the tilted sum is compared with its
/// mean over all choices. Nothing is assumed about the scores.
pub fn log_permutation(scores: &[f64], m: usize, tilt: f64) -> f64 {
    let sum: f64 = scores[..m].iter().sum();
    let logs: Vec<f64> = scores.iter().map(|s| tilt * s).collect();
    tilt * sum - log_subset_mean(&logs, m)
}

/// `ln` of the mean over all `k`-subsets of the product of `exp(logs)`.
///
/// Works on means instead of sums, so that no binomial coefficient can overflow:
/// `mean(i, j) = ((i - j) mean(i-1, j) + j a_i mean(i-1, j-1)) / i`.
fn log_subset_mean(logs: &[f64], k: usize) -> f64 {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut mean = vec![0.0; k + 1];
    mean[0] = 1.0;
    for (i, value) in logs.iter().enumerate() {
        let (a, seen) = (exp(value - top), (i + 1) as f64);
        for j in (1..=k.min(i + 1)).rev() {
            let j_f = j as f64;
            mean[j] = ((seen - j_f) * mean[j] + j_f * a * mean[j - 1]) / seen;
        }
    }
    // Far from underflow the linear scale is exact enough; the log scale costs twenty times as much.
    if mean[k] > 1e-200 { log(mean[k]) + k as f64 * top } else { log_subset_mean_slow(logs, k) }
}

/// The same recursion on the log scale, for many canary instances with one extreme cell.
fn log_subset_mean_slow(logs: &[f64], k: usize) -> f64 {
    let mut mean = vec![f64::NEG_INFINITY; k + 1];
    mean[0] = 0.0;
    for (i, value) in logs.iter().enumerate() {
        let seen = (i + 1) as f64;
        for j in (1..=k.min(i + 1)).rev() {
            let j_f = j as f64;
            let without = mean[j] + log((seen - j_f) / seen);
            let with = mean[j - 1] + value + log(j_f / seen);
            mean[j] = log_sum_exp(&[without, with]);
        }
    }
    mean[k]
}

/// Adds one block to the F5 accumulators: every cap with every tilt.
pub fn add_permutation(sums: &mut [f64; PERM_SIZE], scores: &[f64], m: usize) {
    let mut index = 0;
    for cap in PERM_CLIP {
        let capped: Vec<f64> = scores.iter().map(|z| z.clamp(-cap, cap)).collect();
        for tilt in PERM_TILT {
            sums[index] += log_permutation(&capped, m, tilt);
            index += 1;
        }
    }
}

/// F7: log e-value against "a share `share` of all requests goes to the canary" (beta-binomial, a = b = 1).
pub fn log_beta_binomial(x: u64, y: u64, share: f64) -> f64 {
    let (x, y) = (x as f64, y as f64);
    let log_beta = lgamma(1.0 + x) + lgamma(1.0 + y) - lgamma(2.0 + x + y);
    log_beta - x * log(share) - y * log(1.0 - share)
}

/// What F11 needs to know about a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// Errors per request of the baseline.
    pub rate: f64,
    /// The true rate ratio.
    pub ratio: f64,
    /// The rate ratio of the null.
    pub null: f64,
    /// The canary's share of the requests.
    pub share: f64,
    /// Requests per second, both arms together.
    pub rps: f64,
    /// Dispersion of the counts, at least 1.
    pub phi: f64,
    /// Evidence that is needed, nats, without [`MIXTURE_COST`].
    pub barrier: f64,
}

impl Planned {
    /// Drift and variance of the log evidence per second.
    fn drift(&self) -> (f64, f64) {
        let &Planned { rate, ratio, null, share: w, rps, phi, .. } = self;
        let events = rps * rate * (ratio * w + 1.0 - w);
        let th0 = null * w / (null * w + 1.0 - w);
        let th1 = ratio * w / (ratio * w + 1.0 - w);
        let information = th1 * log(th1 / th0) + (1.0 - th1) * log((1.0 - th1) / (1.0 - th0));
        let spread = log(th1 * (1.0 - th0) / (th0 * (1.0 - th1)));
        (events * information / phi, events * th1 * (1.0 - th1) * spread * spread / phi)
    }

    /// F11: probability that the evidence has crossed the barrier within `seconds` (inverse-Gaussian first passage).
    pub fn power(&self, seconds: f64) -> f64 {
        let (mu, variance) = self.drift();
        let barrier = self.barrier + MIXTURE_COST;
        let deviation = sqrt(variance * seconds);
        if deviation.is_nan() || deviation <= 0.0 {
            return 0.0;
        }
        let on_time = normal_cdf((mu * seconds - barrier) / deviation);
        let reflected = normal_cdf((-barrier - mu * seconds) / deviation);
        // exp() may be infinite where the other factor is 0: such paths cannot happen.
        let reflected =
            if reflected > 0.0 { exp(2.0 * mu * barrier / variance) * reflected } else { 0.0 };
        (on_time + reflected).clamp(0.0, 1.0)
    }

    /// The time after which the barrier is crossed with probability `probability`, seconds; `None` beyond 300 years.
    pub fn seconds(&self, probability: f64) -> Option<f64> {
        const LONGEST_S: f64 = 1e10;
        let (mut low, mut high) = (1e-3, LONGEST_S);
        // 80 halvings on a log scale leave a relative error below 1e-12.
        for _ in 0..80 {
            let middle = sqrt(low * high);
            if self.power(middle) >= probability { high = middle } else { low = middle }
        }
        (high < LONGEST_S * 0.99).then_some(high)
    }
}

/// Standard normal distribution function.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All subsets of size `m`, by brute force.
    fn subset_sums(scores: &[f64], m: usize) -> Vec<f64> {
        (0_u32..1 << scores.len())
            .filter(|mask| mask.count_ones() as usize == m)
            .map(|mask| {
                scores.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, s)| s).sum()
            })
            .collect()
    }

    #[test]
    fn permutation_evidence_averages_to_one_over_all_choices() {
        let scores = [2.5, -1.0, 0.3, 0.8, -0.2, 8.0, -3.0];
        for m in 1..=4 {
            let mean =
                log_mean_exp(&subset_sums(&scores, m).iter().map(|s| 0.8 * s).collect::<Vec<_>>());
            let direct = 0.8 * scores[..m].iter().sum::<f64>() - mean;
            assert!((log_permutation(&scores, m, 0.8) - direct).abs() < 1e-12, "m = {m}");
        }
    }

    #[test]
    fn both_scales_agree_and_the_log_scale_has_no_underflow() {
        let mut scores = vec![-8.0; 300];
        scores[0] = 8.0;
        let logs: Vec<f64> = scores.iter().map(|s| 1.5 * s).collect();
        assert!(
            (log_subset_mean(&logs[..20], 3) - log_subset_mean_slow(&logs[..20], 3)).abs() < 1e-9
        );
        let e = log_permutation(&scores, 100, 1.5);
        // The extreme cell is in a third of all choices, so the e-value is close to 3.
        assert!((e - 3_f64.ln()).abs() < 1e-6, "{e}");
    }

    #[test]
    fn nothing_is_learned_where_power_has_no_time() {
        let planned = Planned {
            rate: 0.01,
            ratio: 2.0,
            null: 1.25,
            share: 0.1,
            rps: 0.0,
            phi: 1.0,
            barrier: 4.6,
        };
        assert_eq!(planned.power(60.0), 0.0);
        assert_eq!(planned.seconds(0.8), None);
    }
}
