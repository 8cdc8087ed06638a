//! One process for each data folder: an exclusive `flock` on `LOCK`, which the kernel drops when its holder dies.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The name of the lock file in the data folder.
pub const LOCK_FILE: &str = "LOCK";

/// A child of the former holder has the lock, too, between its fork and its exec. It is waited for, a living holder not for long.
const PATIENCE: Duration = Duration::from_millis(300);
const AGAIN: Duration = Duration::from_millis(5);

/// Held as long as the store is open. The file stays: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it; its id, if it had written it yet.
    Held(Option<u32>),
    Io(io::Error),
}

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, LockError> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(LOCK_FILE))
            .map_err(LockError::Io)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(AGAIN),
                Err(Errno::WOULDBLOCK) => return Err(LockError::Held(read_pid(&mut file))),
                Err(error) => return Err(LockError::Io(error.into())),
            }
        }
        write_pid(&mut file).map_err(LockError::Io)?;
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Written in place and cut afterwards: the file is never empty, and rewriting a short file needs no new block on a full disk.
fn write_pid(file: &mut File) -> io::Result<()> {
    let text = format!("{}\n", std::process::id());
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_learns_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOCK_FILE), "4194304999\n").unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let Err(LockError::Held(pid)) = DirLock::take(dir.path()) else { panic!("taken twice") };
        assert_eq!(pid, Some(std::process::id()));
        drop(first);
        assert!(DirLock::take(dir.path()).is_ok());
    }
}
