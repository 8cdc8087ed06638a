//! `humdrum watch [WHAT]`: follows a ship or a rollout until it ends: a live tree on a terminal, a line for each change otherwise.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use humdrum_control::clock::now;
use humdrum_control::view::{PlacementView, RolloutView, ShipView};
use humdrum_model::judge::Verdict;
use humdrum_model::report::{percent, spoken};
use humdrum_model::rollout::WaitKind;

use super::block_on;
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

/// How often control is asked.
const ASK: Duration = Duration::from_millis(200);
/// Without a change, a line says so after this: silence is not an answer.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// A restart of control is waited out for this long.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// A ship, a deployment or service/environment; default: the newest ship.
    what: Option<String>,
    /// Stop waiting after this (`90s`, `10m`).
    #[arg(long, value_parser = duration)]
    timeout: Option<Duration>,
}

/// How long to follow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Follow {
    pub(crate) timeout: Option<Duration>,
}

/// `90s`, `10m`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|error| format!("`{text}` is not a duration like 90s or 10m: {error}"))?;
    Duration::try_from(span).map_err(|_| format!("`{text}` is not a positive duration"))
}

impl Watch {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let client = Client::of(places)?;
        let follow = Follow { timeout: self.timeout };
        block_on(async {
            let what = match self.what {
                Some(what) => what,
                None => newest(&client).await?,
            };
            if what.starts_with("s-") {
                return follow_ship(&client, &what, ui, &follow).await;
            }
            let why: humdrum_api::routes::explain::Why =
                client.get(&format!("/api/v1/explain/{what}")).await?;
            let placement = match (&why.ended, what.contains('/')) {
                (Some(ended), _) if !what.contains('/') => ended.placement.clone(),
                (_, true) => what.clone(),
                _ => why.subject.clone(),
            };
            follow_placement(&client, &placement, ui, &follow).await
        })
    }
}

async fn newest(client: &Client) -> Result<String, Failure> {
    let ships: Vec<ShipView> = client.get("/api/v1/ships").await?;
    ships.first().map(|ship| ship.id.clone()).ok_or_else(|| {
        Failure::new(Exit::BadInput, "nothing-yet", "nothing was shipped yet").next("humdrum ship")
    })
}

/// Follows a ship to its end and says how it ended by the exit code.
pub(crate) async fn follow_ship(client: &Client, id: &str, ui: &Ui, follow: &Follow) -> Outcome {
    let mut screen = Screen::new(*ui);
    let started = Instant::now();
    loop {
        let ship: ShipView = patiently(client, &format!("/api/v1/ships/{id}")).await?;
        let placement = match &ship.environment {
            Some(environment) => client
                .get::<PlacementView>(&format!("/api/v1/placements/{}/{environment}", ship.service))
                .await
                .ok(),
            None => None,
        };
        screen.show(&ship_lines(*ui, &ship, placement.as_ref()), &key(&ship, placement.as_ref()));
        if let Some(outcome) = &ship.outcome {
            screen.end();
            return Ok(finish(client, ui, &ship, outcome).await);
        }
        if let Some(exit) = placement.as_ref().and_then(waits_for_person) {
            screen.end();
            return Ok(say_waiting(ui, &ship, placement.as_ref(), exit));
        }
        if follow.timeout.is_some_and(|timeout| started.elapsed() > timeout) {
            screen.end();
            ui.document(&ship);
            ui.remark(format!(
                "The time given is over; the ship goes on. Follow it: humdrum watch {id}"
            ));
            return Ok(Exit::Unknown);
        }
        tokio::time::sleep(ASK).await;
    }
}

async fn follow_placement(client: &Client, id: &str, ui: &Ui, follow: &Follow) -> Outcome {
    let mut screen = Screen::new(*ui);
    let started = Instant::now();
    loop {
        let placement: PlacementView =
            patiently(client, &format!("/api/v1/placements/{id}")).await?;
        screen.show(&placement_lines(*ui, &placement), &placement_key(&placement));
        if placement.rollout.is_none() {
            screen.end();
            ui.document(&placement);
            let Some(ended) = placement.history.first() else { return Ok(Exit::Ok) };
            ended.sentences.iter().for_each(|sentence| ui.line(sentence));
            return Ok(exit_of(
                &ended.outcome,
                ended.verdicts.last().map(|verdict| verdict.verdict),
            ));
        }
        if let Some(exit) = waits_for_person(&placement) {
            screen.end();
            ui.document(&placement);
            placement.explanation.report.sentences.iter().for_each(|sentence| ui.line(sentence));
            return Ok(exit);
        }
        if follow.timeout.is_some_and(|timeout| started.elapsed() > timeout) {
            screen.end();
            ui.document(&placement);
            return Ok(Exit::Unknown);
        }
        tokio::time::sleep(ASK).await;
    }
}

/// Asks again while control restarts.
async fn patiently<T: serde::de::DeserializeOwned>(
    client: &Client,
    path: &str,
) -> Result<T, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        match client.get(path).await {
            Err(failure) if failure.exit == Exit::Unreachable && Instant::now() < until => {
                tokio::time::sleep(ASK).await
            }
            other => return other,
        }
    }
}

/// Waits for an approval (4), or at a verdict that only a person can decide about (5).
fn waits_for_person(placement: &PlacementView) -> Option<Exit> {
    match placement.explanation.waits_for {
        WaitKind::Approval => Some(Exit::WaitsForPerson),
        WaitKind::Person => Some(Exit::Inconclusive),
        _ => None,
    }
}

fn say_waiting(ui: &Ui, ship: &ShipView, placement: Option<&PlacementView>, exit: Exit) -> Exit {
    ui.document(&serde_json::json!({ "ship": ship, "placement": placement, "exit": exit as u8 }));
    if let Some(placement) = placement {
        placement.explanation.report.sentences.iter().for_each(|sentence| ui.line(sentence));
        if let Some(next) = &placement.explanation.report.next {
            ui.line(format!("next: {next}"));
        }
    }
    exit
}

async fn finish(client: &Client, ui: &Ui, ship: &ShipView, outcome: &str) -> Exit {
    let verdict = match ship.stops.last() {
        Some(stop) => {
            let why = client
                .get::<humdrum_api::routes::explain::Why>(&format!(
                    "/api/v1/explain/{}",
                    stop.deployment_id
                ))
                .await
                .ok();
            why.and_then(|why| why.ended)
                .and_then(|ended| ended.verdicts.last().map(|verdict| verdict.verdict))
        }
        None => None,
    };
    ui.document(ship);
    let tone = if outcome == "promoted" { Tone::Good } else { Tone::Bad };
    ui.line(ui.tone(tone, &outcome.replace('_', " ").to_uppercase()));
    ship.sentences.iter().for_each(|sentence| ui.line(format!("  {sentence}")));
    if let Some(next) = &ship.next {
        ui.line(format!("  next: {next}"));
    }
    exit_of(outcome, verdict)
}

/// The exit codes of `ship` and `watch`.
fn exit_of(outcome: &str, verdict: Option<Verdict>) -> Exit {
    match outcome {
        "promoted" | "already_there" => Exit::Ok,
        "refused" | "held" => Exit::Refused,
        "aborted"
            if matches!(
                verdict,
                Some(Verdict::Inconclusive | Verdict::Insufficient | Verdict::Invalid)
            ) =>
        {
            Exit::Inconclusive
        }
        _ => Exit::Failed,
    }
}

fn key(ship: &ShipView, placement: Option<&PlacementView>) -> String {
    format!(
        "{}|{:?}|{}",
        ship.phase,
        ship.environment,
        placement.map_or_else(String::new, placement_key)
    )
}

fn placement_key(placement: &PlacementView) -> String {
    placement.rollout.as_ref().map_or_else(String::new, |rollout| {
        let running = rollout.steps.iter().position(|step| step.state == "running");
        format!(
            "{}|{running:?}|{}|{}|{}|{:?}",
            rollout.deployment_id,
            rollout.weight,
            rollout.returning,
            rollout.paused,
            placement.explanation.waits_for
        )
    })
}

fn ship_lines(ui: Ui, ship: &ShipView, placement: Option<&PlacementView>) -> Vec<String> {
    let took = spoken(now().as_millisecond() - ship.started.as_millisecond());
    let mut lines = vec![format!(
        "{} {} @ {}  {took}",
        ui.tone(Tone::Strong, &ship.service),
        ship.id,
        &ship.commit[..10]
    )];
    let state = match (ship.phase.as_str(), &ship.digest) {
        ("building", _) => "running",
        (_, Some(_)) => "done",
        (_, None) => "failed",
    };
    lines.push(mark(
        ui,
        state,
        &ship.digest.as_ref().map_or("build, test, pack, describe, sign".into(), |digest| {
            format!("built and signed {}", &digest[..19])
        }),
    ));
    for environment in &ship.environments {
        let stop = ship.stops.iter().find(|stop| stop.environment == *environment);
        let here = ship.environment.as_ref() == Some(environment);
        let state = match (stop, here) {
            (Some(stop), false)
                if stop.outcome == "promoted" || stop.outcome == "already_there" =>
            {
                "done"
            }
            (Some(_), false) => "failed",
            (_, true) => "running",
            (None, false) => "waiting",
        };
        lines.push(mark(ui, state, environment));
        if let Some(placement) = placement.filter(|_| here) {
            lines.extend(
                placement_lines(ui, placement).into_iter().map(|line| format!("   {line}")),
            );
        }
    }
    lines
}

fn mark(ui: Ui, state: &str, text: &str) -> String {
    match state {
        "done" => format!(" {} {text}", ui.tone(Tone::Good, "✓")),
        "failed" => format!(" {} {text}", ui.tone(Tone::Bad, "✗")),
        "running" => format!(" {} {text}", ui.tone(Tone::Strong, "▸")),
        _ => ui.tone(Tone::Quiet, &format!(" · {text}")),
    }
}

fn placement_lines(ui: Ui, placement: &PlacementView) -> Vec<String> {
    let Some(rollout) = &placement.rollout else {
        return placement.explanation.report.sentences.iter().take(1).cloned().collect();
    };
    let mut lines = Vec::new();
    if ui.terminal {
        lines.extend(rollout.steps.iter().map(|step| mark(ui, &step.state, &step.words)));
    }
    lines.push(traffic(rollout));
    lines.extend(placement.explanation.report.sentences.iter().take(2).cloned());
    if let Some(judge) = &rollout.judge {
        lines.push(format!("judge: {}", judge.sentence));
    }
    lines
}

fn traffic(rollout: &RolloutView) -> String {
    let wanted = percent(rollout.weight);
    match rollout.weight_seen {
        Some(seen) => format!("traffic: wanted {wanted}, measured {}", percent(seen)),
        // Only judged stages are measured.
        None => format!("traffic: wanted {wanted}"),
    }
}

/// Draws in place on a terminal; elsewhere prints what is new.
struct Screen {
    ui: Ui,
    drawn: usize,
    last_key: String,
    last_line: Instant,
}

impl Screen {
    fn new(ui: Ui) -> Self {
        Self { ui, drawn: 0, last_key: String::new(), last_line: Instant::now() }
    }

    fn show(&mut self, lines: &[String], key: &str) {
        if self.ui.json {
            return;
        }
        if self.ui.terminal {
            let mut out = std::io::stdout().lock();
            if self.drawn > 0 {
                let _ = write!(out, "\u{1b}[{}A\u{1b}[J", self.drawn);
            }
            let width = width();
            for line in lines {
                let _ = writeln!(out, "{}", cut(line, width));
            }
            let _ = out.flush();
            self.drawn = lines.len();
        } else if key != self.last_key || self.last_line.elapsed() > HEARTBEAT {
            let text: Vec<&str> = lines
                .iter()
                .skip(1)
                .map(|line| line.trim())
                .filter(|line| !line.starts_with('·'))
                .collect();
            self.ui.line(text.join("; "));
            self.last_line = Instant::now();
        }
        self.last_key = key.into();
    }

    fn end(&mut self) {
        self.drawn = 0;
    }
}

fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(100, |size| usize::from(size.ws_col).max(20))
}

/// Cuts a line to the terminal: a wrapped line would break the drawing in place. Colour codes take no room.
fn cut(line: &str, width: usize) -> String {
    let mut out = String::new();
    let (mut shown, mut escape) = (0, false);
    for c in line.chars() {
        if c == '\u{1b}' {
            escape = true;
        }
        if !escape {
            shown += 1;
            if shown > width {
                return out + "\u{1b}[0m";
            }
        }
        if escape && c == 'm' {
            escape = false;
        }
        out.push(c);
    }
    out
}
