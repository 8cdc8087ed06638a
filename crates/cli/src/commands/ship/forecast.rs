//! Before a rollout starts: how long each stage of each canary is expected to take, what it can detect, and on what traffic
//! that rests.

use humdrum_api::routes::traffic::TrafficView;
use humdrum_model::manifest::{EnvironmentPlan, Manifest, Strategy};
use serde::Serialize;

use crate::client::Client;
use crate::commands::plan::forecast::{
    ASSUMED_ERROR_PERCENT, ASSUMED_RPS, Assumed, Ladder, span, trim,
};
use crate::commands::plan::on_regression;
use crate::exit::Failure;
use crate::ui::{Tone, Ui};

/// One environment with a canary. `ship --json` prints all of them in one line: `{"forecast":[…]}`.
#[derive(Debug, Serialize)]
pub(super) struct Forecast {
    environment: String,
    /// Nothing runs there yet, so this release goes all at once and nothing is judged.
    first: bool,
    on_regression: &'static str,
    traffic: Basis,
    ladder: Ladder,
}

/// What the times rest on.
#[derive(Debug, PartialEq, Serialize)]
struct Basis {
    /// `measured` at the edge, or `assumed`.
    source: &'static str,
    /// Requests per second, both versions together.
    rps: f64,
    /// Errors per request of the release that runs.
    error_rate: f64,
    /// Requests that were counted; absent when assumed.
    requests: Option<u64>,
    /// Time in which they were counted, seconds; absent when assumed.
    seconds: Option<f64>,
    /// Why it is assumed; absent when measured.
    why: Option<String>,
}

impl Basis {
    /// Of what control answered. An unknown placement is a first release; every other failure only costs the measurement.
    fn of(answer: Result<TrafficView, Failure>) -> (bool, Self) {
        let assumed = |why: String| Self {
            source: "assumed",
            rps: ASSUMED_RPS,
            error_rate: ASSUMED_ERROR_PERCENT / 100.0,
            requests: None,
            seconds: None,
            why: Some(why),
        };
        match answer {
            Ok(view) => match view.measured {
                Some(found) => {
                    let basis = Self {
                        source: "measured",
                        rps: found.rps,
                        error_rate: found.error_rate,
                        requests: Some(found.requests),
                        seconds: Some(found.seconds),
                        why: None,
                    };
                    (!view.stable, basis)
                }
                None => (!view.stable, assumed(view.why_not.unwrap_or_default())),
            },
            Err(failure) if failure.code == "no-such-placement" => {
                (true, assumed("nothing runs there yet".into()))
            }
            Err(failure) => (false, assumed(failure.what)),
        }
    }

    fn words(&self) -> String {
        let figures =
            format!("{} requests/s and {} % errors", trim(self.rps), trim(self.error_rate * 100.0));
        match (&self.why, self.seconds) {
            (None, Some(seconds)) => {
                format!("rests on {figures}, measured at the edge in the last {}", span(seconds))
            }
            (why, _) => format!(
                "rests on an assumption, {figures}: {}. With your figures: humdrum plan --rps N --error-rate PERCENT",
                why.as_deref().unwrap_or("nothing was measured")
            ),
        }
    }
}

/// Of every environment with a canary, in order.
pub(super) async fn forecasts(client: &Client, manifest: &Manifest) -> Vec<Forecast> {
    let mut all = vec![];
    for plan in manifest.plans() {
        let path = format!("/api/v1/placements/{}/{}/traffic", manifest.service, plan.name);
        if matches!(plan.strategy, Strategy::Canary(_)) {
            all.extend(forecast(&plan, client.get(&path).await));
        }
    }
    all
}

fn forecast(plan: &EnvironmentPlan, answer: Result<TrafficView, Failure>) -> Option<Forecast> {
    let Strategy::Canary(canary) = &plan.strategy else { return None };
    let (first, traffic) = Basis::of(answer);
    let assumed = Assumed { rps: traffic.rps, error_rate: traffic.error_rate };
    Some(Forecast {
        environment: plan.name.to_string(),
        first,
        on_regression: on_regression(plan),
        ladder: Ladder::new(plan, canary, &assumed),
        traffic,
    })
}

/// Prints what is expected: for people, or as one line of JSON before everything else.
pub(super) fn tell(forecasts: &[Forecast], ui: &Ui) {
    ui.document(&serde_json::json!({ "forecast": forecasts }));
    for forecast in forecasts {
        ui.line(format!("{}: what to expect", ui.tone(Tone::Strong, &forecast.environment)));
        if forecast.first {
            ui.line("   the first release there goes all at once; nothing is judged yet");
            continue;
        }
        forecast.ladder.show(forecast.on_regression, ui);
        ui.line(format!("   {}", forecast.traffic.words()));
    }
}

#[cfg(test)]
mod tests {
    use humdrum_model::judge::Measured;

    use super::*;
    use crate::exit::Exit;

    fn view(stable: bool, measured: Option<Measured>) -> TrafficView {
        TrafficView {
            id: "shop/production".into(),
            stable,
            window_s: 300.0,
            why_not: measured.is_none().then(|| "the edge saw no request there".into()),
            measured,
        }
    }

    #[test]
    fn what_the_times_rest_on_is_said() {
        let measured =
            Measured { seconds: 300.0, requests: 243_000, rps: 810.0, error_rate: 0.012 };
        let gone =
            |code| Failure::new(Exit::Failed, code, "control at 127.0.0.1:1 does not answer");
        #[rustfmt::skip]
        let cases = [
            // control says                       first  words
            (Ok(view(true, Some(measured))),      false, "rests on 810 requests/s and 1.2 % errors, measured at the edge in the last 5 min"),
            (Ok(view(true, None)),                false, "rests on an assumption, 100 requests/s and 0.1 % errors: the edge saw no request there."),
            (Ok(view(false, None)),               true,  "rests on an assumption"),
            (Err(gone("no-such-placement")),      true,  "rests on an assumption, 100 requests/s and 0.1 % errors: nothing runs there yet."),
            (Err(gone("unreachable")),            false, "rests on an assumption, 100 requests/s and 0.1 % errors: control at 127.0.0.1:1 does not answer."),
        ];
        for (answer, first, words) in cases {
            let (found, basis) = Basis::of(answer);
            assert_eq!((found, basis.words().starts_with(words)), (first, true), "{basis:?}");
        }
    }

    #[test]
    fn more_traffic_than_assumed_is_told_sooner() {
        let text = "service: shop\nowner: team-shop\nbuild: { files: { /app/run.sh: run.sh } }\nrun: { command: [/app/run.sh], port: 18080, instances: 3 }\nenvironments:\n  production: { rollout: { canary: {} } }\n";
        let manifest = Manifest::parse(text).unwrap_or_else(|p| panic!("{p:?}"));
        let plan = manifest.plans().remove(0);
        let total = |rps| {
            let found = Measured { seconds: 300.0, requests: 1, rps, error_rate: 0.01 };
            let forecast = forecast(&plan, Ok(view(true, Some(found)))).unwrap();
            serde_json::to_value(&forecast).unwrap()["ladder"]["total_s"].as_f64().unwrap()
        };
        assert!(total(2_000.0) < total(20.0));
    }
}
