//! The questions that the readers answer.

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::rows::{self, EFFECT_COLUMNS, FEED_COLUMNS, RUN_COLUMNS};
use crate::chain::Head;
use crate::limits::{DOCUMENTS_MAX, PAGE_ROWS_MAX, page, too_many_documents};
use crate::{EffectRow, FeedRow, Line, RunFilter, RunRow, SignalRow, StoreError};

type Answer<T> = Result<T, StoreError>;

pub(super) fn run(conn: &Connection, id: &str) -> Answer<Option<RunRow>> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM run WHERE id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([id], rows::run).optional()?)
}

pub(super) fn runs(conn: &Connection, filter: &RunFilter) -> Answer<Vec<RunRow>> {
    // Only the conditions that were asked for are in the text, so that the index for them is used.
    let mut conditions = vec!["TRUE"];
    if filter.kind.is_some() {
        conditions.push("kind = ?1");
    }
    if filter.subject.is_some() {
        conditions.push("subject = ?2");
    }
    if filter.open_only {
        conditions.push("done = 0");
    }
    let order = if filter.newest_first { "DESC" } else { "ASC" };
    let conditions = conditions.join(" AND ");
    let sql =
        format!("SELECT {RUN_COLUMNS} FROM run WHERE {conditions} ORDER BY ord {order} LIMIT ?3");
    list(conn, &sql, (&filter.kind, &filter.subject, page(filter.limit)), rows::run)
}

pub(super) fn signals(conn: &Connection, run: &str) -> Answer<Vec<SignalRow>> {
    let sql = "SELECT id, dedup_key, body, actor, at_ms FROM signal
               WHERE run = ?1 AND consumed_version IS NULL ORDER BY ord LIMIT ?2";
    list(conn, sql, (run, PAGE_ROWS_MAX), rows::signal)
}

pub(super) fn effects(conn: &Connection, run: &str) -> Answer<Vec<EffectRow>> {
    let sql = format!(
        "SELECT {EFFECT_COLUMNS} FROM (SELECT * FROM effect WHERE run = ?1 ORDER BY ord DESC LIMIT ?2) ORDER BY ord"
    );
    list(conn, &sql, (run, PAGE_ROWS_MAX), rows::effect)
}

pub(super) fn feed(conn: &Connection, after: u64, limit: u32) -> Answer<Vec<FeedRow>> {
    let sql = format!("SELECT {FEED_COLUMNS} FROM feed WHERE pos > ?1 ORDER BY pos LIMIT ?2");
    list(conn, &sql, (after, page(limit)), rows::feed)
}

pub(super) fn events(
    conn: &Connection,
    run: &str,
    after_seq: u64,
    limit: u32,
) -> Answer<Vec<FeedRow>> {
    let sql = format!(
        "SELECT {FEED_COLUMNS} FROM feed WHERE run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"
    );
    list(conn, &sql, (run, after_seq, page(limit)), rows::feed)
}

pub(super) fn document(conn: &Connection, kind: &str, id: &str) -> Answer<Option<String>> {
    Ok(conn
        .prepare_cached("SELECT body FROM document WHERE kind = ?1 AND id = ?2")?
        .query_row([kind, id], |row| row.get(0))
        .optional()?)
}

pub(super) fn documents(
    conn: &Connection,
    kind: &str,
    prefix: &str,
) -> Answer<Vec<(String, String)>> {
    let mut statement = conn
        .prepare_cached("SELECT id, body FROM document WHERE kind = ?1 AND id >= ?2 ORDER BY id")?;
    let mut found = statement.query([kind, prefix])?;
    let mut documents = Vec::new();
    // Ids with the prefix are neighbours in the order, so the first one without it ends the list.
    while let Some(row) = found.next()? {
        let id: String = row.get(0)?;
        if !id.starts_with(prefix) {
            break;
        }
        if documents.len() == DOCUMENTS_MAX {
            return Err(too_many_documents(kind, prefix));
        }
        documents.push((id, row.get(1)?));
    }
    Ok(documents)
}

pub(super) fn lines(
    conn: &Connection,
    run: &str,
    key: &str,
    after: u64,
    limit: u32,
) -> Answer<Vec<Line>> {
    let sql = "SELECT number, body FROM line WHERE run = ?1 AND key = ?2 AND number > ?3 ORDER BY number LIMIT ?4";
    list(conn, sql, (run, key, after, page(limit)), rows::line)
}

/// The recorded head, and the position of the last row that is there, in one view of the database.
pub(super) fn chain_end(conn: &Connection) -> Answer<(Head, u64)> {
    let sql = "SELECT head_pos, head_hash, (SELECT coalesce(max(pos), 0) FROM feed) FROM meta";
    Ok(conn
        .prepare_cached(sql)?
        .query_row([], |row| Ok((Head { pos: row.get(0)?, hash: row.get(1)? }, row.get(2)?)))?)
}

fn list<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    of_row: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Answer<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params, of_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}
