//! From the edge's short blocks to the judge's blocks, live: sums, leaves out what would mislead, and counts what it
//! left out.
//!
//! A live rollout judges exactly the [`JudgeBlock`]s that come out here, and their lines are its recording.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::{HISTORY_CELLS_MAX, HistoryCell};
use super::error::InputError;
use super::input::{Arm, Histogram, JudgeBlock, JudgeCell, Seconds};
use crate::block::{self, Block, Cell};

/// Most missing blocks that one hole in the edge's blocks is turned into; a longer hole is cut and counted.
pub const HOLE_BLOCKS_MAX: u64 = 1_000;

/// What a fold left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldCounts {
    /// Edge blocks taken.
    pub taken: u64,
    /// Edge blocks that were counted before, by their number.
    pub repeated: u64,
    /// Edge blocks of an older table than the stage's.
    pub stale: u64,
    /// Edge blocks that never came, by their numbers.
    pub lost: u64,
    /// Judge blocks dropped because the weights had just changed and connections were still draining.
    pub after_change: u64,
    /// Judge blocks without cells, because counts were lost in them.
    pub missing: u64,
    /// Judge blocks without cells, because the edge's cells were refused; see [`BlockFold::refusal`].
    pub refused: u64,
    /// Judge blocks of holes longer than [`HOLE_BLOCKS_MAX`].
    pub cut: u64,
    /// Cells of arms that are not compared.
    pub other_arm: u64,
    /// Errors that were counted in a later block than their request, and so moved to the instance's next judge block.
    pub carried_errors: u64,
}

/// Sums edge blocks of one route into judge blocks.
#[derive(Debug, Clone)]
pub struct BlockFold {
    origin_ms: i64,
    block_ms: u32,
    latency: bool,
    stage: usize,
    /// Fence and generation of the first table of the stage.
    table: (u64, u64),
    drop_next: bool,
    last: Option<Last>,
    last_t_ms: Option<i64>,
    window: Option<Window>,
    /// Errors that exceed their block's requests, by instance.
    carried: BTreeMap<String, u64>,
    counts: FoldCounts,
    refusal: Option<InputError>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    number: u64,
    end_ms: i64,
}

#[derive(Debug, Clone)]
struct Window {
    start_ms: i64,
    end_ms: i64,
    missing: bool,
    cells: BTreeMap<(String, Arm), Sum>,
}

#[derive(Debug, Clone, Default)]
struct Sum {
    requests: u64,
    errors: u64,
    latency: BTreeMap<i32, u64>,
}

impl Sum {
    fn add(&mut self, cell: &Cell) {
        self.requests = self.requests.saturating_add(cell.requests);
        self.errors = self.errors.saturating_add(cell.errors);
        for (bucket, n) in &cell.latency {
            let sum = self.latency.entry(*bucket).or_default();
            *sum = sum.saturating_add(*n);
        }
    }

    fn histogram(&self) -> Result<Histogram, InputError> {
        let bound = |k: i32| match block::latency_bound(k).as_str() {
            "+Inf" => f64::INFINITY,
            text => text.parse().expect("a bound is written as a number"),
        };
        Histogram::new(self.latency.iter().map(|(k, n)| (bound(*k), *n)).collect())
    }
}

impl BlockFold {
    /// `origin_ms`: Unix time of `t` = 0, ms. `block_ms`: length of a judge block, at least that of an edge block.
    /// `latency`: whether latency is one of the metrics; without it histograms are left out.
    pub fn new(origin_ms: i64, block_ms: u32, latency: bool) -> Self {
        Self {
            origin_ms,
            block_ms: block_ms.max(1),
            latency,
            stage: 0,
            table: (0, 0),
            drop_next: false,
            last: None,
            last_t_ms: None,
            window: None,
            carried: BTreeMap::new(),
            counts: FoldCounts::default(),
            refusal: None,
        }
    }

    /// The weights change to those of `stage` with the table `fence`, `generation`. What is summed so far is dropped,
    /// blocks of older tables are not taken any more, and the first judge block under the new weights is dropped too.
    pub fn enter_stage(&mut self, stage: usize, fence: u64, generation: u64) {
        self.stage = stage;
        self.table = (fence, generation);
        self.drop_next = true;
        self.window = None;
        self.carried.clear();
    }

    pub fn counts(&self) -> FoldCounts {
        self.counts
    }

    /// Why the last refused judge block was refused.
    pub fn refusal(&self) -> Option<&InputError> {
        self.refusal.as_ref()
    }

    /// Takes the next edge block and returns the judge blocks that are complete now, in order.
    pub fn push(&mut self, block: &Block) -> Vec<JudgeBlock> {
        if self.last.is_some_and(|last| block.number <= last.number) {
            self.counts.repeated += 1;
            return Vec::new();
        }
        let end_ms = block.start_ms.saturating_add(i64::from(block.length_ms));
        let before = self.last.replace(Last { number: block.number, end_ms });
        if (block.fence, block.generation) < self.table {
            self.counts.stale += 1;
            return Vec::new();
        }
        let mut out = Vec::new();
        if let Some(before) = before {
            self.bridge(before, block, &mut out);
        }
        self.counts.taken += 1;
        if block.gap {
            self.add_hole(block.start_ms, end_ms, &mut out);
        } else {
            self.add(block, end_ms, &mut out);
        }
        out
    }

    /// Deals with what lies between the block before and this one: lost blocks, and time that no block covers.
    fn bridge(&mut self, before: Last, block: &Block, out: &mut Vec<JudgeBlock>) {
        let lost = block.number - before.number - 1;
        self.counts.lost += lost;
        let uncovered = block.start_ms.saturating_sub(before.end_ms);
        // An idle moment between two blocks is jitter; a whole judge block without one means that nobody counted.
        if lost > 0 || uncovered >= i64::from(self.block_ms) {
            self.add_hole(before.end_ms, block.start_ms.max(before.end_ms), out);
        }
    }

    fn open(&mut self, start_ms: i64) -> &mut Window {
        self.window.get_or_insert_with(|| Window {
            start_ms,
            end_ms: start_ms,
            missing: false,
            cells: BTreeMap::new(),
        })
    }

    fn add(&mut self, block: &Block, end_ms: i64, out: &mut Vec<JudgeBlock>) {
        let mut other_arm = 0;
        let window = self.open(block.start_ms);
        window.end_ms = end_ms.max(window.end_ms);
        for cell in &block.cells {
            let Some(arm) = arm(&cell.arm) else {
                other_arm += 1;
                continue;
            };
            window.cells.entry((cell.instance.clone(), arm)).or_default().add(cell);
        }
        self.counts.other_arm += other_arm;
        // Edge blocks are some milliseconds longer or shorter than they should be; that must not double a block.
        let tolerance = i64::from(self.block_ms / 50);
        self.close_full(tolerance, out);
    }

    /// Marks a span of time as missing: the block it begins in, and every whole block it covers.
    fn add_hole(&mut self, start_ms: i64, end_ms: i64, out: &mut Vec<JudgeBlock>) {
        let block_ms = i64::from(self.block_ms);
        let longest = block_ms.saturating_mul(HOLE_BLOCKS_MAX as i64);
        let cut = end_ms.saturating_sub(start_ms).saturating_sub(longest).max(0);
        self.counts.cut += (cut / block_ms) as u64;
        let mut cursor = start_ms;
        loop {
            let window = self.open(cursor);
            window.missing = true;
            let full = window.start_ms.saturating_add(block_ms);
            window.end_ms = window.end_ms.max(end_ms.saturating_sub(cut).min(full));
            cursor = window.end_ms.max(cursor);
            let closed = self.close_full(0, out);
            if !closed || cursor >= end_ms.saturating_sub(cut) {
                break;
            }
        }
    }

    fn close_full(&mut self, tolerance_ms: i64, out: &mut Vec<JudgeBlock>) -> bool {
        let block_ms = i64::from(self.block_ms);
        let full = |w: &mut Window| w.end_ms.saturating_sub(w.start_ms) >= block_ms - tolerance_ms;
        let Some(window) = self.window.take_if(full) else { return false };
        if std::mem::take(&mut self.drop_next) {
            self.counts.after_change += 1;
            self.carried.clear();
        } else {
            out.push(self.seal(window));
        }
        true
    }

    fn seal(&mut self, window: Window) -> JudgeBlock {
        let mut t_ms = window.start_ms.saturating_sub(self.origin_ms).max(0);
        if let Some(last) = self.last_t_ms {
            // A clock that was set back must not turn the order around.
            t_ms = t_ms.max(last + 1);
        }
        self.last_t_ms = Some(t_ms);
        let t = Seconds::from_ms(t_ms as u64);
        let cells = if window.missing {
            self.counts.missing += 1;
            self.carried.clear();
            Ok(Vec::new())
        } else {
            self.cells(window.cells)
        };
        let sealed = cells.and_then(|cells| JudgeBlock::new(t, self.stage, cells));
        sealed.unwrap_or_else(|refusal| {
            self.counts.refused += 1;
            self.refusal = Some(refusal);
            JudgeBlock::new(t, self.stage, Vec::new()).expect("a block without cells is valid")
        })
    }

    fn cells(&mut self, sums: BTreeMap<(String, Arm), Sum>) -> Result<Vec<JudgeCell>, InputError> {
        let mut carried = std::mem::take(&mut self.carried);
        let mut cells = Vec::with_capacity(sums.len());
        for ((instance, arm), sum) in sums {
            let total = sum.errors.saturating_add(carried.remove(&instance).unwrap_or(0));
            let errors = total.min(sum.requests);
            if total > errors {
                self.counts.carried_errors += total - errors;
                self.carried.insert(instance.clone(), total - errors);
            }
            let latency = if self.latency { Some(sum.histogram()?) } else { None };
            cells.push(JudgeCell { instance, arm, requests: sum.requests, errors, latency });
        }
        Ok(cells)
    }
}

fn arm(name: &str) -> Option<Arm> {
    match name {
        "canary" => Some(Arm::Canary),
        "baseline" => Some(Arm::Baseline),
        _ => None,
    }
}

/// The baseline's cells of the time before a rollout, for `history` of its config: the newest ones, oldest first.
///
/// The blocks must be those of one route in order, and of a time when nothing was rolled out.
pub fn history(blocks: &[Block], block_ms: u32, latency: bool) -> Vec<HistoryCell> {
    let mut fold = BlockFold::new(blocks.first().map_or(0, |b| b.start_ms), block_ms, latency);
    let sealed = blocks.iter().flat_map(|block| fold.push(block));
    let mut cells: Vec<HistoryCell> = sealed
        .flat_map(|block| block.cells().to_vec())
        .filter(|cell| cell.arm == Arm::Baseline)
        .map(|JudgeCell { requests, errors, latency, .. }| HistoryCell {
            requests,
            errors,
            latency,
        })
        .collect();
    cells.drain(..cells.len().saturating_sub(HISTORY_CELLS_MAX));
    cells
}
