//! How an environment exposes a new release: the section `rollout` and its canary ladder.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Millis, Percent};

/// How a new release is exposed and what a regression does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RolloutForm", into = "RolloutForm")]
#[schemars(with = "RolloutForm")]
pub struct Rollout {
    pub strategy: Strategy,
    pub on_regression: OnRegression,
}

/// How the share of a new release grows.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// Everything at once, after health and smoke checks.
    AllAtOnce,
    /// Step by step, judged against the release that runs.
    Canary(Canary),
}

/// How a new release is exposed and what a regression does. Exactly one of `canary` and `all_at_once` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["canary"] }, { "required": ["all_at_once"] }]))]
struct RolloutForm {
    /// Step by step, judged against the release that runs. `{}` takes every default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canary: Option<Canary>,
    /// Everything at once, after health and smoke checks: `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all_at_once: Option<AllAtOnce>,
    /// What happens when the judge finds a regression.
    #[serde(default)]
    on_regression: OnRegression,
}

/// Everything at once, after health and smoke checks. It has no settings yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AllAtOnce {}

/// What happens when the judge finds a regression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnRegression {
    /// Traffic goes back at once, and the release is held.
    #[default]
    Rollback,
    /// The share stays where it is and a person decides.
    Hold,
}

impl TryFrom<RolloutForm> for Rollout {
    type Error = &'static str;
    fn try_from(form: RolloutForm) -> Result<Self, Self::Error> {
        let strategy = match (form.canary, form.all_at_once) {
            (Some(canary), None) => Strategy::Canary(canary),
            (None, Some(AllAtOnce {})) => Strategy::AllAtOnce,
            _ => return Err("a rollout has exactly one of `canary` and `all_at_once`"),
        };
        Ok(Self { strategy, on_regression: form.on_regression })
    }
}

impl From<Rollout> for RolloutForm {
    fn from(rollout: Rollout) -> Self {
        let (canary, all_at_once) = match rollout.strategy {
            Strategy::Canary(canary) => (Some(canary), None),
            Strategy::AllAtOnce => (None, Some(AllAtOnce {})),
        };
        Self { canary, all_at_once, on_regression: rollout.on_regression }
    }
}

/// Step by step, judged against the release that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Canary {
    /// Shares of the traffic in percent, growing, the last 100; as fine as 0.01.
    #[schemars(length(min = 1, max = 20))]
    pub steps: Vec<Percent>,
    /// Probability of rolling back a release that is not worse, over the whole rollout.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 0.1))]
    pub alpha: f64,
    /// Probability of passing a release that is `rule_out` times worse, for each step.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 0.5))]
    pub beta: f64,
    /// Error ratio to the baseline that is accepted as noise.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub margin: f64,
    /// Error rate (0 to 1) added to the baseline's that is accepted, so that three errors after none are no catastrophe.
    #[schemars(range(min = 0.000001, max = 0.5))]
    pub absolute_margin: f64,
    /// How many times worse a release each step must rule out before the next: one value for each step below 100 %, each above `margin`. Left out it follows the share: below 5 % 10, below 25 % 5, below 50 % 2, else 1.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 1.0, max = 1000.0)))]
    pub rule_out: Option<Vec<f64>>,
    /// Length of the counting blocks; 100ms to 60s.
    pub block: Millis,
    /// Time before counting starts, in which new instances may be slow.
    pub warmup: Millis,
    /// Longest time of one step. Without a verdict until then the rollout holds and says so.
    pub deadline: Millis,
    /// Least time of one step.
    pub soak: Millis,
    /// What is judged.
    #[schemars(length(min = 1, max = 2))]
    pub metrics: Vec<Metric>,
    /// Latency ratio to the baseline that is accepted; rounded up to whole histogram buckets of 2 %.
    #[schemars(range(min = 1.0, max = 10.0))]
    pub latency_margin: f64,
}

/// A quantity that the judge compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Answers 500 to 599 and requests without an answer.
    Errors,
    /// Time to the head of the answer, at seven quantiles of the baseline.
    Latency,
}

impl Default for Canary {
    fn default() -> Self {
        // Ten false rollbacks in a thousand releases at most; the other figures are those the judge was measured with.
        Self {
            steps: [100, 500, 2_500, 5_000, 10_000]
                .map(|parts| Percent::from_parts(parts).expect("the default steps are percentages"))
                .to_vec(),
            alpha: 0.01,
            beta: 0.05,
            margin: 1.25,
            absolute_margin: 0.0005,
            rule_out: None,
            block: Millis::seconds(10),
            warmup: Millis::seconds(180),
            deadline: Millis::seconds(7_200),
            soak: Millis::seconds(300),
            metrics: vec![Metric::Errors, Metric::Latency],
            latency_margin: 1.1,
        }
    }
}

/// One judged step below 100 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    pub share: Percent,
    /// Times worse that must be ruled out before the next step.
    pub rule_out: f64,
}

/// What a step must rule out when the manifest does not say: the larger the share, the more it can see.
pub fn rule_out_default(share: Percent) -> f64 {
    match share.parts() {
        0..500 => 10.0,
        500..2_500 => 5.0,
        2_500..5_000 => 2.0,
        _ => 1.5,
    }
}

impl Canary {
    /// The judged steps, those below 100 %, with what each must rule out. After the last one comes 100 %.
    pub fn rungs(&self) -> Vec<Rung> {
        let judged = self.steps.iter().filter(|share| **share < Percent::ALL);
        judged
            .enumerate()
            .map(|(index, &share)| Rung {
                share,
                rule_out: self
                    .rule_out
                    .as_ref()
                    .and_then(|values| values.get(index).copied())
                    .unwrap_or_else(|| rule_out_default(share)),
            })
            .collect()
    }

    /// The same ladder with every value written out.
    pub fn normalized(&self) -> Self {
        Self {
            rule_out: Some(self.rungs().iter().map(|rung| rung.rule_out).collect()),
            ..self.clone()
        }
    }
}
