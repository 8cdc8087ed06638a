//! A disk without space: nothing is accepted by mistake, and work goes on when there is space again.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use futures::executor::block_on;
use futures::future::join_all;
use humdrum_store::{Store, StoreError, open};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::build::{claimed, commit, event};

/// A file system of its own with 2 MiB, unmounted at the end.
struct TinyDisk {
    dir: tempfile::TempDir,
}

impl TinyDisk {
    /// `None` where mounting is not permitted; the unit test of the writer fills a database there too.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), c"size=2m").ok()?;
        Some(Self { dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        unmount(self.dir.path(), UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_accepts_nothing_and_recovers() {
    let Some(disk) = TinyDisk::mount() else { return };
    let data = disk.path().join("data");
    let opened = open(&data).unwrap();
    let store = &opened.store;
    let (mut accepted, filler) = block_on(async {
        let mut run = claimed(store, "r").await;
        let filler = disk.path().join("filler");
        fill_up(&filler);
        let mut accepted = 0;
        let error = loop {
            let mut next = commit(&run, 2_000);
            next.events = vec![("Large".into(), "x".repeat(10_000))];
            match store.commit(next).await {
                Ok(done) => run.version = done.version,
                Err(error) => break error,
            }
            accepted += 1;
            assert!(accepted < 1_000, "the disk never got full");
        };
        assert_eq!(error, StoreError::Full);
        assert!(error.hint().is_some());
        // Many at once, as a group: each is refused, none is lost in between.
        let together = (0..8).map(|_| {
            let mut next = commit(&run, 2_000);
            next.events = vec![("Large".into(), "x".repeat(10_000))];
            store.commit(next)
        });
        for refused in join_all(together).await {
            assert_eq!(refused.unwrap_err(), StoreError::Full);
        }
        let row = store.run("r".into()).await.unwrap().unwrap();
        assert_eq!(row.version, run.version);
        assert_eq!(store.verify_chain().await, Ok(accepted));
        (accepted, filler)
    });
    fs::remove_file(&filler).unwrap();
    block_on(async {
        let run = store.run("r".into()).await.unwrap().unwrap();
        let mut next = commit(&run, 2_001);
        next.events = vec![event(1)];
        accepted += 1;
        assert_eq!(store.commit(next).await.unwrap().feed, Some(accepted));
    });
    drop(opened);
    let again = open(&data).unwrap();
    assert_eq!(block_on(again.store.verify_chain()), Ok(accepted));
}

#[test]
fn opening_on_a_full_disk_says_so() {
    let Some(disk) = TinyDisk::mount() else { return };
    fill_up(&disk.path().join("filler"));
    let error = open(&disk.path().join("data")).unwrap_err();
    assert!(matches!(error, humdrum_store::OpenError::Full { .. }), "{error:?}");
    assert!(error.hint().contains("make room"));
}

/// Writes until the file system is full to the last page.
fn fill_up(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [65_536, 4_096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}
