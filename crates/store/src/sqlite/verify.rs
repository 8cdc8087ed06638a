//! The check of a database file that no store has open: its pages, and the event chain from the first row to its recorded end.

use std::path::Path;

use super::{VERIFY_PAGE_ROWS, chain_ends, read};
use crate::StoreError;
use crate::chain::Head;
use crate::open::open_reader;

/// Checks the file at `path` and answers the end of its chain. Blocking.
///
/// # Errors
/// [`StoreError::Chain`] at the first row that does not fit, [`StoreError::Database`] for a file that is damaged or none of ours.
pub fn verify_file(path: &Path) -> Result<Head, StoreError> {
    let conn = open_reader(path)?;
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(StoreError::Database { what: found });
    }
    let (end, last_pos) = read::chain_end(&conn)?;
    let mut head = Head::START;
    while head.pos < end.pos {
        let rows = read::feed(&conn, head.pos, VERIFY_PAGE_ROWS)?;
        if rows.is_empty() {
            let why = format!("the row is missing, {} rows were recorded", end.pos);
            return Err(StoreError::Chain { pos: head.pos + 1, why });
        }
        for row in &rows {
            head = head
                .follow(row)
                .map_err(|broken| StoreError::Chain { pos: broken.pos, why: broken.why })?;
        }
    }
    chain_ends(head, end, last_pos)?;
    Ok(end)
}
