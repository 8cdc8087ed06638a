//! One counted thing, errors or requests slower than one threshold, and the evidence about it.

use std::collections::{BTreeMap, BTreeSet};

use libm::{log, sqrt};

use super::formula::{
    ABSOLUTE, HARM, PERM_SIZE, SAFE, add_permutation, log_harm, log_lr_absolute, log_lr_binomial,
    log_mean_exp, log_mixture, log_sum_exp,
};
use super::thin::{Draw, Key};

/// Cells larger than this multiple of the smaller arm's mean are thinned for F5.
const THIN_ABOVE: f64 = 1.25;

/// Count `hits` of `requests` of one instance in one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count<'a> {
    pub instance: &'a str,
    pub hits: u64,
    pub requests: u64,
}

/// Rate and Pearson dispersion of the cells of one arm seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Dispersion {
    pub cells: u64,
    pub hits: u64,
    pub requests: u64,
    /// Sum of hits² / requests.
    squares: f64,
}

impl Dispersion {
    pub(super) fn add(&mut self, hits: u64, requests: u64) {
        if requests > 0 {
            self.cells += 1;
            self.hits += hits;
            self.requests += requests;
            let hits = hits as f64;
            self.squares += hits * hits / requests as f64;
        }
    }

    /// Hits per request, never 0 and never 1: half a hit in one more request is added.
    pub(super) fn rate(&self) -> f64 {
        (self.hits as f64 + 0.5) / (self.requests as f64 + 1.0)
    }

    /// Variance of the counts as a multiple of what independent requests have; at least 1.
    pub(super) fn phi(&self) -> f64 {
        if self.cells < 2 || self.hits == 0 {
            return 1.0;
        }
        let (hits, requests) = (self.hits as f64, self.requests as f64);
        let rate = hits / requests;
        let pearson = self.squares / rate - 2.0 * hits + rate * requests;
        (pearson / (self.cells - 1) as f64).max(1.0)
    }

    fn mean_requests(&self) -> f64 {
        self.requests as f64 / self.cells as f64
    }
}

type Permutation = [f64; PERM_SIZE];

/// The evidence about one counted thing: harm by F2 and F5, safety by F3 and the absolute test.
#[derive(Debug, Clone)]
pub(super) struct Series {
    name: String,
    margin: f64,
    absolute: Option<f64>,
    pub baseline: Dispersion,
    pub canary: Dispersion,
    harm: [f64; HARM.len()],
    permutation: Permutation,
    /// F5 without one canary instance, by its name.
    without: BTreeMap<String, Permutation>,
    rule_out: f64,
    stage: Option<usize>,
    safe: [f64; SAFE.len()],
    absolute_sums: [f64; ABSOLUTE.len()],
}

impl Series {
    /// `absolute`: the difference of rates that does not matter; without one there is no absolute test.
    pub(super) fn new(name: String, margin: f64, absolute: Option<f64>) -> Self {
        Self {
            name,
            margin,
            absolute,
            baseline: Dispersion::default(),
            canary: Dispersion::default(),
            harm: [0.0; HARM.len()],
            permutation: [0.0; PERM_SIZE],
            without: BTreeMap::new(),
            rule_out: f64::INFINITY,
            stage: None,
            safe: [0.0; SAFE.len()],
            absolute_sums: [0.0; ABSOLUTE.len()],
        }
    }

    /// Safe evidence is the stage's own, because a canary may turn bad late; harm evidence runs through all stages.
    fn enter(&mut self, stage: usize, rule_out: f64) {
        if self.stage != Some(stage) {
            self.stage = Some(stage);
            self.rule_out = rule_out;
            self.safe = [0.0; SAFE.len()];
            self.absolute_sums = [0.0; ABSOLUTE.len()];
        }
    }

    /// Adds one block. Rates and dispersion come from the blocks before, so the very first one only teaches.
    pub(super) fn add(
        &mut self,
        key: &Key,
        at: &At<'_>,
        canary: &[Count<'_>],
        baseline: &[Count<'_>],
    ) {
        self.enter(at.stage, at.rule_out);
        let (x, nc) = totals(canary);
        let (y, nb) = totals(baseline);
        if self.baseline.cells > 0 && nc > 0 && nb > 0 {
            if x + y > 0 {
                self.compare(x, y, nc as f64 / (nc + nb) as f64);
                self.permute(key, at.t, canary, baseline);
            }
            if let Some(margin) = self.absolute {
                let null = self.rule_out * margin;
                for (sum, share) in self.absolute_sums.iter_mut().zip(ABSOLUTE) {
                    *sum += log_lr_absolute(x, nc, null, share);
                }
            }
        }
        baseline.iter().for_each(|c| self.baseline.add(c.hits, c.requests));
        canary.iter().for_each(|c| self.canary.add(c.hits, c.requests));
    }

    /// F2 and F3 on the totals.
    fn compare(&mut self, x: u64, y: u64, w: f64) {
        let null = match self.absolute {
            // An absolute margin makes the ratio large by itself where the baseline has hardly an error.
            Some(margin) => self.margin.max(1.0 + margin / self.baseline.rate()),
            None => self.margin,
        };
        for (sum, (multiple, _)) in self.harm.iter_mut().zip(HARM) {
            *sum += log_lr_binomial(x, y, w, multiple * null, null);
        }
        for (sum, (ratio, _)) in self.safe.iter_mut().zip(SAFE) {
            *sum += log_lr_binomial(x, y, w, ratio, self.rule_out);
        }
    }

    /// F5 on the cells, with all canary instances and without each.
    fn permute(&mut self, key: &Key, t: &str, canary: &[Count<'_>], baseline: &[Count<'_>]) {
        let target = mean_requests(canary).min(mean_requests(baseline));
        let score = |count: &Count<'_>| self.score(key, t, count, target);
        let canary_scores: Vec<f64> = canary.iter().map(score).collect();
        let baseline_scores: Vec<f64> = baseline.iter().map(score).collect();
        self.admit_newcomers(canary);
        let mut scores = Vec::with_capacity(canary.len() + baseline.len());
        for (omitted, sums) in &mut self.without {
            scores.clear();
            let rest = canary.iter().zip(&canary_scores).filter(|(c, _)| c.instance != omitted);
            scores.extend(rest.map(|(_, score)| *score));
            let m = scores.len();
            if m > 0 {
                scores.extend_from_slice(&baseline_scores);
                add_permutation(sums, &scores, m);
            }
        }
        scores.clear();
        scores.extend_from_slice(&canary_scores);
        scores.extend_from_slice(&baseline_scores);
        add_permutation(&mut self.permutation, &scores, canary.len());
    }

    /// How far a cell is from the baseline's rate, in standard deviations of such a cell.
    fn score(&self, key: &Key, t: &str, count: &Count<'_>, target: f64) -> f64 {
        let (mut hits, mut requests) = (count.hits, count.requests);
        if requests as f64 > THIN_ABOVE * target {
            let wanted = (target.round_ties_even() as u64).max(1);
            let (instance, series) = (count.instance, self.name.as_str());
            hits = key.thin(Draw { t, instance, series, count: hits, requests, target: wanted });
            requests = wanted;
        }
        if requests == 0 {
            return 0.0;
        }
        let (n, rate, phi) = (requests as f64, self.baseline.rate(), self.baseline.phi());
        // Bursts hit requests, so a smaller cell is less overdispersed.
        let cell_phi = phi.min(1.0 + n / self.baseline.mean_requests() * (phi - 1.0));
        (hits as f64 - n * rate) / sqrt(cell_phi * n * rate)
    }

    /// A newcomer takes the place of a departed instance, of several the one whose omission leaves least evidence, so
    /// that a broken instance that restarts under new names stays one instance.
    fn admit_newcomers(&mut self, canary: &[Count<'_>]) {
        let present: BTreeSet<&str> = canary.iter().map(|c| c.instance).collect();
        for name in canary.iter().map(|c| c.instance) {
            if self.without.contains_key(name) {
                continue;
            }
            let departed = self
                .without
                .iter()
                .filter(|(gone, _)| !present.contains(gone.as_str()))
                .map(|(gone, sums)| (log_mean_exp(sums), gone))
                .min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)))
                .map(|(_, gone)| gone.clone());
            let sums =
                departed.and_then(|gone| self.without.remove(&gone)).unwrap_or(self.permutation);
            self.without.insert(name.to_owned(), sums);
        }
    }

    pub(super) fn log_request(&self) -> f64 {
        log_harm(&self.harm)
    }

    pub(super) fn log_permutation(&self) -> f64 {
        log_mean_exp(&self.permutation)
    }

    /// F5 without one instance; an instance this series never met changes nothing.
    fn log_without(&self, instance: &str) -> f64 {
        log_mean_exp(self.without.get(instance).unwrap_or(&self.permutation))
    }

    /// Evidence of this stage that the regression is smaller than `rule_out`, divided by the larger dispersion of the
    /// two arms: a canary that became bursty must not pass between two bursts.
    pub(super) fn log_safe(&self) -> f64 {
        let phi = self.baseline.phi().max(self.canary.phi());
        let (mut sums, mut weights) = (Vec::new(), Vec::new());
        for (sum, (ratio, weight)) in self.safe.iter().zip(SAFE) {
            if ratio < self.rule_out {
                sums.push(sum / phi);
                weights.push(weight);
            }
        }
        let relative = log_mixture(&sums, &weights);
        if self.absolute.is_none() {
            return relative;
        }
        let absolute = log_mean_exp(&self.absolute_sums.map(|sum| sum / phi));
        log_sum_exp(&[relative, absolute]) - log(2.0)
    }
}

/// Where in the rollout a block is.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    /// Start of the block, as text for the draws.
    pub t: &'a str,
    pub stage: usize,
    pub rule_out: f64,
}

/// The evidence of harm about one metric: the smallest of the request-level test, the cell-level test and, where there
/// are enough instances, the cell-level tests without one instance. Each is a mean over the metric's thresholds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Harm {
    pub request: f64,
    pub permutation: f64,
    /// The instance without which least evidence remains.
    pub weakest: Option<(String, f64)>,
}

impl Harm {
    /// `leave_one_out`: at least three canary instances were seen at once.
    pub(super) fn of(series: &[Series], leave_one_out: bool) -> Self {
        let mean =
            |f: &dyn Fn(&Series) -> f64| log_mean_exp(&series.iter().map(f).collect::<Vec<_>>());
        let names: BTreeSet<&String> = series.iter().flat_map(|s| s.without.keys()).collect();
        let weakest = names
            .into_iter()
            .filter(|_| leave_one_out)
            .map(|name| (name.clone(), mean(&|s| s.log_without(name))))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        Self {
            request: mean(&Series::log_request),
            permutation: mean(&Series::log_permutation),
            weakest,
        }
    }

    pub(super) fn log_e(&self) -> f64 {
        let both = self.request.min(self.permutation);
        self.weakest.as_ref().map_or(both, |(_, e)| both.min(*e))
    }
}

fn totals(cells: &[Count<'_>]) -> (u64, u64) {
    cells.iter().fold((0, 0), |(hits, n), c| (hits + c.hits, n + c.requests))
}

fn mean_requests(cells: &[Count<'_>]) -> f64 {
    totals(cells).1 as f64 / cells.len() as f64
}
