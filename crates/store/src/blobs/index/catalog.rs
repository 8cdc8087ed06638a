//! Which repositories there are.

use rusqlite::params;

use super::{Index, IndexError};

impl Index {
    /// Up to `limit` names of repositories after `last`, in byte order.
    ///
    /// # Errors
    /// [`IndexError::Database`] when the database cannot be read.
    pub async fn repositories(
        &self,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, IndexError> {
        let last = last.unwrap_or_default().to_owned();
        self.readers
            .run(move |db| {
                let sql = "SELECT name FROM repository WHERE name > ?1 ORDER BY name LIMIT ?2";
                let mut query = db.prepare_cached(sql)?;
                let rows = query.query_map(params![last, limit], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}
