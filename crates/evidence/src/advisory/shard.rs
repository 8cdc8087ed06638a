//! A shard: all advisories of one ecosystem in one file, signed, dated, and read in blocks.
//!
//! ```text
//! HUMADV1\n | length of the head (u32) | head | index | blocks
//! ```
//! All numbers are little-endian. The head is a DSSE envelope, whose payload names the SHA-256 of the index; the index names first
//! name, place, length and SHA-256 of each block; a block is deflated rows, sorted by name and id. So opening verifies one signature
//! and one small digest, and every byte that is used later is covered by them.

use std::io;
use std::io::{Read as _, Write as _};

use humdrum_model::name::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::osv::{Advisory, NAME_BYTES_MAX, RECORD_BYTES_MAX};
use crate::dsse::{self, Envelope};
use crate::key::PrivateKey;
use crate::trust::{TrustRoot, Validity};

const MAGIC: &[u8; 8] = b"HUMADV1\n";
const PAYLOAD_TYPE: &str = "application/vnd.humdrum.advisories.v1+json";
/// A block is closed when it has this many bytes before compression: small enough to read for one name, large enough to compress.
const BLOCK_BYTES: usize = 64 * 1024;
/// No block has more: a full one and the largest row.
const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + RECORD_BYTES_MAX + 4 * NAME_BYTES_MAX;
const HEAD_BYTES_MAX: u32 = 1024 * 1024;
/// Half a million blocks.
const INDEX_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why a shard cannot be used. Each message completes "the shard is refused: …".
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    #[error("it is damaged: {what}")]
    Damaged { what: &'static str },
    #[error("it is not signed by a key that is trusted now")]
    Untrusted,
}

/// Where a shard's bytes come from.
pub trait Source {
    fn len(&self) -> io::Result<u64>;
    /// Fills `bytes` from `offset` on, or fails.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.as_slice().len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = self.get(from..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What is signed about a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub ecosystem: String,
    /// Nothing published after this is in it.
    pub as_of: Timestamp,
    pub imported_at: Timestamp,
    /// Records in force.
    pub advisories: u64,
    pub withdrawn: u64,
    /// Records that the last import could not read.
    pub unreadable: u64,
    index_bytes: u64,
    index_sha256: String,
}

/// What a row says about its record's place in time; withdrawn ones are kept, without name and advisory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub name: String,
    pub id: String,
    pub modified: Timestamp,
    /// JSON of an [`Advisory`]; empty when withdrawn.
    pub advisory: Vec<u8>,
}

/// The facts of a new shard that its rows do not tell.
#[derive(Debug, Clone)]
pub struct Dates {
    pub as_of: Timestamp,
    pub imported_at: Timestamp,
    pub unreadable: u64,
}

#[derive(Debug)]
struct Block {
    first: String,
    offset: u64,
    len: u32,
    raw_len: u32,
    sha256: [u8; 32],
}

/// An open shard. It keeps the block that was read last.
#[derive(Debug)]
pub struct Shard<S> {
    source: S,
    pub head: Head,
    blocks: Vec<Block>,
    last: Option<(usize, Vec<Row>)>,
}

/// Writes a shard.
pub fn write(ecosystem: &str, mut rows: Vec<Row>, dates: &Dates, key: &PrivateKey) -> Vec<u8> {
    rows.sort_unstable();
    let (mut index, mut blocks) = (vec![], vec![]);
    let mut rest = rows.as_slice();
    while !rest.is_empty() {
        let (mut raw, mut count) = (vec![], 0);
        while count < rest.len() && raw.len() < BLOCK_BYTES {
            put_row(&mut raw, &rest[count]);
            count += 1;
        }
        let packed = deflate(&raw);
        put_bytes(&mut index, rest[0].name.as_bytes());
        index.extend((blocks.len() as u64).to_le_bytes());
        index.extend(length(&packed).to_le_bytes());
        index.extend(length(&raw).to_le_bytes());
        index.extend(Sha256::digest(&packed));
        blocks.extend(packed);
        rest = &rest[count..];
    }
    let mut ids: Vec<_> = rows.iter().map(|row| (row.advisory.is_empty(), &row.id)).collect();
    ids.sort_unstable();
    ids.dedup();
    let withdrawn = ids.iter().filter(|(withdrawn, _)| *withdrawn).count() as u64;
    let head = Head {
        ecosystem: ecosystem.to_owned(),
        as_of: dates.as_of,
        imported_at: dates.imported_at,
        advisories: ids.len() as u64 - withdrawn,
        withdrawn,
        unreadable: dates.unreadable,
        index_bytes: index.len() as u64,
        index_sha256: hex::encode(Sha256::digest(&index)),
    };
    let payload = serde_json::to_vec(&head).expect("a head consists of texts and numbers");
    let envelope = dsse::sign(PAYLOAD_TYPE, &payload, &[key]);
    let envelope = serde_json::to_vec(&envelope).expect("an envelope consists of texts");
    let mut file = MAGIC.to_vec();
    file.extend(length(&envelope).to_le_bytes());
    file.extend(envelope);
    file.extend(index);
    file.extend(blocks);
    file
}

impl<S: Source> Shard<S> {
    /// Opens a shard: verifies the signature over its head, and its index. `at` decides which keys count.
    pub fn open(source: S, trust: &TrustRoot, at: Timestamp) -> Result<Self, ShardError> {
        let mut start = [0; 12];
        source.read_at(0, &mut start)?;
        let (magic, head_len) = start.split_at(8);
        if magic != MAGIC {
            return Err(ShardError::Damaged { what: "it does not begin as a shard of version 1" });
        }
        let head_len =
            u32::from_le_bytes(head_len.try_into().expect("four bytes are left of twelve"));
        let total = source.len()?;
        if head_len > HEAD_BYTES_MAX || u64::from(head_len) > total {
            return Err(ShardError::Damaged { what: "its head is too long" });
        }
        let mut envelope = vec![0; head_len as usize];
        source.read_at(12, &mut envelope)?;
        let head = verified(&envelope, trust, at)?;
        let index_at = 12 + u64::from(head_len);
        if head.index_bytes > INDEX_BYTES_MAX || head.index_bytes > total - index_at {
            return Err(ShardError::Damaged { what: "its index is too long" });
        }
        let mut index = vec![0; head.index_bytes as usize];
        source.read_at(index_at, &mut index)?;
        if hex::encode(Sha256::digest(&index)) != head.index_sha256 {
            return Err(ShardError::Damaged {
                what: "its index has another digest than its head says",
            });
        }
        let blocks = read_index(&index, index_at + head.index_bytes)
            .ok_or(ShardError::Damaged { what: "its index cannot be read" })?;
        Ok(Self { source, head, blocks, last: None })
    }

    /// The advisories about a name. Names that are asked for in order are quickest.
    pub fn find(&mut self, name: &str) -> Result<Vec<Advisory>, ShardError> {
        let mut found = vec![];
        // The name may begin in the block before the first one that begins with it.
        let after = self.blocks.partition_point(|block| block.first.as_str() < name);
        for index in after.saturating_sub(1)..self.blocks.len() {
            if self.blocks[index].first.as_str() > name {
                break;
            }
            let rows = self.block(index)?;
            let from = rows.partition_point(|row| row.name.as_str() < name);
            for row in rows[from..].iter().take_while(|row| row.name == name) {
                let advisory = serde_json::from_slice(&row.advisory);
                found.push(
                    advisory
                        .map_err(|_| ShardError::Damaged { what: "an advisory cannot be read" })?,
                );
            }
        }
        Ok(found)
    }

    /// Every row, for the next import.
    pub fn rows(mut self) -> Result<Vec<Row>, ShardError> {
        let mut rows = vec![];
        for index in 0..self.blocks.len() {
            self.block(index)?;
            rows.extend(self.last.take().map(|(_, rows)| rows).unwrap_or_default());
        }
        Ok(rows)
    }

    fn block(&mut self, index: usize) -> Result<&[Row], ShardError> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != index) {
            let rows = self.read_block(&self.blocks[index])?;
            self.last = Some((index, rows));
        }
        Ok(self.last.as_ref().map(|(_, rows)| rows.as_slice()).unwrap_or_default())
    }

    fn read_block(&self, block: &Block) -> Result<Vec<Row>, ShardError> {
        let damaged = |what| ShardError::Damaged { what };
        if u64::from(block.len) > self.source.len()? || block.raw_len as usize > BLOCK_BYTES_MAX {
            return Err(damaged("a block is too long"));
        }
        let mut packed = vec![0; block.len as usize];
        self.source.read_at(block.offset, &mut packed)?;
        if Sha256::digest(&packed).as_slice() != block.sha256 {
            return Err(damaged("a block has another digest than the index says"));
        }
        let mut raw = Vec::with_capacity(block.raw_len as usize);
        let mut unpack =
            flate2::read::DeflateDecoder::new(&packed[..]).take(u64::from(block.raw_len) + 1);
        unpack.read_to_end(&mut raw).map_err(|_| damaged("a block cannot be unpacked"))?;
        if raw.len() != block.raw_len as usize {
            return Err(damaged("a block has another length than the index says"));
        }
        let (mut rest, mut rows) = (raw.as_slice(), vec![]);
        while !rest.is_empty() {
            rows.push(take_row(&mut rest).ok_or_else(|| damaged("a row cannot be read"))?);
        }
        Ok(rows)
    }
}

fn verified(envelope: &[u8], trust: &TrustRoot, at: Timestamp) -> Result<Head, ShardError> {
    let damaged = || ShardError::Damaged { what: "its head cannot be read" };
    let envelope: Envelope<'_> = serde_json::from_slice(envelope).map_err(|_| damaged())?;
    let payload = dsse::decode_base64(&envelope.payload).ok_or_else(damaged)?;
    let hash = dsse::pae_sha256(&envelope.payload_type, &payload);
    let keys = || trust.keys().iter().filter(|key| key.validity(at) == Validity::Valid);
    let signatures = envelope.signatures.iter().filter_map(|one| dsse::decode_base64(&one.sig));
    let signed = signatures
        .take(crate::trust::KEYS_MAX)
        .any(|signature| keys().any(|key| dsse::verifies(&key.key, &hash, &signature)));
    // The key also signs other things: a payload of another type is no head.
    if !signed || envelope.payload_type != PAYLOAD_TYPE {
        return Err(ShardError::Untrusted);
    }
    serde_json::from_slice(&payload).map_err(|_| damaged())
}

/// The name under which an ecosystem's shard is kept: letters and digits of it and the start of its digest, so that no two are one.
pub fn file_name(ecosystem: &str) -> String {
    let plain: String = ecosystem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let digest = Digest::of(ecosystem.as_bytes());
    format!("{plain}-{}.advisories", &digest.hex()[..8])
}

fn deflate(raw: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(raw).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("rows and blocks are bounded far below 4 GiB")
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(length(bytes).to_le_bytes());
    out.extend(bytes);
}

fn put_row(out: &mut Vec<u8>, row: &Row) {
    put_bytes(out, row.name.as_bytes());
    put_bytes(out, row.id.as_bytes());
    out.extend(row.modified.as_millisecond().to_le_bytes());
    put_bytes(out, &row.advisory);
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?))
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let len = take_u32(rest)? as usize;
    String::from_utf8(take(rest, len)?.to_vec()).ok()
}

fn take_row(rest: &mut &[u8]) -> Option<Row> {
    let (name, id) = (take_text(rest)?, take_text(rest)?);
    let modified = i64::from_le_bytes(take(rest, 8)?.try_into().ok()?);
    let len = take_u32(rest)? as usize;
    let modified = Timestamp::from_millisecond(modified).ok()?;
    Some(Row { name, id, modified, advisory: take(rest, len)?.to_vec() })
}

fn read_index(mut rest: &[u8], blocks_at: u64) -> Option<Vec<Block>> {
    let mut blocks = vec![];
    while !rest.is_empty() {
        let first = take_text(&mut rest)?;
        let offset =
            u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?).checked_add(blocks_at)?;
        let (len, raw_len) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
        let sha256 = take(&mut rest, 32)?.try_into().ok()?;
        blocks.push(Block { first, offset, len, raw_len, sha256 });
    }
    Some(blocks)
}
