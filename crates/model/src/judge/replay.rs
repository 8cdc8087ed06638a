//! Judges recorded blocks: the same bytes always give the same verdict, bit for bit.

use serde::{Deserialize, Serialize};

use super::error::{InputError, ReplayError};
use super::input::{JudgeBlock, LINE_BYTES_MAX};
use super::outcome::Outcome;
use super::sequential::Judge;

/// Most blocks of one rollout: 11 days of blocks of 1 s.
pub const BLOCKS_MAX: u64 = 1_000_000;

/// The verdict about a recording: `{"verdict":…,"block":…,"log_e":…,"log_e_safe":…,"reason":…,"evidence":…}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayReport {
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Blocks in the recording, with those after the verdict.
    pub blocks_read: u64,
}

/// Replays a recording: the configuration on the first line, then one block on each. Blank lines are skipped.
///
/// Blocks after the verdict are read and checked, but cannot change it. Where no block decides, the end of the
/// recording is the deadline.
pub fn replay(text: &str) -> Result<ReplayReport, ReplayError> {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let (line, head) = lines.next().ok_or(ReplayError { line: 1, what: InputError::NoConfig })?;
    let at = |line: usize| move |what| ReplayError { line, what };
    let mut judge = Judge::new(head).map_err(at(line))?;
    let mut blocks_read = 0;
    for (line, text) in lines {
        if text.len() > LINE_BYTES_MAX {
            return Err(at(line)(InputError::LineTooLong { found: text.len() }));
        }
        let block = JudgeBlock::parse(text).map_err(at(line))?;
        judge.block(&block).map_err(at(line))?;
        blocks_read += 1;
    }
    let outcome = judge.outcome().cloned().unwrap_or_else(|| judge.deadline());
    Ok(ReplayReport { outcome, blocks_read })
}
