//! Random histories of push, mount, tag, delete and reopen, against a model that fits on a page: nothing readable is lost,
//! nothing deleted comes back, and no order of deeds gets past an immutable tag.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use humdrum_registry::name::Reference;
use humdrum_registry::registry::ReferrersAsk;
use humdrum_registry::{Registry, RegistryError};
use humdrum_store::blobs::{BlobDigest, BlobError, IndexError};
use proptest::prelude::*;
use server::{IMAGE, image, policy, sha256};

const TAGS: [&str; 3] = ["v1", "v2", "production"];
const LAST: u8 = 3;

#[derive(Debug, Clone)]
enum Deed {
    Push { repo: u8, blob: u8 },
    Mount { from: u8, to: u8, blob: u8 },
    Put { repo: u8, manifest: u8, tag: u8 },
    Tag { repo: u8, manifest: u8, tag: u8 },
    Untag { repo: u8, tag: u8 },
    DeleteManifest { repo: u8, manifest: u8 },
    DeleteBlob { repo: u8, blob: u8 },
    Reopen,
}

fn deed() -> impl Strategy<Value = Deed> {
    let (repo, blob, tag) = (0..2u8, 0..=LAST + 1, 0..3u8);
    let manifest = 0..=LAST;
    prop_oneof![
        6 => (repo.clone(), blob.clone()).prop_map(|(repo, blob)| Deed::Push { repo, blob }),
        2 => (repo.clone(), repo.clone(), blob.clone()).prop_map(|(from, to, blob)| Deed::Mount { from, to, blob }),
        6 => (repo.clone(), manifest.clone(), tag.clone()).prop_map(|(repo, manifest, tag)| Deed::Put { repo, manifest, tag }),
        2 => (repo.clone(), manifest.clone(), tag.clone()).prop_map(|(repo, manifest, tag)| Deed::Tag { repo, manifest, tag }),
        2 => (repo.clone(), tag).prop_map(|(repo, tag)| Deed::Untag { repo, tag }),
        2 => (repo.clone(), manifest).prop_map(|(repo, manifest)| Deed::DeleteManifest { repo, manifest }),
        2 => (repo, blob).prop_map(|(repo, blob)| Deed::DeleteBlob { repo, blob }),
        1 => Just(Deed::Reopen),
    ]
}

fn content(blob: u8) -> Vec<u8> {
    vec![blob; 2 + usize::from(blob)]
}

/// Manifest `m` has the blobs `m` (config) and `m + 1`; the last one is evidence about the first.
fn document(m: u8) -> String {
    let (config, layer) = (content(m), content(m + 1));
    let extra = match m {
        LAST => format!(r#","subject":{{"digest":"{}","size":1}}"#, sha256(document(0).as_bytes())),
        _ => String::new(),
    };
    let text = image(&sha256(&config), &[(&sha256(&layer), layer.len())], &extra);
    text.replacen(r#""size":2"#, &format!(r#""size":{}"#, config.len()), 1)
}

fn blob_digest(blob: u8) -> BlobDigest {
    sha256(&content(blob)).parse().unwrap()
}

fn manifest_digest(m: u8) -> BlobDigest {
    sha256(document(m).as_bytes()).parse().unwrap()
}

#[derive(Default)]
struct Model {
    blobs: BTreeSet<(u8, u8)>,
    manifests: BTreeSet<(u8, u8)>,
    tags: BTreeMap<(u8, u8), u8>,
}

/// What a deed answers: it happened, there was nothing, or it was refused.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    Nothing,
    Immutable,
    UnknownBlobs,
    UnknownManifest,
}

impl Model {
    fn apply(&mut self, deed: &Deed) -> Outcome {
        match *deed {
            Deed::Reopen => Outcome::Done,
            Deed::Push { repo, blob } => {
                self.blobs.insert((repo, blob));
                Outcome::Done
            }
            Deed::Mount { from, to, blob } => match self.blobs.contains(&(from, blob)) {
                true => self.apply(&Deed::Push { repo: to, blob }),
                false => Outcome::Nothing,
            },
            Deed::Put { repo, manifest, tag } => {
                if ![manifest, manifest + 1].iter().all(|blob| self.blobs.contains(&(repo, *blob)))
                {
                    return Outcome::UnknownBlobs;
                }
                if self.is_fixed(repo, tag, Some(manifest)) {
                    return Outcome::Immutable;
                }
                self.manifests.insert((repo, manifest));
                self.tags.insert((repo, tag), manifest);
                Outcome::Done
            }
            Deed::Tag { repo, manifest, tag } => {
                if !self.manifests.contains(&(repo, manifest)) {
                    return Outcome::UnknownManifest;
                }
                if self.is_fixed(repo, tag, Some(manifest)) {
                    return Outcome::Immutable;
                }
                self.tags.insert((repo, tag), manifest);
                Outcome::Done
            }
            Deed::Untag { repo, tag } if self.is_fixed(repo, tag, None) => Outcome::Immutable,
            Deed::Untag { repo, tag } => there(self.tags.remove(&(repo, tag)).is_some()),
            Deed::DeleteManifest { repo, manifest } if self.needed(repo).contains(&manifest) => {
                Outcome::Immutable
            }
            Deed::DeleteManifest { repo, manifest } => {
                self.tags.retain(|(r, _), m| (*r, *m) != (repo, manifest));
                there(self.manifests.remove(&(repo, manifest)))
            }
            Deed::DeleteBlob { repo, blob } => {
                if self.needed(repo).iter().any(|m| blob == *m || blob == m + 1) {
                    return Outcome::Immutable;
                }
                there(self.blobs.remove(&(repo, blob)))
            }
        }
    }

    fn is_fixed(&self, repo: u8, tag: u8, to: Option<u8>) -> bool {
        TAGS[usize::from(tag)] == "production"
            && self.tags.get(&(repo, tag)).is_some_and(|m| Some(*m) != to)
    }

    /// Manifests that the production tag holds: its own, and evidence about it.
    fn needed(&self, repo: u8) -> Vec<u8> {
        let Some(&own) = self.tags.get(&(repo, 2)) else { return vec![] };
        let evidence = (own == 0 && self.manifests.contains(&(repo, LAST))).then_some(LAST);
        std::iter::once(own).chain(evidence).collect()
    }
}

fn there(is_there: bool) -> Outcome {
    if is_there { Outcome::Done } else { Outcome::Nothing }
}

fn name(repo: u8) -> String {
    format!("team/repo{repo}")
}

async fn act(registry: &Registry, deed: &Deed) -> Outcome {
    let result = match *deed {
        Deed::Reopen => Ok(true),
        Deed::Push { repo, blob } => {
            registry.put_blob(&name(repo), content(blob).into()).await.map(|_| true)
        }
        Deed::Mount { from, to, blob } => registry
            .mount(&name(from), &name(to), &blob_digest(blob))
            .await
            .map(|size| size.is_some()),
        Deed::Put { repo, manifest, tag } => {
            let reference = Reference::Tag(TAGS[usize::from(tag)].to_owned());
            let body = document(manifest).into();
            registry.put_manifest(&name(repo), &reference, Some(IMAGE), body).await.map(|_| true)
        }
        Deed::Tag { repo, manifest, tag } => registry
            .tag(&name(repo), TAGS[usize::from(tag)], &manifest_digest(manifest))
            .await
            .map(|()| true),
        Deed::Untag { repo, tag } => {
            registry
                .delete_manifest(&name(repo), &Reference::Tag(TAGS[usize::from(tag)].to_owned()))
                .await
        }
        Deed::DeleteManifest { repo, manifest } => {
            registry
                .delete_manifest(&name(repo), &Reference::Digest(manifest_digest(manifest)))
                .await
        }
        Deed::DeleteBlob { repo, blob } => {
            registry.delete_blob(&name(repo), &blob_digest(blob)).await
        }
    };
    match result {
        Ok(happened) => there(happened),
        Err(RegistryError::Index(IndexError::Immutable { .. })) => Outcome::Immutable,
        Err(RegistryError::Index(IndexError::UnknownBlobs { .. })) => Outcome::UnknownBlobs,
        Err(RegistryError::Index(IndexError::UnknownManifest { .. })) => Outcome::UnknownManifest,
        Err(error) => panic!("{deed:?}: {error:?}"),
    }
}

async fn compare(registry: &Registry, model: &Model) {
    for repo in 0..2 {
        let repository = name(repo);
        for blob in 0..=LAST + 1 {
            let bytes = registry.blob_bytes(&repository, &blob_digest(blob), 100).await;
            assert_eq!(
                bytes.is_ok(),
                model.blobs.contains(&(repo, blob)),
                "blob {blob} of {repo}: {bytes:?}"
            );
            assert!(bytes.is_err() || bytes.unwrap() == content(blob));
        }
        for m in 0..=LAST {
            let got =
                registry.get_manifest(&repository, &Reference::Digest(manifest_digest(m))).await;
            assert_eq!(got.is_ok(), model.manifests.contains(&(repo, m)), "manifest {m} of {repo}");
            assert!(got.is_err() || got.unwrap().body == document(m));
        }
        for tag in 0..3 {
            let reference = Reference::Tag(TAGS[usize::from(tag)].to_owned());
            let got =
                registry.get_manifest(&repository, &reference).await.ok().map(|row| row.digest);
            assert_eq!(got, model.tags.get(&(repo, tag)).map(|m| manifest_digest(*m)));
        }
        let ask = ReferrersAsk { limit: 10, ..Default::default() };
        let found = registry.referrers(&repository, &manifest_digest(0), &ask).await.unwrap();
        assert_eq!(found.len(), usize::from(model.manifests.contains(&(repo, LAST))));
    }
}

async fn live(folder: &Path, deeds: &[Deed]) {
    let (mut model, mut registry) = (Model::default(), Registry::open(folder, policy()).unwrap());
    for deed in deeds {
        if matches!(deed, Deed::Reopen) {
            registry = Registry::open(folder, policy()).unwrap();
        }
        let wanted = model.apply(deed);
        assert_eq!(act(&registry, deed).await, wanted, "{deed:?}");
    }
    compare(&registry, &model).await;
    compare(&Registry::open(folder, policy()).unwrap(), &model).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories_agree_with_the_model(deeds in proptest::collection::vec(deed(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(folder.path(), &deeds));
    }
}

#[tokio::test]
async fn bytes_that_vanished_are_an_error_and_not_an_empty_blob() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), policy()).unwrap();
    let digest = registry.put_blob("shop", "content".into()).await.unwrap();
    let hex = digest.hex();
    std::fs::remove_file(folder.path().join("sha256").join(&hex[..2]).join(hex)).unwrap();
    let lost = registry.blob_bytes("shop", &digest, 100).await;
    assert!(matches!(lost, Err(RegistryError::Blob(BlobError::Missing { .. }))));
}
