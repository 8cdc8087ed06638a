//! Content-addressed blobs and the index that says who refers to them.
//!
//! [`Blobs`] is the port to bytes: [`FileBlobs`] keeps them in files, an object store fits behind the same trait.
//! [`Index`] keeps repositories, links, manifests, tags and referrers in a database of its own.
//!
//! # What survives kill -9 and power loss, and why
//! Bytes go to `uploads/ID`; the file is synced; it is renamed to `sha256/ab/HEX` and that folder is synced; the index commits
//! the link; the caller is answered. A death before the rename leaves a session that can be resumed, a death after it leaves
//! bytes that nothing refers to. No order of deaths leaves a link without its bytes, so nothing is scanned or repaired at start.

mod digest;
mod files;
mod history;
mod index;

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;

pub use digest::{Algorithm, BlobDigest, DigestError, Hasher};
pub use files::{FileBlobs, Survey};
pub use history::{History, Past, Pull, StoredPolicy};
pub use index::{
    BlobRow, Expiry, HeldBlob, HeldManifest, ImageRow, Index, IndexError, Inspection, LinkPlace,
    Look, Loose, ManifestRow, Mutability, Needs, NewManifest, Referrer, RestoreAsk, Restored,
    Roots, TagPolicy, TagsPage, Trashed, Unused, WantedBlob,
};

/// Bytes on their way; an error ends the stream.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// What every method of [`Blobs`] returns.
pub type BlobWork<'a, T> = Pin<Box<dyn Future<Output = Result<T, BlobError>> + Send + 'a>>;

/// Where bytes live, by digest, and the upload sessions in which they arrive.
///
/// Every method may be repeated. What resolved with `Ok` is durable, except [`Blobs::begin`], whose loss costs the caller a new
/// session, and an [`Blobs::append`] that was not asked to be.
pub trait Blobs: Send + Sync {
    /// Opens a session. A session without activity for [`UPLOAD_TTL`] is forgotten.
    fn begin<'a>(&'a self, id: &'a UploadId) -> BlobWork<'a, ()>;
    /// Appends to a session and answers its new length in bytes. A body that breaks off leaves what arrived, to be resumed.
    fn append<'a>(
        &'a self,
        id: &'a UploadId,
        body: ByteStream,
        rules: AppendRules,
    ) -> BlobWork<'a, u64>;
    /// The length of a session in bytes.
    fn offset<'a>(&'a self, id: &'a UploadId) -> BlobWork<'a, u64>;
    /// Ends a session: its bytes become the blob `digest` and are readable. Answers their number. A wrong digest ends the session too.
    fn finish<'a>(&'a self, id: &'a UploadId, digest: &'a BlobDigest) -> BlobWork<'a, u64>;
    /// Forgets a session and its bytes.
    fn cancel<'a>(&'a self, id: &'a UploadId) -> BlobWork<'a, ()>;
    /// The size of a blob in bytes, when it is here.
    fn stat<'a>(&'a self, digest: &'a BlobDigest) -> BlobWork<'a, Option<u64>>;
    /// Whether the bytes are here and still have their digest; reads all of them.
    fn verify<'a>(&'a self, digest: &'a BlobDigest) -> BlobWork<'a, bool>;
    /// Streams a range of a blob; the range must lie inside it.
    fn open<'a>(&'a self, digest: &'a BlobDigest, range: Range<u64>) -> BlobWork<'a, ByteStream>;
    /// Takes the bytes out of reach, at once; `false` when there were none. [`Blobs::free`] gives the room back. A loss of power may
    /// bring them back, which harms nobody: nothing refers to them.
    fn delete<'a>(&'a self, digest: &'a BlobDigest) -> BlobWork<'a, bool>;
    /// Gives the room of deleted blobs back; this may take long.
    fn free(&self) -> BlobWork<'_, ()>;
    /// At least the next `limit` blobs after `after` in order of digest; fewer only at the end.
    fn list<'a>(
        &'a self,
        after: Option<&'a BlobDigest>,
        limit: usize,
    ) -> BlobWork<'a, Vec<StoredBlob>>;
    /// Forgets sessions that nobody touched for [`UPLOAD_TTL`] before `now_ms` (Unix ms) and answers their names and bytes. With
    /// `look_only` nothing is forgotten.
    fn expire(&self, now_ms: i64, look_only: bool) -> BlobWork<'_, Vec<AbandonedUpload>>;
}

/// Bytes in their place, whoever refers to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    pub digest: BlobDigest,
    /// Bytes.
    pub size: u64,
}

/// A session that nobody came back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbandonedUpload {
    pub id: String,
    /// Bytes.
    pub size: u64,
}

/// A session nobody touches for this long is abandoned: longer than any client waits between tries, short enough for the disk.
pub const UPLOAD_TTL: Duration = Duration::from_secs(24 * 3600);

/// How one append behaves.
#[derive(Debug, Clone, Copy)]
pub struct AppendRules {
    /// Where the caller believes the session ends; refused when it does not.
    pub at: Option<u64>,
    /// Exactly this many bytes must arrive.
    pub length: Option<u64>,
    /// The session may not grow beyond this, bytes.
    pub total_max: u64,
    /// No byte for this long ends the append.
    pub idle_max: Duration,
    /// Make the bytes durable before answering: the caller will be told that it may go on from there.
    pub durable: bool,
}

/// The name of an upload session: random, and bound to a scope (a repository), so that no state is needed to check it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId {
    text: String,
    algorithm: Algorithm,
}

impl UploadId {
    /// A session of `scope` that expects a digest of this algorithm; another one is accepted but costs a second read.
    pub fn new(random: u128, scope: &str, algorithm: Algorithm) -> Self {
        let text = format!("{}-{random:032x}-{}", algorithm.name(), scope_mark(scope));
        Self { text, algorithm }
    }

    /// Reads a name that a client sent back; `None` unless it is one of `scope`.
    pub fn parse(text: &str, scope: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let algorithm = Algorithm::named(parts.next()?)?;
        let random = parts.next()?;
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let fits = random.len() == 32 && random.bytes().all(hex);
        let mine = parts.next()? == scope_mark(scope) && parts.next().is_none();
        (fits && mine).then(|| Self { text: text.to_owned(), algorithm })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn scope_mark(scope: &str) -> String {
    BlobDigest::of(Algorithm::Sha256, scope.as_bytes()).hex()[..16].to_owned()
}

/// Why bytes could not be kept or given.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("upload session `{id}` is not known")]
    NoSession { id: String },
    #[error("upload session `{id}` is in use by another request")]
    Busy { id: String },
    #[error("the session ends at byte {offset}, but the chunk starts at {at}")]
    OutOfOrder { at: u64, offset: u64 },
    #[error("{found} bytes arrived where {expected} were announced")]
    WrongLength { found: u64, expected: u64 },
    #[error("more than {max} bytes")]
    TooLarge { max: u64 },
    #[error("the content is {found}, not {expected}")]
    WrongDigest { expected: BlobDigest, found: BlobDigest },
    #[error("blob {digest} is not here")]
    Missing { digest: BlobDigest },
    #[error("the body broke off after {received} bytes")]
    BodyLost { received: u64, source: std::io::Error },
    #[error("no byte arrived for {} s", waited.as_secs())]
    Idle { waited: Duration },
    #[error("the disk is full; nothing was accepted")]
    Full,
    #[error("`{path}` cannot be used")]
    Io { path: PathBuf, source: std::io::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_belongs_to_its_scope() {
        let id = UploadId::new(7, "shop", Algorithm::Sha512);
        assert_eq!(UploadId::parse(id.as_str(), "shop"), Some(id.clone()));
        assert_eq!(UploadId::parse(id.as_str(), "other"), None);
        for bad in ["", "sha256", "../../etc/passwd", "sha256-00-0011223344556677", "md5-0-0"] {
            assert_eq!(UploadId::parse(bad, "shop"), None, "{bad}");
        }
        assert_eq!(UploadId::parse(&format!("{}-x", id.as_str()), "shop"), None);
    }
}
