//! Reading the logs of a unit: the last lines, and what follows. The shim writes them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Files kept for each index: the one being written and its predecessors.
pub(crate) const FILES_MAX: usize = 4;
/// How much one step of following reads from one instance, so that a loud one does not starve the others.
const STEP_BYTES_MAX: u64 = 1 << 20;

/// The path of a log file; 0 is the one being written.
pub(crate) fn file(folder: &Path, number: usize) -> PathBuf {
    match number {
        0 => folder.join("log.jsonl"),
        older => folder.join(format!("log.{older}.jsonl")),
    }
}

/// The parts of a record that readers select by.
#[derive(Deserialize)]
struct Head<'a> {
    t: i64,
    instance: &'a str,
    run: u64,
    #[serde(borrow)]
    line: std::borrow::Cow<'a, str>,
}

/// The text of the last `count` lines of one start of an instance.
pub(crate) fn last_of_run(folder: &Path, run: u64, count: usize) -> Vec<String> {
    let records = select(folder, count, |head| head.run == run).into_iter();
    let line = |record: String| {
        serde_json::from_str::<Head<'_>>(&record).ok().map(|head| head.line.into_owned())
    };
    records.filter_map(|(_, record)| line(record)).collect()
}

/// The last `count` records of several instances together, oldest first. `instance` selects one name.
pub(crate) fn last(folders: &[PathBuf], instance: Option<&str>, count: usize) -> Vec<String> {
    let wanted = |head: &Head<'_>| instance.is_none_or(|name| head.instance == name);
    let mut all: Vec<(i64, String)> =
        folders.iter().flat_map(|folder| select(folder, count, wanted)).collect();
    all.sort_by_key(|(t, _)| *t);
    let skip = all.len().saturating_sub(count);
    all.into_iter().skip(skip).map(|(_, record)| record).collect()
}

fn select(folder: &Path, count: usize, wanted: impl Fn(&Head<'_>) -> bool) -> Vec<(i64, String)> {
    let mut found = vec![];
    for number in 0..FILES_MAX {
        let Ok(bytes) = fs::read(file(folder, number)) else { continue };
        for line in bytes.split(|byte| *byte == b'\n').rev() {
            if found.len() >= count {
                break;
            }
            let Ok(text) = std::str::from_utf8(line) else { continue };
            if let Ok(head) = serde_json::from_str::<Head<'_>>(text)
                && wanted(&head)
            {
                found.push((head.t, text.to_owned()));
            }
        }
    }
    found.reverse();
    found
}

/// Reads what is appended to one instance's log from a point in time on.
pub(crate) struct Follower {
    folder: PathBuf,
    open: Option<File>,
    rest: Vec<u8>,
}

impl Follower {
    /// Begins behind what is written now, or at the start when the instance is `new` since the following began.
    pub(crate) fn new(folder: PathBuf, new: bool) -> Follower {
        let mut open = File::open(file(&folder, 0)).ok();
        if !new && let Some(open) = &mut open {
            drop(open.seek(SeekFrom::End(0)));
        }
        Follower { folder, open, rest: vec![] }
    }

    /// Whole records written since the last call.
    pub(crate) fn step(&mut self, instance: Option<&str>) -> io::Result<Vec<String>> {
        let path = file(&self.folder, 0);
        // Looked at before reading: were the file rotated in between, its end is read before the next one is opened.
        let newer = self.newer(&path);
        if let Some(open) = &mut self.open {
            open.take(STEP_BYTES_MAX).read_to_end(&mut self.rest)?;
            if newer && open.stream_position()? == open.metadata()?.len() {
                self.open = File::open(&path).ok();
            }
        } else {
            self.open = File::open(&path).ok();
        }
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(vec![]);
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = whole.split(|byte| *byte == b'\n').filter_map(|line| {
            let text = std::str::from_utf8(line).ok()?;
            let head = serde_json::from_str::<Head<'_>>(text).ok()?;
            instance.is_none_or(|name| head.instance == name).then(|| text.to_owned())
        });
        Ok(lines.collect())
    }

    fn newer(&self, path: &Path) -> bool {
        let inode = |meta: io::Result<fs::Metadata>| meta.ok().map(|meta| meta.ino());
        let mine = self.open.as_ref().and_then(|open| inode(open.metadata()));
        let now = inode(fs::metadata(path));
        now.is_some() && now != mine
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn record(t: i64, run: u64, line: &str) -> String {
        serde_json::json!({"t": t, "stream": "stdout", "line": line, "instance": "i", "run": run,
            "labels": {}})
        .to_string()
    }

    fn append(folder: &Path, text: &str) {
        let mut log = File::options().append(true).create(true).open(file(folder, 0)).unwrap();
        writeln!(log, "{text}").unwrap();
    }

    #[test]
    fn the_last_lines_are_those_of_one_run_over_rotated_files() {
        let folder = tempfile::tempdir().unwrap();
        append(folder.path(), &record(1, 1, "old"));
        append(folder.path(), &record(2, 2, "a \"b\""));
        fs::rename(file(folder.path(), 0), file(folder.path(), 1)).unwrap();
        append(folder.path(), &record(3, 2, "c"));
        append(folder.path(), "{torn");
        assert_eq!(last_of_run(folder.path(), 2, 20), ["a \"b\"", "c"]);
        assert_eq!(last_of_run(folder.path(), 2, 1), ["c"]);
        let folders = [folder.path().to_owned()];
        assert_eq!(last(&folders, None, 10).len(), 3);
        assert_eq!(last(&folders, Some("other"), 10).len(), 0);
    }

    #[test]
    fn following_goes_over_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        append(folder.path(), &record(1, 1, "before"));
        let mut follower = Follower::new(folder.path().to_owned(), false);
        assert!(follower.step(None).unwrap().is_empty());
        append(folder.path(), &record(2, 1, "one"));
        fs::rename(file(folder.path(), 0), file(folder.path(), 1)).unwrap();
        append(folder.path(), &record(3, 1, "two"));
        let seen: Vec<String> = (0..3).flat_map(|_| follower.step(None).unwrap()).collect();
        assert_eq!(seen, [record(2, 1, "one"), record(3, 1, "two")]);
    }
}
