//! The index as a check of a whole registry sees it: row by row, without the running registry, and mended only where asked.
//!
//! Blocking: for a command of its own, never for a server.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::IndexError;

/// Wait for the running registry, which may hold the file for a moment.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);
/// Faults of pages that are listed.
const FAULTS_MAX: u32 = 100;

/// An index file that is looked at.
pub struct Inspection(Connection);

/// Bytes that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBlob {
    pub repository: String,
    /// As stored, not checked.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Only its trash has them.
    pub trashed: bool,
}

/// A manifest as stored.
#[derive(Debug, Clone)]
pub struct HeldManifest {
    pub repository: String,
    /// As stored, not checked.
    pub digest: String,
    pub media_type: String,
    pub body: Vec<u8>,
}

/// One name that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loose {
    pub repository: String,
    /// Of a tag its name, of a reference the manifest that is not there.
    pub from: String,
    pub to: String,
}

impl Inspection {
    /// Opens the file at `path`; `mend` allows the changes below.
    ///
    /// # Errors
    /// [`IndexError::Database`] when it is no index or cannot be opened.
    pub fn open(path: &Path, mend: bool) -> Result<Self, IndexError> {
        let access =
            if mend { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
        let connection =
            Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found > super::schema::VERSION {
            return Err(IndexError::Newer { found });
        }
        Ok(Self(connection))
    }

    /// What is wrong with the file's pages and indexes; empty when nothing is.
    pub fn faults(&self) -> Result<Vec<String>, IndexError> {
        let sql = format!("PRAGMA integrity_check({FAULTS_MAX})");
        let mut query = self.0.prepare(&sql)?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        let mut faults = rows.collect::<Result<Vec<_>, _>>()?;
        faults.retain(|fault| fault != "ok");
        Ok(faults)
    }

    /// Every blob of every repository, in use or in the trash.
    pub fn blobs(&self) -> Result<Vec<HeldBlob>, IndexError> {
        let sql = "SELECT r.name, l.digest, l.size, l.trashed FROM (\
                   SELECT repository, digest, size, 0 AS trashed FROM link UNION ALL \
                   SELECT repository, digest, size, 1 FROM trash_link) l \
                   JOIN repository r ON r.id = l.repository ORDER BY l.digest, r.name";
        let mut query = self.0.prepare(sql)?;
        let rows = query.query_map([], |row| {
            Ok(HeldBlob {
                repository: row.get(0)?,
                digest: row.get(1)?,
                size: row.get::<_, i64>(2)?.cast_unsigned(),
                trashed: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether somebody still has these bytes: a look at a running registry may be old.
    pub fn is_held(&self, digest: &str) -> Result<bool, IndexError> {
        let sql = "SELECT EXISTS(SELECT 1 FROM link WHERE digest = ?1) OR EXISTS(SELECT 1 FROM trash_link WHERE digest = ?1)";
        Ok(self.0.query_row(sql, [digest], |row| row.get(0))?)
    }

    /// Shows every manifest in use to `see`, one at a time.
    pub fn each_manifest<E: From<IndexError>>(
        &self,
        mut see: impl FnMut(HeldManifest) -> Result<(), E>,
    ) -> Result<(), E> {
        let fails = |error: rusqlite::Error| E::from(IndexError::from(error));
        let sql = "SELECT r.name, m.digest, m.media_type, m.body FROM manifest m JOIN repository r ON r.id = m.repository ORDER BY m.id";
        let mut query = self.0.prepare(sql).map_err(fails)?;
        let mut rows = query.query([]).map_err(fails)?;
        while let Some(row) = rows.next().map_err(fails)? {
            let manifest = || {
                Ok(HeldManifest {
                    repository: row.get(0)?,
                    digest: row.get(1)?,
                    media_type: row.get(2)?,
                    body: row.get(3)?,
                })
            };
            see(manifest().map_err(fails)?)?;
        }
        Ok(())
    }

    /// The recorded size of a repository's blob.
    pub fn linked(&self, repository: &str, digest: &str) -> Result<Option<u64>, IndexError> {
        let sql = "SELECT size FROM link JOIN repository ON id = repository WHERE name = ?1 AND digest = ?2";
        let size =
            self.0.query_row(sql, [repository, digest], |row| row.get::<_, i64>(0)).optional()?;
        Ok(size.map(i64::cast_unsigned))
    }

    /// What the index knows a manifest to refer to.
    pub fn targets(&self, repository: &str, manifest: &str) -> Result<Vec<String>, IndexError> {
        let sql = "SELECT target FROM reference JOIN repository ON id = repository WHERE name = ?1 AND manifest = ?2";
        let mut query = self.0.prepare_cached(sql)?;
        let rows = query.query_map([repository, manifest], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Tags that name a manifest which is not there.
    pub fn loose_tags(&self) -> Result<Vec<Loose>, IndexError> {
        self.loose(
            "SELECT r.name, t.name, t.digest FROM tag t LEFT JOIN repository r ON r.id = t.repository WHERE NOT EXISTS \
             (SELECT 1 FROM manifest m WHERE m.repository = t.repository AND m.digest = t.digest)",
        )
    }

    /// References of a manifest which is not there: they would keep blobs for ever.
    pub fn loose_references(&self) -> Result<Vec<Loose>, IndexError> {
        self.loose(
            "SELECT r.name, f.manifest, f.target FROM reference f LEFT JOIN repository r ON r.id = f.repository WHERE NOT EXISTS \
             (SELECT 1 FROM manifest m WHERE m.repository = f.repository AND m.digest = f.manifest)",
        )
    }

    fn loose(&self, sql: &str) -> Result<Vec<Loose>, IndexError> {
        let mut query = self.0.prepare(sql)?;
        let rows = query.query_map([], |row| {
            let repository = row.get::<_, Option<String>>(0)?.unwrap_or_default();
            Ok(Loose { repository, from: row.get(1)?, to: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    // Mending; each is one transaction.

    /// Nobody has these bytes any more, so that the next push brings them anew.
    pub fn drop_blob(&self, digest: &str) -> Result<(), IndexError> {
        let tx = self.0.unchecked_transaction()?;
        tx.execute("DELETE FROM link WHERE digest = ?1", [digest])?;
        tx.execute("DELETE FROM trash_link WHERE digest = ?1", [digest])?;
        Ok(tx.commit()?)
    }

    /// A manifest and its tags and references.
    pub fn drop_manifest(&self, repository: &str, digest: &str) -> Result<(), IndexError> {
        let tx = self.0.unchecked_transaction()?;
        for (table, column) in
            [("manifest", "digest"), ("reference", "manifest"), ("tag", "digest")]
        {
            let sql = format!(
                "DELETE FROM {table} WHERE {column} = ?2 AND repository = (SELECT id FROM repository WHERE name = ?1)"
            );
            tx.execute(&sql, [repository, digest])?;
        }
        Ok(tx.commit()?)
    }

    pub fn drop_loose_tags(&self) -> Result<(), IndexError> {
        let sql = "DELETE FROM tag WHERE NOT EXISTS \
                   (SELECT 1 FROM manifest m WHERE m.repository = tag.repository AND m.digest = tag.digest)";
        self.0.execute(sql, [])?;
        Ok(())
    }

    pub fn drop_loose_references(&self) -> Result<(), IndexError> {
        let sql = "DELETE FROM reference WHERE NOT EXISTS \
                   (SELECT 1 FROM manifest m WHERE m.repository = reference.repository AND m.digest = reference.manifest)";
        self.0.execute(sql, [])?;
        Ok(())
    }

    /// A reference that a manifest has and the index forgot.
    pub fn refer(&self, repository: &str, manifest: &str, target: &str) -> Result<(), IndexError> {
        let sql = "INSERT OR IGNORE INTO reference(repository, manifest, target) \
                   SELECT id, ?2, ?3 FROM repository WHERE name = ?1";
        self.0.execute(sql, params![repository, manifest, target])?;
        Ok(())
    }
}
