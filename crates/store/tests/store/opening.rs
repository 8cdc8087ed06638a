//! What opening refuses, and what it does for the runs of a process that died.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};

use futures::executor::block_on;
use humdrum_store::{DATABASE_FILE, LOCK_FILE, OpenError, Store, open};
use rusqlite::Connection;

use crate::build::{LEASE_MS, claimed, commit_events};

#[test]
fn every_opening_counts_and_voids_leases() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("new/data");
    let first = open(&folder).unwrap();
    assert_eq!(first.boot_epoch, 1);
    let before = block_on(claimed(&first.store, "r"));
    drop(first);
    let second = open(&folder).unwrap();
    assert_eq!(second.boot_epoch, 2);
    // Far before the end of the old lease, without stealing.
    let run = block_on(second.store.claim_one("r".into(), "c2".into(), 1_001, LEASE_MS, false))
        .unwrap()
        .unwrap();
    assert_eq!(run.epoch, before.epoch + 1);
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(error, OpenError::InUse { pid: Some(holder), .. } if holder == pid),
        "{error}"
    );
    assert!(error.to_string().ends_with(&format!("is in use by process {pid}")), "{error}");
    assert!(error.hint().contains(&format!("kill {pid}")));
    block_on(commit_events(&first.store, "r", 1));
    drop(first);
    assert_eq!(fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap(), format!("{pid}\n"));
    assert_eq!(block_on(open(dir.path()).unwrap().store.verify_chain()), Ok(1));
}

#[test]
fn a_newer_schema_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let path = dir.path().join(DATABASE_FILE);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 99, known: 1, .. }), "{error}");
    assert!(error.hint().contains("newer Humdrum"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn another_programs_database_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE_FILE);
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Foreign { application_id: 0, .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_damaged_database_is_refused_with_a_way_out() {
    for (what, at, bytes) in
        [("no database at all", 0_u64, 64_usize), ("a page of a table", 8 * 4_096, 3 * 4_096)]
    {
        let dir = tempfile::tempdir().unwrap();
        block_on(commit_events(&open(dir.path()).unwrap().store, "r", 300));
        let path = dir.path().join(DATABASE_FILE);
        let mut file = fs::File::options().read(true).write(true).open(&path).unwrap();
        let mut damaged = vec![0; bytes];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut damaged).unwrap();
        damaged.iter_mut().for_each(|byte| *byte = byte.wrapping_add(0x5a));
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&damaged).unwrap();
        drop(file);
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{what}: {error:?}");
        assert!(error.hint().contains("restore a backup"), "{what}");
    }
}

#[test]
fn a_file_in_place_of_the_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let error = open(&path).unwrap_err();
    assert!(error.to_string().contains("/file` cannot be used"), "{error}");
    assert!(error.hint().contains("is a folder"));
}
