//! Rows of the tables as values of the port.

use rusqlite::{Connection, Row};

use crate::chain::Head;
use crate::{EffectRow, FeedRow, Line, RunRow, SignalRow, Wait};

pub(super) const RUN_COLUMNS: &str = "id, kind, subject, state_version, state, done, wake_ms, party, version, epoch, next_seq, \
     owner, lease_until_ms, attempts, created_ms, updated_ms";
pub(super) const FEED_COLUMNS: &str =
    "pos, run, seq, epoch, kind, body, actor, at_ms, prev_hash, hash";
pub(super) const EFFECT_COLUMNS: &str = "key, run, kind, target, request, status, response, at_ms";

pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: row.get(0)?,
        kind: row.get(1)?,
        subject: row.get(2)?,
        state_version: row.get(3)?,
        state: row.get(4)?,
        wait: wait(row.get(6)?, row.get(7)?),
        version: row.get(8)?,
        epoch: row.get(9)?,
        next_seq: row.get(10)?,
        owner: row.get(11)?,
        lease_until_ms: row.get(12)?,
        attempts: row.get(13)?,
        created_ms: row.get(14)?,
        updated_ms: row.get(15)?,
    })
}

/// The schema lets neither be set on a done run and one of both on every other.
fn wait(wake_ms: Option<i64>, party: Option<String>) -> Wait {
    match (wake_ms, party) {
        (Some(ms), Some(party)) => Wait::Both { ms, party },
        (Some(ms), None) => Wait::At { ms },
        (None, Some(party)) => Wait::For { party },
        (None, None) => Wait::Done,
    }
}

/// `done`, `wake_ms`, `party` as stored.
pub(super) fn wait_columns(wait: &Wait) -> (bool, Option<i64>, Option<&str>) {
    match wait {
        Wait::At { ms } => (false, Some(*ms), None),
        Wait::For { party } => (false, None, Some(party)),
        Wait::Both { ms, party } => (false, Some(*ms), Some(party)),
        Wait::Done => (true, None, None),
    }
}

pub(super) fn feed(row: &Row<'_>) -> rusqlite::Result<FeedRow> {
    Ok(FeedRow {
        pos: row.get(0)?,
        run: row.get(1)?,
        seq: row.get(2)?,
        epoch: row.get(3)?,
        kind: row.get(4)?,
        body: row.get(5)?,
        actor: row.get(6)?,
        at_ms: row.get(7)?,
        prev_hash: hex::encode(row.get::<_, [u8; 32]>(8)?),
        hash: hex::encode(row.get::<_, [u8; 32]>(9)?),
    })
}

pub(super) fn effect(row: &Row<'_>) -> rusqlite::Result<EffectRow> {
    Ok(EffectRow {
        key: row.get(0)?,
        run: row.get(1)?,
        kind: row.get(2)?,
        target: row.get(3)?,
        request: row.get(4)?,
        status: row.get(5)?,
        response: row.get(6)?,
        at_ms: row.get(7)?,
    })
}

pub(super) fn signal(row: &Row<'_>) -> rusqlite::Result<SignalRow> {
    Ok(SignalRow {
        id: row.get(0)?,
        dedup_key: row.get(1)?,
        body: row.get(2)?,
        actor: row.get(3)?,
        at_ms: row.get(4)?,
    })
}

pub(super) fn line(row: &Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line { number: row.get(0)?, body: row.get(1)? })
}

pub(super) fn head(conn: &Connection) -> rusqlite::Result<Head> {
    conn.prepare_cached("SELECT head_pos, head_hash FROM meta")?
        .query_row([], |row| Ok(Head { pos: row.get(0)?, hash: row.get(1)? }))
}

pub(super) fn put_head(conn: &Connection, head: &Head) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE meta SET head_pos = ?1, head_hash = ?2")?
        .execute((head.pos, head.hash.as_slice()))?;
    Ok(())
}
