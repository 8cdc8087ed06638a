//! `humdrum judge`: the live judge on recorded blocks, and the recording of a rollout.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use humdrum_model::judge::replay;

use super::block_on;
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::{Places, unusable};
use crate::ui::Ui;

/// Largest recording, bytes: a million blocks of a small service.
const RECORDING_BYTES_MAX: u64 = 1 << 30;

/// What helps with every recording that cannot be read.
const NEXT: &str =
    "docs/judge.md describes the lines; `humdrum judge export DEPLOYMENT` writes them";

#[derive(Debug, Args)]
pub(crate) struct Judge {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Judge recorded blocks again: one JSON object a file, the same bits every time.
    Replay {
        /// JSON lines: the configuration, then one block on each; `-` is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Write the blocks that a rollout's judge saw, as `replay` reads them.
    Export {
        /// The deployment, as `humdrum status` names it (d-…).
        deployment: String,
        /// Where to; standard output without it.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Judge {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        match self.what {
            What::Replay { files } => replay_all(&files, ui),
            What::Export { deployment, output } => {
                export(places, ui, &deployment, output.as_deref())
            }
        }
    }
}

fn replay_all(files: &[PathBuf], ui: &Ui) -> Outcome {
    for path in files {
        let name = path.display();
        let text = read(path)?;
        let report = replay(&text).map_err(|error| {
            Failure::new(
                Exit::BadInput,
                "recording",
                format!("`{name}` cannot be judged: line {}: {}", error.line, error.what),
            )
            .at(format!("{name}:{}", error.line))
            .next(NEXT)
        })?;
        // Made for machines whether `--json` was given or not.
        ui.raw(&serde_json::to_string(&report).expect("a report holds only texts and numbers"));
    }
    Ok(Exit::Ok)
}

fn read(path: &Path) -> Result<String, Failure> {
    let name = path.display();
    let failure = |why: &dyn std::error::Error| {
        Failure::new(Exit::BadInput, "recording", format!("`{name}` cannot be read"))
            .cause(why)
            .next(NEXT)
    };
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(RECORDING_BYTES_MAX + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(path)
            .and_then(|file| file.take(RECORDING_BYTES_MAX + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|error| failure(&error))?;
    if bytes.len() as u64 > RECORDING_BYTES_MAX {
        let what = format!("`{name}` has more than {RECORDING_BYTES_MAX} bytes");
        return Err(Failure::new(Exit::BadInput, "recording", what).next(NEXT));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let what = format!("`{name}` cannot be judged: line {line}: it is not UTF-8");
        Failure::new(Exit::BadInput, "recording", what).at(format!("{name}:{line}")).next(NEXT)
    })
}

fn export(places: &Places, ui: &Ui, deployment: &str, output: Option<&Path>) -> Outcome {
    let client = Client::of(places)?;
    if !deployment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        let what = format!("`{deployment}` is not a deployment");
        return Err(Failure::new(Exit::BadInput, "no-recording", what).next("humdrum status"));
    }
    let text = block_on(client.text(&format!("/api/v1/recordings/{deployment}")))?;
    match output {
        None => ui.raw(text.trim_end_matches('\n')),
        Some(path) => {
            std::fs::write(path, &text).map_err(|error| unusable(path, &error))?;
            ui.remark(format!("{} lines in {}", text.lines().count(), path.display()));
        }
    }
    Ok(Exit::Ok)
}
