//! `humdrum registry`: what is kept in the registry, and for how long.

use clap::{Args, Subcommand};

use crate::exit::Outcome;
use crate::places::Places;
use crate::ui::Ui;

mod fsck;
mod gc;
mod lifecycle;
mod trash;

#[derive(Debug, Args)]
pub(crate) struct Registry {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lifecycle policies in ECR's form: which images go, and why.
    Lifecycle(lifecycle::Lifecycle),
    /// Collect garbage now: what nothing needs goes to the trash, what was there for a week is freed.
    Gc(gc::Gc),
    /// What was deleted or collected and can be restored.
    Trash(trash::Trash),
    /// Bring a deleted or collected manifest back with all that belongs to it, or a blob.
    Restore(trash::Restore),
    /// Check every blob, manifest and name, and say what is damaged.
    Fsck(fsck::Fsck),
}

impl Registry {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        match self.what {
            What::Lifecycle(command) => command.run(places, ui),
            What::Gc(command) => command.run(places, ui),
            What::Trash(command) => command.run(places, ui),
            What::Restore(command) => command.run(places, ui),
            What::Fsck(command) => command.run(places, ui),
        }
    }
}

/// Bytes as people read them; powers of 1024.
pub(crate) fn spoken(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spoken() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")];
        for (bytes, words) in cases {
            assert_eq!(spoken(bytes), words);
        }
    }
}
