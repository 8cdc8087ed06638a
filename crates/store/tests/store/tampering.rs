//! A database that somebody changed behind our back: the check names the first bad row.

use std::path::Path;

use futures::executor::block_on;
use humdrum_store::{DATABASE_FILE, Store, StoreError, open};
use rusqlite::Connection;

use crate::build::commit_events;

#[test]
fn the_first_bad_row_is_named() {
    #[rustfmt::skip]
    let cases = [
        ("changed",             "UPDATE feed SET body = '{}' WHERE pos = 4",                         4),
        ("actor changed",       "UPDATE feed SET actor = 'someone' WHERE pos = 1",                   1),
        ("deleted",             "DELETE FROM feed WHERE pos = 5",                                    5),
        ("first deleted",       "DELETE FROM feed WHERE pos = 1",                                    1),
        ("last deleted",        "DELETE FROM feed WHERE pos = 9",                                    9),
        ("several cut off",     "DELETE FROM feed WHERE pos >= 7",                                   7),
        ("all deleted",         "DELETE FROM feed",                                                  1),
        ("deleted and closed",  "DELETE FROM feed WHERE pos = 3;
                                 UPDATE feed SET pos = pos - 1 WHERE pos > 3",                       3),
        ("reordered",           "UPDATE feed SET pos = 100 WHERE pos = 2;
                                 UPDATE feed SET pos = 2 WHERE pos = 3;
                                 UPDATE feed SET pos = 3 WHERE pos = 100",                           2),
        ("hash replaced",       "UPDATE feed SET hash = zeroblob(32) WHERE pos = 9",                 9),
        ("added at the end",    "INSERT INTO feed SELECT 10, run, 10, epoch, kind, body, actor, at_ms,
                                        hash, hash FROM feed WHERE pos = 9",                         10),
    ];
    for (what, sql, first_bad) in cases {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path()).unwrap();
        block_on(commit_events(&opened.store, "r", 9));
        assert_eq!(block_on(opened.store.verify_chain()), Ok(9));
        drop(opened);
        tamper(&dir.path().join(DATABASE_FILE), sql);
        let opened = open(dir.path()).unwrap();
        let Err(StoreError::Chain { pos, why }) = block_on(opened.store.verify_chain()) else {
            panic!("{what}: not found");
        };
        assert_eq!(pos, first_bad, "{what}: {why}");
    }
}

#[test]
fn what_is_appended_after_a_cut_does_not_hide_it() {
    let dir = tempfile::tempdir().unwrap();
    block_on(commit_events(&open(dir.path()).unwrap().store, "r", 5));
    tamper(&dir.path().join(DATABASE_FILE), "DELETE FROM feed WHERE pos = 5");
    let opened = open(dir.path()).unwrap();
    block_on(commit_events(&opened.store, "next", 3));
    let last = block_on(opened.store.feed(0, 0)).unwrap().last().unwrap().pos;
    assert_eq!(last, 8);
    assert!(matches!(block_on(opened.store.verify_chain()), Err(StoreError::Chain { pos: 5, .. })));
}

fn tamper(path: &Path, sql: &str) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("DROP TRIGGER feed_is_never_changed; DROP TRIGGER feed_is_never_cut")
        .unwrap();
    conn.execute_batch(sql).unwrap();
}
