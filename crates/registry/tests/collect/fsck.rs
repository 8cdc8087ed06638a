//! Each kind of damage is made with bare hands, found and named, and mended as far as that loses nothing.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use humdrum_registry::fsck::{Checkup, Kind, check, repair};
use humdrum_store::blobs::BlobDigest;

use crate::Stage;
use crate::server::{image, sha256};

fn look(root: &Path) -> Checkup {
    check(root, true, SystemTime::now()).unwrap()
}

fn kinds(checkup: &Checkup) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = checkup.findings.iter().map(|finding| finding.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Changes the index behind the registry's back.
fn sql(root: &Path, text: &str) {
    rusqlite::Connection::open(root.join("registry.db")).unwrap().execute(text, []).unwrap();
}

#[tokio::test]
async fn a_whole_registry_has_no_findings() {
    let stage = Stage::new();
    stage.image("layer", "", Some("v1")).await;
    let checkup = look(stage.folder.path());
    assert_eq!(
        (checkup.blobs, checkup.manifests, checkup.findings.len()),
        (2, 1, 0),
        "{checkup:?}"
    );
    assert!(check(&stage.folder.path().join("nowhere"), true, SystemTime::now()).is_err());
}

#[tokio::test]
async fn damaged_bytes_are_moved_aside_and_a_push_heals() {
    for (harm, kind) in
        [("missing", Kind::BlobMissing), ("other", Kind::BlobDigest), ("short", Kind::BlobSize)]
    {
        let stage = Stage::new();
        let (manifest, layer) = stage.image("layer", "", Some("v1")).await;
        let (root, file) = (stage.folder.path(), stage.file(&layer));
        match harm {
            "missing" => fs::remove_file(&file).unwrap(),
            "other" => fs::write(&file, "lAyer").unwrap(),
            _ => fs::write(&file, "lay").unwrap(),
        }
        let found = look(root);
        assert_eq!(kinds(&found), [kind], "{found:?}");
        assert_eq!(found.findings[0].subject, layer.to_string());
        assert_eq!(found.findings[0].repositories, ["shop"]);
        let mended = repair(root, &found, 1).unwrap();
        assert_eq!(mended.len(), 1);
        let aside = fs::read_dir(root.join("damaged")).unwrap().count();
        assert_eq!(
            aside,
            if harm == "missing" { 1 } else { 2 },
            "the record, and the bytes if there are any"
        );
        // What is left is the truth: the manifest lacks a blob until somebody pushes it.
        assert_eq!(kinds(&look(root)), [Kind::ManifestBlob]);
        assert!(stage.registry.blob_size("shop", &layer).await.unwrap().is_none());
        stage.blob("layer").await;
        assert!(look(root).findings.is_empty());
        assert!(stage.has(&manifest).await);
    }
}

#[tokio::test]
async fn a_broken_index_is_named_row_by_row() {
    let stage = Stage::new();
    let root = stage.folder.path();
    let (manifest, layer) = stage.image("layer", "", Some("v1")).await;
    let (other, _) = stage.image("other", "", Some("v2")).await;
    sql(root, "UPDATE tag SET digest = 'sha256:gone' WHERE name = 'v2'");
    sql(
        root,
        &format!("DELETE FROM reference WHERE manifest = '{manifest}' AND target = '{layer}'"),
    );
    sql(root, "INSERT INTO reference VALUES (1, 'sha256:gone', 'sha256:kept')");
    sql(root, &format!("UPDATE manifest SET body = X'7B7D' WHERE digest = '{other}'"));
    let found = look(root);
    let all = [Kind::ManifestDigest, Kind::ReferenceLost, Kind::ReferenceLoose, Kind::TagLoose];
    assert_eq!(kinds(&found), all, "{found:?}");
    let mended = repair(root, &found, 1).unwrap();
    assert_eq!(mended.len(), 4, "{mended:?}");
    assert!(look(root).findings.is_empty());
    assert!(stage.has(&manifest).await && !stage.has(&other).await);
    let record = fs::read_to_string(root.join("damaged/repairs.jsonl")).unwrap();
    assert_eq!(record.lines().count(), 4);
    let kept = root.join(format!("damaged/manifest-{}", other.to_string().replace(':', "-")));
    assert_eq!(fs::read_to_string(kept).unwrap(), "{}");
}

#[tokio::test]
async fn a_manifest_whose_blob_was_deleted_points_nowhere() {
    let stage = Stage::new();
    let (manifest, layer) = stage.image("layer", "", Some("v1")).await;
    stage.registry.delete_blob("shop", &layer).await.unwrap();
    let found = look(stage.folder.path());
    assert_eq!(kinds(&found), [Kind::ManifestBlob]);
    assert_eq!(found.findings[0].subject, manifest.to_string());
    assert!(
        repair(stage.folder.path(), &found, 1).unwrap().is_empty(),
        "only a person can mend it"
    );
    stage.registry.restore(&layer, None).await.unwrap();
    assert!(look(stage.folder.path()).findings.is_empty());
}

#[tokio::test]
async fn leftovers_are_named_but_are_no_damage() {
    let stage = Stage::new();
    let root = stage.folder.path();
    stage.image("layer", "", Some("v1")).await;
    let orphan: BlobDigest = sha256(b"orphan").parse().unwrap();
    fs::create_dir_all(stage.file(&orphan).parent().unwrap()).unwrap();
    fs::write(stage.file(&orphan), "orphan").unwrap();
    fs::write(root.join("sha256/notes.txt"), "mine").unwrap();
    fs::write(root.join("uploads/half"), "half").unwrap();
    let later = SystemTime::now() + Duration::from_secs(25 * 3600);
    let found = check(root, true, later).unwrap();
    assert_eq!(kinds(&found), [Kind::Orphan, Kind::HalfUpload, Kind::Stranger], "{found:?}");
    assert_eq!(found.damage(), 0);
    assert!(repair(root, &found, 1).unwrap().is_empty());
    assert!(root.join("sha256/notes.txt").exists());
}

#[tokio::test]
async fn a_broken_database_is_the_only_finding() {
    let stage = Stage::new();
    let text = image(&sha256(b"{}"), &[], "");
    let digest = sha256(text.as_bytes());
    for n in 0..50 {
        stage.image(&format!("layer {n}"), "", Some(&format!("v{n}"))).await;
    }
    let root = stage.folder.path().to_owned();
    let copy = tempfile::tempdir().unwrap();
    humdrum_store::copy_of(&root.join("registry.db"), &copy.path().join("registry.db")).unwrap();
    assert!(look(copy.path()).findings.iter().all(|found| found.kind == Kind::BlobMissing));
    let path = copy.path().join("registry.db");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let found = look(copy.path());
    assert_eq!(kinds(&found), [Kind::IndexBroken], "{found:?}");
    assert!(repair(copy.path(), &found, 1).unwrap().is_empty());
    fs::write(&path, "no database at all, but long enough to be taken for the head of one")
        .unwrap();
    assert_eq!(kinds(&look(copy.path())), [Kind::IndexBroken], "{digest}");
}
