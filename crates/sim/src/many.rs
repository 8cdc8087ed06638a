//! Many seeds on several threads; the first failing one is told in full.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::coverage::Coverage;
use crate::history::{Options, Violation, run, shrink};

/// Most seeds of which a violation is kept: the first one is shrunk and shown, the others are counted by invariant.
const KEPT_MAX: usize = 50;

/// What many histories came to.
#[derive(Debug, Clone)]
pub struct Report {
    pub from: u64,
    pub count: u64,
    pub steps: u64,
    pub events: u64,
    pub coverage: Coverage,
    /// In the order of seeds, the first one shrunk.
    pub violations: Vec<Violation>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// For people: one line when all held, else the first violation with its last events.
    pub fn text(&self) -> String {
        let last = self.from + self.count.saturating_sub(1);
        match self.violations.first() {
            None => format!(
                "{} histories (seeds {} to {last}), {} events recorded, 0 violations.\n",
                self.count, self.from, self.events
            ),
            Some(first) => {
                let more: Vec<_> = self
                    .violations
                    .iter()
                    .skip(1)
                    .map(|it| format!("  also seed {}: {}: {}\n", it.seed, it.invariant, it.what))
                    .collect();
                format!("{}{}", first.text(), more.concat())
            }
        }
    }
}

#[derive(Default)]
struct Part {
    steps: u64,
    events: u64,
    coverage: Coverage,
    violations: Vec<Violation>,
}

/// Plays `count` seeds from `from` on.
pub fn run_many(from: u64, count: u64, threads: usize, options: &Options) -> Report {
    let next = AtomicU64::new(0);
    let work = || {
        let mut part = Part::default();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return part;
            }
            match run(from.wrapping_add(index), options) {
                Ok(it) => {
                    part.steps += it.steps;
                    part.events += it.events;
                    part.coverage.merge(&it.coverage);
                }
                Err(it) if part.violations.len() < KEPT_MAX => part.violations.push(*it),
                Err(_) => {}
            }
        }
    };
    let parts: Vec<Part> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|it| it.join().unwrap_or_default()).collect()
    });
    let mut all = Part::default();
    for part in parts {
        all.steps += part.steps;
        all.events += part.events;
        all.coverage.merge(&part.coverage);
        all.violations.extend(part.violations);
    }
    all.violations.sort_by_key(|it| it.seed);
    if let Some(first) = all.violations.first_mut()
        && let Some(shrunk) = shrink(first.seed)
    {
        *first = *shrunk;
    }
    let Part { steps, events, coverage, violations } = all;
    Report { from, count, steps, events, coverage, violations }
}
