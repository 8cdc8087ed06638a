//! The folder: its repository, its manifest, the programs it is built with, and its ports.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use humdrum_build::detect::{Kind, detect};
use humdrum_build::repo::Repo;
use humdrum_control::view::StatusView;
use humdrum_model::manifest::{FILE_NAME, Manifest};

use super::machine::tool_version;
use super::{Check, State};
use crate::client::Client;
use crate::commands::block_on;
use crate::places::Places;

pub(super) fn checks(places: &Places, folder: &Path) -> Vec<Check> {
    let Ok(text) = std::fs::read_to_string(folder.join(FILE_NAME)) else {
        return without_manifest(folder);
    };
    let mut checks = vec![repository(folder)];
    let manifest = match Manifest::parse(&text) {
        Ok(manifest) => manifest,
        Err(problems) => {
            let first = problems
                .first()
                .map(|problem| format!("line {}: {}", problem.line, problem.message))
                .unwrap_or_default();
            let found = format!("{FILE_NAME} is not valid: {first}");
            checks.push(
                Check::new("manifest", State::Missing, found)
                    .fix("humdrum plan")
                    .without("nothing can be shipped from here"),
            );
            return checks;
        }
    };
    checks.push(Check::ok("manifest", format!("service `{}`", manifest.service)));
    checks.extend(programs(folder, &manifest));
    checks.extend(ports(places, &manifest));
    checks
}

/// A folder that is nobody's service is no fault of the machine.
fn without_manifest(folder: &Path) -> Vec<Check> {
    if detect(folder).kind == Kind::Unknown {
        return vec![];
    }
    let check =
        Check::new("manifest", State::Warn, format!("no {FILE_NAME} in `{}`", folder.display()));
    vec![repository(folder), check.fix("humdrum init").without("services in other folders")]
}

fn repository(folder: &Path) -> Check {
    match Repo::open(folder) {
        Ok(repo) => match repo.resolve("HEAD") {
            Ok(head) => {
                Check::ok("repository", format!("HEAD is {} {}", head.commit.short(), head.subject))
            }
            Err(_) => Check::new("repository", State::Missing, "no commit yet")
                .fix("git add . && git commit -m \"First commit\"")
                .without("`plan` works; commits are what is shipped"),
        },
        Err(error) => Check::new("repository", State::Missing, error.to_string())
            .fix("git init && git add . && git commit -m \"First commit\"")
            .without("`plan` works; commits are what is shipped"),
    }
}

/// The programs that the kind of project needs and this machine lacks.
fn programs(folder: &Path, manifest: &Manifest) -> Vec<Check> {
    let needed: &[&str] = match detect(folder).kind {
        Kind::Cargo => &["cargo", "rustc", "cc"],
        Kind::Go => &["go"],
        Kind::Node => &["node", "npm"],
        Kind::Python => &["python3"],
        Kind::Site | Kind::Unknown => &[],
    };
    let commands = [&manifest.build.fetch, &manifest.build.run];
    let mut needed: BTreeSet<String> = match commands.iter().all(|command| command.is_none()) {
        true => BTreeSet::new(),
        false => needed.iter().map(|tool| (*tool).to_owned()).collect(),
    };
    needed.extend(
        manifest.build.runtime.iter().map(|runtime| format!("{runtime:?}").to_ascii_lowercase()),
    );
    let lacking = needed.into_iter().filter(|tool| tool_version(tool).is_none());
    let check = |tool: String| {
        Check::new(&tool, State::Missing, "not found in PATH, and this project is built with it")
            .fix(format!("install {tool}"))
            .without("services that do not need it")
    };
    lacking.map(check).collect()
}

/// The ports at which the manifest's environments are to be reached: free, or taken by this installation's edge.
fn ports(places: &Places, manifest: &Manifest) -> Vec<Check> {
    let status: Option<StatusView> =
        Client::of(places).ok().and_then(|client| block_on(client.get("/api/v1/status")).ok());
    let ours = |port: u16| {
        let addresses = status
            .iter()
            .flat_map(|status| &status.placements)
            .filter_map(|placement| placement.address.as_deref());
        addresses
            .filter_map(|address| address.rsplit_once(':'))
            .any(|(_, taken)| taken == port.to_string())
    };
    let plans = manifest.plans().into_iter().filter_map(|plan| Some((plan.name, plan.port?)));
    let check = |(environment, port): (humdrum_model::name::EnvName, u16)| {
        let name = format!("port {port}");
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => Check::ok(&name, format!("free for {environment}")),
            Err(_) if ours(port) => Check::ok(&name, "served by this installation"),
            Err(error) => Check::new(
                &name,
                State::Warn,
                format!("cannot be used for {environment}: {error}"),
            )
            .fix(format!(
                "ss -ltnp 'sport = :{port}' names who has it; or choose another port in {FILE_NAME}"
            ))
            .without("everything else; the rollout to that environment would wait and say so"),
        }
    };
    plans.map(check).collect()
}
