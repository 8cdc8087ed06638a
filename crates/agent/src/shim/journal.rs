//! The log of an instance: each line of its output as one JSON object in files of bounded size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Mutex;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

use super::now_ms;
use crate::logs::{FILES_MAX, file};
use crate::order::{Folder, Order};

/// A file is closed and the next one begun at this size.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// A longer line is written in parts; it is what log stores commonly accept.
const LINE_BYTES_MAX: usize = 16 << 10;
/// How much of a pipe is read at once: the size of a pipe.
const READ_BYTES: usize = 64 << 10;

/// The open log file. Writing never stops the instance: what the disk refuses is counted and told when it recovers.
pub(super) struct Journal {
    folder: PathBuf,
    name: String,
    attempt: u64,
    labels: serde_json::Value,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    bytes: u64,
    lost: u64,
}

#[derive(Serialize)]
struct Record<'a> {
    t: i64,
    stream: &'a str,
    line: &'a str,
    instance: &'a str,
    run: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    labels: &'a serde_json::Value,
}

impl Journal {
    pub(super) fn open(folder: &Folder, order: &Order) -> io::Result<Journal> {
        let logs = folder.logs();
        fs::create_dir_all(&logs)?;
        let file = open_file(&logs)?;
        let bytes = file.metadata()?.len();
        Ok(Journal {
            folder: logs,
            name: order.name.clone(),
            attempt: order.attempt,
            labels: order.labels.clone(),
            open: Mutex::new(Open { file, bytes, lost: 0 }),
        })
    }

    fn write(&self, stream: &str, line: &[u8], partial: bool) {
        let mut open = self.open.lock().expect("nothing panics while it holds the log");
        if open.lost > 0 {
            let note = format!("{} log lines were lost: the disk did not take them", open.lost);
            if self.append(&mut open, "humdrum", &note, false).is_ok() {
                open.lost = 0;
            }
        }
        if self.append(&mut open, stream, &String::from_utf8_lossy(line), partial).is_err() {
            open.lost += 1;
        }
    }

    fn append(&self, open: &mut Open, stream: &str, line: &str, partial: bool) -> io::Result<()> {
        let (instance, run, labels) = (&self.name, self.attempt, &self.labels);
        let record = Record { t: now_ms(), stream, line, instance, run, partial, labels };
        let mut text = serde_json::to_vec(&record)?;
        text.push(b'\n');
        if open.bytes + text.len() as u64 > FILE_BYTES_MAX {
            self.rotate(open)?;
        }
        let before = open.bytes;
        open.file.write_all(&text).inspect_err(|_| {
            // Half a line would spoil the next one, too.
            drop(open.file.set_len(before));
        })?;
        open.bytes += text.len() as u64;
        Ok(())
    }

    fn rotate(&self, open: &mut Open) -> io::Result<()> {
        for number in (0..FILES_MAX - 1).rev() {
            let from = file(&self.folder, number);
            if from.exists() {
                fs::rename(from, file(&self.folder, number + 1))?;
            }
        }
        open.file = open_file(&self.folder)?;
        open.bytes = 0;
        Ok(())
    }

    /// Brings the log to the disk. What was lost until the end stays untold only if the disk is still full.
    pub(super) fn finish(&self) {
        let mut open = self.open.lock().expect("nothing panics while it holds the log");
        if open.lost > 0 {
            let note = format!("{} log lines were lost: the disk did not take them", open.lost);
            drop(self.append(&mut open, "humdrum", &note, false));
        }
        drop(open.file.sync_data());
    }
}

fn open_file(folder: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(file(folder, 0))
}

/// Copies a pipe to the log until its end.
pub(super) fn copy<P>(
    pipe: P,
    stream: &'static str,
    journal: std::sync::Arc<Journal>,
) -> JoinHandle<()>
where
    P: Into<std::os::fd::OwnedFd>,
{
    let pipe: std::os::fd::OwnedFd = pipe.into();
    tokio::spawn(async move {
        // A pipe that cannot be registered ends the copying, and the instance notices by its broken pipe.
        if let Ok(pipe) = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe) {
            lines(pipe, |line, partial| journal.write(stream, line, partial)).await;
        }
    })
}

async fn lines(mut pipe: impl AsyncRead + Unpin, mut write: impl FnMut(&[u8], bool)) {
    let mut rest: Vec<u8> = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        rest.extend_from_slice(&buffer[..read]);
        let mut from = 0;
        loop {
            let pending = &rest[from..];
            match pending.iter().take(LINE_BYTES_MAX + 1).position(|byte| *byte == b'\n') {
                Some(end) => {
                    let line = pending[..end].strip_suffix(b"\r").unwrap_or(&pending[..end]);
                    write(line, false);
                    from += end + 1;
                }
                None if pending.len() > LINE_BYTES_MAX => {
                    write(&pending[..LINE_BYTES_MAX], true);
                    from += LINE_BYTES_MAX;
                }
                None => break,
            }
        }
        rest.drain(..from);
    }
    if !rest.is_empty() {
        write(&rest, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn split(input: &[u8]) -> Vec<(usize, bool)> {
        let mut seen = vec![];
        lines(input, |line, partial| seen.push((line.len(), partial))).await;
        seen
    }

    #[tokio::test]
    async fn output_is_cut_at_line_ends_and_at_the_longest_line() {
        assert_eq!(split(b"ab\r\nc\n\nd").await, [(2, false), (1, false), (0, false), (1, false)]);
        let long = vec![b'x'; LINE_BYTES_MAX * 2 + 5];
        let parts = [(LINE_BYTES_MAX, true), (LINE_BYTES_MAX, true), (5, false)];
        assert_eq!(split(&long).await, parts);
        let exact = [vec![b'x'; LINE_BYTES_MAX], b"\n".to_vec()].concat();
        assert_eq!(split(&exact).await, [(LINE_BYTES_MAX, false)]);
    }
}
