//! How a rollout is judged: fixed before it starts, and the first line of its recording.

use serde::{Deserialize, Serialize};

use super::error::InputError;
use super::input::{Histogram, LINE_BYTES_MAX, Object, REQUESTS_MAX, objects};

/// Most stages of a ladder.
pub const STAGES_MAX: usize = 100;
/// Most history cells that are read: a day of 8 instances in blocks of 1 min.
pub const HISTORY_CELLS_MAX: usize = 12_000;
/// Largest ratio that makes sense as margin or rule_out.
pub const RATIO_MAX: f64 = 1e6;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Errors per request.
    Errors,
    /// Requests slower than the baseline's quantiles.
    Latency,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
        }
    }
}

/// One step of the ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The canary's share of the requests, between 0 and 1.
    pub share: f64,
    /// The regression that must be ruled out before the stage is passed, as a rate ratio.
    pub rule_out: f64,
    /// The least time of the stage, s.
    #[serde(default)]
    pub soak_s: f64,
}

/// One baseline instance in one block before the rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryCell {
    pub requests: u64,
    pub errors: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Histogram>,
}

/// Everything the judge may be told; all but the stages has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Probability of a FAIL for a release that is not worse.
    pub alpha: f64,
    /// Probability of a PASS for a release that is `rule_out` times worse.
    pub beta: f64,
    /// The rate ratio up to which a release counts as not worse.
    pub margin: f64,
    /// The difference of error rates up to which a release counts as not worse; 0 switches it off.
    pub absolute_margin: f64,
    #[serde(deserialize_with = "objects")]
    pub stages: Vec<Stage>,
    pub metrics: Vec<Metric>,
    /// Length of a block, s.
    pub block_s: f64,
    /// The factor up to which slower counts as not slower: five buckets of the edge's histogram.
    pub latency_margin: f64,
    /// Baseline cells that must be known before anything passes and before latency is compared.
    pub min_baseline_cells: u64,
    #[serde(deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryCell>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            beta: 0.05,
            margin: 1.25,
            absolute_margin: 0.0005,
            stages: Vec::new(),
            metrics: vec![Metric::Errors],
            block_s: 10.0,
            // 1.0202^5, written out so that no power function can change a verdict.
            latency_margin: 1.105_163_659_926_44,
            min_baseline_cells: 60,
            history: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Head<'a> {
    config: &'a Config,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHead {
    config: Option<Object<Config>>,
}

impl Config {
    /// Reads the first line of a recording.
    pub fn parse(line: &str) -> Result<Self, InputError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(InputError::LineTooLong { found: line.len() });
        }
        let Object(head): Object<RawHead> = serde_json::from_str(line).map_err(|error| {
            // A recording that lost its first line begins with a block.
            let block =
                error.is_data() && line.contains("\"cells\"") && !line.contains("\"config\"");
            if block { InputError::NoConfig } else { InputError::json(error) }
        })?;
        let config = head.config.ok_or(InputError::NoConfig)?.0;
        config.check()?;
        Ok(config)
    }

    /// The line that parses to this configuration. Its text is the key of the thinning draws: keep it, byte for byte.
    pub fn to_line(&self) -> String {
        serde_json::to_string(&Head { config: self })
            .expect("a config holds only strings and finite numbers")
    }

    /// Refuses what no judge could work with.
    pub fn check(&self) -> Result<(), InputError> {
        between("alpha", self.alpha, 0.0, 1.0)?;
        between("beta", self.beta, 0.0, 1.0)?;
        at_least("margin", self.margin, 1.0)?;
        at_least("latency_margin", self.latency_margin, 1.0)?;
        if !(0.0..1.0).contains(&self.absolute_margin) {
            return bad("absolute_margin", self.absolute_margin, "at least 0 and below 1");
        }
        if !(self.block_s > 0.0 && self.block_s <= 86_400.0) {
            return bad("block_s", self.block_s, "above 0 and at most 86400");
        }
        self.check_metrics()?;
        self.check_stages()?;
        self.check_history()
    }

    fn check_metrics(&self) -> Result<(), InputError> {
        if self.metrics.is_empty() {
            return Err(InputError::BadSetting {
                name: "metrics",
                found: "[]".into(),
                expected: "a list of `errors`, `latency` or both".into(),
            });
        }
        for (i, metric) in self.metrics.iter().enumerate() {
            if self.metrics[..i].contains(metric) {
                return Err(InputError::SameMetric { name: metric.name().into() });
            }
        }
        Ok(())
    }

    fn check_stages(&self) -> Result<(), InputError> {
        if self.stages.is_empty() || self.stages.len() > STAGES_MAX {
            return Err(InputError::BadStages { found: self.stages.len() });
        }
        for (i, stage) in self.stages.iter().enumerate() {
            between("share", stage.share, 0.0, 1.0)?;
            at_least("rule_out", stage.rule_out, 1.0)?;
            if !(stage.soak_s >= 0.0 && stage.soak_s.is_finite()) {
                return bad("soak_s", stage.soak_s, "at least 0");
            }
            if stage.rule_out <= self.margin {
                return Err(InputError::RuleOutWithinMargin {
                    stage: i,
                    rule_out: stage.rule_out,
                    margin: self.margin,
                });
            }
            let rate = stage.rule_out * self.absolute_margin;
            if rate >= 1.0 {
                return Err(InputError::AbsoluteRate { stage: i, rate });
            }
        }
        Ok(())
    }

    fn check_history(&self) -> Result<(), InputError> {
        if self.history.len() > HISTORY_CELLS_MAX {
            return Err(InputError::TooMuchHistory { found: self.history.len() });
        }
        for (index, &HistoryCell { requests, errors, .. }) in self.history.iter().enumerate() {
            if errors > requests || requests > REQUESTS_MAX {
                return Err(InputError::BadHistory { index, errors, requests });
            }
        }
        Ok(())
    }
}

fn bad(name: &'static str, found: f64, expected: &str) -> Result<(), InputError> {
    Err(InputError::BadSetting { name, found: found.to_string(), expected: expected.into() })
}

fn between(name: &'static str, found: f64, low: f64, high: f64) -> Result<(), InputError> {
    if found > low && found < high {
        return Ok(());
    }
    bad(name, found, &format!("between {low} and {high}, both excluded"))
}

fn at_least(name: &'static str, found: f64, low: f64) -> Result<(), InputError> {
    if found >= low && found <= RATIO_MAX {
        return Ok(());
    }
    bad(name, found, &format!("from {low} to {RATIO_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_refused_by_name() {
        let cases = [
            (r#""alpha":0"#, "`alpha` is 0"),
            (r#""alpha":1.5"#, "`alpha` is 1.5"),
            (r#""beta":-0.1"#, "`beta` is -0.1"),
            (r#""margin":0.5"#, "`margin` is 0.5"),
            (r#""margin":2.0"#, "rule_out 2 must be greater than the margin 2"),
            (r#""margin":"x""#, "invalid type: string"),
            (r#""absolute_margin":-1"#, "`absolute_margin`"),
            (r#""absolute_margin":0.6"#, "must be below 1"),
            (r#""latency_margin":0.9"#, "`latency_margin`"),
            (r#""block_s":0"#, "`block_s` is 0"),
            (r#""metrics":[]"#, "`metrics` is []"),
            (r#""metrics":["errors","errors"]"#, "`errors` twice"),
            (r#""metrics":["cpu"]"#, "unknown variant `cpu`"),
            (r#""min_baseline_cells":-1"#, "invalid value"),
            (r#""alhpa":0.01"#, "unknown field `alhpa`"),
            (r#""history":[{"requests":1,"errors":2}]"#, "history cell 0: 2 errors of 1 requests"),
            (r#""history":[{"requests":1}]"#, "missing field `errors`"),
        ];
        for (setting, expected) in cases {
            let line =
                format!(r#"{{"config":{{"stages":[{{"share":0.1,"rule_out":2}}],{setting}}}}}"#);
            let error = Config::parse(&line).expect_err(setting).to_string();
            assert!(error.contains(expected), "{setting}: {error}");
        }
    }

    #[test]
    fn bad_stages_are_refused_by_name() {
        let cases = [
            (r#"{}"#, "0 stages"),
            (r#"{"stages":[]}"#, "0 stages"),
            (r#"{"stages":[{"share":1,"rule_out":2}]}"#, "`share` is 1"),
            (r#"{"stages":[{"share":0,"rule_out":2}]}"#, "`share` is 0"),
            (r#"{"stages":[{"share":0.1,"rule_out":1.25}]}"#, "stage 0: rule_out 1.25"),
            (r#"{"stages":[{"share":0.1}]}"#, "missing field `rule_out`"),
            (r#"{"stages":[{"share":0.1,"rule_out":2,"soak":1}]}"#, "unknown field `soak`"),
            (r#"{"stages":[{"share":0.1,"rule_out":2,"soak_s":-1}]}"#, "`soak_s` is -1"),
        ];
        for (config, expected) in cases {
            let error =
                Config::parse(&format!(r#"{{"config":{config}}}"#)).unwrap_err().to_string();
            assert!(error.contains(expected), "{config}: {error}");
        }
        assert_eq!(Config::parse("{}"), Err(InputError::NoConfig));
        assert_eq!(Config::parse(r#"{"t":0,"stage":0,"cells":[]}"#), Err(InputError::NoConfig));
    }

    #[test]
    fn a_line_reads_back_as_the_same_config() {
        let config = Config {
            stages: vec![Stage { share: 0.05, rule_out: 5.0, soak_s: 2.5 }],
            metrics: vec![Metric::Errors, Metric::Latency],
            ..Config::default()
        };
        assert_eq!(Config::parse(&config.to_line()).unwrap(), config);
    }
}
