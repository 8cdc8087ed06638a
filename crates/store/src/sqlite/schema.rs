//! The schema of the SQLite file: how a file is known as ours, and how an older one is brought up to date.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::chain::Head;

/// Marks our files in SQLite's header ("HUMD"), so that another program's database is never written to.
pub(crate) const APPLICATION_ID: i64 = 0x4855_4d44;

/// Entry `n` brings a file from version `n` to `n + 1`. Entries are only ever added: each is some user's way from an old file.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// The version that this program writes; it refuses newer files.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// What a file says about itself before anything is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// No table yet.
    Empty,
    Ours {
        version: i64,
    },
    /// Another program's, by its application id.
    Foreign {
        application_id: i64,
    },
}

pub(crate) fn origin(conn: &Connection) -> rusqlite::Result<Origin> {
    let application_id: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match application_id {
        APPLICATION_ID => Origin::Ours { version },
        0 if tables == 0 && version == 0 => Origin::Empty,
        application_id => Origin::Foreign { application_id },
    })
}

/// Runs the migrations that the file lacks, all in one transaction.
pub(crate) fn migrate(conn: &mut Connection, from_version: i64) -> rusqlite::Result<()> {
    if from_version >= VERSION {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for sql in &MIGRATIONS[usize::try_from(from_version).unwrap_or(0)..] {
        tx.execute_batch(sql)?;
    }
    if from_version == 0 {
        first_row(&tx)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()
}

fn first_row(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO meta (id, boot_epoch, clean, kernel_boot, is_backup, head_pos, head_hash)
         VALUES (1, 0, 1, '', 0, ?1, ?2)",
        (Head::START.pos, Head::START.hash.as_slice()),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        assert_eq!(origin(&conn).unwrap(), Origin::Empty);
        migrate(&mut conn, 0).unwrap();
        conn
    }

    #[test]
    fn a_fresh_file_becomes_ours_once() {
        let mut conn = fresh();
        assert_eq!(origin(&conn).unwrap(), Origin::Ours { version: VERSION });
        migrate(&mut conn, VERSION).unwrap();
        let rows: i64 = conn.query_row("SELECT count(*) FROM meta", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn another_programs_file_is_foreign() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert_eq!(origin(&conn).unwrap(), Origin::Foreign { application_id: 0 });
    }

    #[test]
    fn the_schema_refuses_silence_and_half_facts() {
        let conn = fresh();
        let run = |id: &str,
                   done: i64,
                   wake: Option<i64>,
                   party: Option<&str>,
                   owner: Option<&str>| {
            conn.execute(
                "INSERT INTO run (id, kind, subject, state_version, state, done, wake_ms, party, version, epoch,
                                  next_seq, owner, lease_until_ms, attempts, created_ms, updated_ms)
                 VALUES (?1, 'k', 's', 1, '{}', ?2, ?3, ?4, 0, 0, 1, ?5, NULL, 0, 0, 0)",
                (id, done, wake, party, owner),
            )
        };
        #[rustfmt::skip]
        let cases = [
            // done wake   party         owner     accepted
            (0, None,    None,         None,     false),
            (0, None,    Some(""),     None,     false),
            (0, Some(5), None,         None,     true),
            (0, None,    Some("anna"), None,     true),
            (0, Some(5), Some("anna"), None,     true),
            (1, None,    None,         None,     true),
            (1, Some(5), None,         None,     false),
            (1, None,    Some("anna"), None,     false),
            (0, Some(5), None,         Some("c"), false), // an owner without an end of its lease
        ];
        for (n, (done, wake, party, owner, accepted)) in cases.into_iter().enumerate() {
            let id = format!("r{n}");
            assert_eq!(run(&id, done, wake, party, owner).is_ok(), accepted, "case {n}");
        }
        let feed = "INSERT INTO feed VALUES (1, 'r2', 1, 1, 'k', '{}', 'a', 0, zeroblob(32), zeroblob(32))";
        conn.execute(feed, []).unwrap();
        assert!(conn.execute("UPDATE feed SET body = ''", []).is_err());
        assert!(conn.execute("DELETE FROM feed", []).is_err());
    }
}
