//! Who refers to what: repositories, their blobs, manifests, tags and referrers, in a SQLite database of its own.
//!
//! SQLite and not files: putting a manifest changes up to five tables that must never disagree, tags are listed in order and in
//! pages, and "who refers to this" is asked on every delete. A database of its own (`registry.db`), so that a large push never
//! waits behind the event log. WAL with `synchronous = FULL`: what was answered is on the disk. All writes go through one
//! thread (`index/writer.rs`) that commits waiting ones together.

mod catalog;
mod garbage;
mod guard;
mod images;
mod inspect;
mod manifests;
mod pool;
mod schema;
mod trash;
mod writer;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{BlobDigest, DigestError};
pub use garbage::{LinkPlace, Look, Roots, Unused};
pub use images::{Expiry, ImageRow};
pub use inspect::{HeldBlob, HeldManifest, Inspection, Loose};
pub use manifests::{ManifestRow, NewManifest, Referrer, WantedBlob};
use pool::Readers;
pub use trash::{Needs, RestoreAsk, Restored, Trashed};
use writer::Writer;

/// Says whether a tag that exists may move or go.
pub type TagPolicy = Arc<dyn Fn(&str, &str) -> Mutability + Send + Sync>;

/// The answer of a [`TagPolicy`] for a repository and a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutability {
    Mutable,
    /// With the reason, in words for the person who is refused.
    Immutable(String),
}

/// The index of one data folder.
pub struct Index {
    writer: Writer,
    readers: Readers,
    policy: TagPolicy,
}

/// A blob as a repository knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRow {
    /// Bytes.
    pub size: u64,
    /// When it was last told to be there, Unix ms; see [`Index::touch`].
    pub touched_ms: i64,
}

/// Some tags of a repository, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagsPage {
    pub tags: Vec<String>,
    /// More follow after the last of `tags`.
    pub more: bool,
}

/// Why the index did not do it.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("tag `{tag}` of `{repository}` is immutable: {reason}")]
    Immutable { repository: String, tag: String, reason: String },
    #[error("the manifest refers to {} blobs that repository `{repository}` does not have", missing.len())]
    UnknownBlobs { repository: String, missing: Vec<BlobDigest> },
    #[error("blob {digest} has {found} bytes, but the manifest says {expected}")]
    WrongSize { digest: BlobDigest, expected: u64, found: u64 },
    #[error("manifest {digest} is not in repository `{repository}`")]
    UnknownManifest { repository: String, digest: BlobDigest },
    #[error("{digest} is not in the trash")]
    NotInTrash { digest: BlobDigest },
    #[error("manifest {manifest} of `{repository}` needs blob {blob}, which is gone for good")]
    Lacks { manifest: BlobDigest, repository: String, blob: BlobDigest },
    #[error("the disk is full; nothing was accepted")]
    Full,
    #[error("the index was written by a newer version: tables {found}, known {}", schema::VERSION)]
    Newer { found: i64 },
    #[error("the index holds a broken digest")]
    Digest(#[from] DigestError),
    #[error("the index cannot be used")]
    Database(#[source] rusqlite::Error),
    #[error("the index is closed")]
    Closed,
}

impl From<rusqlite::Error> for IndexError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Database(error),
        }
    }
}

impl Index {
    /// Opens or makes the database at `path`. `policy` is asked inside the transaction, so no race gets past it.
    ///
    /// # Errors
    /// [`IndexError::Newer`] for a file of a later version, [`IndexError::Database`] when it cannot be used.
    pub fn open(path: &Path, policy: TagPolicy) -> Result<Self, IndexError> {
        let mut connection = pool::connect(path)?;
        schema::migrate(&mut connection)?;
        Ok(Self { writer: Writer::start(connection)?, readers: Readers::new(path), policy })
    }

    /// Makes a blob readable through a repository, which is made when missing. The bytes must be durable already, and nobody may delete
    /// them between the caller's look at them and this.
    pub async fn link(
        &self,
        repository: &str,
        digest: &BlobDigest,
        size: u64,
        now_ms: i64,
    ) -> Result<(), IndexError> {
        let (repository, digest) = (repository.to_owned(), digest.clone());
        self.writer
            .run(move |tx| {
                let id = repository_made(tx, &repository)?;
                insert_link(tx, id, &digest, size, now_ms)
            })
            .await
    }

    /// Links a blob of `from` into `to` as well; `None` when `from` does not have it.
    pub async fn mount(
        &self,
        from: &str,
        to: &str,
        digest: &BlobDigest,
        now_ms: i64,
    ) -> Result<Option<BlobRow>, IndexError> {
        let (from, to, digest) = (from.to_owned(), to.to_owned(), digest.clone());
        self.writer
            .run(move |tx| {
                let Some(blob) = linked(tx, &from, &digest)? else { return Ok(None) };
                let id = repository_made(tx, &to)?;
                insert_link(tx, id, &digest, blob.size, now_ms)?;
                Ok(Some(blob))
            })
            .await
    }

    /// The blob, when this repository has it.
    pub async fn blob(
        &self,
        repository: &str,
        digest: &BlobDigest,
    ) -> Result<Option<BlobRow>, IndexError> {
        let (repository, digest) = (repository.to_owned(), digest.clone());
        self.readers.run(move |db| linked(db, &repository, &digest)).await
    }

    /// Remembers that somebody was told now that a blob or manifest is there: it stays for the grace time after this. Answers `false`
    /// when it is not there any more, and so must not be told.
    pub async fn touch(
        &self,
        repository: &str,
        digest: &BlobDigest,
        now_ms: i64,
    ) -> Result<bool, IndexError> {
        let (repository, digest) = (repository.to_owned(), digest.clone());
        self.writer
            .run(move |tx| {
                let Some(id) = repository_id(tx, &repository)? else { return Ok(false) };
                touch(tx, id, digest.as_str(), now_ms)
            })
            .await
    }

    /// Up to `limit` repositories that have a blob, by name.
    pub async fn holders(
        &self,
        digest: &BlobDigest,
        limit: u32,
    ) -> Result<Vec<String>, IndexError> {
        let digest = digest.clone();
        self.readers
            .run(move |db| {
                let sql = "SELECT name FROM link JOIN repository ON id = repository WHERE digest = ?1 ORDER BY name LIMIT ?2";
                let mut query = db.prepare_cached(sql)?;
                let rows = query.query_map(params![digest.as_str(), limit], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Moves a blob of a repository to the trash; `false` when it had none. Other repositories keep it.
    ///
    /// # Errors
    /// [`IndexError::Immutable`] when a manifest under an immutable tag needs it.
    pub async fn unlink(
        &self,
        repository: &str,
        digest: &BlobDigest,
        now_ms: i64,
    ) -> Result<bool, IndexError> {
        let (repository, digest) = (repository.to_owned(), digest.clone());
        let policy = self.policy.clone();
        self.writer
            .run(move |tx| {
                let Some(id) = repository_id(tx, &repository)? else { return Ok(false) };
                guard::release(tx, &policy, (id, &repository), &digest)?;
                trash::bury_link(tx, id, digest.as_str(), "deleted", now_ms)
            })
            .await
    }

    /// Tags after `last` in case-insensitive order, as the distribution specification wants; `None` for an unknown repository.
    pub async fn tags(
        &self,
        repository: &str,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Option<TagsPage>, IndexError> {
        let (repository, last) = (repository.to_owned(), last.unwrap_or_default().to_owned());
        self.readers
            .run(move |db| {
                let Some(id) = repository_id(db, &repository)? else { return Ok(None) };
                let sql = "SELECT name FROM tag WHERE repository = ?1 \
                           AND (name COLLATE NOCASE > ?2 OR (name COLLATE NOCASE = ?2 AND name > ?2)) \
                           ORDER BY name COLLATE NOCASE, name LIMIT ?3";
                let mut query = db.prepare_cached(sql)?;
                let rows = query.query_map(params![id, last, limit + 1], |row| row.get(0))?;
                let mut tags: Vec<String> = rows.collect::<Result<_, _>>()?;
                let more = tags.len() > limit as usize;
                tags.truncate(limit as usize);
                Ok(Some(TagsPage { tags, more }))
            })
            .await
    }
}

fn linked(
    db: &Connection,
    repository: &str,
    digest: &BlobDigest,
) -> Result<Option<BlobRow>, IndexError> {
    let sql = "SELECT size, touched_ms FROM link JOIN repository ON id = repository WHERE name = ?1 AND digest = ?2";
    let mut query = db.prepare_cached(sql)?;
    let row = query.query_row(params![repository, digest.as_str()], |row| {
        Ok(BlobRow { size: row.get::<_, i64>(0)?.cast_unsigned(), touched_ms: row.get(1)? })
    });
    Ok(row.optional()?)
}

fn insert_link(
    tx: &Connection,
    repository: i64,
    digest: &BlobDigest,
    size: u64,
    now_ms: i64,
) -> Result<(), IndexError> {
    let sql = "INSERT INTO link(repository, digest, size, linked_ms, touched_ms) VALUES (?1, ?2, ?3, ?4, ?4) \
               ON CONFLICT(repository, digest) DO UPDATE SET touched_ms = max(touched_ms, ?4)";
    let size = size.cast_signed();
    tx.prepare_cached(sql)?.execute(params![repository, digest.as_str(), size, now_ms])?;
    let sql = "DELETE FROM trash_link WHERE repository = ?1 AND digest = ?2";
    tx.prepare_cached(sql)?.execute(params![repository, digest.as_str()])?;
    Ok(())
}

/// The grace time of a blob or manifest begins anew; `false` when there is neither.
fn touch(tx: &Connection, repository: i64, digest: &str, now_ms: i64) -> Result<bool, IndexError> {
    let mut touched = 0;
    for sql in [
        "UPDATE link SET touched_ms = max(touched_ms, ?3) WHERE repository = ?1 AND digest = ?2",
        "UPDATE manifest SET touched_ms = max(touched_ms, ?3) WHERE repository = ?1 AND digest = ?2",
    ] {
        touched += tx.prepare_cached(sql)?.execute(params![repository, digest, now_ms])?;
    }
    Ok(touched > 0)
}

fn repository_id(db: &Connection, name: &str) -> Result<Option<i64>, IndexError> {
    let mut query = db.prepare_cached("SELECT id FROM repository WHERE name = ?1")?;
    Ok(query.query_row([name], |row| row.get(0)).optional()?)
}

fn repository_made(tx: &Connection, name: &str) -> Result<i64, IndexError> {
    if let Some(id) = repository_id(tx, name)? {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO repository(name) VALUES (?1)")?.execute([name])?;
    Ok(tx.last_insert_rowid())
}
