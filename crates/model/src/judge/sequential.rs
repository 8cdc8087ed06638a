//! The judge itself: blocks in, at some block a verdict out.
//!
//! A pure function of the configuration line and the ordered blocks. Evidence is kept as logarithms of e-values, and
//! the evidence may be looked at after every block (Ville's inequality), so there is no schedule of looks.

mod shown;

use libm::log;

use super::config::{Config, Metric, Stage};
use super::error::InputError;
use super::formula::{Planned, log_beta_binomial, log_sum_exp};
use super::input::{Arm, JudgeBlock, JudgeCell};
use super::latency::Latency;
use super::outcome::{ArmCounts, Outcome, Verdict};
use super::ratio::RateRatio;
use super::replay::BLOCKS_MAX;
use super::series::{At, Count, Harm, Series};
use super::thin::Key;

/// Odds against "the traffic is split as configured" that make a rollout INVALID.
const SPLIT_ODDS: f64 = 1_000.0;
/// A rollout is INVALID when more than this share of its blocks lacks an arm …
const MISSING_SHARE: f64 = 0.2;
/// … of at least this many.
const MISSING_BLOCKS_MIN: u64 = 30;
/// From this many canary instances on, evidence must hold without each of them.
const LEAVE_ONE_OUT_MIN: u64 = 3;

/// Judges one rollout, block by block.
#[derive(Debug, Clone)]
pub struct Judge {
    config: Config,
    key: Key,
    errors: Series,
    latency: Option<Latency>,
    ratio: RateRatio,
    counts: [ArmCounts; 2],
    seen: u64,
    missing: u64,
    last_t: Option<f64>,
    stage: StageSoFar,
    /// The most canary instances in a block that had a metric to compare.
    instances: u64,
    log_e: f64,
    log_e_safe: f64,
    ready: bool,
    passed_stage: Option<usize>,
    invalid: Option<(i64, &'static str)>,
    outcome: Option<Outcome>,
}

/// What the running stage has seen; its blocks are those with both arms.
#[derive(Debug, Clone, Default)]
struct StageSoFar {
    index: usize,
    start: Option<f64>,
    blocks: u64,
    canary: u64,
    baseline: u64,
}

impl Judge {
    /// Starts from the configuration line of the recording. The text itself is the key of the thinning draws, so a
    /// replay needs the same bytes.
    pub fn new(config_line: &str) -> Result<Self, InputError> {
        let config = Config::parse(config_line)?;
        let absolute = Some(config.absolute_margin).filter(|margin| *margin > 0.0);
        let mut errors = Series::new("errors".into(), config.margin, absolute);
        config.history.iter().for_each(|cell| errors.baseline.add(cell.errors, cell.requests));
        let latency = config.metrics.contains(&Metric::Latency).then(|| Latency::new(&config));
        Ok(Self {
            key: Key::new(config_line),
            errors,
            latency,
            config,
            ratio: RateRatio::new(),
            counts: [ArmCounts::default(); 2],
            seen: 0,
            missing: 0,
            last_t: None,
            stage: StageSoFar::default(),
            instances: 0,
            log_e: 0.0,
            log_e_safe: 0.0,
            ready: false,
            passed_stage: None,
            invalid: None,
            outcome: None,
        })
    }

    /// Adds one block given as its JSON line. Like [`Judge::block`].
    pub fn line(&mut self, line: &str) -> Result<Option<Outcome>, InputError> {
        self.block(&JudgeBlock::parse(line)?)
    }

    /// Adds the next block and returns the verdict if there is one now. Once decided it stays decided: later blocks
    /// are checked, change nothing and return the same verdict.
    ///
    /// # Errors
    /// A block that does not follow the ones before it, or lacks what a metric needs. The judge is unchanged then.
    pub fn block(&mut self, block: &JudgeBlock) -> Result<Option<Outcome>, InputError> {
        self.check(block)?;
        self.last_t = Some(block.t().value());
        self.stage_index(block.stage());
        if self.outcome.is_none() {
            self.seen += 1;
            self.outcome = self.add(block);
        }
        Ok(self.outcome.clone())
    }

    fn check(&self, block: &JudgeBlock) -> Result<(), InputError> {
        let (t, stage) = (block.t().value(), block.stage());
        let last = self.config.stages.len() - 1;
        if stage > last {
            return Err(InputError::NoSuchStage { stage, last });
        }
        if stage < self.stage.index {
            return Err(InputError::StageBack { stage, before: self.stage.index });
        }
        if let Some(before) = self.last_t.filter(|before| t <= *before) {
            return Err(InputError::TimeBack { t, before });
        }
        if self.seen >= BLOCKS_MAX {
            return Err(InputError::TooManyBlocks);
        }
        match block.cells().iter().find(|cell| self.latency.is_some() && cell.latency.is_none()) {
            Some(cell) => Err(InputError::NoLatency { instance: cell.instance.clone() }),
            None => Ok(()),
        }
    }

    fn stage_index(&mut self, index: usize) {
        if self.stage.index != index {
            self.stage = StageSoFar { index, ..StageSoFar::default() };
        }
    }

    fn add(&mut self, block: &JudgeBlock) -> Option<Outcome> {
        self.passed_stage = None;
        let (canary, baseline) = (block.arm(Arm::Canary), block.arm(Arm::Baseline));
        if canary.is_empty() || baseline.is_empty() {
            self.add_missing();
            return None;
        }
        self.add_counts(block.t().value(), &canary, &baseline);
        self.add_evidence(block, &canary, &baseline);
        let active = self.active();
        if active == 0 {
            return None;
        }
        self.instances = self.instances.max(canary.len() as u64);
        self.log_e = self.merged_harm();
        if self.log_e >= self.fail_at() {
            return Some(
                self.decided(Verdict::Fail, "worse than the baseline beyond the margin".into()),
            );
        }
        self.ready = active == self.config.metrics.len() && self.gating_known();
        self.log_e_safe = if self.ready { self.gating_safe() } else { 0.0 };
        self.judge_stage(block.t().value())
    }

    fn add_missing(&mut self) {
        self.missing += 1;
        let too_many = self.missing as f64 > MISSING_SHARE * self.seen as f64;
        if self.seen >= MISSING_BLOCKS_MIN && too_many {
            self.distrust("more than 20 % of the blocks lack an arm");
        }
    }

    /// INVALID holds and never passes, but harm is looked for to the end.
    fn distrust(&mut self, reason: &'static str) {
        let block = self.index();
        self.invalid.get_or_insert((block, reason));
    }

    fn add_counts(&mut self, t: f64, canary: &[&JudgeCell], baseline: &[&JudgeCell]) {
        for (counts, cells) in self.counts.iter_mut().zip([canary, baseline]) {
            counts.instances = counts.instances.max(cells.len() as u64);
            counts.requests += cells.iter().map(|c| c.requests).sum::<u64>();
            counts.errors += cells.iter().map(|c| c.errors).sum::<u64>();
        }
        let requests = |cells: &[&JudgeCell]| cells.iter().map(|c| c.requests).sum::<u64>();
        let stage = &mut self.stage;
        stage.start.get_or_insert(t);
        stage.blocks += 1;
        stage.canary += requests(canary);
        stage.baseline += requests(baseline);
        let share = self.config.stages[stage.index].share;
        if log_beta_binomial(stage.canary, stage.baseline, share) >= log(SPLIT_ODDS) {
            self.distrust("traffic is not split as configured");
        }
    }

    fn add_evidence(&mut self, block: &JudgeBlock, canary: &[&JudgeCell], baseline: &[&JudgeCell]) {
        let t = block.t().to_string();
        let stage = block.stage();
        let at = At { t: &t, stage, rule_out: self.config.stages[stage].rule_out };
        let (x, y) = (error_counts(canary), error_counts(baseline));
        let total = |counts: &[Count<'_>]| {
            counts.iter().fold((0, 0), |sum, c| (sum.0 + c.hits, sum.1 + c.requests))
        };
        self.ratio.add(total(&x), total(&y));
        self.errors.add(&self.key, &at, &x, &y);
        if let Some(latency) = &mut self.latency {
            latency.add(&self.key, &at, canary, baseline);
        }
    }

    /// Errors that are no metric still teach the rate for the check at the deadline.
    fn judges_errors(&self) -> bool {
        self.config.metrics.contains(&Metric::Errors)
    }

    fn latency_series(&self) -> &[Series] {
        self.latency.as_ref().map_or(&[], Latency::series)
    }

    /// The metrics that can be compared, each with its series.
    fn compared(&self) -> impl Iterator<Item = (Metric, &[Series])> {
        let errors =
            self.judges_errors().then(|| (Metric::Errors, std::slice::from_ref(&self.errors)));
        let latency = Some((Metric::Latency, self.latency_series())).filter(|(_, s)| !s.is_empty());
        errors.into_iter().chain(latency)
    }

    fn active(&self) -> usize {
        self.compared().count()
    }

    fn harm(&self, series: &[Series]) -> Harm {
        Harm::of(series, self.instances >= LEAVE_ONE_OUT_MIN)
    }

    /// The mean of the metrics' e-values now; one that is not ready counts as e = 1.
    fn merged_harm(&self) -> f64 {
        let log_weight = log(1.0 / self.config.metrics.len() as f64);
        let mut parts: Vec<f64> =
            self.compared().map(|(_, s)| self.harm(s).log_e() + log_weight).collect();
        parts.resize(self.config.metrics.len(), log_weight);
        log_sum_exp(&parts)
    }

    /// One canary instance cannot be told from one bad instance, so it needs twice the evidence.
    fn fail_at(&self) -> f64 {
        let times = if self.instances == 1 { 2.0 } else { 1.0 };
        log(1.0 / self.config.alpha) * times
    }

    fn gating(&self) -> impl Iterator<Item = &Series> {
        let errors = self.judges_errors().then_some(&self.errors);
        errors.into_iter().chain(self.latency.iter().flat_map(Latency::gating))
    }

    fn gating_known(&self) -> bool {
        let known = |series: &Series| series.baseline.cells >= self.config.min_baseline_cells;
        // Without any gating series nothing could be ruled out.
        self.gating().next().is_some() && self.gating().all(known)
    }

    fn gating_safe(&self) -> f64 {
        self.gating().map(Series::log_safe).fold(f64::INFINITY, f64::min)
    }

    fn judge_stage(&mut self, t: f64) -> Option<Outcome> {
        let index = self.stage.index;
        let Stage { rule_out, soak_s, .. } = self.config.stages[index];
        let start = self.stage.start.unwrap_or(t);
        let soaked = t + self.config.block_s - start >= soak_s;
        let safe = self.log_e_safe >= log(1.0 / self.config.beta);
        if !(self.ready && soaked && safe && self.invalid.is_none()) {
            return None;
        }
        self.passed_stage = Some(index);
        if index + 1 < self.config.stages.len() {
            return None;
        }
        let reason = format!("a regression of {rule_out:?} times or more is ruled out");
        Some(self.decided(Verdict::Pass, reason))
    }

    /// The verdict when time is over: the one there is, else INVALID, INCONCLUSIVE or INSUFFICIENT.
    pub fn deadline(&self) -> Outcome {
        if let Some(outcome) = &self.outcome {
            return outcome.clone();
        }
        if let Some((block, reason)) = self.invalid {
            return Outcome { block, ..self.decided(Verdict::Invalid, reason.into()) };
        }
        if self.counts.iter().all(|arm| arm.requests == 0) {
            return self.decided(Verdict::Insufficient, "no traffic".into());
        }
        let power = self.power();
        let enough = power >= 1.0 - self.config.beta;
        let verdict = if enough { Verdict::Inconclusive } else { Verdict::Insufficient };
        self.decided(verdict, format!("power {power:.3}"))
    }

    /// F11: the probability that a release as bad as the last `rule_out` would have failed by now.
    fn power(&self) -> f64 {
        let [canary, baseline] = &self.counts;
        let total = (canary.requests + baseline.requests) as f64;
        let seconds = self.seconds();
        let last = self.config.stages.last().expect("a config has at least one stage");
        if canary.requests == 0 || baseline.requests == 0 {
            return 0.0;
        }
        let planned = Planned {
            rate: self.errors.baseline.rate().max(self.config.absolute_margin),
            ratio: last.rule_out,
            null: self.config.margin,
            share: canary.requests as f64 / total,
            rps: total / seconds,
            phi: self.errors.baseline.phi(),
            barrier: log(1.0 / self.config.alpha),
        };
        planned.power(seconds)
    }

    /// What a rollout records that was ended by something other than the judge: a crash loop, failing health.
    pub fn guardrail(&self, reason: String) -> Outcome {
        self.decided(Verdict::Guardrail, reason)
    }

    fn decided(&self, verdict: Verdict, reason: String) -> Outcome {
        Outcome {
            verdict,
            block: self.index(),
            log_e: self.log_e,
            log_e_safe: self.log_e_safe,
            reason,
            evidence: self.evidence(),
        }
    }

    fn index(&self) -> i64 {
        self.seen as i64 - 1
    }

    fn seconds(&self) -> f64 {
        self.seen as f64 * self.config.block_s
    }
}

fn error_counts<'a>(cells: &[&'a JudgeCell]) -> Vec<Count<'a>> {
    let count = |cell: &&'a JudgeCell| Count {
        instance: &cell.instance,
        hits: cell.errors,
        requests: cell.requests,
    };
    cells.iter().map(count).collect()
}
