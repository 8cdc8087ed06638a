//! What an immutable tag protects: its manifest, everything below it, and the evidence attached to any of that.

use rusqlite::{Connection, params};

use super::{IndexError, Mutability, TagPolicy};
use crate::blobs::BlobDigest;

/// Tags from which `digest` is reached: downwards by index, config and layers, and from a subject to its referrers.
pub(super) const TAGS_ABOVE: &str = "
WITH RECURSIVE above(digest) AS (
  VALUES (?2)
  UNION SELECT r.manifest FROM reference r JOIN above ON r.target = above.digest WHERE r.repository = ?1
  UNION SELECT m.subject FROM manifest m JOIN above ON m.digest = above.digest
        WHERE m.repository = ?1 AND m.subject IS NOT NULL)
SELECT DISTINCT tag.name FROM tag JOIN above ON tag.digest = above.digest WHERE tag.repository = ?1 ORDER BY tag.name";

/// Refuses the removal of anything that an immutable tag needs.
pub(super) fn release(
    tx: &Connection,
    policy: &TagPolicy,
    (id, repository): (i64, &str),
    digest: &BlobDigest,
) -> Result<(), IndexError> {
    let mut query = tx.prepare_cached(TAGS_ABOVE)?;
    let mut rows = query.query(params![id, digest.as_str()])?;
    while let Some(row) = rows.next()? {
        let tag: String = row.get(0)?;
        tag_may_change(policy, repository, &tag)?;
    }
    Ok(())
}

/// Refuses to move or remove an existing tag that the policy protects.
pub(super) fn tag_may_change(
    policy: &TagPolicy,
    repository: &str,
    tag: &str,
) -> Result<(), IndexError> {
    match policy(repository, tag) {
        Mutability::Mutable => Ok(()),
        Mutability::Immutable(reason) => Err(IndexError::Immutable {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            reason,
        }),
    }
}
