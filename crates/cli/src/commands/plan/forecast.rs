//! How long each step of a canary is expected to take and what it can detect, under given traffic.

use humdrum_control::{deploy, trial};
use humdrum_model::judge::{StagePlan, Traffic, plan};
use humdrum_model::manifest::{Canary, EnvironmentPlan};
use serde::Serialize;

use crate::ui::{Tone, Ui};

/// Requests per second where nothing is known of the traffic.
pub(crate) const ASSUMED_RPS: f64 = 100.0;
/// Errors of the release that runs where nothing is known of them, percent.
pub(crate) const ASSUMED_ERROR_PERCENT: f64 = 0.1;

/// The traffic that the times are for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Assumed {
    /// Requests per second of the environment, both versions together.
    pub(crate) rps: f64,
    /// Errors per request of the release that runs.
    pub(crate) error_rate: f64,
}

impl Assumed {
    pub(crate) fn words(&self) -> String {
        let percent = self.error_rate * 100.0;
        format!(
            "{} requests/s and {percent} % errors, independent of each other; say better with --rps and --error-rate",
            self.rps
        )
    }
}

/// A canary's steps with their forecast. Times in seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Ladder {
    metrics: Vec<String>,
    alpha: f64,
    block_s: f64,
    warmup_s: f64,
    deadline_s: f64,
    stages: Vec<StagePlan>,
    /// From the first weight to 100 % for a release that is as good as the present one; absent when a step never ends.
    total_s: Option<f64>,
}

impl Ladder {
    pub(crate) fn new(environment: &EnvironmentPlan, canary: &Canary, assumed: &Assumed) -> Self {
        let settings = deploy::judge(canary);
        let config = trial::config(&settings, vec![]);
        let baseline_instances = u64::from(environment.instances);
        let traffic = Traffic {
            rps: assumed.rps,
            error_rate: assumed.error_rate,
            phi: 1.0,
            baseline_instances,
        };
        let stages = if config.stages.is_empty() { vec![] } else { plan(&config, &traffic) };
        let warmup_s = canary.warmup.ms() as f64 / 1000.0;
        let total_s = stages
            .iter()
            .map(|stage| stage.pass_s)
            .try_fold(warmup_s, |sum, pass| Some(sum + pass?));
        Self {
            metrics: settings.metrics,
            alpha: settings.alpha,
            block_s: config.block_s,
            warmup_s,
            deadline_s: settings.deadline_ms as f64 / 1000.0,
            stages,
            total_s,
        }
    }

    pub(crate) fn show(&self, on_regression: &str, ui: &Ui) {
        ui.line(format!(
            "   canary on {}: blocks of {}, warm-up {}, at most {} a step; on a regression: {on_regression}",
            self.metrics.join(" and "),
            span(self.block_s),
            span(self.warmup_s),
            span(self.deadline_s)
        ));
        ui.line(ui.tone(
            Tone::Quiet,
            "     share   rules out   a good one passes   one that bad fails   smallest it finds",
        ));
        for stage in &self.stages {
            let never = |time: Option<f64>| {
                time.map_or_else(|| "never".into(), |seconds| format!("in {}", span(seconds)))
            };
            let detects =
                stage.detects.map_or_else(|| "nothing".into(), |ratio| format!("{ratio:.1}x"));
            ui.line(format!(
                "   {:>5} %   {:>8}x   {:>17}   {:>18}   {detects:>17}",
                trim(stage.share * 100.0),
                trim(stage.rule_out),
                never(stage.pass_s),
                never(stage.fail_s)
            ));
        }
        ui.line("   then 100 %, smoke checks again, and the old release is kept until the new one has soaked");
        let tolerated = |stage: &StagePlan| stage.pass_s.is_some() && stage.fail_s.is_none();
        if self.stages.iter().any(tolerated) {
            ui.line("   never: with so few errors, one that bad is still within `absolute_margin`");
        }
        match self.total_s {
            Some(total) => ui.line(format!(
                "   about {} in all for a release that is as good as the present one",
                span(total)
            )),
            None => {
                ui.line("   a step that never passes holds at its deadline, and a person decides")
            }
        }
        if let Some(slow) =
            self.stages.iter().find(|stage| stage.pass_s.is_some_and(|pass| pass > self.deadline_s))
        {
            ui.line(format!(
                "   The step of {} % needs longer than its deadline of {}: it would hold. Raise its `rule_out`, or `deadline`.",
                trim(slow.share * 100.0),
                span(self.deadline_s)
            ));
        }
    }
}

/// Two digits at most, without zeros at the end.
pub(crate) fn trim(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A span of time as people say it: two units, the small ones rounded away.
pub(crate) fn span(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{} s", trim((seconds * 10.0).round() / 10.0));
    }
    let whole = seconds.round() as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..7_200 => format!("{:.0} min", seconds / 60.0),
        7_200..172_800 => format!("{:.1} h", seconds / 3_600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_as_people_do() {
        for (seconds, words) in [
            (0.2, "0.2 s"),
            (2.0, "2 s"),
            (90.0, "90 s"),
            (300.0, "5 min"),
            (7_200.0, "2.0 h"),
            (200_000.0, "2.3 days"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }
}
