//! What happened to images beside their bytes: the last pull, the archive, the environment that a tag was made in, and the
//! lifecycle policy of a repository. A database of its own (`history.db`), so that a busy puller never waits behind a push.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::IndexError;

/// Wait for another process (a backup) that holds the file.
const BUSY: Duration = Duration::from_secs(5);

/// The version of the tables below; a newer file is refused.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE past(
  repository TEXT NOT NULL, digest TEXT NOT NULL, pulled_ms INTEGER, archived_ms INTEGER, activated_ms INTEGER,
  archived INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(repository, digest)) STRICT, WITHOUT ROWID;
CREATE TABLE home(
  repository TEXT NOT NULL, tag TEXT NOT NULL, environment TEXT NOT NULL, PRIMARY KEY(repository, tag)) STRICT, WITHOUT ROWID;
CREATE TABLE policy(
  repository TEXT PRIMARY KEY, document TEXT NOT NULL, actor TEXT NOT NULL, set_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
";

/// The history of one registry.
pub struct History {
    database: Mutex<Connection>,
}

/// Times are Unix ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    pub pulled_ms: Option<i64>,
    pub archived_ms: Option<i64>,
    pub activated_ms: Option<i64>,
    pub archived: bool,
}

/// A repository's policy, as it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    pub document: String,
    pub actor: String,
    /// Unix ms.
    pub set_ms: i64,
}

/// One pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    pub repository: String,
    pub digest: String,
    /// Unix ms.
    pub at_ms: i64,
}

impl History {
    /// Opens or makes the database at `path`.
    ///
    /// # Errors
    /// [`IndexError::Newer`] for a file of a later version, [`IndexError::Database`] when it cannot be used.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let mut database = Connection::open(path)?;
        database.busy_timeout(BUSY)?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "FULL")?;
        let tx = database.transaction()?;
        match tx.query_row("PRAGMA user_version", [], |row| row.get(0))? {
            0 => tx.execute_batch(TABLES)?,
            VERSION => {}
            found => return Err(IndexError::Newer { found }),
        }
        tx.commit()?;
        Ok(Self { database: Mutex::new(database) })
    }

    fn database(&self) -> MutexGuard<'_, Connection> {
        // Each change is one transaction, so a panic elsewhere leaves the connection whole.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the time of pulls, in one transaction. A pull brings an archived image back.
    pub fn pulled(&self, pulls: &[Pull]) -> Result<(), IndexError> {
        let mut database = self.database();
        let tx = database.transaction()?;
        for Pull { repository, digest, at_ms } in pulls {
            let sql = "INSERT INTO past(repository, digest, pulled_ms) VALUES (?1, ?2, ?3) ON CONFLICT(repository, digest) DO UPDATE SET \
                       pulled_ms = max(coalesce(pulled_ms, 0), ?3), \
                       activated_ms = CASE WHEN archived THEN ?3 ELSE activated_ms END, archived = 0";
            tx.prepare_cached(sql)?.execute(params![repository, digest, at_ms])?;
        }
        Ok(tx.commit()?)
    }

    /// Records that images are in the archive from now on.
    pub fn archive(
        &self,
        repository: &str,
        digests: &[String],
        now_ms: i64,
    ) -> Result<(), IndexError> {
        let mut database = self.database();
        let tx = database.transaction()?;
        for digest in digests {
            let sql = "INSERT INTO past(repository, digest, archived_ms, archived) VALUES (?1, ?2, ?3, 1) \
                       ON CONFLICT(repository, digest) DO UPDATE SET archived_ms = ?3, archived = 1";
            tx.prepare_cached(sql)?.execute(params![repository, digest, now_ms])?;
        }
        Ok(tx.commit()?)
    }

    /// What is known of a repository's images, by digest.
    pub fn past(&self, repository: &str) -> Result<HashMap<String, Past>, IndexError> {
        let database = self.database();
        let sql = "SELECT digest, pulled_ms, archived_ms, activated_ms, archived FROM past WHERE repository = ?1";
        let mut query = database.prepare_cached(sql)?;
        let rows = query.query_map([repository], |row| {
            let past = Past {
                pulled_ms: row.get(1)?,
                archived_ms: row.get(2)?,
                activated_ms: row.get(3)?,
                archived: row.get(4)?,
            };
            Ok((row.get(0)?, past))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Records the environment in which tags that are not there yet are made; the newest claim wins.
    pub fn claim(
        &self,
        repository: &str,
        tags: &[String],
        environment: &str,
    ) -> Result<(), IndexError> {
        let mut database = self.database();
        let tx = database.transaction()?;
        for tag in tags {
            let sql =
                "INSERT OR REPLACE INTO home(repository, tag, environment) VALUES (?1, ?2, ?3)";
            tx.prepare_cached(sql)?.execute([repository, tag, environment])?;
        }
        Ok(tx.commit()?)
    }

    /// The environment under whose name a tag was made.
    pub fn home(&self, repository: &str, tag: &str) -> Result<Option<String>, IndexError> {
        let database = self.database();
        let sql = "SELECT environment FROM home WHERE repository = ?1 AND tag = ?2";
        let mut query = database.prepare_cached(sql)?;
        Ok(query.query_row([repository, tag], |row| row.get(0)).optional()?)
    }

    /// Sets a repository's policy, or removes it.
    pub fn set_policy(
        &self,
        repository: &str,
        policy: Option<&StoredPolicy>,
    ) -> Result<(), IndexError> {
        let database = self.database();
        match policy {
            Some(StoredPolicy { document, actor, set_ms }) => {
                let sql = "INSERT OR REPLACE INTO policy(repository, document, actor, set_ms) VALUES (?1, ?2, ?3, ?4)";
                database.execute(sql, params![repository, document, actor, set_ms])?;
            }
            None => {
                database.execute("DELETE FROM policy WHERE repository = ?1", [repository])?;
            }
        }
        Ok(())
    }

    /// A repository's policy.
    pub fn policy(&self, repository: &str) -> Result<Option<StoredPolicy>, IndexError> {
        let database = self.database();
        let sql = "SELECT document, actor, set_ms FROM policy WHERE repository = ?1";
        let row = database.query_row(sql, [repository], |row| {
            Ok(StoredPolicy { document: row.get(0)?, actor: row.get(1)?, set_ms: row.get(2)? })
        });
        Ok(row.optional()?)
    }

    /// Forgets images that are gone.
    pub fn forget(&self, repository: &str, digests: &[String]) -> Result<(), IndexError> {
        let mut database = self.database();
        let tx = database.transaction()?;
        for digest in digests {
            let sql = "DELETE FROM past WHERE repository = ?1 AND digest = ?2";
            tx.prepare_cached(sql)?.execute([repository, digest])?;
        }
        Ok(tx.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_brings_an_archived_image_back_and_all_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.db");
        let pull = |at_ms| Pull { repository: "shop".into(), digest: "d".into(), at_ms };
        {
            let history = History::open(&path).unwrap();
            history.pulled(&[pull(5), pull(3)]).unwrap();
            history.archive("shop", &["d".into()], 10).unwrap();
            let past = history.past("shop").unwrap()["d"];
            assert_eq!(
                (past.pulled_ms, past.archived_ms, past.archived),
                (Some(5), Some(10), true)
            );
            history.pulled(&[pull(20)]).unwrap();
            history.claim("shop", &["1.0".into()], "production").unwrap();
            let policy = StoredPolicy { document: "{}".into(), actor: "ann".into(), set_ms: 1 };
            history.set_policy("shop", Some(&policy)).unwrap();
        }
        let history = History::open(&path).unwrap();
        let past = history.past("shop").unwrap()["d"];
        assert_eq!((past.archived, past.activated_ms), (false, Some(20)));
        assert_eq!(history.home("shop", "1.0").unwrap().as_deref(), Some("production"));
        assert_eq!(history.home("other", "1.0").unwrap(), None);
        assert_eq!(history.policy("shop").unwrap().unwrap().actor, "ann");
        history.set_policy("shop", None).unwrap();
        assert_eq!(history.policy("shop").unwrap(), None);
        history.forget("shop", &["d".into()]).unwrap();
        assert!(history.past("shop").unwrap().is_empty());
    }
}
