//! The `git` program: asked for what only it knows (references, differences), never through a shell.

use std::ffi::OsStr;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::SourceError;

/// Longest text of git's complaints that is kept, bytes.
const COMPLAINT_BYTES_MAX: u64 = 4_096;

/// A repository on disk.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    pub(super) folder: PathBuf,
    pub(super) objects: PathBuf,
    /// Bytes of an object's name: 20 or 32.
    pub(super) name_bytes: usize,
}

impl Repository {
    pub(super) fn open(folder: &Path) -> Result<Self, SourceError> {
        let command = [
            "rev-parse",
            "--path-format=absolute",
            "--git-path",
            "objects",
            "--show-object-format",
        ];
        let text = run(folder, &command).map_err(|error| match error {
            SourceError::Git { why, .. } if why.contains("ot a git repository") => {
                SourceError::NoRepository { path: folder.into() }
            }
            other => other,
        })?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let objects = lines.next().unwrap_or_default().into();
        let name_bytes = if lines.next() == Some("sha256") { 32 } else { 20 };
        Ok(Self { folder: folder.into(), objects, name_bytes })
    }
}

fn command(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new("git");
    // Nobody's settings change what a difference is.
    for setting in [
        "core.quotePath=true",
        "diff.noprefix=false",
        "diff.mnemonicPrefix=false",
        "log.showSignature=false",
    ] {
        command.arg("-c").arg(setting);
    }
    command.arg("-C").arg(folder).args(arguments);
    command.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C").stdin(Stdio::null());
    command
}

fn named(arguments: &[impl AsRef<OsStr>]) -> String {
    let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    words.join(" ")
}

/// The whole output of a command that writes little.
pub(super) fn run(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, SourceError> {
    let output = command(folder, arguments).output().map_err(SourceError::NoGit)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(SourceError::Git { command: named(arguments), why })
}

/// A command whose output is read as it comes. What it is given stands in memory and is written by a thread.
pub(super) struct Stream {
    child: Child,
    command: String,
    complaints: std::thread::JoinHandle<String>,
    feeder: Option<std::thread::JoinHandle<()>>,
}

impl Stream {
    pub(super) fn start(
        folder: &Path,
        arguments: &[impl AsRef<OsStr>],
        input: Option<Vec<u8>>,
    ) -> Result<(Self, BufReader<ChildStdout>), SourceError> {
        let mut command = command(folder, arguments);
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(SourceError::NoGit)?;
        let stdin = child.stdin.take();
        let feeder = input.zip(stdin).map(|(input, mut stdin)| {
            // A reader that ended early says why on its own.
            std::thread::spawn(move || drop(stdin.write_all(&input)))
        });
        let mut stderr = child.stderr.take().expect("it was piped");
        let complaints = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = (&mut stderr).take(COMPLAINT_BYTES_MAX).read_to_end(&mut text);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        let stdout = BufReader::with_capacity(1 << 16, child.stdout.take().expect("it was piped"));
        Ok((Self { child, command: named(arguments), complaints, feeder }, stdout))
    }

    /// Waits for the end; an error when git says that something went wrong.
    pub(super) fn end(mut self) -> Result<(), SourceError> {
        let status = self.child.wait().map_err(SourceError::NoGit)?;
        let why = self.complaints.join().unwrap_or_default();
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
        if status.success() { Ok(()) } else { Err(SourceError::Git { command: self.command, why }) }
    }
}
