//! `humdrum role NAME`: one role in the foreground, as systemd wants it.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use crate::exit::Outcome;
use crate::places::Places;
use crate::roles;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(crate) struct Role {
    name: Name,
    /// Address of the API and registry (control only); loopback.
    #[arg(long)]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    Control,
    Edge,
    Agent,
}

impl Role {
    pub(crate) fn run(self, places: &Places, _: &Ui) -> Outcome {
        match self.name {
            Name::Control => roles::control::control(places, self.listen),
            Name::Edge => roles::edge::edge(places),
            Name::Agent => roles::agent::agent(places),
        }
    }
}
