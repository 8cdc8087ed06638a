//! `humdrum demo`: two good releases and a bad one, for real, on this machine: nothing is scripted but the three commits.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use humdrum_api::routes::explain::Why;
use humdrum_control::view::{EndedView, PlacementView, ShipView};
use serde::Serialize;

use super::ship::request;
use super::watch::{Follow, follow_ship};
use super::{block_on, down, up};
use crate::client::Client;
use crate::demo::repository::{Character, Sample};
use crate::demo::traffic::Traffic;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::supervisor::{ROLES, Supervisor, stop};
use crate::ui::{Tone, Ui};

/// Requests a second: enough to judge 1 % of them within seconds.
const RPS: u32 = 2_500;
/// A demo that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Traffic before the second release, so that the judge knows the baseline.
const SETTLE: Duration = Duration::from_secs(3);

const RELEASES: [Character; 3] = [
    Character {
        message: "Open the shop",
        greeting: "hello from the first release",
        errors: 10,
        slow: 0,
    },
    Character {
        message: "Say it nicer",
        greeting: "good day from the second release",
        errors: 10,
        slow: 0,
    },
    Character {
        message: "Make it faster (or so we thought)",
        greeting: "hi from the third release",
        errors: 200,
        slow: 100,
    },
];

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave everything running at the end, to look around.
    #[arg(long)]
    keep: bool,
}

/// One release of the demo, in the final report.
#[derive(Debug, Serialize)]
struct Release {
    commit: String,
    digest: String,
    outcome: String,
    /// From the start of the rollout in production to its last verdict; null without a judge.
    seconds_to_verdict: Option<f64>,
    /// Until the edge confirmed weight 0; null unless it went back.
    seconds_verdict_to_zero: Option<f64>,
    /// Percent.
    canary_share_max: f64,
}

#[derive(Debug, Serialize)]
struct Requests {
    sent: u64,
    lost: u64,
}

#[derive(Debug, Serialize)]
struct Summary {
    releases: Vec<Release>,
    requests: Requests,
    seconds: f64,
}

impl Demo {
    pub(crate) fn run(self, _: &Places, ui: &Ui) -> Outcome {
        let folder = tempfile::Builder::new().prefix("humdrum-demo-").tempdir();
        let folder = folder
            .map_err(|error| {
                Failure::new(Exit::Failed, "folder", "no temporary folder can be made")
                    .cause(&error)
            })?
            .keep();
        // Instances run as users of their own and have to pass through.
        let _ =
            std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755));
        let places = Places::find(Some(folder.join("data")))?;
        let ended = self.play(&folder, &places, ui);
        if self.keep && ended.is_ok() {
            ui.line(format!(
                "Everything goes on. Look around:  export HUMDRUM_DATA={}",
                places.data.display()
            ));
            ui.line("  humdrum explain last · humdrum status · humdrum log demo-shop/production · humdrum down");
            return ended;
        }
        for role in ROLES.into_iter().rev() {
            if role == crate::supervisor::Role::Agent {
                let _ = down::halt(&places);
            }
            stop(&places, role);
        }
        let removed = std::fs::remove_dir_all(&folder);
        if let (Err(error), Ok(_)) = (removed, &ended) {
            ui.remark(format!("{} could not be removed: {error}", folder.display()));
        }
        ended
    }

    fn play(&self, folder: &std::path::Path, places: &Places, ui: &Ui) -> Outcome {
        let started = Instant::now();
        let ports = free_ports()?;
        let mut supervisor = Supervisor::new(
            places,
            vec!["--listen".into(), format!("127.0.0.1:{}", ports[3])],
            vec![],
        )?;
        up::start(&mut supervisor, places)?;
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let keeper = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let _ = supervisor.tick();
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        ui.line(format!(
            "{} after {:.1} s: control, edge and agent on this machine, data in {}",
            ui.tone(Tone::Good, "Humdrum is up"),
            started.elapsed().as_secs_f64(),
            places.data.display()
        ));
        let sample = Sample::make(&folder.join("demo-shop"), [ports[0], ports[1], ports[2]])?;
        let client = Client::of(places)?;
        let production = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[2]));
        let played = block_on(async {
            tokio::select! {
                played = story(&client, &sample, production, ui) => played,
                () = tokio::time::sleep(PATIENCE) => Err(Failure::new(Exit::Unknown, "timeout", format!("the demo did not end within {} s", PATIENCE.as_secs())).next("humdrum doctor")),
                _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Failed, "interrupted", "the demo was interrupted")),
            }
        });
        over.store(true, Ordering::Relaxed);
        let _ = keeper.join();
        let (releases, requests) = played?;
        let summary =
            Summary { releases, requests, seconds: round(started.elapsed().as_secs_f64()) };
        report(ui, &summary);
        let outcomes: Vec<&str> =
            summary.releases.iter().map(|release| release.outcome.as_str()).collect();
        let right =
            outcomes == ["promoted", "promoted", "rolled_back"] && summary.requests.lost == 0;
        Ok(if right { Exit::Ok } else { Exit::Failed })
    }
}

async fn story(
    client: &Client,
    sample: &Sample,
    production: SocketAddr,
    ui: &Ui,
) -> Result<(Vec<Release>, Requests), Failure> {
    let quiet = Ui { json: false, ..*ui };
    let mut traffic: Option<Traffic> = None;
    let mut releases = Vec::new();
    for (index, character) in RELEASES.into_iter().enumerate() {
        sample.commit(character)?;
        ui.line("");
        ui.line(ui.tone(
            Tone::Strong,
            &format!(
                "Commit {}: {} ({} % errors)",
                index + 1,
                character.message,
                character.errors / 10
            ),
        ));
        let wish = request(&sample.folder, "HEAD")?;
        let ship: ShipView = client.post("/api/v1/ships", &wish).await?;
        if ui.json {
            wait(client, &ship.id).await?;
        } else {
            follow_ship(client, &ship.id, &quiet, &Follow::default()).await?;
        }
        releases.push(release(client, &ship.id).await?);
        if traffic.is_none() {
            if releases[0].outcome != "promoted" {
                break;
            }
            traffic = Some(Traffic::start(production, RPS));
            ui.line(format!(
                "Traffic: {RPS} requests a second on http://{production}, from here to the end."
            ));
            tokio::time::sleep(SETTLE).await;
        }
    }
    let counts = match traffic {
        Some(traffic) => traffic.end().await,
        None => Arc::default(),
    };
    // A machine that cannot build has said so above, and no rollout is there to explain.
    if releases.len() == RELEASES.len() {
        let why: Why = client.get("/api/v1/explain/last").await?;
        ui.line("");
        ui.line(ui.tone(Tone::Strong, "$ humdrum explain last"));
        why.sentences.iter().for_each(|sentence| ui.line(sentence));
    }
    let requests = Requests {
        sent: counts.sent.load(Ordering::Relaxed),
        lost: counts.lost.load(Ordering::Relaxed),
    };
    Ok((releases, requests))
}

async fn wait(client: &Client, id: &str) -> Result<(), Failure> {
    loop {
        let ship: ShipView = client.get(&format!("/api/v1/ships/{id}")).await?;
        if ship.outcome.is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn release(client: &Client, id: &str) -> Result<Release, Failure> {
    let ship: ShipView = client.get(&format!("/api/v1/ships/{id}")).await?;
    let placement: Option<PlacementView> =
        client.get("/api/v1/placements/demo-shop/production").await.ok();
    let ended = placement.and_then(|placement| {
        placement.history.into_iter().find(|ended| ended.ship.as_deref() == Some(id))
    });
    let seconds = |from: jiff::Timestamp, to: jiff::Timestamp| {
        round((to.as_millisecond() - from.as_millisecond()) as f64 / 1000.0)
    };
    let verdict = |ended: &EndedView| ended.verdicts.last().map(|verdict| verdict.at);
    Ok(Release {
        commit: ship.commit,
        digest: ship.digest.unwrap_or_default(),
        outcome: ship.outcome.unwrap_or_default(),
        seconds_to_verdict: ended
            .as_ref()
            .and_then(|ended| Some(seconds(ended.started, verdict(ended)?))),
        seconds_verdict_to_zero: ended
            .as_ref()
            .and_then(|ended| Some(seconds(verdict(ended)?, ended.zero_at?))),
        canary_share_max: ended.map_or(0.0, |ended| f64::from(ended.weight_max) / 100.0),
    })
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

fn report(ui: &Ui, summary: &Summary) {
    ui.document(summary);
    ui.line("");
    for release in &summary.releases {
        let verdict = release.seconds_to_verdict.map_or_else(
            || "no canary: it was the first".into(),
            |seconds| format!("verdict after {seconds:.1} s"),
        );
        let zero = release
            .seconds_verdict_to_zero
            .map(|seconds| format!(", traffic at 0 % {:.0} ms later", seconds * 1000.0))
            .unwrap_or_default();
        ui.line(format!(
            "{}  {:<11} at most {} % of the traffic, {verdict}{zero}",
            &release.commit[..10],
            release.outcome,
            release.canary_share_max
        ));
    }
    ui.line(format!(
        "{} requests, {} lost, {:.0} s in all.",
        summary.requests.sent, summary.requests.lost, summary.seconds
    ));
    ui.line("Your own repository:  humdrum up --detach && cd your-repository && humdrum init");
}

/// Ports that are free now: dev, staging, production and control.
fn free_ports() -> Result<[u16; 4], Failure> {
    let mut held = Vec::new();
    let mut ports = [0; 4];
    for port in &mut ports {
        let none = |error: std::io::Error| {
            Failure::new(Exit::Failed, "port-taken", "no port is free").cause(&error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(none)?;
        *port = listener.local_addr().map_err(none)?.port();
        held.push(listener);
    }
    Ok(ports)
}
