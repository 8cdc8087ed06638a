//! The only binary: arguments, wiring, exit codes.

mod backup;
mod client;
mod commands;
mod demo;
mod exit;
mod places;
mod roles;
mod supervisor;
mod ui;
mod wish;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;
use crate::exit::Exit;
use crate::places::Places;

/// From commit to production and back, calmly.
#[derive(Debug, Parser)]
#[command(name = "humdrum", version, about, disable_help_subcommand = true, max_term_width = 100)]
struct Arguments {
    /// Data folder; default: $HUMDRUM_DATA, else the user's data folder.
    #[arg(long, global = true, value_name = "DIR", env = "HUMDRUM_DATA", hide_env = true)]
    data: Option<std::path::PathBuf>,
    /// One JSON document (or one a line) instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // Hidden helpers run before anything else: they are other processes' hands and must start in a millisecond.
    if let Some(code) = roles::hidden() {
        return code;
    }
    // One TLS provider for the whole process, named before anything could ask for one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::BadInput.into() } else { Exit::Ok.into() };
        }
    };
    let ui = ui::Ui::new(arguments.json);
    let result = Places::find(arguments.data)
        .and_then(|places| commands::run(arguments.command, &places, &ui));
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            ui.failure(&failure);
            failure.exit.into()
        }
    }
}
