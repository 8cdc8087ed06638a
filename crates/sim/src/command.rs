//! What `humdrum sim` prints: text and whether all held. Nothing here prints by itself.

use crate::history::{Options, run, shrink};
use crate::many::run_many;
use crate::scenario::{ScenarioError, play};

/// Text for the terminal, and whether the command ends well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    pub text: String,
    pub ok: bool,
}

/// `humdrum sim --seed N [--count M] [--trace]`: the trace is of the first seed.
pub fn seeds(seed: u64, count: u64, threads: usize, trace: bool) -> Printed {
    if !trace {
        let report = run_many(seed, count, threads, &Options::default());
        return Printed { ok: report.is_clean(), text: report.text() };
    }
    match run(seed, &Options { trace, ..Options::default() }) {
        Ok(it) => {
            let end = format!(
                "seed {seed}: {} steps, {} events, 0 violations, hash {}",
                it.steps, it.events, it.hash
            );
            Printed { text: format!("{}\n{end}\n", it.trace.join("\n")), ok: true }
        }
        Err(it) => Printed { text: shrink(seed).unwrap_or(it).text(), ok: false },
    }
}

/// `humdrum sim FILE`.
///
/// # Errors
/// A line that is not understood.
pub fn script(text: &str) -> Result<Printed, ScenarioError> {
    let played = play(text)?;
    Ok(Printed { text: played.text, ok: played.ok })
}
