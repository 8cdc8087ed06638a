//! What the judge says: the verdict, the evidence for it, and one sentence for people.

use std::fmt;

use libm::exp;
use serde::{Deserialize, Serialize};

use super::plan::TimeLeft;
use super::ratio::RatioInterval;

/// The end of a judged rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Worse than the baseline beyond the margin. Rolls back.
    Fail,
    /// The last stage's regression is ruled out.
    Pass,
    /// There was enough data to see the regression, and neither bound was crossed. Holds.
    Inconclusive,
    /// There was too little data to see the regression. Holds.
    Insufficient,
    /// The data cannot be trusted. Holds.
    Invalid,
    /// Not a matter of statistics: a crash loop, failing health. Set by the rollout, never by the judge. Rolls back.
    Guardrail,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "FAIL",
            Self::Pass => "PASS",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Insufficient => "INSUFFICIENT",
            Self::Invalid => "INVALID",
            Self::Guardrail => "GUARDRAIL",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The block that decided, counted from 0; -1 when there was none.
    pub block: i64,
    /// Natural logarithm of the merged evidence of harm.
    pub log_e: f64,
    /// Natural logarithm of the weakest evidence of safety; 0 until every gating series is ready.
    pub log_e_safe: f64,
    pub reason: String,
    pub evidence: Evidence,
}

/// The numbers behind a verdict, or behind a rollout that has none yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub alpha: f64,
    pub beta: f64,
    /// Blocks seen, with those that lack an arm.
    pub blocks: u64,
    /// Blocks that lack the cells of an arm.
    pub blocks_missing: u64,
    /// Time that the blocks cover, s.
    pub seconds: f64,
    pub stage: usize,
    /// The regression that this stage must rule out, as a rate ratio.
    pub rule_out: f64,
    pub canary: ArmCounts,
    pub baseline: ArmCounts,
    /// Error rate of the canary as a multiple of the baseline's, with its 95 % interval.
    pub ratio: RatioInterval,
    /// Dispersion of the error counts, the larger of both arms.
    pub dispersion: f64,
    pub metrics: Vec<MetricEvidence>,
    /// `None` before the first block with traffic in both arms.
    pub time_left: Option<TimeLeft>,
}

/// What one arm did since the first block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ArmCounts {
    /// The most instances seen at once.
    pub instances: u64,
    pub requests: u64,
    pub errors: u64,
}

/// The evidence of one metric. All values are natural logarithms of e-values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricEvidence {
    pub name: String,
    /// The smallest of the harm tests.
    pub log_e: f64,
    /// F2, on requests.
    pub log_e_request: f64,
    /// F5, on cells.
    pub log_e_cells: f64,
    /// The canary instance without which least evidence remains; from three instances on.
    pub weakest: Option<Weakest>,
    /// Evidence of safety in this stage; `None` until ready.
    pub log_e_safe: Option<f64>,
    /// Of the latency metric, once they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<ThresholdEvidence>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weakest {
    pub without: String,
    pub log_e: f64,
}

/// How many requests were slower than one threshold. The canary's threshold is larger by the latency margin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdEvidence {
    pub bound_ms: f64,
    /// The baseline's quantiles that this bound stands for.
    pub quantiles: Vec<f64>,
    pub canary_share: f64,
    pub baseline_share: f64,
}

impl Outcome {
    /// The verdict in one sentence. `at` is the time of the decision as the reader wants to see it.
    pub fn sentence(&self, at: impl fmt::Display) -> String {
        let Evidence { blocks, seconds, alpha, beta, .. } = self.evidence;
        let decided = u64::try_from(self.block + 1).unwrap_or(0);
        // INVALID may have been known long before the end; the sentence tells the whole time.
        let blocks = if self.verdict == Verdict::Invalid { blocks } else { decided };
        let time = spoken_seconds(seconds);
        let mut text = format!("{} at {at} after {blocks} blocks ({time}): ", self.verdict);
        match self.verdict {
            Verdict::Fail => {
                text += &format!(
                    "{}, e={} (alpha {})",
                    self.evidence.comparison(),
                    e_value(self.log_e),
                    percent(alpha)
                );
                text += &self.evidence.agreement();
            }
            Verdict::Pass => {
                let safe = e_value(self.log_e_safe);
                text += &format!(
                    "{} (e={safe}, beta {}), {}",
                    self.reason,
                    percent(beta),
                    self.evidence.comparison()
                );
            }
            Verdict::Inconclusive => {
                text += "neither harm nor safety is shown";
                text += &format!(" ({}), {}", self.reason, self.evidence.comparison());
                text += &self.evidence.needs();
            }
            Verdict::Insufficient => {
                text += "too little data to tell";
                text += &format!(" ({}), {}", self.reason, self.evidence.comparison());
                text += &self.evidence.needs();
            }
            Verdict::Invalid | Verdict::Guardrail => {
                text += &format!("{}, {}", self.reason, self.evidence.comparison());
            }
        }
        text + "."
    }
}

impl Evidence {
    /// "errors 2.1x baseline (95 % anytime CI 1.5-2.9), 214/31 020 vs 903/279 180", and slower requests if any metric
    /// says so.
    fn comparison(&self) -> String {
        let RatioInterval { estimate, low, high } = self.ratio;
        let ratio = match estimate {
            Some(ratio) => format!("errors {}x baseline", ratio_text(ratio)),
            None if self.canary.errors > 0 => "errors only in the canary".into(),
            None => "no errors".into(),
        };
        let interval = match (high, estimate) {
            (Some(high), _) => {
                format!(" (95 % anytime CI {}-{})", ratio_text(low), ratio_text(high))
            }
            (None, None) if low == 0.0 => String::new(),
            (None, _) => format!(" (95 % anytime CI {} or more)", ratio_text(low)),
        };
        let counts = |arm: &ArmCounts| format!("{}/{}", grouped(arm.errors), grouped(arm.requests));
        let latency = self.slower().map(|text| format!(", {text}")).unwrap_or_default();
        format!(
            "{ratio}{interval}, {} vs {}{latency}",
            counts(&self.canary),
            counts(&self.baseline)
        )
    }

    /// The threshold at which the canary differs most, when latency speaks against it.
    fn slower(&self) -> Option<String> {
        let metric = self.metrics.iter().find(|m| !m.thresholds.is_empty() && m.log_e > 0.0)?;
        let excess = |t: &ThresholdEvidence| t.canary_share / t.baseline_share.max(1e-9);
        let worst = metric.thresholds.iter().max_by(|a, b| excess(a).total_cmp(&excess(b)))?;
        let (slow, usual) = (percent(worst.canary_share), percent(worst.baseline_share));
        Some(format!(
            "{slow} of requests beyond {:.0} ms where the baseline has {usual}",
            worst.bound_ms
        ))
    }

    fn agreement(&self) -> String {
        let leading = self.metrics.iter().max_by(|a, b| a.log_e.total_cmp(&b.log_e));
        match leading.and_then(|metric| metric.weakest.as_ref()) {
            Some(weakest) => format!(
                ", all {} instances agree (weakest e={} without {})",
                self.canary.instances,
                e_value(weakest.log_e),
                weakest.without
            ),
            None => String::new(),
        }
    }

    fn needs(&self) -> String {
        match self.time_left {
            Some(TimeLeft { pass_s: Some(s), .. }) => {
                format!(", a healthy release needs {} more to pass", spoken_seconds(s))
            }
            _ => ", with this traffic it will never tell".into(),
        }
    }
}

/// `e` of a logarithm: `131`, `0.02`, `1e45`.
fn e_value(log_e: f64) -> String {
    if log_e >= 13.8 {
        return format!("1e{:.0}", (log_e / std::f64::consts::LN_10).floor());
    }
    let e = exp(log_e);
    if e >= 10.0 {
        format!("{e:.0}")
    } else if e >= 0.01 {
        format!("{e:.2}")
    } else {
        "0.00".into()
    }
}

fn ratio_text(ratio: f64) -> String {
    if ratio >= 10.0 { format!("{ratio:.0}") } else { format!("{ratio:.1}") }
}

/// A share as percent with as many digits as it needs, at most two after the point.
fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `31 020`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `5 min 10 s`, `2 h 3 min`, `0.6 s`.
fn spoken_seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        let text = format!("{seconds:.1}");
        return format!("{} s", text.strip_suffix(".0").unwrap_or(&text));
    }
    let whole = seconds.round() as u64;
    match (whole / 3_600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, min, 0) => format!("{min} min"),
        (0, min, s) => format!("{min} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, min, _) => format!("{h} h {min} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(verdict: Verdict) -> Outcome {
        let weakest = Some(Weakest { without: "c2".into(), log_e: 22_f64.ln() });
        let errors = MetricEvidence {
            name: "errors".into(),
            log_e: 131_f64.ln(),
            log_e_request: 131_f64.ln(),
            log_e_cells: 6.0,
            weakest,
            log_e_safe: None,
            thresholds: Vec::new(),
        };
        Outcome {
            verdict,
            block: 30,
            log_e: 131_f64.ln(),
            log_e_safe: 25_f64.ln(),
            reason: "a regression of 2.0 times or more is ruled out".into(),
            evidence: Evidence {
                alpha: 0.01,
                beta: 0.05,
                blocks: 31,
                blocks_missing: 0,
                seconds: 310.0,
                stage: 0,
                rule_out: 2.0,
                canary: ArmCounts { instances: 4, requests: 31_020, errors: 214 },
                baseline: ArmCounts { instances: 36, requests: 279_180, errors: 903 },
                ratio: RatioInterval { estimate: Some(2.13), low: 1.5, high: Some(2.9) },
                dispersion: 1.0,
                metrics: vec![errors],
                time_left: None,
            },
        }
    }

    #[test]
    fn a_verdict_is_one_sentence() {
        assert_eq!(
            outcome(Verdict::Fail).sentence("14:03:20"),
            "FAIL at 14:03:20 after 31 blocks (5 min 10 s): errors 2.1x baseline (95 % anytime CI 1.5-2.9), \
             214/31 020 vs 903/279 180, e=131 (alpha 1 %), all 4 instances agree (weakest e=22 without c2)."
        );
        assert_eq!(
            outcome(Verdict::Pass).sentence("14:03:20"),
            "PASS at 14:03:20 after 31 blocks (5 min 10 s): a regression of 2.0 times or more is ruled out \
             (e=25, beta 5 %), errors 2.1x baseline (95 % anytime CI 1.5-2.9), 214/31 020 vs 903/279 180."
        );
    }

    #[test]
    fn a_sentence_survives_missing_numbers() {
        let mut empty = outcome(Verdict::Insufficient);
        empty.block = -1;
        empty.reason = "no traffic".into();
        empty.evidence.ratio = RatioInterval { estimate: None, low: 0.0, high: None };
        empty.evidence.canary = ArmCounts::default();
        empty.evidence.baseline = ArmCounts::default();
        empty.evidence.seconds = 0.0;
        assert_eq!(
            empty.sentence("noon"),
            "INSUFFICIENT at noon after 0 blocks (0 s): too little data to tell (no traffic), no errors, 0/0 vs 0/0, \
             with this traffic it will never tell."
        );
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(e_value(100.0), "1e43");
        assert_eq!(e_value(-9.0), "0.00");
        assert_eq!(percent(0.005), "0.5 %");
        assert_eq!(spoken_seconds(0.6), "0.6 s");
        assert_eq!(spoken_seconds(7_380.0), "2 h 3 min");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }
}
