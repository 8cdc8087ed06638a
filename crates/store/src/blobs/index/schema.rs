//! The tables of the index, and how an older file is brought up to date.

use rusqlite::{Connection, TransactionBehavior};

use super::IndexError;

/// Entry `n` brings a file from version `n` to `n + 1`. Entries are only ever added: each is some user's way from an old file.
const MIGRATIONS: &[&str] = &[FIRST, TRASH];

/// The version that this program writes; it refuses newer files.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

const FIRST: &str = "
CREATE TABLE repository(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE link(
  repository INTEGER NOT NULL REFERENCES repository(id), digest TEXT NOT NULL, size INTEGER NOT NULL,
  linked_ms INTEGER NOT NULL, PRIMARY KEY(repository, digest)) STRICT, WITHOUT ROWID;
CREATE INDEX link_digest ON link(digest, repository);
CREATE TABLE manifest(
  id INTEGER PRIMARY KEY, repository INTEGER NOT NULL REFERENCES repository(id), digest TEXT NOT NULL,
  media_type TEXT NOT NULL, artifact_type TEXT, subject TEXT, annotations TEXT, size INTEGER NOT NULL,
  pushed_ms INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE(repository, digest)) STRICT;
CREATE INDEX manifest_subject ON manifest(repository, subject, digest) WHERE subject IS NOT NULL;
CREATE TABLE reference(
  repository INTEGER NOT NULL, manifest TEXT NOT NULL, target TEXT NOT NULL,
  PRIMARY KEY(repository, target, manifest)) STRICT, WITHOUT ROWID;
CREATE INDEX reference_manifest ON reference(repository, manifest);
CREATE TABLE tag(
  repository INTEGER NOT NULL REFERENCES repository(id), name TEXT NOT NULL COLLATE BINARY, digest TEXT NOT NULL,
  moved_ms INTEGER NOT NULL, PRIMARY KEY(repository, name)) STRICT, WITHOUT ROWID;
CREATE INDEX tag_digest ON tag(repository, digest);
CREATE INDEX tag_order ON tag(repository, name COLLATE NOCASE, name);
";

/// `touched_ms`: when a client was last told that it is there, or when the last thing that needed it went. What was there before the
/// upgrade counts as touched now, so that the first collection after it takes nothing.
const TRASH: &str = "
ALTER TABLE link ADD COLUMN touched_ms INTEGER NOT NULL DEFAULT 0;
UPDATE link SET touched_ms = CAST(strftime('%s', 'now') AS INTEGER) * 1000;
CREATE INDEX link_touched ON link(touched_ms);
ALTER TABLE manifest ADD COLUMN touched_ms INTEGER NOT NULL DEFAULT 0;
UPDATE manifest SET touched_ms = CAST(strftime('%s', 'now') AS INTEGER) * 1000;
CREATE TABLE trash_link(
  repository INTEGER NOT NULL REFERENCES repository(id), digest TEXT NOT NULL, size INTEGER NOT NULL,
  trashed_ms INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY(repository, digest)) STRICT, WITHOUT ROWID;
CREATE INDEX trash_link_digest ON trash_link(digest);
CREATE INDEX trash_link_age ON trash_link(trashed_ms);
CREATE TABLE trash_manifest(
  id INTEGER PRIMARY KEY, repository INTEGER NOT NULL REFERENCES repository(id), digest TEXT NOT NULL,
  media_type TEXT NOT NULL, artifact_type TEXT, subject TEXT, annotations TEXT, size INTEGER NOT NULL,
  pushed_ms INTEGER NOT NULL, body BLOB NOT NULL, targets TEXT NOT NULL, tags TEXT NOT NULL,
  trashed_ms INTEGER NOT NULL, reason TEXT NOT NULL, UNIQUE(repository, digest)) STRICT;
CREATE INDEX trash_manifest_subject ON trash_manifest(repository, subject) WHERE subject IS NOT NULL;
CREATE INDEX trash_manifest_age ON trash_manifest(trashed_ms);
";

/// Runs the migrations that the file lacks, all in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), IndexError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Err(IndexError::Newer { found });
    }
    for sql in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
        tx.execute_batch(sql)?;
    }
    if found < VERSION {
        tx.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(tx.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_file_is_brought_up_to_date_and_its_content_counts_as_just_touched() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(FIRST).unwrap();
        db.execute_batch(
            "PRAGMA user_version = 1; INSERT INTO repository VALUES (1, 'shop'); INSERT INTO link VALUES (1, 'd', 2, 3);",
        )
        .unwrap();
        migrate(&mut db).unwrap();
        let touched: i64 =
            db.query_row("SELECT touched_ms FROM link", [], |row| row.get(0)).unwrap();
        assert!(touched > 1_700_000_000_000, "{touched}");
        migrate(&mut db).unwrap();
        db.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(migrate(&mut db), Err(IndexError::Newer { .. })));
    }
}
