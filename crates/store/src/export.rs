//! The feed as a file that anyone can check without the store: one line of JSON for each event (`chain::verify_lines`).

use std::io::{self, Write};

use crate::chain::{ChainBreak, Head, export_line};
use crate::{Store, StoreError};

/// Rows in memory at once.
const EXPORT_PAGE_ROWS: u32 = 1_000;

/// Why the export is not complete.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the feed cannot be read")]
    Store(#[source] StoreError),
    #[error("the export cannot be written")]
    Write(#[source] io::Error),
    #[error(transparent)]
    Broken(ChainBreak),
}

/// Writes every event after `from` ([`Head::START`] for all) that is durable now, and answers the head of the last one.
///
/// The chain is checked on the way: what is exported verifies.
pub async fn export_chain(
    store: &dyn Store,
    from: Head,
    out: &mut (dyn Write + Send),
) -> Result<Head, ExportError> {
    let mut head = from;
    loop {
        let rows = store.feed(head.pos, EXPORT_PAGE_ROWS).await.map_err(ExportError::Store)?;
        if rows.is_empty() {
            out.flush().map_err(ExportError::Write)?;
            return Ok(head);
        }
        for row in &rows {
            head = head.follow(row).map_err(ExportError::Broken)?;
            writeln!(out, "{}", export_line(row)).map_err(ExportError::Write)?;
        }
    }
}
