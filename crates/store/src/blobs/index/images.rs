//! All manifests of a repository as a lifecycle policy looks at them, and the expiry of one.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Index, IndexError, manifests, repository_id, trash};
use crate::blobs::BlobDigest;

/// A manifest with everything that refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    pub digest: String,
    /// Unix ms.
    pub pushed_ms: i64,
    /// Bytes of the manifest.
    pub size: u64,
    pub subject: Option<String>,
    /// In order.
    pub tags: Vec<String>,
    /// When the newest of its tags came to it, Unix ms: a promotion is a tag.
    pub tagged_ms: Option<i64>,
    /// Manifests of the repository that list it.
    pub listed_by: Vec<String>,
}

/// What became of an expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiry {
    /// It is in the trash, with these tags.
    Trashed(Vec<String>),
    /// It is not what was looked at any more: its tags changed, or an index lists it by now.
    Changed,
    /// It was not there.
    Missing,
}

impl Index {
    /// Every repository, by name.
    pub async fn all_repositories(&self) -> Result<Vec<String>, IndexError> {
        self.readers
            .run(|db| {
                let mut query = db.prepare_cached("SELECT name FROM repository ORDER BY name")?;
                let names = query.query_map([], |row| row.get(0))?;
                Ok(names.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Every manifest of a repository, in one view; none for an unknown repository.
    pub async fn images(&self, repository: &str) -> Result<Vec<ImageRow>, IndexError> {
        let repository = repository.to_owned();
        self.readers
            .run(move |db| {
                // One transaction: tags and manifests of the same moment.
                let tx = db.unchecked_transaction()?;
                let Some(id) = repository_id(&tx, &repository)? else { return Ok(vec![]) };
                let rows = images(&tx, id)?;
                tx.commit()?;
                Ok(rows)
            })
            .await
    }

    /// Tags of what a digest is, is listed by, or is evidence about, each once: where it belongs.
    pub async fn tags_above(
        &self,
        repository: &str,
        digest: &BlobDigest,
    ) -> Result<Vec<String>, IndexError> {
        let (repository, digest) = (repository.to_owned(), digest.clone());
        self.readers
            .run(move |db| {
                let Some(id) = repository_id(db, &repository)? else { return Ok(vec![]) };
                let mut query = db.prepare_cached(super::guard::TAGS_ABOVE)?;
                let names = query.query_map(params![id, digest.as_str()], |row| row.get(0))?;
                Ok(names.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Moves a manifest to the trash because its time is over. Immutable tags keep it from being moved, not from ending; but it must
    /// have exactly these tags and be in no index, or it is not what was decided on.
    pub async fn expire(
        &self,
        repository: &str,
        digest: &BlobDigest,
        tags: &[String],
        now_ms: i64,
    ) -> Result<Expiry, IndexError> {
        let (repository, digest, mut tags) = (repository.to_owned(), digest.clone(), tags.to_vec());
        tags.sort();
        self.writer
            .run(move |tx| {
                let Some(id) = repository_id(tx, &repository)? else { return Ok(Expiry::Missing) };
                let digest = digest.as_str();
                if has_changed(tx, id, digest, &tags)? {
                    return Ok(Expiry::Changed);
                }
                manifests::release(tx, id, digest, now_ms)?;
                let gone = trash::bury_manifest(tx, id, digest, "expired", now_ms)?;
                Ok(gone.map_or(Expiry::Missing, Expiry::Trashed))
            })
            .await
    }
}

fn images(db: &Connection, id: i64) -> Result<Vec<ImageRow>, IndexError> {
    let sql =
        "SELECT digest, pushed_ms, size, subject FROM manifest WHERE repository = ?1 ORDER BY id";
    let mut query = db.prepare_cached(sql)?;
    let rows = query.query_map([id], |row| {
        Ok(ImageRow {
            digest: row.get(0)?,
            pushed_ms: row.get(1)?,
            size: row.get::<_, i64>(2)?.cast_unsigned(),
            subject: row.get(3)?,
            tags: vec![],
            tagged_ms: None,
            listed_by: vec![],
        })
    })?;
    let mut rows: Vec<ImageRow> = rows.collect::<Result<_, _>>()?;
    let places: HashMap<String, usize> =
        rows.iter().enumerate().map(|(place, row)| (row.digest.clone(), place)).collect();
    let pairs = |sql: &str| -> Result<Vec<(String, String)>, IndexError> {
        let mut query = db.prepare_cached(sql)?;
        let pairs = query.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(pairs.collect::<Result<_, _>>()?)
    };
    let sql = "SELECT digest, name, moved_ms FROM tag WHERE repository = ?1 ORDER BY name";
    let mut query = db.prepare_cached(sql)?;
    let mut tags = query.query([id])?;
    while let Some(tag) = tags.next()? {
        if let Some(place) = places.get(&tag.get::<_, String>(0)?) {
            let row = &mut rows[*place];
            row.tags.push(tag.get(1)?);
            row.tagged_ms = row.tagged_ms.max(Some(tag.get(2)?));
        }
    }
    let sql = "SELECT r.target, r.manifest FROM reference r \
               JOIN manifest m ON m.repository = r.repository AND m.digest = r.target WHERE r.repository = ?1";
    for (child, index) in pairs(sql)? {
        if let Some(place) = places.get(&child) {
            rows[*place].listed_by.push(index);
        }
    }
    Ok(rows)
}

/// `tags` in order.
fn has_changed(
    tx: &Connection,
    id: i64,
    digest: &str,
    tags: &[String],
) -> Result<bool, IndexError> {
    let sql = "SELECT name FROM tag WHERE repository = ?1 AND digest = ?2 ORDER BY name";
    let mut query = tx.prepare_cached(sql)?;
    let found = query.query_map(params![id, digest], |row| row.get::<_, String>(0))?;
    if found.collect::<Result<Vec<_>, _>>()? != tags {
        return Ok(true);
    }
    let sql = "SELECT 1 FROM reference WHERE repository = ?1 AND target = ?2 LIMIT 1";
    let mut query = tx.prepare_cached(sql)?;
    let listed: Option<i64> = query.query_row(params![id, digest], |row| row.get(0)).optional()?;
    Ok(listed.is_some())
}
