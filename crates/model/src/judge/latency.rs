//! Latency as counts: requests slower than thresholds that the baseline's quantiles chose, never quantiles themselves.

use super::config::Config;
use super::input::{Histogram, JudgeCell};
use super::series::{At, Count, Series};
use super::thin::Key;

/// Quantiles of the baseline whose bounds are thresholds of harm.
const QUANTILES: [f64; 7] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999];
/// Those that must be safe before anything passes: a regression by a factor 10 at p50 cannot exist.
const GATING: [f64; 2] = [0.95, 0.99];

/// The latency metric: it learns from the baseline first, then compares at fixed thresholds.
#[derive(Debug, Clone)]
pub(super) struct Latency {
    margin: f64,
    cells_min: u64,
    learned: Vec<Histogram>,
    thresholds: Vec<Threshold>,
    /// Parallel to `thresholds`; empty while learning.
    series: Vec<Series>,
}

/// One bound in ms and the quantiles it stands for.
#[derive(Debug, Clone)]
pub(super) struct Threshold {
    pub bound: f64,
    pub quantiles: Vec<f64>,
}

impl Latency {
    pub(super) fn new(config: &Config) -> Self {
        let cells = config.history.iter().filter_map(|cell| cell.latency.clone());
        Self {
            margin: config.latency_margin,
            cells_min: config.min_baseline_cells,
            learned: cells.filter(|h| !h.is_empty()).collect(),
            thresholds: Vec::new(),
            series: Vec::new(),
        }
    }

    /// Empty until the thresholds are known.
    pub(super) fn series(&self) -> &[Series] {
        &self.series
    }

    pub(super) fn thresholds(&self) -> &[Threshold] {
        &self.thresholds
    }

    /// The thresholds that must be safe.
    pub(super) fn gating(&self) -> impl Iterator<Item = &Series> {
        let gates = |t: &Threshold| t.quantiles.iter().any(|q| GATING.contains(q));
        self.thresholds.iter().zip(&self.series).filter(move |(t, _)| gates(t)).map(|(_, s)| s)
    }

    pub(super) fn add(
        &mut self,
        key: &Key,
        at: &At<'_>,
        canary: &[&JudgeCell],
        baseline: &[&JudgeCell],
    ) {
        if self.series.is_empty() && self.learned.len() as u64 >= self.cells_min {
            self.fix_thresholds();
        }
        for (threshold, series) in self.thresholds.iter().zip(&mut self.series) {
            let slow = count_above(canary, threshold.bound * self.margin);
            let usual = count_above(baseline, threshold.bound);
            series.add(key, at, &slow, &usual);
        }
        if self.series.is_empty() {
            self.learned
                .extend(baseline.iter().map(|cell| cell.latency.clone().unwrap_or_default()));
        }
    }

    /// Fixes the thresholds for the rest of the rollout and teaches each series what the baseline did so far.
    fn fix_thresholds(&mut self) {
        self.thresholds = thresholds(&self.learned);
        for threshold in &self.thresholds {
            let bound = threshold.bound;
            // The name is part of the key of the draws: six significant digits, as the bounds are written.
            let mut series = Series::new(format!("latency>{}", six_digits(bound)), 1.0, None);
            self.learned.iter().for_each(|h| series.baseline.add(h.above(bound), h.total()));
            self.series.push(series);
        }
        if !self.series.is_empty() {
            self.learned = Vec::new();
        }
    }
}

fn count_above<'a>(cells: &[&'a JudgeCell], bound: f64) -> Vec<Count<'a>> {
    let count = |cell: &&'a JudgeCell| {
        let latency = cell.latency.as_ref();
        Count {
            instance: &cell.instance,
            hits: latency.map_or(0, |h| h.above(bound)),
            requests: latency.map_or(0, Histogram::total),
        }
    };
    cells.iter().map(count).collect()
}

/// The bounds of the pooled baseline's quantiles, ascending; a quantile in the last, unbounded bucket has none.
fn thresholds(learned: &[Histogram]) -> Vec<Threshold> {
    let mut pool: Vec<(f64, u64)> = learned.iter().flat_map(Histogram::buckets).copied().collect();
    pool.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: u64 = pool.iter().map(|(_, n)| n).sum();
    let mut found: Vec<Threshold> = Vec::new();
    for q in QUANTILES {
        let mut below = 0;
        let bound = pool.iter().find(|(_, n)| {
            below += n;
            below as f64 >= q * total as f64
        });
        let Some((bound, _)) = bound.filter(|(b, _)| b.is_finite()) else { continue };
        match found.last_mut().filter(|t| t.bound == *bound) {
            Some(same) => same.quantiles.push(q),
            None => found.push(Threshold { bound: *bound, quantiles: vec![q] }),
        }
    }
    found
}

/// A number with six significant digits and no trailing zeros, as C's `%g` writes it.
fn six_digits(value: f64) -> String {
    let scientific = format!("{value:.5e}");
    let (digits, exponent) = scientific.split_once('e').expect("this format has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        return trim(&format!("{value:.*}", (5 - exponent) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(digits), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_named_with_six_digits() {
        let cases = [
            (17.8109, "17.8109"),
            (1.0, "1"),
            (250.0, "250"),
            (0.0012345, "0.0012345"),
            (0.00001, "1e-05"),
            (999_999.7, "1e+06"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.23457e+06"),
        ];
        for (value, text) in cases {
            assert_eq!(six_digits(value), text);
        }
    }

    #[test]
    fn thresholds_are_the_bounds_of_the_pooled_quantiles() {
        let histogram = |buckets: &[(f64, u64)]| Histogram::new(buckets.to_vec()).unwrap();
        let learned = [
            histogram(&[(10.0, 50), (20.0, 30)]),
            histogram(&[(20.0, 15), (40.0, 4), (f64::INFINITY, 1)]),
        ];
        let found: Vec<(f64, usize)> =
            thresholds(&learned).iter().map(|t| (t.bound, t.quantiles.len())).collect();
        assert_eq!(found, [(10.0, 1), (20.0, 3), (40.0, 1)]);
        assert!(thresholds(&[histogram(&[(f64::INFINITY, 9)])]).is_empty());
        assert!(thresholds(&[]).is_empty());
    }
}
