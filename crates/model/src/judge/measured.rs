//! The traffic that a service has now, from the edge's newest blocks: what a forecast rests on when there is any.
//!
//! Deliberately not here: the judge's own baseline ([`super::fold`]), which must be of one release and one table.

use serde::{Deserialize, Serialize};

use crate::block::Block;

/// What was counted in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Time in which counts exist, seconds. Spans whose counts were lost are not in it.
    pub seconds: f64,
    /// Requests of every arm in that time.
    pub requests: u64,
    /// Requests per second, all arms together.
    pub rps: f64,
    /// Errors per request of the release that runs; of every arm when that one had no request.
    pub error_rate: f64,
}

/// Sums the blocks that began at `since_ms` (Unix ms) or later; `None` when there was no request in them.
pub fn measured(blocks: &[Block], since_ms: i64) -> Option<Measured> {
    let mut length_ms = 0_u64;
    let (mut all, mut baseline) = (Counts::default(), Counts::default());
    for block in blocks.iter().filter(|block| !block.gap && block.start_ms >= since_ms) {
        length_ms = length_ms.saturating_add(u64::from(block.length_ms));
        for cell in &block.cells {
            all.add(cell.requests, cell.errors);
            if cell.arm == "baseline" {
                baseline.add(cell.requests, cell.errors);
            }
        }
    }
    if all.requests == 0 || length_ms == 0 {
        return None;
    }
    let seconds = length_ms as f64 / 1_000.0;
    let running = if baseline.requests > 0 { baseline } else { all };
    Some(Measured {
        seconds,
        requests: all.requests,
        rps: all.requests as f64 / seconds,
        // An error may be counted in a later block than its request.
        error_rate: (running.errors as f64 / running.requests as f64).min(1.0),
    })
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    requests: u64,
    errors: u64,
}

impl Counts {
    fn add(&mut self, requests: u64, errors: u64) {
        self.requests = self.requests.saturating_add(requests);
        self.errors = self.errors.saturating_add(errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Cell;

    /// `baseline 10/1 canary 5/0`: requests and errors by arm, in one block of a second; `gap` for lost counts.
    fn block(start_ms: i64, cells: &str) -> Block {
        let words: Vec<&str> = cells.split_whitespace().collect();
        let cell = |pair: &[&str]| {
            let (requests, errors) = pair[1].split_once('/').unwrap();
            Cell {
                instance: pair[0].into(),
                arm: pair[0].into(),
                requests: requests.parse().unwrap(),
                errors: errors.parse().unwrap(),
                latency: Default::default(),
            }
        };
        Block {
            route: "shop.production".into(),
            number: 1,
            start_ms,
            length_ms: 1_000,
            fence: 1,
            generation: 1,
            gap: cells == "gap",
            cells: if cells == "gap" { vec![] } else { words.chunks(2).map(cell).collect() },
        }
    }

    #[test]
    fn the_newest_blocks_give_rate_and_errors() {
        type Case = (&'static [(i64, &'static str)], Option<(f64, f64)>);
        #[rustfmt::skip]
        let cases: [Case; 8] = [
            // blocks (start in s, cells)                               requests/s, errors per request
            (&[],                                                        None),
            (&[(10, "")],                                                None),
            (&[(10, "gap")],                                             None),
            (&[(9, "baseline 100/0")],                                   None), // before the window
            (&[(10, "baseline 100/1"), (11, "baseline 300/3")],          Some((200.0, 0.01))),
            (&[(10, "baseline 100/1"), (11, "gap"), (12, "")],           Some((50.0, 0.01))), // idle counts, lost does not
            (&[(10, "baseline 75/0 canary 25/25")],                      Some((100.0, 0.0))), // the release that runs
            (&[(10, "canary 10/20")],                                    Some((10.0, 1.0))),
        ];
        for (blocks, expected) in cases {
            let made: Vec<Block> =
                blocks.iter().map(|(s, cells)| block(s * 1_000, cells)).collect();
            let found = measured(&made, 10_000).map(|m| (m.rps, m.error_rate));
            assert_eq!(found, expected, "{blocks:?}");
        }
    }
}
