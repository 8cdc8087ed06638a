//! The hash chain over the feed: its byte layout, its export as JSON lines, and a check that needs no database.
//!
//! Every row of the feed, of whatever run, follows the row before it. Layout version 1, hashed with SHA-256; integers are big-endian,
//! texts are UTF-8 behind their length in bytes as a 64-bit integer:
//!
//! ```text
//! "humdrum-chain-v1\n"                17 bytes
//! hash of the previous row            32 bytes, zeros for the first
//! pos, seq, epoch, at_ms              8 bytes each; at_ms is signed
//! run, kind, actor, body              length (8 bytes) and text, in this order
//! ```
//!
//! The text of `body` is hashed as it was written, never parsed, so no change of a JSON library can break a chain. Who holds an export,
//! or only its last hash, can prove later that nothing before it was changed, removed or moved.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::FeedRow;

/// Version of the byte layout and of an exported line.
pub const LAYOUT_VERSION: u32 = 1;
const LAYOUT_TAG: &[u8] = b"humdrum-chain-v1\n";

/// The end of a checked part of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Position of the last row; 0 before the first.
    pub pos: u64,
    pub hash: [u8; 32],
}

impl Head {
    /// Before the first row.
    pub const START: Self = Self { pos: 0, hash: [0; 32] };

    /// The head after `row`, if `row` follows this one unchanged.
    pub fn follow(&self, row: &FeedRow) -> Result<Self, ChainBreak> {
        let pos = self.pos + 1;
        let broken = |why: String| Err(ChainBreak { pos, why });
        if row.pos != pos {
            return broken(format!("the row is missing, the next one has position {}", row.pos));
        }
        if row.prev_hash != hex::encode(self.hash) {
            return broken(
                "it does not follow the row before it: one of the two was changed or moved"
                    .to_owned(),
            );
        }
        let hash = hash_row(&self.hash, row);
        if row.hash != hex::encode(hash) {
            return broken("its content does not match its hash: it was changed".to_owned());
        }
        Ok(Self { pos, hash })
    }
}

/// The first row that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event chain breaks at position {pos}: {why}")]
pub struct ChainBreak {
    pub pos: u64,
    pub why: String,
}

/// The hash of a row that follows the row with hash `prev`; `prev_hash` and `hash` of the row are not read.
pub fn hash_row(prev: &[u8; 32], row: &FeedRow) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(LAYOUT_TAG);
    hasher.update(prev);
    hasher.update(row.pos.to_be_bytes());
    hasher.update(row.seq.to_be_bytes());
    hasher.update(row.epoch.to_be_bytes());
    hasher.update(row.at_ms.to_be_bytes());
    for text in [&row.run, &row.kind, &row.actor, &row.body] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().into()
}

/// One exported row, one line of JSON. `body` is the stored text inside a JSON string, so that its bytes survive.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainLine {
    v: u32,
    pos: u64,
    run: String,
    seq: u64,
    epoch: u64,
    kind: String,
    actor: String,
    at_ms: i64,
    body: String,
    prev_hash: String,
    hash: String,
}

/// A row as a line of the export, without the line feed.
pub fn export_line(row: &FeedRow) -> String {
    let line = ChainLine {
        v: LAYOUT_VERSION,
        pos: row.pos,
        run: row.run.clone(),
        seq: row.seq,
        epoch: row.epoch,
        kind: row.kind.clone(),
        actor: row.actor.clone(),
        at_ms: row.at_ms,
        body: row.body.clone(),
        prev_hash: row.prev_hash.clone(),
        hash: row.hash.clone(),
    };
    serde_json::to_string(&line).expect("texts and integers always serialize")
}

/// A line of the export as a row.
pub fn parse_line(line: &str) -> Result<FeedRow, String> {
    let line: ChainLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if line.v != LAYOUT_VERSION {
        return Err(format!(
            "layout version {} is unknown, this program knows {LAYOUT_VERSION}",
            line.v
        ));
    }
    Ok(FeedRow {
        pos: line.pos,
        run: line.run,
        seq: line.seq,
        epoch: line.epoch,
        kind: line.kind,
        body: line.body,
        actor: line.actor,
        at_ms: line.at_ms,
        prev_hash: line.prev_hash,
        hash: line.hash,
    })
}

/// Checks exported lines that continue `from` ([`Head::START`] for a whole export) and answers the head of the last one.
///
/// A line that is no row breaks the chain at the position that it should have had.
pub fn verify_lines<'a>(
    from: Head,
    lines: impl IntoIterator<Item = &'a str>,
) -> Result<Head, ChainBreak> {
    let mut head = from;
    for line in lines {
        let row = parse_line(line).map_err(|why| ChainBreak {
            pos: head.pos + 1,
            why: format!("the line cannot be read: {why}"),
        })?;
        head = head.follow(&row)?;
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u64) -> Vec<FeedRow> {
        let mut head = Head::START;
        (1..=count)
            .map(|pos| {
                let mut row = FeedRow {
                    pos,
                    run: "r1".into(),
                    seq: pos,
                    epoch: 1,
                    kind: "StepEntered".into(),
                    body: format!(r#"{{"share": {pos}}}"#),
                    actor: "control".into(),
                    at_ms: 1_000 + pos as i64,
                    prev_hash: hex::encode(head.hash),
                    hash: String::new(),
                };
                head = Head { pos, hash: hash_row(&head.hash, &row) };
                row.hash = hex::encode(head.hash);
                row
            })
            .collect()
    }

    fn verify(rows: &[FeedRow]) -> Result<u64, u64> {
        let lines: Vec<String> = rows.iter().map(export_line).collect();
        verify_lines(Head::START, lines.iter().map(String::as_str))
            .map(|head| head.pos)
            .map_err(|broken| broken.pos)
    }

    #[test]
    fn layout_is_fixed_for_ever() {
        // Computed from the documented layout by an independent program (Python's struct and hashlib). A change here breaks every stored chain.
        let row = FeedRow {
            pos: 1,
            run: "r".into(),
            seq: 2,
            epoch: 3,
            kind: "k".into(),
            body: "{}".into(),
            actor: "a".into(),
            at_ms: -1,
            prev_hash: String::new(),
            hash: String::new(),
        };
        assert_eq!(
            hex::encode(hash_row(&[0; 32], &row)),
            "34c7a41f714a2ae79b9290a74461312efb78546cd18002f817bef851c00333d6"
        );
    }

    #[test]
    fn every_tampering_names_the_first_bad_row() {
        let good = rows(6);
        assert_eq!(verify(&good), Ok(6));
        type Tamper = fn(&mut Vec<FeedRow>);
        let cases: [(&str, Tamper, u64); 8] = [
            ("body changed", |rows| rows[2].body.push(' '), 3),
            ("actor changed", |rows| rows[0].actor = "someone".into(), 1),
            ("time changed", |rows| rows[5].at_ms += 1, 6),
            (
                "text moved between fields",
                |rows| {
                    rows[3].kind = "Step".into();
                    rows[3].actor = "Enteredcontrol".into();
                },
                4,
            ),
            ("first deleted", |rows| drop(rows.remove(0)), 1),
            ("middle deleted", |rows| drop(rows.remove(3)), 4),
            ("two swapped", |rows| rows.swap(1, 2), 2),
            (
                "one forged with its own hash right",
                |rows| {
                    rows[2].body = "{}".into();
                    let prev: [u8; 32] =
                        hex::decode(&rows[2].prev_hash).unwrap().try_into().unwrap();
                    rows[2].hash = hex::encode(hash_row(&prev, &rows[2]));
                },
                4,
            ),
        ];
        for (what, tamper, first_bad) in cases {
            let mut bad = good.clone();
            tamper(&mut bad);
            assert_eq!(verify(&bad), Err(first_bad), "{what}");
        }
    }

    #[test]
    fn a_part_is_checked_from_a_known_head() {
        let rows = rows(5);
        let head = rows[..3].iter().try_fold(Head::START, |head, row| head.follow(row)).unwrap();
        let lines: Vec<String> = rows[3..].iter().map(export_line).collect();
        assert_eq!(verify_lines(head, lines.iter().map(String::as_str)).unwrap().pos, 5);
        assert_eq!(verify_lines(Head::START, lines.iter().map(String::as_str)).unwrap_err().pos, 1);
        let error = verify_lines(head, ["not json"]).unwrap_err();
        assert_eq!(error.pos, 4);
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
}
