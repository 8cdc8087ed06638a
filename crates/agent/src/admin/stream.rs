//! An answer that goes on: the log of a unit while it is written.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

use super::{Answer, typed};
use crate::logs::{self, Follower};

/// How often the files are looked at: a person does not see a shorter delay.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Chunks waiting for a slow reader; then the reading of files waits, too.
const CHUNKS_MAX: usize = 16;

/// The last records, then all that follow, until the reader leaves.
pub(super) fn follow(unit: PathBuf, instance: Option<String>, lines: usize) -> Answer {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        // A reader that left closes the channel, which ends the loop.
        drop(pump(&unit, instance.as_deref(), lines, &sender));
    });
    typed(StatusCode::OK, "application/x-ndjson", Chunks(receiver).boxed())
}

fn pump(
    unit: &Path,
    instance: Option<&str>,
    lines: usize,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), mpsc::error::SendError<Bytes>> {
    // Opened before the last lines are read, so that none falls between the two; one may come twice.
    let mut followers: BTreeMap<PathBuf, Follower> = log_folders(unit)
        .into_iter()
        .map(|folder| (folder.clone(), Follower::new(folder, false)))
        .collect();
    send(sender, &logs::last(&log_folders(unit), instance, lines))?;
    while !sender.is_closed() {
        for folder in log_folders(unit) {
            let new = || Follower::new(folder.clone(), true);
            let follower = followers.entry(folder.clone()).or_insert_with(new);
            // A folder that a clean-up took away has no more to say.
            send(sender, &follower.step(instance).unwrap_or_default())?;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn send(
    sender: &mpsc::Sender<Bytes>,
    records: &[String],
) -> Result<(), mpsc::error::SendError<Bytes>> {
    if records.is_empty() {
        return Ok(());
    }
    sender.blocking_send(Bytes::from(records.join("\n") + "\n"))
}

/// The log folders of all instances that a unit has or had.
pub(super) fn log_folders(unit: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(unit).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path().join("logs")).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

struct Chunks(mpsc::Receiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}
