//! Every command, one file each. A new file here gets one variant and one line in [`run`].

use clap::Subcommand;

use crate::exit::Outcome;
use crate::places::Places;
use crate::ui::Ui;

pub(crate) mod abort;
pub(crate) mod advisories;
pub(crate) mod approve;
pub(crate) mod backup;
pub(crate) mod build;
pub(crate) mod demo;
pub(crate) mod docs;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod explain;
pub(crate) mod gate;
pub(crate) mod hold;
pub(crate) mod init;
pub(crate) mod judge;
pub(crate) mod log;
pub(crate) mod plan;
pub(crate) mod registry;
pub(crate) mod restore;
pub(crate) mod role;
pub(crate) mod rollback;
pub(crate) mod scan;
pub(crate) mod secrets;
pub(crate) mod settings;
pub(crate) mod ship;
pub(crate) mod sim;
pub(crate) mod status;
pub(crate) mod unhold;
pub(crate) mod up;
pub(crate) mod verify;
pub(crate) mod version;
pub(crate) mod waive;
pub(crate) mod waivers;
pub(crate) mod watch;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work: a sample service, two good releases and a bad one, on this machine.
    Demo(demo::Demo),
    /// Start everything on this machine; adopts what runs already.
    Up(up::Up),
    /// Stop everything that runs on this data folder.
    Down(down::Down),
    /// Write a commented humdrum.yaml for this repository.
    Init(init::Init),
    /// Check this machine and say how to mend what is missing.
    Doctor(doctor::Doctor),
    /// Show what shipping the working tree would do; changes nothing.
    Plan(plan::Plan),
    /// Ship a commit through all environments.
    Ship(ship::Ship),
    /// Follow a ship or a rollout until it ends.
    Watch(watch::Watch),
    /// What runs where, and what happens now.
    Status(status::Status),
    /// Why? For `last`, a ship, a deployment, or service/environment.
    Explain(explain::Explain),
    /// Bring the former release back, and hold the present one.
    Rollback(rollback::Rollback),
    /// End a rollout: its traffic goes to 0 % first.
    Abort(abort::Abort),
    /// Keep a release, digest, service or environment from being deployed.
    Hold(hold::Hold),
    /// Lift a hold.
    Unhold(unhold::Unhold),
    /// Let a waiting rollout go on.
    Approve(approve::Approve),
    /// Ask the gates without deploying, test policies, print them.
    Gate(gate::Gate),
    /// Grant an exception to a gate's rule, with a reason and an end.
    Waive(waive::Waive),
    /// List or revoke exceptions.
    Waivers(waivers::Waivers),
    /// Verify an artifact's signature, SBOM and provenance, offline.
    Verify(verify::Verify),
    /// Look into a folder or an image: packages with licences, and a bill of materials in CycloneDX or SPDX.
    Scan(scan::Scan),
    /// Look after the registry: which images go, and when.
    Registry(registry::Registry),
    /// Environments of this installation, and who may do what in them.
    Settings(settings::Settings),
    /// Bring advisories in, and match an SBOM with them, offline.
    Advisories(advisories::Advisories),
    /// Build a commit into an image, here; `--verify` builds twice and compares.
    Build(build::Build),
    /// Find keys and passwords in files, in the staged change or in the whole history.
    Secrets(secrets::Secrets),
    /// Run the judge on recorded blocks, or export a rollout's.
    Judge(judge::Judge),
    /// Print the log of a build, or of a service's instances.
    Log(log::Log),
    /// Back up everything that cannot be made anew, while it runs.
    Backup(backup::Backup),
    /// Put a backup into an empty data folder, after checking all of it.
    Restore(restore::Restore),
    /// Rehearse: replay a seed or a scenario.
    Sim(sim::Sim),
    /// Print the version.
    Version(version::Version),
    /// Print this reference as Markdown.
    #[command(name = "__docs", hide = true)]
    Docs(docs::Docs),
    /// Run one role in the foreground (for systemd).
    #[command(hide = true)]
    Role(role::Role),
}

pub(crate) fn run(command: Command, places: &Places, ui: &Ui) -> Outcome {
    match command {
        Command::Demo(command) => command.run(places, ui),
        Command::Up(command) => command.run(places, ui),
        Command::Down(command) => command.run(places, ui),
        Command::Init(command) => command.run(places, ui),
        Command::Doctor(command) => command.run(places, ui),
        Command::Plan(command) => command.run(places, ui),
        Command::Ship(command) => command.run(places, ui),
        Command::Watch(command) => command.run(places, ui),
        Command::Status(command) => command.run(places, ui),
        Command::Explain(command) => command.run(places, ui),
        Command::Rollback(command) => command.run(places, ui),
        Command::Abort(command) => command.run(places, ui),
        Command::Hold(command) => command.run(places, ui),
        Command::Unhold(command) => command.run(places, ui),
        Command::Approve(command) => command.run(places, ui),
        Command::Gate(command) => command.run(places, ui),
        Command::Waive(command) => command.run(places, ui),
        Command::Waivers(command) => command.run(places, ui),
        Command::Verify(command) => command.run(places, ui),
        Command::Scan(command) => command.run(places, ui),
        Command::Registry(command) => command.run(places, ui),
        Command::Settings(command) => command.run(places, ui),
        Command::Advisories(command) => command.run(places, ui),
        Command::Build(command) => command.run(places, ui),
        Command::Secrets(command) => command.run(places, ui),
        Command::Judge(command) => command.run(places, ui),
        Command::Log(command) => command.run(places, ui),
        Command::Backup(command) => command.run(places, ui),
        Command::Restore(command) => command.run(places, ui),
        Command::Sim(command) => command.run(places, ui),
        Command::Version(command) => command.run(places, ui),
        Command::Docs(command) => command.run(places, ui),
        Command::Role(command) => command.run(places, ui),
    }
}

/// A runtime for one command's calls.
pub(crate) fn block_on<T>(future: impl std::future::Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime needs only a few file descriptors").block_on(future)
}

/// Who gives the command, for the record.
pub(crate) fn me() -> String {
    let name = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| "root".into());
    if name.is_empty() { "unknown".into() } else { name }
}
