//! Sealed blocks of one route on disk: JSON lines in segments, so that they outlive a kill and old ones can be dropped.
//!
//! Blocks are not fsynced one by one: they survive the death of the process, not a power cut, after which the missing time is
//! a gap like any other.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use humdrum_model::block::Block;

use crate::disk::{DiskError, folder, io_error};

/// Blocks of one file.
const SEGMENT_BLOCKS: u64 = 1_000;
/// Blocks that can always be read again: 2 h 46 min of 1 s blocks.
const KEPT_BLOCKS: u64 = 10_000;
/// Blocks in memory, for readers that follow, and for a disk that refuses a while.
const RECENT_BLOCKS: usize = 256;

pub(crate) struct BlockLog {
    folder: PathBuf,
    /// First numbers of the segments, ascending.
    segments: VecDeque<u64>,
    file: Option<File>,
    /// Bytes of the open segment that are whole lines.
    length: u64,
    /// Number and JSON line.
    recent: VecDeque<(u64, String)>,
    /// The newest number that is on disk.
    written: u64,
    last: u64,
}

impl BlockLog {
    /// Opens the log and answers its newest block. A line cut short by a kill is removed.
    pub(crate) fn open(path: PathBuf) -> Result<(Self, Option<Block>), DiskError> {
        folder(&path)?;
        let mut log = Self {
            segments: segments(&path)?,
            folder: path,
            file: None,
            length: 0,
            recent: VecDeque::new(),
            written: 0,
            last: 0,
        };
        let mut newest = None;
        while let Some(first) = log.segments.back().copied() {
            let path = log.path(first);
            let bytes = fs::read(&path).map_err(io_error(&path, "read"))?;
            let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let line = bytes[..whole]
                .trim_ascii_end()
                .rsplit(|b| *b == b'\n')
                .next()
                .filter(|l| !l.is_empty());
            let Some(line) = line else {
                fs::remove_file(&path).map_err(io_error(&path, "removed"))?;
                log.segments.pop_back();
                continue;
            };
            let count = bytes[..whole].iter().filter(|b| **b == b'\n').count();
            let block: Block = serde_json::from_slice(line).map_err(|source| DiskError::Block {
                path: path.clone(),
                line: count,
                source,
            })?;
            let file =
                OpenOptions::new().append(true).open(&path).map_err(io_error(&path, "opened"))?;
            file.set_len(whole as u64).map_err(io_error(&path, "cut"))?;
            (log.file, log.length) = (Some(file), whole as u64);
            (log.last, log.written) = (block.number, block.number);
            newest = Some(block);
            break;
        }
        Ok((log, newest))
    }

    /// Number of the newest block; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Keeps a block. When the disk refuses, it stays in memory and is written with a later one.
    pub(crate) fn append(&mut self, block: &Block) {
        let line = serde_json::to_string(block).expect("a block has only text and numbers");
        self.last = block.number;
        self.recent.push_back((block.number, line));
        if let Err(error) = self.write_pending() {
            tracing::error!(route = %block.route, number = block.number, %error, "a block is not on disk yet");
        }
        while self.recent.len() > RECENT_BLOCKS {
            self.recent.pop_front();
        }
    }

    fn write_pending(&mut self) -> Result<(), DiskError> {
        let pending: Vec<(u64, String)> =
            self.recent.iter().filter(|(number, _)| *number > self.written).cloned().collect();
        for (number, line) in pending {
            self.rotate(number)?;
            let path = self.path(self.segments.back().copied().unwrap_or(number));
            let file = self.file.as_mut().expect("rotate opened a segment");
            let bytes = format!("{line}\n");
            if let Err(error) = file.write_all(bytes.as_bytes()) {
                // Half a line must not be read as the beginning of the next one.
                file.set_len(self.length).map_err(io_error(&path, "cut"))?;
                return Err(io_error(&path, "written")(error));
            }
            self.length += bytes.len() as u64;
            self.written = number;
        }
        Ok(())
    }

    fn rotate(&mut self, number: u64) -> Result<(), DiskError> {
        let full = self.segments.back().is_none_or(|first| number >= first + SEGMENT_BLOCKS);
        if !full && self.file.is_some() {
            return Ok(());
        }
        let path = self.path(number);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(io_error(&path, "created"))?;
        (self.file, self.length) = (Some(file), 0);
        self.segments.push_back(number);
        while self
            .segments
            .get(1)
            .is_some_and(|second| number.saturating_sub(*second) >= KEPT_BLOCKS)
        {
            let first = self.segments.pop_front().expect("there are two");
            let old = self.path(first);
            fs::remove_file(&old).map_err(io_error(&old, "removed"))?;
        }
        Ok(())
    }

    /// JSON lines of the blocks after a number, oldest first.
    pub(crate) fn after(&self, after: u64, limit: usize) -> Result<Vec<String>, DiskError> {
        let first_recent = self.recent.front().map_or(self.last + 1, |(number, _)| *number);
        let mut lines = Vec::new();
        if after + 1 < first_recent {
            self.read_disk(after, first_recent, limit, &mut lines)?;
        }
        let newer = self.recent.iter().filter(|(number, _)| *number > after);
        lines.extend(newer.take(limit - lines.len()).map(|(_, line)| line.clone()));
        Ok(lines)
    }

    fn read_disk(
        &self,
        after: u64,
        until: u64,
        limit: usize,
        lines: &mut Vec<String>,
    ) -> Result<(), DiskError> {
        #[derive(serde::Deserialize)]
        struct Numbered {
            number: u64,
        }
        for (at, first) in self.segments.iter().enumerate() {
            let skip = self.segments.get(at + 1).is_some_and(|next| *next <= after + 1);
            if skip || *first >= until {
                continue;
            }
            let path = self.path(*first);
            let text = fs::read_to_string(&path).map_err(io_error(&path, "read"))?;
            for (at, line) in text.lines().enumerate() {
                let Numbered { number } = serde_json::from_str(line).map_err(|source| {
                    DiskError::Block { path: path.clone(), line: at + 1, source }
                })?;
                if number > after && number < until && lines.len() < limit {
                    lines.push(line.to_owned());
                }
            }
        }
        Ok(())
    }

    fn path(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:020}.jsonl"))
    }
}

fn segments(path: &Path) -> Result<VecDeque<u64>, DiskError> {
    let list = |e: io::Error| io_error(path, "listed")(e);
    let mut all: Vec<u64> = Vec::new();
    for entry in fs::read_dir(path).map_err(list)? {
        let name = entry.map_err(io_error(path, "listed"))?.file_name();
        all.extend(
            name.to_str()
                .and_then(|n| n.strip_suffix(".jsonl"))
                .and_then(|n| n.parse::<u64>().ok()),
        );
    }
    all.sort_unstable();
    Ok(all.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u64) -> Block {
        Block {
            route: "r".into(),
            number,
            start_ms: number as i64 * 1000,
            length_ms: 1000,
            fence: 1,
            generation: 1,
            gap: false,
            cells: vec![],
        }
    }

    fn numbers(lines: &[String]) -> Vec<u64> {
        lines.iter().map(|l| serde_json::from_str::<Block>(l).unwrap().number).collect()
    }

    #[test]
    fn blocks_survive_reopening_even_after_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, newest) = BlockLog::open(dir.path().join("r")).unwrap();
        assert!(newest.is_none());
        (1..=1_500).for_each(|n| log.append(&block(n)));
        let last = log.path(1_001);
        drop(log);
        OpenOptions::new()
            .append(true)
            .open(&last)
            .unwrap()
            .write_all(b"{\"route\":\"r\",\"nu")
            .unwrap();
        let (mut log, newest) = BlockLog::open(dir.path().join("r")).unwrap();
        assert_eq!(newest.unwrap().number, 1_500);
        log.append(&block(1_501));
        assert_eq!(numbers(&log.after(1_498, 100).unwrap()), [1_499, 1_500, 1_501]);
        assert_eq!(numbers(&log.after(998, 4).unwrap()), [999, 1_000, 1_001, 1_002]);
        assert_eq!(log.after(1_501, 10).unwrap().len(), 0);
    }

    #[test]
    fn old_segments_are_dropped_but_never_what_must_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = BlockLog::open(dir.path().join("r")).unwrap();
        (1..=12_345).for_each(|n| log.append(&block(n)));
        let kept = numbers(&log.after(0, 20_000).unwrap());
        assert!(kept.len() as u64 >= KEPT_BLOCKS && kept[0] > 1, "{} from {}", kept.len(), kept[0]);
        assert!(kept.windows(2).all(|w| w[1] == w[0] + 1));
    }
}
