//! The files by which agent and shim understand each other, so that either may die and be replaced by a newer build.
//!
//! All lie in the instance's folder: `order.json` (agent → shim), `stop.json` (agent → shim), `shim.json`,
//! `started.json` and `exit.json` (shim → agent), `lock` (held by the one living shim).

use std::path::{Path, PathBuf};

use humdrum_jail::{Notes, Spec};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// The form of the files; a shim refuses an order of another one.
pub(crate) const VERSION: u32 = 1;
/// The exit code of a shim that found another one at work (EX_TEMPFAIL of sysexits(3)).
pub(crate) const LOCKED_CODE: i32 = 75;

/// What a shim must run: once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) version: u32,
    /// Counts the starts of this index, so that an old answer is never taken for a new one.
    pub(crate) attempt: u64,
    /// See [`crate::environment::key`].
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) port: u16,
    /// Between SIGTERM and SIGKILL, unless `stop.json` says otherwise.
    pub(crate) grace_ms: u64,
    /// A JSON object: the labels of every log line.
    pub(crate) labels: serde_json::Value,
    pub(crate) jail: Spec,
}

/// How long a stopping instance may take, when the wish changed since the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StopOrder {
    pub(crate) grace_ms: u64,
}

/// The shim's pid file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShimFile {
    pub(crate) attempt: u64,
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) shim: Identity,
}

/// The instance runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) attempt: u64,
    pub(crate) instance: Identity,
    pub(crate) at_ms: i64,
    pub(crate) notes: Vec<String>,
}

/// The instance has ended, or never ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) attempt: u64,
    /// `exit 1`, `signal 9`, `killed at its memory limit`.
    pub(crate) how: String,
    /// Why it could not be started at all, in words.
    #[serde(default)]
    pub(crate) not_started: Option<String>,
    pub(crate) at_ms: i64,
}

/// The first and only line that a shim writes to its standard output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Started(Started),
    Ended(Exit),
}

/// The paths in an instance's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn order(&self) -> PathBuf {
        self.0.join("order.json")
    }
    pub(crate) fn stop(&self) -> PathBuf {
        self.0.join("stop.json")
    }
    pub(crate) fn shim(&self) -> PathBuf {
        self.0.join("shim.json")
    }
    pub(crate) fn started(&self) -> PathBuf {
        self.0.join("started.json")
    }
    pub(crate) fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
    pub(crate) fn memory(&self) -> PathBuf {
        self.0.join("memory.json")
    }
    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// What a person should know of the walls: only what was asked for and how it came out.
pub(crate) fn notes_in_words(notes: &Notes, limited: bool) -> Vec<String> {
    let mut words = vec![];
    if notes.user_namespace {
        words.push("own root by a user namespace".to_owned());
    }
    if limited && !notes.limits_by.is_empty() {
        words.push(format!("limits by {}", notes.limits_by));
    }
    words.extend(notes.not_enforced.iter().map(|what| format!("not limited: {what}")));
    words
}
