//! Manifests, their tags, and the referrers of a subject.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    Index, IndexError, TagPolicy, guard, linked, repository_id, repository_made, touch, trash,
};
use crate::blobs::BlobDigest;

/// A checked manifest on its way in.
#[derive(Debug, Clone)]
pub struct NewManifest {
    pub repository: String,
    pub digest: BlobDigest,
    pub media_type: String,
    pub body: Bytes,
    /// Blobs that the repository must have.
    pub blobs: Vec<WantedBlob>,
    /// Manifests of an index; they need not be here.
    pub children: Vec<BlobDigest>,
    pub subject: Option<BlobDigest>,
    pub artifact_type: Option<String>,
    /// JSON object, copied into the referrers list.
    pub annotations: Option<String>,
    pub tags: Vec<String>,
    pub now_ms: i64,
}

#[derive(Debug, Clone)]
pub struct WantedBlob {
    pub digest: BlobDigest,
    /// As the manifest says, bytes.
    pub size: Option<u64>,
}

/// A stored manifest, byte for byte.
#[derive(Debug, Clone)]
pub struct ManifestRow {
    pub digest: BlobDigest,
    pub media_type: String,
    pub body: Bytes,
    /// When it was last told to be there, Unix ms; see [`Index::touch`].
    pub touched_ms: i64,
}

/// One entry of a referrers list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    pub digest: BlobDigest,
    pub media_type: String,
    pub artifact_type: Option<String>,
    /// JSON object.
    pub annotations: Option<String>,
    /// Bytes.
    pub size: u64,
}

impl Index {
    /// Stores a manifest and points its tags at it, all or nothing. The same manifest again changes nothing.
    ///
    /// # Errors
    /// [`IndexError::UnknownBlobs`] and [`IndexError::WrongSize`] for its blobs, [`IndexError::Immutable`] when a tag points at
    /// another digest and must not move.
    pub async fn put_manifest(&self, new: NewManifest) -> Result<(), IndexError> {
        let policy = self.policy.clone();
        self.writer
            .run(move |tx| {
                check_blobs(tx, &new)?;
                let id = repository_made(tx, &new.repository)?;
                insert(tx, id, &new)?;
                for tag in &new.tags {
                    point(tx, &policy, (id, &new.repository), tag, &new.digest, new.now_ms)?;
                }
                Ok(())
            })
            .await
    }

    /// Points a tag at a manifest of the repository.
    ///
    /// # Errors
    /// [`IndexError::UnknownManifest`] when it is not there; [`IndexError::Immutable`] as for `put_manifest`.
    pub async fn tag(
        &self,
        repository: &str,
        tag: &str,
        digest: &BlobDigest,
        now_ms: i64,
    ) -> Result<(), IndexError> {
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        let (digest, policy) = (digest.clone(), self.policy.clone());
        self.writer
            .run(move |tx| {
                let unknown = || IndexError::UnknownManifest {
                    repository: repository.clone(),
                    digest: digest.clone(),
                };
                let id = repository_id(tx, &repository)?.ok_or_else(unknown)?;
                let sql = "SELECT 1 FROM manifest WHERE repository = ?1 AND digest = ?2";
                if !tx.prepare_cached(sql)?.exists(params![id, digest.as_str()])? {
                    return Err(unknown());
                }
                point(tx, &policy, (id, &repository), &tag, &digest, now_ms)
            })
            .await
    }

    /// The manifest of a digest.
    pub async fn manifest(
        &self,
        repository: &str,
        digest: &BlobDigest,
    ) -> Result<Option<ManifestRow>, IndexError> {
        let sql = "SELECT m.digest, media_type, body, touched_ms FROM manifest m JOIN repository r ON r.id = m.repository \
                   WHERE r.name = ?1 AND m.digest = ?2";
        self.find(sql, repository, digest.as_str()).await
    }

    /// The manifest that a tag points at.
    pub async fn tagged(
        &self,
        repository: &str,
        tag: &str,
    ) -> Result<Option<ManifestRow>, IndexError> {
        let sql = "SELECT m.digest, media_type, body, touched_ms FROM repository r JOIN tag t ON t.repository = r.id \
                   JOIN manifest m ON m.repository = r.id AND m.digest = t.digest WHERE r.name = ?1 AND t.name = ?2";
        self.find(sql, repository, tag).await
    }

    async fn find(
        &self,
        sql: &'static str,
        repository: &str,
        key: &str,
    ) -> Result<Option<ManifestRow>, IndexError> {
        let (repository, key) = (repository.to_owned(), key.to_owned());
        self.readers
            .run(move |db| {
                let mut query = db.prepare_cached(sql)?;
                let row = query.query_row([repository, key], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get(1)?,
                        row.get::<_, Vec<u8>>(2)?,
                        row.get(3)?,
                    ))
                });
                let Some((digest, media_type, body, touched_ms)) = row.optional()? else {
                    return Ok(None);
                };
                let digest = digest.parse()?;
                Ok(Some(ManifestRow { digest, media_type, body: body.into(), touched_ms }))
            })
            .await
    }

    /// Moves a manifest and the tags that point at it to the trash; answers those tags, or `None` when it was not there.
    ///
    /// # Errors
    /// [`IndexError::Immutable`] when an immutable tag needs it.
    pub async fn delete_manifest(
        &self,
        repository: &str,
        digest: &BlobDigest,
        now_ms: i64,
    ) -> Result<Option<Vec<String>>, IndexError> {
        let (repository, digest) = (repository.to_owned(), digest.clone());
        let policy = self.policy.clone();
        self.writer
            .run(move |tx| {
                let Some(id) = repository_id(tx, &repository)? else { return Ok(None) };
                guard::release(tx, &policy, (id, &repository), &digest)?;
                let digest = digest.as_str();
                release(tx, id, digest, now_ms)?;
                trash::bury_manifest(tx, id, digest, "deleted", now_ms)
            })
            .await
    }

    /// Removes a tag, not its manifest; `false` when there was none.
    ///
    /// # Errors
    /// [`IndexError::Immutable`] when the policy protects it.
    pub async fn delete_tag(
        &self,
        repository: &str,
        tag: &str,
        now_ms: i64,
    ) -> Result<bool, IndexError> {
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        let policy = self.policy.clone();
        self.writer
            .run(move |tx| {
                let Some(id) = repository_id(tx, &repository)? else { return Ok(false) };
                let sql = "DELETE FROM tag WHERE repository = ?1 AND name = ?2 RETURNING digest";
                let mut query = tx.prepare_cached(sql)?;
                let digest = query.query_row(params![id, tag], |row| row.get::<_, String>(0));
                let Some(digest) = digest.optional()? else { return Ok(false) };
                touch(tx, id, &digest, now_ms)?;
                // Asked after the delete: a refusal rolls it back, and a tag that is not there needs no permission.
                guard::tag_may_change(&policy, &repository, &tag).map(|()| true)
            })
            .await
    }

    /// Up to `limit` manifests whose subject is `subject`, by digest, after `last`.
    pub async fn referrers(
        &self,
        repository: &str,
        subject: &BlobDigest,
        artifact_type: Option<&str>,
        last: Option<&BlobDigest>,
        limit: u32,
    ) -> Result<Vec<Referrer>, IndexError> {
        let (repository, subject) = (repository.to_owned(), subject.clone());
        let artifact_type = artifact_type.map(str::to_owned);
        let last = last.map_or_else(String::new, |digest| digest.as_str().to_owned());
        self.readers
            .run(move |db| {
                let sql = "SELECT m.digest, media_type, artifact_type, annotations, size FROM manifest m \
                           JOIN repository r ON r.id = m.repository \
                           WHERE r.name = ?1 AND subject = ?2 AND m.digest > ?3 AND (?4 IS NULL OR artifact_type = ?4) \
                           ORDER BY m.digest LIMIT ?5";
                let mut query = db.prepare_cached(sql)?;
                let mut rows =
                    query.query(params![repository, subject.as_str(), last, artifact_type, limit])?;
                let mut referrers = Vec::new();
                while let Some(row) = rows.next()? {
                    referrers.push(Referrer {
                        digest: row.get::<_, String>(0)?.parse()?,
                        media_type: row.get(1)?,
                        artifact_type: row.get(2)?,
                        annotations: row.get(3)?,
                        size: row.get::<_, i64>(4)?.cast_unsigned(),
                    });
                }
                Ok(referrers)
            })
            .await
    }
}

fn check_blobs(tx: &Connection, new: &NewManifest) -> Result<(), IndexError> {
    let mut missing = Vec::new();
    for blob in &new.blobs {
        match (linked(tx, &new.repository, &blob.digest)?, blob.size) {
            (None, _) => missing.push(blob.digest.clone()),
            (Some(row), Some(expected)) if row.size != expected => {
                let digest = blob.digest.clone();
                return Err(IndexError::WrongSize { digest, expected, found: row.size });
            }
            (Some(_), _) => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort();
    missing.dedup();
    Err(IndexError::UnknownBlobs { repository: new.repository.clone(), missing })
}

fn insert(tx: &Connection, id: i64, new: &NewManifest) -> Result<(), IndexError> {
    let digest = new.digest.as_str();
    let subject = new.subject.as_ref().map(BlobDigest::as_str);
    // The same bytes under another media type are a correction of the media type: the last push wins.
    tx.prepare_cached(
        "INSERT INTO manifest(repository, digest, media_type, artifact_type, subject, annotations, size, pushed_ms, body, \
         touched_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?8) \
         ON CONFLICT(repository, digest) DO UPDATE SET media_type = ?3, artifact_type = ?4, pushed_ms = ?8, \
         touched_ms = max(touched_ms, ?8)",
    )?
    .execute(params![
        id,
        digest,
        new.media_type,
        new.artifact_type,
        subject,
        new.annotations,
        new.body.len() as i64,
        new.now_ms,
        &new.body[..],
    ])?;
    let sql = "INSERT OR IGNORE INTO reference(repository, manifest, target) VALUES (?1, ?2, ?3)";
    let mut reference = tx.prepare_cached(sql)?;
    for target in new.blobs.iter().map(|blob| &blob.digest).chain(&new.children) {
        reference.execute(params![id, digest, target.as_str()])?;
    }
    let sql = "DELETE FROM trash_manifest WHERE repository = ?1 AND digest = ?2";
    tx.prepare_cached(sql)?.execute(params![id, digest])?;
    Ok(())
}

fn point(
    tx: &Connection,
    policy: &TagPolicy,
    (id, repository): (i64, &str),
    tag: &str,
    digest: &BlobDigest,
    now_ms: i64,
) -> Result<(), IndexError> {
    let sql = "SELECT digest FROM tag WHERE repository = ?1 AND name = ?2";
    let mut query = tx.prepare_cached(sql)?;
    let before: Option<String> = query.query_row(params![id, tag], |row| row.get(0)).optional()?;
    match before {
        Some(before) if before == digest.as_str() => return Ok(()),
        Some(before) => {
            guard::tag_may_change(policy, repository, tag)?;
            touch(tx, id, &before, now_ms)?;
        }
        None => {}
    }
    let sql = "INSERT INTO tag(repository, name, digest, moved_ms) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT(repository, name) DO UPDATE SET digest = ?3, moved_ms = ?4";
    tx.prepare_cached(sql)?.execute(params![id, tag, digest.as_str(), now_ms])?;
    Ok(())
}

/// What a manifest that is about to go needs, or is the subject of, loses its hold only now: its grace time begins.
pub(super) fn release(
    tx: &Connection,
    id: i64,
    digest: &str,
    now_ms: i64,
) -> Result<(), IndexError> {
    for sql in [
        "UPDATE link SET touched_ms = ?3 WHERE repository = ?1 AND touched_ms < ?3 AND digest IN \
         (SELECT target FROM reference WHERE repository = ?1 AND manifest = ?2)",
        "UPDATE manifest SET touched_ms = ?3 WHERE repository = ?1 AND touched_ms < ?3 AND (subject = ?2 OR digest IN \
         (SELECT target FROM reference WHERE repository = ?1 AND manifest = ?2))",
    ] {
        tx.prepare_cached(sql)?.execute(params![id, digest, now_ms])?;
    }
    Ok(())
}
