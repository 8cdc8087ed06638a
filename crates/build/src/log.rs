//! The output of a build, line by line while it runs, masked before anybody sees it.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Mutex;

use crate::mask::{MaskStream, Masker};

/// A longer line is cut into several of this length, so that a program without line ends cannot fill the memory.
pub const LINE_BYTES_MAX: usize = 16 << 10;
/// How many last lines a failure quotes.
pub const LINES_QUOTED: usize = 20;
const CHUNK_BYTES: usize = 16 << 10;

/// The part of a build that a line belongs to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// What Humdrum itself says.
    Prepare,
    /// The download of dependencies.
    Fetch,
    /// The build.
    Build,
    /// The tests.
    Test,
    /// Making the image.
    Pack,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Prepare => "prepare",
            Phase::Fetch => "fetch",
            Phase::Build => "build",
            Phase::Test => "test",
            Phase::Pack => "pack",
        })
    }
}

/// Where lines go. Called from two threads (output and errors) while a command runs.
pub trait LogSink: Sync {
    /// Takes one masked line without its end.
    fn line(&self, phase: Phase, text: &str);
}

/// Keeps lines in memory; for tests and for small outputs.
#[derive(Debug, Default)]
pub struct Lines(Mutex<Vec<(Phase, String)>>);

impl Lines {
    /// All lines so far.
    pub fn all(&self) -> Vec<(Phase, String)> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl LogSink for Lines {
    fn line(&self, phase: Phase, text: &str) {
        let mut lines = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.push((phase, text.to_owned()));
    }
}

/// Passes lines on and remembers the last ones.
pub(crate) struct Tail<'a> {
    sink: &'a dyn LogSink,
    phase: Phase,
    last: Mutex<VecDeque<String>>,
}

impl<'a> Tail<'a> {
    pub(crate) fn new(sink: &'a dyn LogSink, phase: Phase) -> Tail<'a> {
        Tail { sink, phase, last: Mutex::default() }
    }

    fn line(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches('\r');
        self.sink.line(self.phase, text);
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.len() == LINES_QUOTED {
            last.pop_front();
        }
        last.push_back(text.to_owned());
    }

    pub(crate) fn last(&self) -> Vec<String> {
        let last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        last.iter().cloned().collect()
    }

    /// Reads to the end of one stream.
    pub(crate) fn pump(&self, mut from: impl Read, masker: Masker) {
        let mut stream = MaskStream::new(masker);
        let (mut chunk, mut pending) = (vec![0; CHUNK_BYTES], Vec::new());
        loop {
            let read = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                // A pipe of a killed command; its end is told by its status.
                Err(_) => break,
            };
            pending.extend(stream.push(&chunk[..read]));
            self.split(&mut pending);
        }
        pending.extend(stream.finish());
        self.split(&mut pending);
        if !pending.is_empty() {
            self.line(&pending);
        }
    }

    fn split(&self, pending: &mut Vec<u8>) {
        let mut begin = 0;
        while begin < pending.len() {
            let rest = &pending[begin..];
            match rest.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.line(&rest[..end]);
                    begin += end + 1;
                }
                None if rest.len() >= LINE_BYTES_MAX => {
                    self.line(&rest[..LINE_BYTES_MAX]);
                    begin += LINE_BYTES_MAX;
                }
                None => break,
            }
        }
        pending.drain(..begin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_masked_and_cut() {
        let lines = Lines::default();
        let tail = Tail::new(&lines, Phase::Build);
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let text = format!("one\r\n\ntoken hunter22\n{long}\nlast");
        tail.pump(text.as_bytes(), Masker::new([("t", "hunter22")]).unwrap());
        let seen: Vec<String> = lines.all().into_iter().map(|(_, text)| text).collect();
        let expected = ["one", "", "token ***", &long[1..], "x", "last"];
        assert_eq!(seen, expected);
        assert_eq!(tail.last().last().map(String::as_str), Some("last"));
    }
}
