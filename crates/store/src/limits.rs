//! The bounds of what the store accepts and gives at once, checked before anything is written, the same in every implementation.

use crate::{Commit, Document, LineBatch, NewRun, NewSignal, StoreError, Wait};

/// Largest single text (state, event, request, line …), bytes. A state is some KiB; a line of the judge up to some 100 KiB.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Most rows of one kind in one commit or batch, so that one caller cannot hold the single writer for seconds.
pub const BATCH_ROWS_MAX: usize = 10_000;
/// Most rows in one answer, whatever the caller asks for. A limit of 0 means this one.
pub const PAGE_ROWS_MAX: u32 = 10_000;

/// Most documents in one answer, which has no pages: more is an error, never a cut list.
pub const DOCUMENTS_MAX: usize = 100_000;

/// The number of rows to answer for a caller's limit.
pub(crate) fn page(limit: u32) -> u32 {
    if limit == 0 { PAGE_ROWS_MAX } else { limit.min(PAGE_ROWS_MAX) }
}

pub(crate) fn check_commit(commit: &Commit) -> Result<(), StoreError> {
    count("events", commit.events.len())?;
    count("effects", commit.effects.len())?;
    count("results", commit.results.len())?;
    count("consumed signals", commit.consumed.len())?;
    count("signals", commit.signals.len())?;
    count("runs", commit.runs.len())?;
    count("documents", commit.documents.len())?;
    text("state", &commit.state)?;
    check_wait(&commit.run, &commit.wait)?;
    commit.events.iter().try_for_each(|(kind, body)| text(kind, body))?;
    commit.effects.iter().try_for_each(|effect| text(&effect.key, &effect.request))?;
    commit.results.iter().try_for_each(|result| {
        text(&result.key, &result.response)?;
        check_status(&result.key, &result.status)
    })?;
    commit.signals.iter().try_for_each(check_signal)?;
    commit.runs.iter().try_for_each(check_run)?;
    commit.documents.iter().try_for_each(check_document)?;
    commit.lines.iter().try_for_each(check_lines)
}

pub(crate) fn check_run(run: &NewRun) -> Result<(), StoreError> {
    if run.id.is_empty() {
        return Err(StoreError::Invalid {
            what: "a run without id".to_owned(),
            why: "an id names the run",
        });
    }
    text(&run.id, &run.state)?;
    check_wait(&run.id, &run.wait)
}

pub(crate) fn check_signal(signal: &NewSignal) -> Result<(), StoreError> {
    text(&signal.id, &signal.body)
}

pub(crate) fn check_document(document: &Document) -> Result<(), StoreError> {
    text(&document.id, &document.body)
}

pub(crate) fn check_lines(batch: &LineBatch) -> Result<(), StoreError> {
    count("lines", batch.lines.len())?;
    let last = batch.first_number.checked_add(batch.lines.len() as u64);
    if batch.first_number == 0 || last.is_none_or(|last| last > i64::MAX as u64) {
        let what = format!("line number {} of `{}`", batch.first_number, batch.key);
        return Err(StoreError::Invalid { what, why: "lines are numbered from 1 to 2^63 - 1" });
    }
    batch.lines.iter().try_for_each(|line| text(&batch.key, line))
}

pub(crate) fn too_many_documents(kind: &str, prefix: &str) -> StoreError {
    let what = format!("a list of all `{kind}` that start with `{prefix}`");
    StoreError::Invalid { what, why: "more than 100000 match; ask for a longer prefix" }
}

fn check_wait(run: &str, wait: &Wait) -> Result<(), StoreError> {
    match wait {
        Wait::For { party } | Wait::Both { party, .. } if party.is_empty() => {
            Err(StoreError::Invalid {
                what: format!("run `{run}`"),
                why: "the party that it waits for has no name",
            })
        }
        _ => Ok(()),
    }
}

fn check_status(key: &str, status: &str) -> Result<(), StoreError> {
    if ["done", "failed", "superseded"].contains(&status) {
        return Ok(());
    }
    let what = format!("status `{status}` of effect `{key}`");
    Err(StoreError::Invalid { what, why: "a result is `done`, `failed` or `superseded`" })
}

fn count(what: &str, rows: usize) -> Result<(), StoreError> {
    if rows <= BATCH_ROWS_MAX {
        return Ok(());
    }
    Err(StoreError::Invalid {
        what: format!("a request with {rows} {what}"),
        why: "at most 10000 fit in one",
    })
}

fn text(name: &str, text: &str) -> Result<(), StoreError> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let what = format!("`{name}` with {} bytes", text.len());
    Err(StoreError::Invalid { what, why: "a text has at most 16 MiB" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_their_edges() {
        assert_eq!((page(0), page(7), page(u32::MAX)), (PAGE_ROWS_MAX, 7, PAGE_ROWS_MAX));
        let batch = |first_number, count| LineBatch {
            key: "blocks".into(),
            first_number,
            lines: vec![String::new(); count],
        };
        assert!(check_lines(&batch(1, BATCH_ROWS_MAX)).is_ok());
        assert!(check_lines(&batch(1, BATCH_ROWS_MAX + 1)).is_err());
        assert!(check_lines(&batch(0, 1)).is_err());
        assert!(check_lines(&batch(i64::MAX as u64 - 1, 1)).is_ok());
        assert!(check_lines(&batch(u64::MAX, 1)).is_err());
        assert!(text("t", &" ".repeat(TEXT_BYTES_MAX)).is_ok());
        assert!(text("t", &" ".repeat(TEXT_BYTES_MAX + 1)).is_err());
        assert!(check_status("k", "done").is_ok());
        assert!(check_status("k", "intended").is_err());
    }
}
