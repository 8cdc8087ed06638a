//! What a collection takes and what it leaves, rule by rule, with a clock that the test moves.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "collect/fsck.rs"]
mod fsck;
#[path = "live/server.rs"]
mod server;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use humdrum_registry::collect::{Collected, Collecting, Fate, Grace, TOUCH_EVERY};
use humdrum_registry::name::Reference;
use humdrum_registry::{Registry, RegistryError};
use humdrum_store::blobs::{BlobDigest, IndexError};
use server::{IMAGE, INDEX, image, policy, sha256};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

struct Stage {
    folder: tempfile::TempDir,
    now: Arc<AtomicI64>,
    registry: Registry,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(100 * DAY));
        let clock = now.clone();
        let registry = Registry::open(folder.path(), policy()).unwrap();
        let registry = registry.with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
        Self { folder, now, registry }
    }

    fn pass(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    async fn blob(&self, text: &str) -> BlobDigest {
        self.registry.put_blob("shop", text.to_owned().into()).await.unwrap()
    }

    /// Pushes an image with the layer `layer`, by digest or under a tag.
    async fn image(&self, layer: &str, extra: &str, tag: Option<&str>) -> (BlobDigest, BlobDigest) {
        let (config, digest) = (self.blob("{}").await, self.blob(layer).await);
        let text = image(config.as_str(), &[(digest.as_str(), layer.len())], extra);
        (self.put(&text, IMAGE, tag).await, digest)
    }

    async fn put(&self, text: &str, kind: &str, tag: Option<&str>) -> BlobDigest {
        let digest: BlobDigest = sha256(text.as_bytes()).parse().unwrap();
        let reference =
            tag.map_or_else(|| Reference::Digest(digest.clone()), |tag| Reference::Tag(tag.into()));
        let body = text.to_owned().into();
        self.registry.put_manifest("shop", &reference, Some(kind), body).await.unwrap();
        digest
    }

    async fn untag(&self, tag: &str) {
        let reference = Reference::Tag(tag.to_owned());
        assert!(self.registry.delete_manifest("shop", &reference).await.unwrap());
    }

    async fn collect(&self) -> Collected {
        self.registry.collect(&Collecting::default()).await.unwrap()
    }

    /// Collects until nothing is left to take, with time enough for the trash to be emptied.
    async fn settle(&self) {
        for _ in 0..3 {
            self.pass(30 * DAY);
            self.collect().await;
        }
        assert!(self.collect().await.is_empty());
    }

    async fn has(&self, digest: &BlobDigest) -> bool {
        let reference = Reference::Digest(digest.clone());
        let manifest = self.registry.get_manifest("shop", &reference).await.is_ok();
        manifest || self.registry.blob_bytes("shop", digest, 1 << 20).await.is_ok()
    }

    fn file(&self, digest: &BlobDigest) -> std::path::PathBuf {
        let hex = digest.hex();
        self.folder.path().join(digest.algorithm().name()).join(&hex[..2]).join(hex)
    }

    fn files(&self) -> usize {
        let of = |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        of(&self.folder.path().join("sha256")).map(|folder| of(&folder).count()).sum()
    }
}

#[tokio::test]
async fn a_blob_without_a_manifest_stays_for_the_grace_time_after_it_was_last_told() {
    let stage = Stage::new();
    let blob = stage.blob("layer").await;
    stage.pass(20 * HOUR);
    assert!(stage.collect().await.is_empty());
    // "It is there": from now on the client relies on it.
    assert!(stage.registry.blob_size("shop", &blob).await.unwrap().is_some());
    stage.pass(23 * HOUR);
    assert!(stage.collect().await.is_empty());
    // A mount is told as well, and holds the bytes for its own repository only.
    stage.registry.mount("shop", "other", &blob).await.unwrap().unwrap();
    stage.pass(3 * HOUR);
    let done = stage.collect().await;
    assert_eq!((done.blobs_trashed.count, done.bytes_freed.count), (1, 0), "{done:?}");
    assert!(!stage.has(&blob).await && stage.file(&blob).exists());
    assert!(stage.registry.blob_size("other", &blob).await.unwrap().is_some());
    stage.settle().await;
    assert!(!stage.file(&blob).exists());
}

#[tokio::test]
async fn what_a_tag_reaches_stays_for_ever_and_goes_as_a_whole() {
    let stage = Stage::new();
    let (arm, arm_layer) = stage.image("arm", "", None).await;
    let (amd, amd_layer) = stage.image("amd", "", None).await;
    let child =
        |digest: &BlobDigest| format!(r#"{{"mediaType":"{IMAGE}","digest":"{digest}","size":1}}"#);
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{},{}]}}"#,
        child(&arm),
        child(&amd)
    );
    let index = stage.put(&list, INDEX, Some("v1")).await;
    // Evidence about a child, and evidence about that evidence.
    let about = |digest: &BlobDigest| format!(r#","subject":{{"digest":"{digest}","size":1}}"#);
    let (sbom, _) = stage.image("sbom", &about(&arm), None).await;
    let (signature, _) = stage.image("signature", &about(&sbom), None).await;
    let all = [&index, &arm, &amd, &sbom, &signature, &arm_layer, &amd_layer];
    stage.pass(400 * DAY);
    assert!(stage.collect().await.is_empty());
    for digest in all {
        assert!(stage.has(digest).await, "{digest}");
    }
    stage.pass(400 * DAY);
    stage.untag("v1").await;
    stage.pass(14 * DAY);
    assert!(stage.collect().await.is_empty(), "an untagged index has its grace time");
    stage.pass(2 * HOUR);
    let done = stage.collect().await;
    assert_eq!(done.manifests_trashed.count, 5, "{done:?}");
    assert_eq!(done.blobs_trashed.count, 5, "four layers and the config");
    stage.settle().await;
    assert_eq!(stage.files(), 0);
}

#[tokio::test]
async fn a_manifest_without_a_tag_stays_while_it_is_pulled() {
    let stage = Stage::new();
    let (digest, layer) = stage.image("layer", "", None).await;
    for _ in 0..10 {
        stage.pass(10 * DAY);
        assert!(stage.has(&digest).await);
        assert!(stage.collect().await.is_empty());
    }
    stage.pass(15 * DAY);
    assert_eq!(stage.collect().await.manifests_trashed.count, 1);
    assert!(!stage.has(&digest).await && !stage.has(&layer).await);
}

#[tokio::test]
async fn what_control_protects_is_never_taken() {
    let stage = Stage::new();
    let (digest, layer) = stage.image("running", "", None).await;
    let about = format!(r#","subject":{{"digest":"{digest}","size":1}}"#);
    let (signature, _) = stage.image("signature", &about, None).await;
    let protected = Arc::new(HashSet::from([digest.to_string()]));
    let wish = Collecting { protected, ..Collecting::default() };
    stage.pass(1000 * DAY);
    assert!(stage.registry.collect(&wish).await.unwrap().is_empty());
    for digest in [&digest, &layer, &signature] {
        assert!(stage.has(digest).await, "{digest}");
    }
    stage.pass(1000 * DAY);
    assert_eq!(stage.collect().await.manifests_trashed.count, 2);
}

#[tokio::test]
async fn deleting_gives_what_it_lets_go_its_own_grace_time() {
    let stage = Stage::new();
    let (digest, layer) = stage.image("layer", "", Some("v1")).await;
    stage.pass(100 * DAY);
    let reference = Reference::Digest(digest.clone());
    assert!(stage.registry.delete_manifest("shop", &reference).await.unwrap());
    stage.pass(23 * HOUR);
    assert!(stage.collect().await.is_empty());
    // The next push finds its layers still there.
    let (again, _) = stage.image("layer", "", Some("v2")).await;
    assert_eq!(again, digest);
    stage.pass(100 * DAY);
    assert!(stage.collect().await.is_empty(), "what is pushed again leaves the trash");
    assert!(stage.has(&layer).await);
}

#[tokio::test]
async fn the_trash_gives_back_what_was_deleted_and_what_was_collected() {
    let stage = Stage::new();
    let (digest, layer) = stage.image("layer", "", Some("v1")).await;
    let about = format!(r#","subject":{{"digest":"{digest}","size":1}}"#);
    let (signature, _) = stage.image("signature", &about, None).await;
    let reference = Reference::Digest(digest.clone());
    assert!(stage.registry.delete_manifest("shop", &reference).await.unwrap());
    stage.pass(20 * DAY);
    // Collected after the delete: the signature, and all blobs.
    let done = stage.collect().await;
    assert_eq!((done.manifests_trashed.count, done.blobs_trashed.count), (1, 3), "{done:?}");
    assert_eq!(
        done.forgotten.count, 1,
        "the deleted manifest was in the trash for longer than a week"
    );
    let gone = stage.registry.restore(&digest, None).await.unwrap_err();
    assert!(matches!(gone, RegistryError::Index(IndexError::NotInTrash { .. })), "{gone}");
    let undone = stage.registry.restore(&signature, Some("shop")).await.unwrap();
    assert_eq!((undone.manifests.len(), undone.blobs.len()), (1, 2), "{undone:?}");
    assert!(stage.has(&signature).await && !stage.has(&layer).await);

    // The whole tree at once, with its tag.
    let (digest, layer) = stage.image("new", "", Some("v2")).await;
    let about = format!(r#","subject":{{"digest":"{digest}","size":1}}"#);
    stage.image("evidence", &about, None).await;
    stage.untag("v2").await;
    stage.pass(15 * DAY);
    assert_eq!(stage.collect().await.manifests_trashed.count, 3);
    assert!(!stage.has(&digest).await);
    let undone = stage.registry.restore(&digest, None).await.unwrap();
    assert_eq!(undone.manifests.len(), 2, "with its evidence: {undone:?}");
    assert!(stage.has(&digest).await && stage.has(&layer).await);
    let (digest, _) = stage.image("tagged", "", Some("v3")).await;
    stage.registry.delete_manifest("shop", &Reference::Digest(digest.clone())).await.unwrap();
    let undone = stage.registry.restore(&digest, None).await.unwrap();
    assert_eq!(undone.tags, ["shop:v3"]);
    assert!(stage.registry.get_manifest("shop", &Reference::Tag("v3".into())).await.is_ok());
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_gone_for_good_is_not_restored() {
    let stage = Stage::new();
    let (digest, layer) = stage.image("layer", "", None).await;
    stage.registry.delete_blob("shop", &layer).await.unwrap();
    stage.pass(6 * DAY);
    stage.registry.delete_manifest("shop", &Reference::Digest(digest.clone())).await.unwrap();
    stage.pass(2 * DAY);
    stage.collect().await;
    let refused = stage.registry.restore(&digest, None).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Index(IndexError::Lacks { .. })), "{refused}");
    assert_eq!(stage.registry.trash(10).await.unwrap().iter().filter(|t| t.manifest).count(), 1);
}

#[tokio::test]
async fn a_dry_run_tells_what_a_collection_then_does() {
    let stage = Stage::new();
    stage.image("old", "", None).await;
    stage.image("kept", "", Some("v1")).await;
    stage.blob("stray").await;
    // Bytes that a death left without a link.
    let orphan: BlobDigest = sha256(b"orphan").parse().unwrap();
    std::fs::create_dir_all(stage.file(&orphan).parent().unwrap()).unwrap();
    std::fs::write(stage.file(&orphan), "orphan").unwrap();
    stage.pass(15 * DAY);
    let look = Collecting { dry_run: true, ..Collecting::default() };
    let (told, files) = (stage.registry.collect(&look).await.unwrap(), stage.files());
    assert_eq!(told, stage.registry.collect(&look).await.unwrap(), "looking changes nothing");
    let done = stage.collect().await;
    assert_eq!(Collected { dry_run: false, ..told }, done);
    assert_eq!((done.manifests_trashed.count, done.blobs_trashed.count), (1, 2));
    assert_eq!(done.bytes_freed.count, 1, "{done:?}");
    assert_eq!(stage.files(), files - 1);
    assert!(done.items.iter().all(|item| !item.why.is_empty()));
    let fates: HashSet<Fate> = done.items.iter().map(|item| item.fate).collect();
    assert_eq!(fates.len(), 3);
}

#[tokio::test]
async fn grace_times_can_be_zero_and_the_coarseness_is_all_that_is_left() {
    let stage = Stage::new();
    let blob = stage.blob("layer").await;
    let none = std::time::Duration::ZERO;
    let grace = Grace { blobs: none, untagged: none, trash: none };
    let wish = Collecting { grace, ..Collecting::default() };
    stage.pass(TOUCH_EVERY.as_millis() as i64);
    assert!(stage.registry.collect(&wish).await.unwrap().is_empty());
    stage.pass(1);
    assert_eq!(stage.registry.collect(&wish).await.unwrap().blobs_trashed.count, 1);
    stage.pass(1);
    assert_eq!(stage.registry.collect(&wish).await.unwrap().bytes_freed.count, 1);
    assert!(!stage.file(&blob).exists());
}
