//! The installation of this data folder: roles, keys, and what builds here may claim.

use std::path::PathBuf;
use std::time::Duration;

use humdrum_adapters::http::{Peer, exchange, request};
use humdrum_evidence::provenance::{BUILDER_LOCAL, BuilderMode, SLSA_VERSION};

use super::{Check, State};
use crate::client::Client;
use crate::commands::block_on;
use crate::places::Places;
use crate::roles::secrets;

/// What this machine's builder is; see `roles/control.rs`.
pub(super) const MODE: BuilderMode = BuilderMode::Local;
/// A role on this machine answers in milliseconds.
const ANSWER: Duration = Duration::from_secs(2);

pub(super) fn checks(places: &Places) -> Vec<Check> {
    let mut checks = vec![
        role(
            "control",
            control(places),
            "the edge and the instances go on with what they were told last",
        ),
        role("edge", socket(places.edge_socket()), "nothing is reached through Humdrum's ports"),
        role(
            "agent",
            socket(places.agent_socket()),
            "instances run on, and nobody restarts one that ends",
        ),
    ];
    checks.push(key(places));
    checks.push(trust(places));
    checks.push(level());
    checks
}

/// How a role answers: its words, or why not.
type Found = Result<String, String>;

fn role(name: &str, found: Found, without: &str) -> Check {
    match found {
        Ok(words) => Check::ok(name, words),
        Err(why) => Check::new(name, State::Warn, format!("does not run: {why}"))
            .fix("humdrum up")
            .without(without),
    }
}

fn control(places: &Places) -> Found {
    let client = Client::of(places)
        .map_err(|_| "it was never started on this data folder, or was stopped".to_owned())?;
    block_on(client.text("/healthz")).map_err(|failure| failure.what)?;
    // The open door says that it lives; the token is another matter.
    block_on(client.text("/api/v1/holds")).map_err(|failure| {
        format!("it answers, and refuses the token of this data folder: {}", failure.what)
    })?;
    Ok(format!("answers at http://{}", client.addr))
}

fn socket(path: PathBuf) -> Found {
    if !path.exists() {
        return Err("it was never started on this data folder, or was stopped".into());
    }
    let peer = Peer::Unix(path.clone());
    match block_on(exchange(&peer, request("GET", "/healthz", None::<&serde_json::Value>), ANSWER))
    {
        Ok(answer) if answer.is_success() => Ok(format!("answers at {}", path.display())),
        Ok(answer) => Err(format!("it answers {}", answer.status)),
        Err(error) => Err(error.to_string()),
    }
}

fn key(places: &Places) -> Check {
    let path = places.keys().join("signing.pub");
    if path.exists() {
        return Check::ok("signing key", path.display().to_string());
    }
    Check::new("signing key", State::Warn, "none yet")
        .fix("humdrum up: the first start makes one")
        .without("`build` works; nothing can be signed or shipped")
}

fn trust(places: &Places) -> Check {
    let path = secrets::trust_path(places);
    if !path.exists() {
        return Check::new("trust root", State::Warn, "none yet")
            .fix("humdrum up: the first start makes one")
            .without("`verify` needs --key or --trust");
    }
    match secrets::trust(places) {
        Ok(_) => Check::ok("trust root", path.display().to_string()),
        Err(failure) => Check::new(
            "trust root",
            State::Missing,
            format!("{}: {}", failure.what, failure.why.join(": ")),
        )
        .fix(format!("mend or restore {}", path.display()))
        .without("nothing can be verified, so nothing is deployed; what runs goes on"),
    }
}

fn level() -> Check {
    let found = format!(
        "builds may claim SLSA {SLSA_VERSION} build level {} (`{BUILDER_LOCAL}`): provenance is written for every build, and whoever owns this machine could write anything into it",
        MODE.slsa_level()
    );
    Check::ok("provenance", found)
}
