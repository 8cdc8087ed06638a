//! What a request does inside the writer's transaction.

use rusqlite::{OptionalExtension, named_params};

use super::rows::{self, RUN_COLUMNS};
use super::writer::WriteTx;
use crate::chain::{Head, hash_row};
use crate::{
    Commit, Committed, Document, EffectResult, FeedRow, LineBatch, NewEffect, NewRun, NewSignal,
    RunRow, SignalAccepted, StoreError,
};

type Outcome<T> = Result<T, StoreError>;

pub(super) fn create(tx: &WriteTx<'_>, run: &NewRun) -> Outcome<bool> {
    let (done, wake_ms, party) = rows::wait_columns(&run.wait);
    let created = tx
        .conn
        .prepare_cached(
            "INSERT INTO run (id, kind, subject, state_version, state, done, wake_ms, party, version, epoch, next_seq,
                              attempts, created_ms, updated_ms)
             VALUES (:id, :kind, :subject, :state_version, :state, :done, :wake_ms, :party, 0, 0, 1, 0, :at, :at)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(named_params! {
            ":id": run.id, ":kind": run.kind, ":subject": run.subject, ":state_version": run.state_version,
            ":state": run.state, ":done": done, ":wake_ms": wake_ms, ":party": party, ":at": run.at_ms,
        })?;
    Ok(created == 1)
}

pub(super) fn claim(
    tx: &WriteTx<'_>,
    owner: &str,
    now_ms: i64,
    lease_ms: i64,
    limit: u32,
) -> Outcome<Vec<RunRow>> {
    let signalled = "SELECT run.id FROM run
         JOIN (SELECT run, min(ord) AS oldest FROM signal WHERE consumed_version IS NULL GROUP BY run) AS waiting
           ON waiting.run = run.id
         WHERE lease_until_ms IS NULL OR lease_until_ms <= ?1 ORDER BY oldest LIMIT ?2";
    let woken = "SELECT id FROM run
         WHERE wake_ms <= ?1 AND (lease_until_ms IS NULL OR lease_until_ms <= ?1) ORDER BY wake_ms, ord LIMIT ?2";
    let mut claimed = Vec::new();
    // The second list is read after the first is leased, so no run is taken twice.
    for due in [signalled, woken] {
        let room = u64::from(limit) - claimed.len() as u64;
        let ids: Vec<String> = tx
            .conn
            .prepare_cached(due)?
            .query_map((now_ms, room), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for id in ids {
            claimed.push(lease(tx, &id, owner, now_ms.saturating_add(lease_ms))?);
        }
    }
    Ok(claimed)
}

pub(super) fn claim_one(
    tx: &WriteTx<'_>,
    id: &str,
    owner: &str,
    (now_ms, lease_ms): (i64, i64),
    steal: bool,
) -> Outcome<Option<RunRow>> {
    let free: Option<bool> = tx
        .conn
        .prepare_cached(
            "SELECT lease_until_ms IS NULL OR lease_until_ms <= ?2 FROM run WHERE id = ?1",
        )?
        .query_row((id, now_ms), |row| row.get(0))
        .optional()?;
    match free {
        Some(free) if free || steal => {
            lease(tx, id, owner, now_ms.saturating_add(lease_ms)).map(Some)
        }
        _ => Ok(None),
    }
}

fn lease(tx: &WriteTx<'_>, id: &str, owner: &str, until_ms: i64) -> Outcome<RunRow> {
    let sql = format!(
        "UPDATE run SET owner = ?2, lease_until_ms = ?3, epoch = epoch + 1, attempts = attempts + 1
         WHERE id = ?1 RETURNING {RUN_COLUMNS}"
    );
    Ok(tx.conn.prepare_cached(&sql)?.query_row((id, owner, until_ms), rows::run)?)
}

pub(super) fn renew(
    tx: &WriteTx<'_>,
    owner: &str,
    ids: &[String],
    until_ms: i64,
) -> Outcome<Vec<String>> {
    let mut statement = tx.conn.prepare_cached(
        "UPDATE run SET lease_until_ms = max(lease_until_ms, ?3) WHERE id = ?1 AND owner = ?2",
    )?;
    let mut kept = Vec::new();
    for id in ids {
        if statement.execute((id, owner, until_ms))? == 1 {
            kept.push(id.clone());
        }
    }
    Ok(kept)
}

pub(super) fn commit(tx: &mut WriteTx<'_>, commit: &Commit) -> Outcome<Committed> {
    let first_seq = pass_fence(tx, commit)?;
    for run in &commit.runs {
        create(tx, run)?;
    }
    for id in &commit.consumed {
        consume(tx, commit, id)?;
    }
    for new in &commit.signals {
        if signal(tx, new)? == SignalAccepted::NoSuchRun {
            return Err(StoreError::Unknown { what: "run", id: new.run.clone() });
        }
    }
    for effect in &commit.effects {
        intend(tx, commit, effect)?;
    }
    for result in &commit.results {
        record(tx, commit, result)?;
    }
    for document in &commit.documents {
        put_document(tx, document)?;
    }
    for batch in &commit.lines {
        insert_lines(tx, &commit.run, batch)?;
    }
    for (seq, (kind, body)) in (first_seq..).zip(&commit.events) {
        append(tx, commit, seq, kind, body)?;
    }
    let feed = (!commit.events.is_empty()).then_some(tx.head.pos);
    Ok(Committed { version: commit.version + 1, first_seq, feed })
}

/// Moves the run on only while epoch and version are what the owner read; answers the number of the first event.
fn pass_fence(tx: &WriteTx<'_>, commit: &Commit) -> Outcome<u64> {
    let (done, wake_ms, party) = rows::wait_columns(&commit.wait);
    tx.conn
        .prepare_cached(
            "UPDATE run SET state_version = :state_version, state = :state, done = :done, wake_ms = :wake_ms, party = :party,
                    version = version + 1, next_seq = next_seq + :events, attempts = 0, updated_ms = :now,
                    owner = CASE WHEN :release THEN NULL ELSE owner END,
                    lease_until_ms = CASE WHEN :release THEN NULL ELSE lease_until_ms END
             WHERE id = :id AND epoch = :epoch AND version = :version
             RETURNING next_seq - :events",
        )?
        .query_row(
            named_params! {
                ":state_version": commit.state_version, ":state": commit.state, ":done": done, ":wake_ms": wake_ms,
                ":party": party, ":events": commit.events.len(), ":now": commit.now_ms, ":release": commit.release,
                ":id": commit.run, ":epoch": commit.epoch, ":version": commit.version,
            },
            |row| row.get(0),
        )
        .optional()?
        .ok_or_else(|| StoreError::Stale { run: commit.run.clone() })
}

fn consume(tx: &WriteTx<'_>, commit: &Commit, id: &str) -> Outcome<()> {
    let consumed = tx
        .conn
        .prepare_cached(
            "UPDATE signal SET consumed_version = ?3 WHERE id = ?1 AND run = ?2 AND consumed_version IS NULL",
        )?
        .execute((id, &commit.run, commit.version + 1))?;
    if consumed == 1 {
        Ok(())
    } else {
        Err(StoreError::Unknown { what: "waiting signal", id: id.to_owned() })
    }
}

pub(super) fn signal(tx: &WriteTx<'_>, signal: &NewSignal) -> Outcome<SignalAccepted> {
    if !run_exists(tx, &signal.run)? {
        return Ok(SignalAccepted::NoSuchRun);
    }
    let inserted = tx
        .conn
        .prepare_cached(
            "INSERT INTO signal (id, run, dedup_key, body, actor, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO NOTHING",
        )?
        .execute((&signal.id, &signal.run, &signal.dedup_key, &signal.body, &signal.actor, signal.at_ms))?;
    Ok(if inserted == 1 { SignalAccepted::New } else { SignalAccepted::Repeated })
}

fn run_exists(tx: &WriteTx<'_>, id: &str) -> Outcome<bool> {
    Ok(tx.conn.prepare_cached("SELECT 1 FROM run WHERE id = ?1")?.exists([id])?)
}

fn intend(tx: &WriteTx<'_>, commit: &Commit, effect: &NewEffect) -> Outcome<()> {
    let inserted = tx
        .conn
        .prepare_cached(
            "INSERT INTO effect (key, run, kind, target, request, status, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, 'intended', ?6)
             ON CONFLICT (key) DO NOTHING",
        )?
        .execute((&effect.key, &commit.run, &effect.kind, &effect.target, &effect.request, commit.now_ms))?;
    if inserted == 1 { Ok(()) } else { Err(StoreError::EffectExists { key: effect.key.clone() }) }
}

fn record(tx: &WriteTx<'_>, commit: &Commit, result: &EffectResult) -> Outcome<()> {
    let recorded = tx
        .conn
        .prepare_cached(
            "UPDATE effect SET status = ?3, response = ?4, finished_ms = ?5 WHERE key = ?1 AND run = ?2 AND status = 'intended'",
        )?
        .execute((&result.key, &commit.run, &result.status, &result.response, commit.now_ms))?;
    if recorded == 1 {
        return Ok(());
    }
    let known: Option<(String, String)> = tx
        .conn
        .prepare_cached("SELECT status, response FROM effect WHERE key = ?1 AND run = ?2")?
        .query_row((&result.key, &commit.run), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match known {
        None => Err(StoreError::Unknown { what: "effect", id: result.key.clone() }),
        Some((status, response)) if status == result.status && response == result.response => {
            Ok(())
        }
        Some((status, _)) => Err(StoreError::EffectFinished { key: result.key.clone(), status }),
    }
}

pub(super) fn put_document(tx: &WriteTx<'_>, document: &Document) -> Outcome<()> {
    tx.conn
        .prepare_cached(
            "INSERT INTO document (kind, id, body) VALUES (?1, ?2, ?3)
             ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
        )?
        .execute((&document.kind, &document.id, &document.body))?;
    Ok(())
}

pub(super) fn append_lines(tx: &WriteTx<'_>, run: &str, batch: &LineBatch) -> Outcome<u64> {
    if !run_exists(tx, run)? {
        return Err(StoreError::Unknown { what: "run", id: run.to_owned() });
    }
    insert_lines(tx, run, batch)
}

fn insert_lines(tx: &WriteTx<'_>, run: &str, batch: &LineBatch) -> Outcome<u64> {
    let mut insert = tx.conn.prepare_cached(
        "INSERT INTO line (run, key, number, body) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (run, key, number) DO NOTHING",
    )?;
    let mut same = tx.conn.prepare_cached(
        "SELECT 1 FROM line WHERE run = ?1 AND key = ?2 AND number = ?3 AND body = ?4",
    )?;
    let mut new = 0;
    for (number, body) in (batch.first_number..).zip(&batch.lines) {
        let row = (run, &batch.key, number, body);
        if insert.execute(row)? == 1 {
            new += 1;
        } else if !same.exists(row)? {
            return Err(StoreError::LineDiffers {
                run: run.to_owned(),
                key: batch.key.clone(),
                number,
            });
        }
    }
    Ok(new)
}

/// Appends one event behind the chain's head. Only the writer does, inside its transaction, so positions have no gap.
fn append(tx: &mut WriteTx<'_>, commit: &Commit, seq: u64, kind: &str, body: &str) -> Outcome<()> {
    let row = FeedRow {
        pos: tx.head.pos + 1,
        run: commit.run.clone(),
        seq,
        epoch: commit.epoch,
        kind: kind.to_owned(),
        body: body.to_owned(),
        actor: commit.actor.clone(),
        at_ms: commit.now_ms,
        prev_hash: String::new(),
        hash: String::new(),
    };
    let hash = hash_row(&tx.head.hash, &row);
    tx.conn
        .prepare_cached(
            "INSERT INTO feed (pos, run, seq, epoch, kind, body, actor, at_ms, prev_hash, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute((
            row.pos,
            &row.run,
            row.seq,
            row.epoch,
            &row.kind,
            &row.body,
            &row.actor,
            row.at_ms,
            tx.head.hash.as_slice(),
            hash.as_slice(),
        ))?;
    tx.head = Head { pos: row.pos, hash };
    Ok(())
}
