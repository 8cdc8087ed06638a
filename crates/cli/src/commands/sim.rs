//! `humdrum sim`: histories of releases with crashes, lost messages and clock jumps, played with the real decisions. Equal seeds give equal
//! histories; what must always hold is checked after every event.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use humdrum_sim::{Options, Report, Summary, Violation, play, run, run_many};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

/// Histories of one call: a night on two cores.
const COUNT_MAX: u64 = 100_000_000;

/// What helps with every script that is not understood.
const NEXT: &str = "docs/simulation.md lists the words";

/// Largest scenario script, bytes: people write them by hand.
const SCRIPT_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// A scenario script to play instead of seeds; `tests/scenarios/` has some, docs/simulation.md lists the words.
    #[arg(value_name = "FILE", conflicts_with_all = ["seed", "count", "trace"])]
    file: Option<PathBuf>,
    /// The seed of the first history.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many histories, with the seeds that follow.
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX))]
    count: u64,
    /// Print every event of the history in words; of one seed.
    #[arg(long, conflicts_with = "count")]
    trace: bool,
}

impl Sim {
    pub(crate) fn run(self, _places: &Places, ui: &Ui) -> Outcome {
        if let Some(file) = &self.file {
            return script(file, ui);
        }
        if self.trace {
            return trace(self.seed, ui);
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let report = run_many(self.seed, self.count, threads, &Options::default());
        ui.line(report.text().trim_end());
        ui.document(&document(&report));
        Ok(if report.is_clean() { Exit::Ok } else { Exit::Failed })
    }
}

fn script(file: &Path, ui: &Ui) -> Outcome {
    let name = file.display();
    let bad = |what: String| Failure::new(Exit::BadInput, "scenario", what).next(NEXT);
    let mut text = String::new();
    let read = std::fs::File::open(file)
        .and_then(|file| file.take(SCRIPT_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| bad(format!("`{name}` cannot be read")).cause(&error))?;
    let played = play(&text).map_err(|error| {
        let place = format!("{name}:{}", error.line);
        bad(format!("`{name}` cannot be played: {error}")).at(place)
    })?;
    ui.line(played.text.trim_end());
    ui.document(&json!({ "file": name.to_string(), "ok": played.ok, "text": played.text }));
    Ok(if played.ok { Exit::Ok } else { Exit::Failed })
}

fn trace(seed: u64, ui: &Ui) -> Outcome {
    let options = Options { trace: true, ..Options::default() };
    match run(seed, &options) {
        Ok(summary) => {
            summary.trace.iter().for_each(|line| ui.line(line));
            ui.line(ui.tone(Tone::Good, &words(&summary)));
            ui.document(&json!({
                "from": seed, "count": 1, "steps": summary.steps, "events": summary.events,
                "hash": summary.hash, "trace": summary.trace, "violations": [],
            }));
            Ok(Exit::Ok)
        }
        Err(violation) => {
            ui.line(violation.text().trim_end());
            ui.document(&json!({ "from": seed, "count": 1, "violations": [broken(&violation)] }));
            Ok(Exit::Failed)
        }
    }
}

fn words(summary: &Summary) -> String {
    format!(
        "Seed {}: {} steps, {} events, 0 violations; {}",
        summary.seed, summary.steps, summary.events, summary.hash
    )
}

fn document(report: &Report) -> Value {
    json!({
        "from": report.from,
        "count": report.count,
        "steps": report.steps,
        "events": report.events,
        "violations": report.violations.iter().map(broken).collect::<Vec<_>>(),
    })
}

fn broken(violation: &Violation) -> Value {
    json!({
        "seed": violation.seed,
        "step": violation.step,
        "at": violation.at,
        "invariant": violation.invariant,
        "what": violation.what,
        "last": violation.last,
        "without": violation.without,
    })
}
