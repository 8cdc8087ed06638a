//! What a running rollout shows: counts, evidence, the ratio with its interval, and the time that is left.

use libm::log;

use super::{Judge, StageSoFar};
use crate::judge::config::{Config, Metric};
use crate::judge::input::Arm;
use crate::judge::latency::{Latency, Threshold};
use crate::judge::outcome::{
    ArmCounts, Evidence, MetricEvidence, Outcome, ThresholdEvidence, Weakest,
};
use crate::judge::plan::{Outlook, TimeLeft, Traffic, cells_wait};
use crate::judge::ratio::RatioInterval;
use crate::judge::series::Series;

/// Coverage of the interval for the rate ratio.
const COVERAGE: f64 = 0.95;

impl Judge {
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The verdict, once there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Natural logarithm of the merged evidence of harm.
    pub fn log_e(&self) -> f64 {
        self.log_e
    }

    /// Natural logarithm of the weakest evidence of safety in this stage; 0 until ready.
    pub fn log_e_safe(&self) -> f64 {
        self.log_e_safe
    }

    /// Whether every metric can be compared and enough baseline cells are known.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// The stage that the last block passed: safe evidence, ready, soaked and not INVALID. The rollout advances on it;
    /// passing the last stage is PASS.
    pub fn passed_stage(&self) -> Option<usize> {
        self.passed_stage
    }

    /// Block and reason from which on the data cannot be trusted. Harm is still looked for; nothing passes.
    pub fn invalid(&self) -> Option<(i64, &'static str)> {
        self.invalid
    }

    /// Blocks added so far, with those that lack an arm.
    pub fn blocks(&self) -> u64 {
        self.seen
    }

    pub fn counts(&self, arm: Arm) -> ArmCounts {
        self.counts[match arm {
            Arm::Canary => 0,
            Arm::Baseline => 1,
        }]
    }

    /// Error rate of the canary as a multiple of the baseline's, with its 95 % anytime interval.
    pub fn ratio(&self) -> RatioInterval {
        self.ratio.interval(COVERAGE, self.dispersion())
    }

    fn dispersion(&self) -> f64 {
        self.errors.baseline.phi().max(self.errors.canary.phi())
    }

    /// All numbers of this moment.
    pub fn evidence(&self) -> Evidence {
        let [canary, baseline] = self.counts;
        Evidence {
            alpha: self.config.alpha,
            beta: self.config.beta,
            blocks: self.seen,
            blocks_missing: self.missing,
            seconds: self.seconds(),
            stage: self.stage.index,
            rule_out: self.config.stages[self.stage.index].rule_out,
            canary,
            baseline,
            ratio: self.ratio(),
            dispersion: self.dispersion(),
            metrics: self.compared().map(|(metric, s)| self.metric_evidence(metric, s)).collect(),
            time_left: self.time_left(),
        }
    }

    fn metric_evidence(&self, metric: Metric, series: &[Series]) -> MetricEvidence {
        let harm = self.harm(series);
        let gating: Vec<&Series> = match metric {
            Metric::Errors => series.iter().collect(),
            Metric::Latency => self.latency.iter().flat_map(Latency::gating).collect(),
        };
        let safe = gating.iter().map(|s| s.log_safe()).fold(f64::INFINITY, f64::min);
        MetricEvidence {
            name: metric.name().into(),
            log_e: harm.log_e(),
            log_e_request: harm.request,
            log_e_cells: harm.permutation,
            log_e_safe: Some(safe).filter(|safe| self.ready && safe.is_finite()),
            weakest: harm.weakest.map(|(without, log_e)| Weakest { without, log_e }),
            thresholds: match metric {
                Metric::Errors => Vec::new(),
                Metric::Latency => self.threshold_evidence(),
            },
        }
    }

    fn threshold_evidence(&self) -> Vec<ThresholdEvidence> {
        let Some(latency) = &self.latency else { return Vec::new() };
        let evidence = |(threshold, series): (&Threshold, &Series)| ThresholdEvidence {
            bound_ms: threshold.bound,
            quantiles: threshold.quantiles.clone(),
            canary_share: series.canary.rate(),
            baseline_share: series.baseline.rate(),
        };
        latency.thresholds().iter().zip(latency.series()).map(evidence).collect()
    }

    /// How long the running stage still needs; `None` before its first block with both arms and traffic.
    pub fn time_left(&self) -> Option<TimeLeft> {
        let StageSoFar { index, start, blocks, canary, baseline } = self.stage;
        let (start, last_t) = (start?, self.last_t?);
        if canary + baseline == 0 {
            return None;
        }
        let known = &self.errors.baseline;
        let traffic = Traffic {
            rps: (canary + baseline) as f64 / (blocks as f64 * self.config.block_s),
            error_rate: if known.requests == 0 {
                0.0
            } else {
                known.hits as f64 / known.requests as f64
            },
            phi: self.dispersion(),
            baseline_instances: self.counts(Arm::Baseline).instances,
        };
        let stage = &self.config.stages[index];
        let outlook = Outlook { config: &self.config, stage, traffic: &traffic };
        // A tenth of a nat: evidence that is there already still needs the block that says so.
        let safe = if self.gating().next().is_some() { self.gating_safe() } else { 0.0 };
        let evidence_s = outlook.pass_s((log(1.0 / self.config.beta) - safe).max(0.1));
        let soak_s = (start + stage.soak_s - last_t - self.config.block_s).max(0.0);
        let baseline_s =
            cells_wait(&self.config, traffic.baseline_instances, known.cells) * self.config.block_s;
        Some(TimeLeft {
            pass_s: evidence_s.map(|s| s.max(soak_s).max(baseline_s)),
            evidence_s,
            soak_s,
            baseline_s,
            fail_s: outlook.fail_s((self.fail_at() - self.log_e).max(0.1)),
        })
    }
}
