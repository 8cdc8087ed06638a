//! What nothing needs any more: found by readers in pages, decided again by the writer in small batches.
//!
//! A manifest is in use when it, or anything above it, is a root: it has a tag, was touched within the grace time, or is protected.
//! Above it are the indexes that list it and its subject. A blob is in use in a repository when a manifest there refers to it or it
//! was touched within the grace time. A look may be old when the writer acts on it, so the writer asks the same question again in
//! the transaction that removes: there is no moment between the answer and the act in which a push, mount or tag could come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{Index, IndexError, trash};
use crate::blobs::BlobDigest;

/// The writer serves pushes again after this: well below the 50 ms that no push may wait for a collection.
const BATCH_TIME: Duration = Duration::from_millis(5);

/// What no collection touches.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// A manifest touched at or after this is in use, Unix ms.
    pub manifests_ms: i64,
    /// A blob touched at or after this is in use, Unix ms.
    pub blobs_ms: i64,
    /// Digests of manifests that are in use whatever the index says, in every repository.
    pub protected: Arc<HashSet<String>>,
}

/// A manifest or a blob of a repository that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unused {
    pub repository: String,
    pub digest: BlobDigest,
    /// Bytes.
    pub size: u64,
    /// Unix ms.
    pub touched_ms: i64,
    /// The digest that it is about, of a manifest that has one.
    pub subject: Option<BlobDigest>,
}

/// A part of a look, and where the next part begins.
#[derive(Debug)]
pub struct Look<P> {
    pub found: Vec<Unused>,
    pub next: Option<P>,
}

/// Where a look at blobs goes on: repository number and digest.
pub type LinkPlace = (i64, String);

/// Everything from which a manifest is reached, with whether it has a tag or was touched of late.
const ABOVE: &str = "
WITH RECURSIVE above(digest) AS (
  VALUES (?2)
  UNION SELECT r.manifest FROM reference r JOIN above ON r.target = above.digest WHERE r.repository = ?1
  UNION SELECT m.subject FROM manifest m JOIN above ON m.digest = above.digest
        WHERE m.repository = ?1 AND m.subject IS NOT NULL)
SELECT m.digest, m.touched_ms >= ?3 OR EXISTS (SELECT 1 FROM tag t WHERE t.repository = ?1 AND t.digest = m.digest)
FROM above JOIN manifest m ON m.repository = ?1 AND m.digest = above.digest";

impl Index {
    /// Looks at up to `limit` untagged manifests after the row `after` and answers those that nothing needs.
    pub async fn unused_manifests(
        &self,
        roots: &Roots,
        after: i64,
        limit: u32,
    ) -> Result<Look<i64>, IndexError> {
        let roots = roots.clone();
        self.readers
            .run(move |db| {
                let sql = "SELECT m.id, m.repository, r.name, m.digest, m.size, m.touched_ms, m.subject FROM manifest m \
                           JOIN repository r ON r.id = m.repository WHERE m.id > ?1 AND m.touched_ms < ?2 AND NOT EXISTS \
                           (SELECT 1 FROM tag t WHERE t.repository = m.repository AND t.digest = m.digest) \
                           ORDER BY m.id LIMIT ?3";
                let mut query = db.prepare_cached(sql)?;
                let mut rows = query.query(params![after, roots.manifests_ms, limit])?;
                let (mut found, mut seen, mut last) = (Vec::new(), 0, after);
                while let Some(row) = rows.next()? {
                    (seen, last) = (seen + 1, row.get(0)?);
                    let (id, digest): (i64, String) = (row.get(1)?, row.get(3)?);
                    if is_used(db, &roots, id, &digest)? {
                        continue;
                    }
                    let subject = row.get::<_, Option<String>>(6)?;
                    found.push(Unused {
                        repository: row.get(2)?,
                        digest: digest.parse()?,
                        size: row.get::<_, i64>(4)?.cast_unsigned(),
                        touched_ms: row.get(5)?,
                        subject: subject.map(|text| text.parse()).transpose()?,
                    });
                }
                Ok(Look { found, next: (seen == limit).then_some(last) })
            })
            .await
    }

    /// Moves those of `candidates` to the trash that nothing needs at this moment. Answers how many candidates were decided, which may be
    /// fewer than all, and what went.
    pub async fn drop_manifests(
        &self,
        roots: &Roots,
        candidates: Vec<Unused>,
        now_ms: i64,
    ) -> Result<(usize, Vec<Unused>), IndexError> {
        let roots = roots.clone();
        self.in_batches(candidates, move |tx, id, one| {
            let digest = one.digest.as_str();
            if is_used(tx, &roots, id, digest)? {
                return Ok(false);
            }
            let reason = match &one.subject {
                None => "collected: no tag, index or recent pull needs it".to_owned(),
                Some(subject) => format!("collected: it is about {subject}, which is not in use"),
            };
            Ok(trash::bury_manifest(tx, id, digest, &reason, now_ms)?.is_some())
        })
        .await
    }

    /// Looks at up to `limit` blobs after `after` and answers those that no manifest outside of `gone` refers to.
    pub async fn unused_links(
        &self,
        roots: &Roots,
        gone: Arc<HashSet<(String, String)>>,
        after: LinkPlace,
        limit: u32,
    ) -> Result<Look<LinkPlace>, IndexError> {
        let blobs_ms = roots.blobs_ms;
        self.readers
            .run(move |db| {
                let sql = "SELECT l.repository, r.name, l.digest, l.size, l.touched_ms FROM link l \
                           JOIN repository r ON r.id = l.repository \
                           WHERE (l.repository, l.digest) > (?1, ?2) AND l.touched_ms < ?3 \
                           ORDER BY l.repository, l.digest LIMIT ?4";
                let mut query = db.prepare_cached(sql)?;
                let mut rows = query.query(params![after.0, after.1, blobs_ms, limit])?;
                let (mut found, mut seen, mut last) = (Vec::new(), 0, after);
                while let Some(row) = rows.next()? {
                    (seen, last) = (seen + 1, (row.get(0)?, row.get(2)?));
                    let repository: String = row.get(1)?;
                    if is_referred(db, &last, &repository, &gone)? {
                        continue;
                    }
                    found.push(Unused {
                        repository,
                        digest: last.1.parse()?,
                        size: row.get::<_, i64>(3)?.cast_unsigned(),
                        touched_ms: row.get(4)?,
                        subject: None,
                    });
                }
                Ok(Look { found, next: (seen == limit).then_some(last) })
            })
            .await
    }

    /// As [`Index::drop_manifests`], for blobs.
    pub async fn drop_links(
        &self,
        roots: &Roots,
        candidates: Vec<Unused>,
        now_ms: i64,
    ) -> Result<(usize, Vec<Unused>), IndexError> {
        let blobs_ms = roots.blobs_ms;
        self.in_batches(candidates, move |tx, id, one| {
            let sql = "SELECT EXISTS(SELECT 1 FROM link WHERE repository = ?1 AND digest = ?2 AND touched_ms < ?3) \
                       AND NOT EXISTS(SELECT 1 FROM reference WHERE repository = ?1 AND target = ?2)";
            let mut query = tx.prepare_cached(sql)?;
            let digest = one.digest.as_str();
            let unused = query.query_row(params![id, digest, blobs_ms], |row| row.get::<_, bool>(0))?;
            let reason = "collected: no manifest refers to it";
            Ok(unused && trash::bury_link(tx, id, digest, reason, now_ms)?)
        })
        .await
    }

    /// Decides as many candidates in one transaction as fit into [`BATCH_TIME`], at least one.
    async fn in_batches(
        &self,
        candidates: Vec<Unused>,
        decide: impl Fn(&Connection, i64, &Unused) -> Result<bool, IndexError> + Send + 'static,
    ) -> Result<(usize, Vec<Unused>), IndexError> {
        self.writer
            .run(move |tx| {
                let (end, mut decided, mut gone) = (Instant::now() + BATCH_TIME, 0, Vec::new());
                for one in candidates {
                    if decided > 0 && Instant::now() >= end {
                        break;
                    }
                    decided += 1;
                    let id = super::repository_id(tx, &one.repository)?;
                    if let Some(id) = id
                        && decide(tx, id, &one)?
                    {
                        gone.push(one);
                    }
                }
                Ok((decided, gone))
            })
            .await
    }
}

/// Whether a root is at or above a manifest.
fn is_used(db: &Connection, roots: &Roots, id: i64, digest: &str) -> Result<bool, IndexError> {
    let mut query = db.prepare_cached(ABOVE)?;
    let mut rows = query.query(params![id, digest, roots.manifests_ms])?;
    while let Some(row) = rows.next()? {
        if row.get(1)? || roots.protected.contains(&row.get::<_, String>(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a manifest that is not `gone` refers to a blob.
fn is_referred(
    db: &Connection,
    (id, digest): &LinkPlace,
    repository: &str,
    gone: &HashSet<(String, String)>,
) -> Result<bool, IndexError> {
    let sql = "SELECT manifest FROM reference WHERE repository = ?1 AND target = ?2";
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![id, digest])?;
    while let Some(row) = rows.next()? {
        if !gone.contains(&(repository.to_owned(), row.get(0)?)) {
            return Ok(true);
        }
    }
    Ok(false)
}
