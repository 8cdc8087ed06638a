//! The trash: what was deleted or collected stays restorable for a while, rows in tables of their own and bytes in their place.
//!
//! Bytes of a blob are held by links and by trashed links alike; so moving a link to the trash touches no file, and no push of the
//! same content can meet a file that is on its way out.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Index, IndexError, insert_link, repository_id};
use crate::blobs::BlobDigest;

/// What lies in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    pub repository: String,
    pub digest: BlobDigest,
    /// A manifest, with the tags that went with it; else a blob.
    pub manifest: bool,
    pub tags: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// Unix ms.
    pub trashed_ms: i64,
    pub reason: String,
}

/// What a restore brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Repository and digest.
    pub manifests: Vec<(String, BlobDigest)>,
    pub blobs: Vec<(String, BlobDigest)>,
    /// Repository and tag.
    pub tags: Vec<(String, String)>,
    /// Tags that name something else by now and were left alone.
    pub taken: Vec<(String, String)>,
}

/// Reads from a manifest (media type, bytes) the blobs without which it is worth nothing.
pub type Needs = fn(&str, &[u8]) -> Vec<BlobDigest>;

/// A thing to restore, and where to.
#[derive(Debug, Clone)]
pub struct RestoreAsk {
    pub digest: BlobDigest,
    /// Only there; else wherever it was trashed.
    pub repository: Option<String>,
    pub needs: Needs,
    pub now_ms: i64,
}

impl Index {
    /// Up to `limit` things in the trash, newest first.
    pub async fn trash(&self, limit: u32) -> Result<Vec<Trashed>, IndexError> {
        self.readers.run(move |db| listed(db, i64::MAX, limit)).await
    }

    /// Brings a manifest back with everything it needs and the evidence about it, or a blob; all or nothing.
    ///
    /// # Errors
    /// [`IndexError::NotInTrash`]; [`IndexError::Lacks`] when a blob that a manifest needs is neither here nor in the trash.
    pub async fn restore(&self, ask: RestoreAsk) -> Result<Restored, IndexError> {
        self.writer.run(move |tx| restore(tx, &ask)).await
    }

    /// Forgets for good those of `things` that were trashed before `before_ms` and are in the trash still, and answers them. The bytes of
    /// blobs are free then, unless another repository has them.
    pub async fn forget(
        &self,
        things: Vec<Trashed>,
        before_ms: i64,
    ) -> Result<Vec<Trashed>, IndexError> {
        self.writer
            .run(move |tx| {
                let mut gone = Vec::new();
                for thing in things {
                    let Some(id) = repository_id(tx, &thing.repository)? else { continue };
                    let sql = match thing.manifest {
                        true => "DELETE FROM trash_manifest WHERE repository = ?1 AND digest = ?2 AND trashed_ms < ?3",
                        false => "DELETE FROM trash_link WHERE repository = ?1 AND digest = ?2 AND trashed_ms < ?3",
                    };
                    let values = params![id, thing.digest.as_str(), before_ms];
                    if tx.prepare_cached(sql)?.execute(values)? > 0 {
                        gone.push(thing);
                    }
                }
                Ok(gone)
            })
            .await
    }

    /// Those of `digests` that no repository has, neither in use nor in a trash from `trash_ms` on (Unix ms).
    pub async fn unheld(
        &self,
        digests: Vec<BlobDigest>,
        trash_ms: i64,
    ) -> Result<Vec<BlobDigest>, IndexError> {
        self.readers.run(move |db| unheld(db, digests, trash_ms)).await
    }

    /// Whether nobody has a blob, asked behind every change that is on its way to the index.
    pub async fn is_unheld(&self, digest: &BlobDigest) -> Result<bool, IndexError> {
        let digests = vec![digest.clone()];
        self.writer.run(move |tx| Ok(!unheld(tx, digests, i64::MIN)?.is_empty())).await
    }

    /// Up to `limit` things that were trashed before `before_ms`.
    pub async fn trash_before(
        &self,
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<Trashed>, IndexError> {
        self.readers.run(move |db| listed(db, before_ms, limit)).await
    }
}

fn unheld(
    db: &Connection,
    mut digests: Vec<BlobDigest>,
    trash_ms: i64,
) -> Result<Vec<BlobDigest>, IndexError> {
    let sql = "SELECT EXISTS(SELECT 1 FROM link WHERE digest = ?1) \
               OR EXISTS(SELECT 1 FROM trash_link WHERE digest = ?1 AND trashed_ms >= ?2)";
    let mut query = db.prepare_cached(sql)?;
    let (mut free, mut place) = (Vec::new(), 0);
    while place < digests.len() {
        let held = query
            .query_row(params![digests[place].as_str(), trash_ms], |row| row.get::<_, bool>(0))?;
        if held {
            place += 1;
        } else {
            free.push(digests.swap_remove(place));
        }
    }
    Ok(free)
}

/// Moves a manifest to the trash and answers the tags that went with it, or `None` when it is not there.
pub(super) fn bury_manifest(
    tx: &Connection,
    id: i64,
    digest: &str,
    reason: &str,
    now_ms: i64,
) -> Result<Option<Vec<String>>, IndexError> {
    let sql = "INSERT OR REPLACE INTO trash_manifest(repository, digest, media_type, artifact_type, subject, annotations, size, \
               pushed_ms, body, targets, tags, trashed_ms, reason) \
               SELECT repository, digest, media_type, artifact_type, subject, annotations, size, pushed_ms, body, \
               (SELECT json_group_array(target) FROM reference r WHERE r.repository = ?1 AND r.manifest = ?2), \
               (SELECT json_group_array(name) FROM tag t WHERE t.repository = ?1 AND t.digest = ?2), ?3, ?4 \
               FROM manifest WHERE repository = ?1 AND digest = ?2";
    if tx.prepare_cached(sql)?.execute(params![id, digest, now_ms, reason])? == 0 {
        return Ok(None);
    }
    let sql = "DELETE FROM manifest WHERE repository = ?1 AND digest = ?2";
    tx.prepare_cached(sql)?.execute(params![id, digest])?;
    let sql = "DELETE FROM reference WHERE repository = ?1 AND manifest = ?2";
    tx.prepare_cached(sql)?.execute(params![id, digest])?;
    let sql = "DELETE FROM tag WHERE repository = ?1 AND digest = ?2 RETURNING name";
    let mut query = tx.prepare_cached(sql)?;
    let tags = query.query_map(params![id, digest], |row| row.get(0))?;
    Ok(Some(tags.collect::<Result<_, _>>()?))
}

/// Moves a link to the trash; `false` when there is none.
pub(super) fn bury_link(
    tx: &Connection,
    id: i64,
    digest: &str,
    reason: &str,
    now_ms: i64,
) -> Result<bool, IndexError> {
    let sql = "INSERT OR REPLACE INTO trash_link(repository, digest, size, trashed_ms, reason) \
               SELECT repository, digest, size, ?3, ?4 FROM link WHERE repository = ?1 AND digest = ?2";
    tx.prepare_cached(sql)?.execute(params![id, digest, now_ms, reason])?;
    let sql = "DELETE FROM link WHERE repository = ?1 AND digest = ?2";
    Ok(tx.prepare_cached(sql)?.execute(params![id, digest])? > 0)
}

fn listed(db: &Connection, before_ms: i64, limit: u32) -> Result<Vec<Trashed>, IndexError> {
    let sql = "SELECT r.name, t.* FROM (\
               SELECT repository, digest, 1 AS is_manifest, tags, size, trashed_ms, reason FROM trash_manifest UNION ALL \
               SELECT repository, digest, 0, '[]', size, trashed_ms, reason FROM trash_link) t \
               JOIN repository r ON r.id = t.repository WHERE t.trashed_ms < ?2 \
               ORDER BY t.trashed_ms DESC, t.is_manifest DESC, t.digest LIMIT ?1";
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query(params![limit, before_ms])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Trashed {
            repository: row.get(0)?,
            digest: row.get::<_, String>(2)?.parse()?,
            manifest: row.get(3)?,
            tags: texts(&row.get::<_, String>(4)?),
            size: row.get::<_, i64>(5)?.cast_unsigned(),
            trashed_ms: row.get(6)?,
            reason: row.get(7)?,
        });
    }
    Ok(found)
}

/// A list that this module wrote itself.
fn texts(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_default()
}

fn restore(tx: &Connection, ask: &RestoreAsk) -> Result<Restored, IndexError> {
    let mut done = Restored::default();
    for table in ["trash_manifest", "trash_link"] {
        let sql = format!(
            "SELECT r.id, r.name FROM {table} t JOIN repository r ON r.id = t.repository \
             WHERE t.digest = ?1 AND (?2 IS NULL OR r.name = ?2)"
        );
        let mut query = tx.prepare_cached(&sql)?;
        let rows = query.query_map(params![ask.digest.as_str(), ask.repository], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let places = rows.collect::<Result<Vec<(i64, String)>, _>>()?;
        for (id, repository) in places {
            let mut restorer = Restorer { tx, ask, id, repository, done: &mut done };
            if table == "trash_manifest" {
                restorer.tree(&ask.digest)?;
            } else {
                restorer.blob(&ask.digest)?;
            }
        }
    }
    if done.manifests.is_empty() && done.blobs.is_empty() {
        return Err(IndexError::NotInTrash { digest: ask.digest.clone() });
    }
    Ok(done)
}

/// Brings things of one repository back.
struct Restorer<'a> {
    tx: &'a Connection,
    ask: &'a RestoreAsk,
    id: i64,
    repository: String,
    done: &'a mut Restored,
}

impl Restorer<'_> {
    /// A manifest, what it refers to, and what refers to it as its subject.
    fn tree(&mut self, root: &BlobDigest) -> Result<(), IndexError> {
        let mut open = vec![root.clone()];
        while let Some(digest) = open.pop() {
            let Some(targets) = self.manifest(&digest)? else { continue };
            for target in targets {
                if !self.blob(&target)? {
                    open.push(target);
                }
            }
            open.extend(self.evidence(&digest)?);
        }
        Ok(())
    }

    /// Restores one manifest row and answers what it refers to; `None` when it is not in the trash.
    fn manifest(&mut self, digest: &BlobDigest) -> Result<Option<Vec<BlobDigest>>, IndexError> {
        let sql = "SELECT media_type, body, targets, tags FROM trash_manifest WHERE repository = ?1 AND digest = ?2";
        let mut query = self.tx.prepare_cached(sql)?;
        let row = query.query_row(params![self.id, digest.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        });
        let Some((media_type, body, targets, tags)) = row.optional()? else { return Ok(None) };
        let (media_type, body): (String, Vec<u8>) = (media_type, body);
        let (targets, tags): (String, String) = (targets, tags);
        self.check(digest, &media_type, &body.into())?;
        let sql = "INSERT OR IGNORE INTO manifest(repository, digest, media_type, artifact_type, subject, annotations, size, \
                   pushed_ms, body, touched_ms) SELECT repository, digest, media_type, artifact_type, subject, annotations, size, \
                   pushed_ms, body, ?3 FROM trash_manifest WHERE repository = ?1 AND digest = ?2";
        self.run(sql, params![self.id, digest.as_str(), self.ask.now_ms])?;
        let sql = "INSERT OR IGNORE INTO reference(repository, manifest, target) SELECT ?1, ?2, value FROM json_each(?3)";
        self.run(sql, params![self.id, digest.as_str(), targets])?;
        self.run(
            "DELETE FROM trash_manifest WHERE repository = ?1 AND digest = ?2",
            params![self.id, digest.as_str()],
        )?;
        self.done.manifests.push((self.repository.clone(), digest.clone()));
        self.retag(digest, &texts(&tags))?;
        let targets = texts(&targets).iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Some(targets))
    }

    /// Refuses a manifest some of whose blobs are gone for good.
    fn check(&self, digest: &BlobDigest, media_type: &str, body: &Bytes) -> Result<(), IndexError> {
        for needed in (self.ask.needs)(media_type, body) {
            let sql = "SELECT EXISTS(SELECT 1 FROM link WHERE repository = ?1 AND digest = ?2) \
                       OR EXISTS(SELECT 1 FROM trash_link WHERE repository = ?1 AND digest = ?2)";
            let mut query = self.tx.prepare_cached(sql)?;
            if !query.query_row(params![self.id, needed.as_str()], |row| row.get::<_, bool>(0))? {
                let (manifest, repository) = (digest.clone(), self.repository.clone());
                return Err(IndexError::Lacks { manifest, repository, blob: needed });
            }
        }
        Ok(())
    }

    fn retag(&mut self, digest: &BlobDigest, tags: &[String]) -> Result<(), IndexError> {
        for tag in tags {
            let sql = "INSERT OR IGNORE INTO tag(repository, name, digest, moved_ms) VALUES (?1, ?2, ?3, ?4)";
            let made = self.run(sql, params![self.id, tag, digest.as_str(), self.ask.now_ms])? > 0;
            let list = if made { &mut self.done.tags } else { &mut self.done.taken };
            list.push((self.repository.clone(), tag.clone()));
        }
        Ok(())
    }

    /// Links a trashed blob again; `false` when it was not in the trash of this repository.
    fn blob(&mut self, digest: &BlobDigest) -> Result<bool, IndexError> {
        let sql = "SELECT size FROM trash_link WHERE repository = ?1 AND digest = ?2";
        let mut query = self.tx.prepare_cached(sql)?;
        let size = query
            .query_row(params![self.id, digest.as_str()], |row| row.get::<_, i64>(0))
            .optional()?;
        let Some(size) = size else { return Ok(false) };
        insert_link(self.tx, self.id, digest, size.cast_unsigned(), self.ask.now_ms)?;
        self.done.blobs.push((self.repository.clone(), digest.clone()));
        Ok(true)
    }

    /// Trashed manifests whose subject this is.
    fn evidence(&self, subject: &BlobDigest) -> Result<Vec<BlobDigest>, IndexError> {
        let sql = "SELECT digest FROM trash_manifest WHERE repository = ?1 AND subject = ?2";
        let mut query = self.tx.prepare_cached(sql)?;
        let rows =
            query.query_map(params![self.id, subject.as_str()], |row| row.get::<_, String>(0))?;
        let texts = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
    }

    fn run(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, IndexError> {
        Ok(self.tx.prepare_cached(sql)?.execute(values)?)
    }
}
