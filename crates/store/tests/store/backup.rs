//! A backup of the working store, and a restore of it.

use futures::executor::block_on;
use humdrum_store::{BackupError, DATABASE_FILE, Store, open};

use crate::build::{claimed, commit, commit_events, event};

#[test]
fn a_backup_made_under_load_restores_whole() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&dir.path().join("live")).unwrap();
    let backup = dir.path().join("backup.db");
    block_on(async {
        commit_events(&opened.store, "before", 200).await;
        let load = commit_events(&opened.store, "during", 200);
        let (copied, ()) = futures::join!(opened.store.backup_to(backup.clone()), load);
        copied.unwrap();
        commit_events(&opened.store, "after", 1).await;
    });
    let live = block_on(opened.store.run("before".into())).unwrap().unwrap();

    let restored_dir = dir.path().join("restored");
    std::fs::create_dir(&restored_dir).unwrap();
    std::fs::copy(&backup, restored_dir.join(DATABASE_FILE)).unwrap();
    let restored = open(&restored_dir).unwrap();
    block_on(async {
        let rows = restored.store.verify_chain().await.unwrap();
        assert!((200..=400).contains(&rows), "{rows}");
        assert!(restored.store.run("after".into()).await.unwrap().is_none());
        // Targets have seen fences up to the live store's; a restored one must be above all of them.
        let run = restored.store.run("before".into()).await.unwrap().unwrap();
        assert!(run.epoch > live.epoch + 100_000, "{}", run.epoch);
        assert!(restored.boot_epoch > opened.boot_epoch + 100_000);
        let run = claimed(&restored.store, "before").await;
        let mut next = commit(&run, 5_000);
        next.events = vec![event(1)];
        assert_eq!(restored.store.commit(next).await.unwrap().feed, Some(rows + 1));
        assert_eq!(restored.store.verify_chain().await.unwrap(), rows + 1);
    });
    let (store, boot_epoch) = (restored.store, restored.boot_epoch);
    drop(store);
    assert_eq!(open(&restored_dir).unwrap().boot_epoch, boot_epoch + 1, "the jump happens once");
}

#[test]
fn a_backup_never_replaces_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&dir.path().join("live")).unwrap();
    let path = dir.path().join("taken");
    std::fs::write(&path, "mine").unwrap();
    let error = block_on(opened.store.backup_to(path.clone())).unwrap_err();
    assert!(matches!(error, BackupError::Exists { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let nowhere = block_on(opened.store.backup_to(dir.path().join("no/such/folder"))).unwrap_err();
    assert!(matches!(nowhere, BackupError::Copy { .. }), "{nowhere}");
}
