//! `humdrum up`: every role of this machine, started or adopted, and kept running.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use humdrum_adapters::http::{Peer, exchange, request};

use super::block_on;
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::roles::until_signal;
use crate::supervisor::{READY, Supervisor};
use crate::ui::{Tone, Ui};

/// How often the roles are looked at.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Address of the API and registry; loopback. Kept in the data folder.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Return once everything answers; the supervisor goes on in the background.
    #[arg(long)]
    detach: bool,
}

impl Up {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        places.make()?;
        if self.detach {
            return self.detached(places, ui);
        }
        let _lock = single(places)?;
        let pid = places.run().join("up.pid");
        // Written beside and renamed: `down` and people read it at any moment, also while the next supervisor starts.
        let written = pid.with_extension("pid.new");
        std::fs::write(&written, std::process::id().to_string())
            .and_then(|()| std::fs::rename(&written, &pid))
            .map_err(|error| crate::places::unusable(&pid, &error))?;
        let control =
            self.listen.map(|addr| vec!["--listen".into(), addr.to_string()]).unwrap_or_default();
        let mut supervisor = Supervisor::new(places, control, vec![])?;
        let adopted = supervisor.adopted();
        if !adopted.is_empty() {
            ui.line(format!("adopted: {}", adopted.join(", ")));
        }
        start(&mut supervisor, places)?;
        report(places, ui)?;
        let stop = tokio_util::sync::CancellationToken::new();
        let asked = stop.clone();
        std::thread::spawn(move || block_on(until_signal(asked)));
        while !stop.is_cancelled() {
            supervisor.tick()?;
            std::thread::sleep(TICK);
        }
        ui.line("The supervisor ends; control, edge, agent and all instances go on. `humdrum up` adopts them, `humdrum down` stops them.");
        Ok(Exit::Ok)
    }

    fn detached(&self, places: &Places, ui: &Ui) -> Outcome {
        let log = places.logs().join("up.log");
        let out = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|error| crate::places::unusable(&log, &error))?;
        let err = out.try_clone().map_err(|error| crate::places::unusable(&log, &error))?;
        let exe = std::env::current_exe().map_err(|error| {
            Failure::new(Exit::Failed, "executable", "this executable cannot be found")
                .cause(&error)
        })?;
        let mut command = Command::new(exe);
        command.arg("--data").arg(&places.data).arg("up");
        if let Some(addr) = self.listen {
            command.arg("--listen").arg(addr.to_string());
        }
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let mut child = command.spawn().map_err(|error| {
            Failure::new(Exit::Failed, "start", "the supervisor cannot be started").cause(&error)
        })?;
        let until = Instant::now() + READY;
        // Roles that were adopted answer before the new supervisor is one; its own mark says that it is.
        while !(supervised_by(places, child.id()) && answers(places)) {
            if let Ok(Some(_)) = child.try_wait() {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(8).collect();
                return Err(Failure::new(Exit::Failed, "start", "the supervisor ended at once")
                    .why(tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
                    .next("humdrum doctor"));
            }
            if Instant::now() > until {
                return Err(Failure::new(
                    Exit::Failed,
                    "start",
                    format!("not every role answered within {} s", READY.as_secs()),
                )
                .at(places.logs().display().to_string())
                .next("humdrum doctor"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        report(places, ui)?;
        Ok(Exit::Ok)
    }
}

/// Whether the supervisor that is in charge of the data folder is the process `pid`.
fn supervised_by(places: &Places, pid: u32) -> bool {
    std::fs::read_to_string(places.run().join("up.pid")).is_ok_and(|text| text == pid.to_string())
}

/// Only one supervisor for a data folder: two would start everything twice.
pub(crate) fn single(places: &Places) -> Result<std::fs::File, Failure> {
    use rustix::fs::{FlockOperation, flock};
    let path = places.run().join("up.lock");
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| crate::places::unusable(&path, &error))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::new(
            Exit::Failed,
            "already-up",
            format!("a supervisor runs on `{}` already", places.data.display()),
        )
        .next("humdrum status")
    })?;
    Ok(file)
}

/// Starts what does not run and waits until every role answers.
pub(crate) fn start(supervisor: &mut Supervisor, places: &Places) -> Result<(), Failure> {
    let until = Instant::now() + READY;
    loop {
        supervisor.tick()?;
        if answers(places) {
            return Ok(());
        }
        if let Some((role, log)) = supervisor.failing() {
            for role in crate::supervisor::ROLES.into_iter().rev() {
                crate::supervisor::stop(places, role);
            }
            return Err(Failure::new(
                Exit::Failed,
                "start",
                format!("the {role} ends again and again"),
            )
            .why(log)
            .at(places.logs().join(format!("{role}.log")).display().to_string())
            .next("humdrum doctor"));
        }
        if Instant::now() > until {
            return Err(Failure::new(
                Exit::Failed,
                "start",
                format!("not every role answered within {} s", READY.as_secs()),
            )
            .at(places.logs().display().to_string())
            .next("humdrum doctor"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether control, edge and agent all answer.
pub(crate) fn answers(places: &Places) -> bool {
    let Ok(client) = Client::of(places) else { return false };
    block_on(async {
        for peer in [
            Peer::Tcp(client.addr),
            Peer::Unix(places.edge_socket()),
            Peer::Unix(places.agent_socket()),
        ] {
            let answer =
                exchange(&peer, request("GET", "/healthz", None::<&()>), Duration::from_secs(1))
                    .await;
            if !answer.is_ok_and(|answer| answer.is_success()) {
                return false;
            }
        }
        true
    })
}

fn report(places: &Places, ui: &Ui) -> Result<(), Failure> {
    let client = Client::of(places)?;
    ui.document(&serde_json::json!({ "status": "up", "api": format!("http://{}", client.addr), "data": places.data }));
    ui.line(format!("{} on this machine", ui.tone(Tone::Good, "Humdrum is up")));
    ui.line(format!("  API and registry   http://{}", client.addr));
    ui.line(format!("  data folder        {}", places.data.display()));
    ui.line(format!(
        "  registry login     docker login -u humdrum --password-stdin {} < {}",
        client.addr,
        places.token().display()
    ));
    ui.line("  next               humdrum init   (in your repository; it says what comes then)");
    Ok(())
}
