//! Blobs in files: `DIR/sha256/ab/HEX`, sessions in `DIR/uploads/ID`, and in `DIR/leaving` what is deleted but not gone yet.
//!
//! The length of a session's file is its offset, its name holds its scope and algorithm, its time of change its age: a session
//! has no other state, so a restart loses nothing but the running hash, and that is made anew from the file.

mod read;
mod session;
mod shelf;
mod survey;

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::{
    AbandonedUpload, AppendRules, BlobDigest, BlobError, BlobWork, Blobs, ByteStream, StoredBlob,
    UPLOAD_TTL, UploadId,
};
use session::{Sessions, Writer};
pub use survey::Survey;

/// Abandoned sessions are looked for this often, when a new one begins.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);

/// Content-addressed files under one folder.
pub struct FileBlobs {
    root: PathBuf,
    sessions: Arc<Sessions>,
    /// Unix ms of the last look for abandoned sessions.
    expired_ms: AtomicI64,
}

impl FileBlobs {
    /// Uses `root`, which is made when missing.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the folders cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let root = root.into();
        let uploads = root.join("uploads");
        fs::create_dir_all(&uploads).map_err(fails(&uploads))?;
        sync_folder(&root)?;
        let sessions = Arc::new(Sessions::new(uploads));
        Ok(Self { sessions, root, expired_ms: AtomicI64::new(0) })
    }

    fn expire_sometimes(&self) {
        let now = SystemTime::now();
        let now_ms = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let last = self.expired_ms.load(Ordering::Relaxed);
        let due = now_ms.saturating_sub(last) > EXPIRE_EVERY.as_millis() as i64;
        // Of several requests that find it due, the one that writes the new time does the work.
        if due
            && self
                .expired_ms
                .compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            && let Err(error) = self.sessions.expire(now, UPLOAD_TTL, false)
        {
            tracing::warn!(%error, "abandoned uploads could not be removed");
        }
    }

    fn path(&self, digest: &BlobDigest) -> PathBuf {
        Self::place(&self.root, digest)
    }
}

impl Blobs for FileBlobs {
    fn begin<'a>(&'a self, id: &'a UploadId) -> BlobWork<'a, ()> {
        Box::pin(async move {
            self.expire_sometimes();
            let path = self.sessions.path(id);
            blocking(move || {
                File::options().write(true).create_new(true).open(&path).map_err(fails(&path))
            })
            .await?;
            Ok(())
        })
    }

    fn append<'a>(
        &'a self,
        id: &'a UploadId,
        body: ByteStream,
        rules: AppendRules,
    ) -> BlobWork<'a, u64> {
        Box::pin(async move {
            let writer = self.sessions.claim(id).await?;
            session::append(writer, body, rules).await
        })
    }

    fn offset<'a>(&'a self, id: &'a UploadId) -> BlobWork<'a, u64> {
        Box::pin(async move {
            match self.sessions.claim(id).await {
                Ok(writer) => Ok(writer.offset()),
                // A body is still arriving; what is there so far is the honest answer.
                Err(BlobError::Busy { .. }) => self.sessions.length(id),
                Err(error) => Err(error),
            }
        })
    }

    fn finish<'a>(&'a self, id: &'a UploadId, digest: &'a BlobDigest) -> BlobWork<'a, u64> {
        Box::pin(async move {
            let writer = self.sessions.claim(id).await?;
            let (target, digest) = (self.path(digest), digest.clone());
            let size = blocking(move || settle(writer, &target, digest)).await;
            // Also after a wrong digest: the file is gone in both cases.
            if !matches!(size, Err(BlobError::Io { .. } | BlobError::Full)) {
                self.sessions.forget(id);
            }
            size
        })
    }

    fn cancel<'a>(&'a self, id: &'a UploadId) -> BlobWork<'a, ()> {
        Box::pin(async move {
            let writer = self.sessions.claim(id).await?;
            blocking(move || writer.discard()).await?;
            self.sessions.forget(id);
            Ok(())
        })
    }

    fn stat<'a>(&'a self, digest: &'a BlobDigest) -> BlobWork<'a, Option<u64>> {
        let path = self.path(digest);
        Box::pin(blocking(move || match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fails(&path)(error)),
        }))
    }

    fn verify<'a>(&'a self, digest: &'a BlobDigest) -> BlobWork<'a, bool> {
        let (path, digest) = (self.path(digest), digest.clone());
        Box::pin(blocking(move || intact(&path, &digest)))
    }

    fn open<'a>(&'a self, digest: &'a BlobDigest, range: Range<u64>) -> BlobWork<'a, ByteStream> {
        let (path, digest) = (self.path(digest), digest.clone());
        Box::pin(read::open(path, digest, range))
    }

    fn delete<'a>(&'a self, digest: &'a BlobDigest) -> BlobWork<'a, bool> {
        let (root, path) = (self.root.clone(), self.path(digest));
        Box::pin(blocking(move || shelf::take_away(&root, &path)))
    }

    fn free(&self) -> BlobWork<'_, ()> {
        let root = self.root.clone();
        Box::pin(blocking(move || shelf::free(&root)))
    }

    fn list<'a>(
        &'a self,
        after: Option<&'a BlobDigest>,
        limit: usize,
    ) -> BlobWork<'a, Vec<StoredBlob>> {
        let (root, after) = (self.root.clone(), after.cloned());
        Box::pin(blocking(move || shelf::list(&root, after.as_ref(), limit)))
    }

    fn expire(&self, now_ms: i64, look_only: bool) -> BlobWork<'_, Vec<AbandonedUpload>> {
        let sessions = self.sessions.clone();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms.max(0).cast_unsigned());
        Box::pin(blocking(move || sessions.expire(now, UPLOAD_TTL, look_only)))
    }
}

/// Checks a session's digest and moves its file to its place, in the order that `blobs.rs` promises.
fn settle(mut writer: Writer, target: &Path, expected: BlobDigest) -> Result<u64, BlobError> {
    let found = writer.digest(expected.algorithm())?;
    if found != expected {
        writer.discard()?;
        return Err(BlobError::WrongDigest { expected, found });
    }
    let size = writer.offset();
    make_parent(target)?;
    if intact(target, &expected)? {
        // The same content is here and was synced before its rename; only that rename may still be on its way to the disk.
        writer.discard()?;
    } else {
        writer.sync()?;
        fs::rename(writer.path(), target).map_err(fails(target))?;
    }
    sync_parent(target)?;
    Ok(size)
}

/// Whether a blob's file is there with the content that its name promises. A damaged one is told to the log: the disk, or
/// somebody, changed it.
fn intact(path: &Path, expected: &BlobDigest) -> Result<bool, BlobError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(fails(path)(error)),
    };
    match session::hash(&mut file, expected.algorithm()) {
        Ok(found) if found == *expected => Ok(true),
        Ok(found) => {
            tracing::warn!(path = %path.display(), %found, "a blob was altered on disk");
            Ok(false)
        }
        // A sector that cannot be read is damage like any other.
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a blob cannot be read any more");
            Ok(false)
        }
    }
}

fn make_parent(target: &Path) -> Result<(), BlobError> {
    let folder = target.parent().expect("a blob lies two folders below the root");
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(fails(folder))?;
    sync_parent(folder)?;
    let algorithm = folder.parent().expect("a blob lies two folders below the root");
    sync_parent(algorithm)
}

fn sync_parent(path: &Path) -> Result<(), BlobError> {
    sync_folder(path.parent().expect("files of the store lie in a folder"))
}

fn sync_folder(path: &Path) -> Result<(), BlobError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(fails(path))
}

/// Names the file in an error, and a full disk as such.
fn fails(path: &Path) -> impl FnOnce(io::Error) -> BlobError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full,
        _ => BlobError::Io { path, source },
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BlobError::Io {
            path: PathBuf::from("blocking thread"),
            source: io::Error::other(error),
        }),
    }
}

/// What is known of a session while the process lives: who uses it, and its hash so far.
type Shared<T> = Arc<Mutex<T>>;
