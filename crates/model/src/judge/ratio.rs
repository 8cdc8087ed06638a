//! The rate ratio of the errors and its anytime confidence interval, for people; no verdict depends on it.

use libm::{exp, log};

use super::formula::{HARM, log_mixture};

/// Neighbouring ratios of the grid differ by this factor.
const STEP: f64 = 1.03;
/// The grid reaches from `STEP^-GRID_BELOW` (0.0003) to `STEP^GRID_ABOVE` (a million), so that an alternative a
/// thousand times a ratio below 1,000 is still on it.
const GRID_BELOW: usize = 270;
const GRID_ABOVE: usize = 470;

/// Stratified counts of both arms: every block is its own stratum, so that a rate that changes confounds nothing.
#[derive(Debug, Clone)]
pub(super) struct RateRatio {
    /// Sum of F1's likelihood over the blocks, for every ratio of the grid.
    likelihood: Vec<f64>,
    /// The ratios of the grid, minus 1.
    excess: Vec<f64>,
    /// Numerator and denominator of the Mantel-Haenszel estimate.
    canary: f64,
    baseline: f64,
}

/// A rate ratio with its interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RatioInterval {
    /// Mantel-Haenszel estimate over the blocks; `None` while the baseline has no error.
    pub estimate: Option<f64>,
    /// Lower end; 0 when nothing is excluded.
    pub low: f64,
    /// Upper end; `None` when nothing is excluded.
    pub high: Option<f64>,
}

impl RateRatio {
    pub(super) fn new() -> Self {
        let points = GRID_BELOW + GRID_ABOVE + 1;
        let excess = (0..points).map(|index| exp(log_ratio(index)) - 1.0).collect();
        Self { likelihood: vec![0.0; points], excess, canary: 0.0, baseline: 0.0 }
    }

    /// Adds a block: `x` of `nc` requests failed in the canary, `y` of `nb` in the baseline.
    pub(super) fn add(&mut self, (x, nc): (u64, u64), (y, nb): (u64, u64)) {
        if nc == 0 || nb == 0 || x + y == 0 {
            return;
        }
        let w = nc as f64 / (nc + nb) as f64;
        self.canary += x as f64 * (1.0 - w);
        self.baseline += y as f64 * w;
        let (x, k) = (x as f64, (x + y) as f64);
        for (index, (sum, excess)) in self.likelihood.iter_mut().zip(&self.excess).enumerate() {
            *sum += x * log_ratio(index) - k * log(1.0 + excess * w);
        }
    }

    /// The interval that covers the true ratio at all times with probability `coverage` (0 to 1): all ratios that
    /// neither a test of "at most this" nor one of "at least this" rejects. `phi` tempers both, as in the safe evidence.
    ///
    /// The alternatives are F2's multiples of the tested ratio, and their mirror image below it.
    pub(super) fn interval(&self, coverage: f64, phi: f64) -> RatioInterval {
        let limit = log(2.0 / (1.0 - coverage));
        let last = self.likelihood.len() - 1;
        let low = (0..=last).rev().find(|&i| self.log_e(i, phi, 1) >= limit);
        let high = (0..=last).find(|&i| self.log_e(i, phi, -1) >= limit);
        let ratio = |index: usize| exp(log_ratio(index));
        RatioInterval {
            estimate: (self.baseline > 0.0).then(|| self.canary / self.baseline),
            low: low.map_or(0.0, ratio),
            high: high.map(ratio),
        }
    }

    /// Evidence against ratio `index` in favour of larger (`side` 1) or smaller ones (`side` -1).
    fn log_e(&self, index: usize, phi: f64, side: i64) -> f64 {
        let last = self.likelihood.len() as i64 - 1;
        let (sums, weights): (Vec<f64>, Vec<f64>) = HARM
            .iter()
            .map(|(multiple, weight)| {
                let steps = (log(*multiple) / log(STEP)).round() as i64;
                let other = (index as i64 + side * steps).clamp(0, last) as usize;
                ((self.likelihood[other] - self.likelihood[index]) / phi, *weight)
            })
            .unzip();
        log_mixture(&sums, &weights)
    }
}

fn log_ratio(index: usize) -> f64 {
    (index as f64 - GRID_BELOW as f64) * log(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_ratio_and_shrinks() {
        let mut ratio = RateRatio::new();
        assert_eq!(
            ratio.interval(0.95, 1.0),
            RatioInterval { estimate: None, low: 0.0, high: None }
        );
        let mut width = f64::INFINITY;
        for _ in 0..3 {
            (0..30).for_each(|_| ratio.add((4, 200), (8, 800)));
            let found = ratio.interval(0.95, 1.0);
            let high = found.high.unwrap();
            assert!((found.estimate.unwrap() - 2.0).abs() < 1e-9, "{found:?}");
            assert!(found.low > 1.0 && found.low < 2.0 && high > 2.0, "{found:?}");
            assert!(high - found.low < width);
            width = high - found.low;
        }
        assert!(ratio.interval(0.95, 9.0).low < ratio.interval(0.95, 1.0).low);
    }

    #[test]
    fn one_arm_without_errors_leaves_one_end_open() {
        let mut clean = RateRatio::new();
        (0..50).for_each(|_| clean.add((0, 500), (5, 500)));
        let found = clean.interval(0.95, 1.0);
        assert_eq!((found.estimate, found.low), (Some(0.0), 0.0));
        assert!(found.high.unwrap() < 0.2, "{found:?}");
        let mut new_errors = RateRatio::new();
        (0..50).for_each(|_| new_errors.add((5, 500), (0, 500)));
        let found = new_errors.interval(0.95, 1.0);
        assert_eq!((found.estimate, found.high), (None, None));
        assert!(found.low > 5.0, "{found:?}");
    }
}
