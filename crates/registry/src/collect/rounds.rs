//! The steps of a collection, in their order: manifests first, then the blobs that only they needed, then what was in the trash for its
//! time, then bytes that nobody has.

use std::collections::HashSet;
use std::sync::Arc;

use humdrum_store::blobs::{BlobDigest, LinkPlace, Roots, StoredBlob, Unused};

use super::{Collected, Fate, Item, TOUCH_EVERY};
use crate::observer::Deed;
use crate::registry::{About, Registry, RegistryError};

/// Rows looked at in one query, and bytes asked about at once.
const PAGE: u32 = 500;
/// Rows of the trash that are forgotten in one transaction: a manifest's body is at most 4 MiB, usually a few KiB.
const FORGET: u32 = 100;

type Done = Result<Collected, RegistryError>;

/// One collection.
pub(super) struct Round<'a> {
    pub(super) registry: &'a Registry,
    pub(super) roots: Roots,
    /// What was trashed before this is forgotten, Unix ms.
    pub(super) trash_ms: i64,
    pub(super) now_ms: i64,
}

impl Round<'_> {
    pub(super) async fn collect(&self) -> Done {
        let mut done = Collected::default();
        self.uploads(false, &mut done).await?;
        self.manifests(&mut done).await?;
        self.links(&mut done).await?;
        self.trash(&mut done).await?;
        self.bytes(&mut done).await?;
        self.registry.blobs().free().await?;
        Ok(done)
    }

    /// The same steps, with nothing changed. What goes to the trash now frees no bytes yet, so the steps add up.
    pub(super) async fn look(&self) -> Done {
        let mut done = Collected { dry_run: true, ..Collected::default() };
        self.uploads(true, &mut done).await?;
        let (index, mut gone, mut after) = (self.registry.index(), HashSet::new(), 0);
        loop {
            let look = index.unused_manifests(&self.roots, after, PAGE).await?;
            for one in &look.found {
                gone.insert((one.repository.clone(), one.digest.to_string()));
                done.add(self.manifest_item(one));
            }
            let Some(next) = look.next else { break };
            after = next;
        }
        let (gone, mut after) = (Arc::new(gone), LinkPlace::default());
        loop {
            let look = index.unused_links(&self.roots, gone.clone(), after, PAGE).await?;
            look.found.iter().for_each(|one| done.add(self.blob_item(one)));
            let Some(next) = look.next else { break };
            after = next;
        }
        for thing in index.trash_before(self.trash_ms, u32::MAX).await? {
            done.add(self.forgotten(&thing));
        }
        let mut after = None;
        while let Some((last, unheld)) = self.unheld(after.as_ref(), self.trash_ms).await? {
            unheld.iter().for_each(|blob| done.add(freed(blob)));
            after = Some(last);
        }
        Ok(done)
    }

    async fn uploads(&self, look_only: bool, done: &mut Collected) -> Result<(), RegistryError> {
        for upload in self.registry.blobs().expire(self.now_ms, look_only).await? {
            done.add(Item {
                fate: Fate::UploadDropped,
                repository: None,
                what: upload.id,
                bytes: upload.size,
                why: "nobody sent more of this upload for a day".to_owned(),
            });
        }
        Ok(())
    }

    async fn manifests(&self, done: &mut Collected) -> Result<(), RegistryError> {
        let (index, mut after) = (self.registry.index(), 0);
        loop {
            let mut look = index.unused_manifests(&self.roots, after, PAGE).await?;
            while !look.found.is_empty() {
                let batch = look.found.clone();
                let (decided, gone) = index.drop_manifests(&self.roots, batch, self.now_ms).await?;
                look.found.drain(..decided);
                for one in gone {
                    let about = About::bytes(&one.digest, one.size);
                    self.registry.record(Deed::ManifestCollected, &one.repository, about);
                    done.add(self.manifest_item(&one));
                }
            }
            let Some(next) = look.next else { return Ok(()) };
            after = next;
        }
    }

    async fn links(&self, done: &mut Collected) -> Result<(), RegistryError> {
        let (index, none, mut after) =
            (self.registry.index(), Arc::new(HashSet::new()), LinkPlace::default());
        loop {
            let mut look = index.unused_links(&self.roots, none.clone(), after, PAGE).await?;
            while !look.found.is_empty() {
                let batch = look.found.clone();
                let (decided, gone) = index.drop_links(&self.roots, batch, self.now_ms).await?;
                look.found.drain(..decided);
                for one in gone {
                    let about = About::bytes(&one.digest, one.size);
                    self.registry.record(Deed::BlobCollected, &one.repository, about);
                    done.add(self.blob_item(&one));
                }
            }
            let Some(next) = look.next else { return Ok(()) };
            after = next;
        }
    }

    async fn trash(&self, done: &mut Collected) -> Result<(), RegistryError> {
        let index = self.registry.index();
        loop {
            let old = index.trash_before(self.trash_ms, FORGET).await?;
            if old.is_empty() {
                return Ok(());
            }
            for thing in index.forget(old, self.trash_ms).await? {
                done.add(self.forgotten(&thing));
            }
        }
    }

    async fn bytes(&self, done: &mut Collected) -> Result<(), RegistryError> {
        let mut after = None;
        while let Some((last, unheld)) = self.unheld(after.as_ref(), i64::MIN).await? {
            for blob in unheld {
                match self.delete(&blob.digest).await? {
                    Deleted::Yes => done.add(freed(&blob)),
                    Deleted::Needed => {}
                    Deleted::Busy => done.busy += 1,
                }
            }
            after = Some(last);
        }
        Ok(())
    }

    /// Deletes bytes, unless somebody has them or is about to.
    async fn delete(&self, digest: &BlobDigest) -> Result<Deleted, RegistryError> {
        let Some(_leaving) = self.registry.gate().leaving(digest) else {
            return Ok(Deleted::Busy);
        };
        if !self.registry.index().is_unheld(digest).await? {
            return Ok(Deleted::Needed);
        }
        let there = self.registry.blobs().delete(digest).await?;
        Ok(if there { Deleted::Yes } else { Deleted::Needed })
    }

    /// The next part of all bytes after `after`: its last digest, and those that nobody has. Trash from before `trash_ms` counts as
    /// nobody.
    async fn unheld(
        &self,
        after: Option<&BlobDigest>,
        trash_ms: i64,
    ) -> Result<Option<(BlobDigest, Vec<StoredBlob>)>, RegistryError> {
        let mut page = self.registry.blobs().list(after, PAGE as usize).await?;
        let Some(last) = page.last().map(|blob| blob.digest.clone()) else { return Ok(None) };
        let digests = page.iter().map(|blob| blob.digest.clone()).collect();
        let unheld = self.registry.index().unheld(digests, trash_ms).await?;
        let unheld: HashSet<BlobDigest> = unheld.into_iter().collect();
        page.retain(|blob| unheld.contains(&blob.digest));
        Ok(Some((last, page)))
    }

    fn manifest_item(&self, one: &Unused) -> Item {
        let age = self.age(one.touched_ms);
        let why = match &one.subject {
            None => format!("no tag, index or release needs it, and it was last used {age} ago"),
            Some(subject) => {
                format!("it is about {subject}, which is not in use; last used {age} ago")
            }
        };
        item(Fate::ManifestTrashed, one, why)
    }

    fn blob_item(&self, one: &Unused) -> Item {
        let age = self.age(one.touched_ms);
        item(
            Fate::BlobTrashed,
            one,
            format!("no manifest refers to it, and it was last used {age} ago"),
        )
    }

    fn forgotten(&self, thing: &humdrum_store::blobs::Trashed) -> Item {
        Item {
            fate: Fate::Forgotten,
            repository: Some(thing.repository.clone()),
            what: thing.digest.to_string(),
            bytes: thing.size,
            why: format!("in the trash for {} ({})", self.age(thing.trashed_ms), thing.reason),
        }
    }

    /// How long ago, in the largest unit that fits. What was told within the last hour may show as older by that hour.
    fn age(&self, since_ms: i64) -> String {
        let seconds = self.now_ms.saturating_sub(since_ms).max(0) / 1000;
        match seconds {
            0..3600 => format!("{} min", seconds / 60),
            3600..172_800 => format!("{} h", seconds / 3600),
            _ => format!("{} days", seconds / 86_400),
        }
    }
}

enum Deleted {
    Yes,
    /// Somebody has it after all, or it is gone already.
    Needed,
    /// A push is about to use it.
    Busy,
}

fn item(fate: Fate, one: &Unused, why: String) -> Item {
    Item {
        fate,
        repository: Some(one.repository.clone()),
        what: one.digest.to_string(),
        bytes: one.size,
        why,
    }
}

fn freed(blob: &StoredBlob) -> Item {
    Item {
        fate: Fate::BytesFreed,
        repository: None,
        what: blob.digest.to_string(),
        bytes: blob.size,
        why: "no repository has it, in use or in its trash".to_owned(),
    }
}

const _: () = assert!(TOUCH_EVERY.as_secs() > 0, "reading must seldom write");
