//! Upload sessions of [`FileBlobs`](super::FileBlobs): one writer at a time, hashing and writing off the async threads.
//!
//! A thread is taken only while it works, so slow clients hold none: the async side gathers [`BATCH`] bytes while the batch
//! before them is written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::{Shared, blocking, fails, sync_parent};
use crate::blobs::{
    AbandonedUpload, Algorithm, AppendRules, BlobDigest, BlobError, ByteStream, Hasher, UploadId,
};

/// Bytes gathered before a thread is asked to hash and write them: large enough to hide the hand-over, small beside a layer.
/// Two of them are in memory for each running upload.
const BATCH: usize = 1 << 20;
/// How long a request waits for another one that holds the same session: a lost connection needs a moment to be noticed.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// The sessions of one folder.
pub(super) struct Sessions {
    folder: PathBuf,
    known: Mutex<HashMap<String, Arc<Session>>>,
}

struct Session {
    /// One permit: a session has one writer.
    turn: Arc<Semaphore>,
    memory: Shared<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The hash of the first `upto` bytes; lost in a restart, then made anew from the file.
    hash: Option<(Hasher, u64)>,
    /// The folder was synced since the file was made.
    named: bool,
}

impl Sessions {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, known: Mutex::default() }
    }

    pub(super) fn path(&self, id: &UploadId) -> PathBuf {
        self.folder.join(id.as_str())
    }

    pub(super) fn length(&self, id: &UploadId) -> Result<u64, BlobError> {
        let path = self.path(id);
        fs::metadata(&path).map(|meta| meta.len()).map_err(no_session(id, &path))
    }

    /// Takes the session for this request alone.
    pub(super) async fn claim(&self, id: &UploadId) -> Result<Writer, BlobError> {
        let session = self.entry(id);
        let turn = tokio::time::timeout(BUSY_WAIT, session.turn.clone().acquire_owned())
            .await
            .map_err(|_| BlobError::Busy { id: id.as_str().to_owned() })?
            .expect("the semaphore is never closed");
        let (path, id) = (self.path(id), id.clone());
        let opened = blocking({
            let id = id.clone();
            move || Writer::open(path, &id, session.memory.clone(), turn)
        })
        .await;
        if opened.is_err() {
            self.forget(&id);
        }
        opened
    }

    pub(super) fn forget(&self, id: &UploadId) {
        self.lock().remove(id.as_str());
    }

    pub(super) fn expire(
        &self,
        now: SystemTime,
        ttl: Duration,
        look_only: bool,
    ) -> Result<Vec<AbandonedUpload>, BlobError> {
        let mut removed = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(fails(&self.folder))? {
            let entry = entry.map_err(fails(&self.folder))?;
            // Gone or unreadable in the meantime: somebody else ended it.
            let Ok(meta) = entry.metadata() else { continue };
            let age = meta.modified().ok().and_then(|changed| now.duration_since(changed).ok());
            if !meta.is_file() || age.is_none_or(|age| age <= ttl) {
                continue;
            }
            let id = entry.file_name().to_string_lossy().into_owned();
            if look_only || fs::remove_file(entry.path()).is_ok() {
                if !look_only {
                    self.lock().remove(&id);
                }
                removed.push(AbandonedUpload { id, size: meta.len() });
            }
        }
        Ok(removed)
    }

    fn entry(&self, id: &UploadId) -> Arc<Session> {
        let mut known = self.lock();
        let session = known.entry(id.as_str().to_owned()).or_insert_with(|| {
            Arc::new(Session { turn: Arc::new(Semaphore::new(1)), memory: Shared::default() })
        });
        session.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one request that may write a session. Dropping it gives the turn and the hash back.
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    offset: u64,
    algorithm: Algorithm,
    /// Covers exactly `offset` bytes when present.
    hash: Option<Hasher>,
    memory: Shared<Memory>,
    _turn: OwnedSemaphorePermit,
}

impl Writer {
    fn open(
        path: PathBuf,
        id: &UploadId,
        memory: Shared<Memory>,
        turn: OwnedSemaphorePermit,
    ) -> Result<Self, BlobError> {
        let mut file =
            File::options().read(true).write(true).open(&path).map_err(no_session(id, &path))?;
        let offset = file.seek(SeekFrom::End(0)).map_err(fails(&path))?;
        let remembered = lock(&memory).hash.take();
        let hash = match remembered {
            Some((hash, upto)) if upto == offset => Some(hash),
            _ if offset == 0 => Some(Hasher::new(id.algorithm())),
            _ => None,
        };
        Ok(Self { path, file, offset, algorithm: id.algorithm(), hash, memory, _turn: turn })
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn sync(&self) -> Result<(), BlobError> {
        self.file.sync_data().map_err(fails(&self.path))
    }

    pub(super) fn discard(self) -> Result<(), BlobError> {
        fs::remove_file(&self.path).map_err(fails(&self.path))
    }

    /// The digest of all bytes so far; reads the file when the running hash is lost or of another algorithm.
    pub(super) fn digest(&mut self, algorithm: Algorithm) -> Result<BlobDigest, BlobError> {
        if algorithm == self.algorithm
            && let Some(hash) = self.hash.take()
        {
            return Ok(hash.finish());
        }
        self.file.seek(SeekFrom::Start(0)).map_err(fails(&self.path))?;
        hash(&mut self.file, algorithm).map_err(fails(&self.path))
    }

    /// Makes what was written, and the name of the session, survive power loss.
    fn keep(&self) -> Result<(), BlobError> {
        self.sync()?;
        if !lock(&self.memory).named {
            sync_parent(&self.path)?;
            lock(&self.memory).named = true;
        }
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BlobError> {
        // Taken, so that a write that fails half way leaves no hash that disagrees with the file.
        let mut hash = self.hash.take();
        if let Some(hash) = &mut hash {
            batch.chunks.iter().for_each(|chunk| hash.update(chunk));
        }
        let mut slices: Vec<_> = batch.chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
        write_all(&mut self.file, &mut slices).map_err(fails(&self.path))?;
        self.offset += batch.length as u64;
        self.hash = hash;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.memory).hash = self.hash.take().map(|hash| (hash, self.offset));
    }
}

/// The digest of what is left to read of a file.
pub(super) fn hash(file: &mut File, algorithm: Algorithm) -> io::Result<BlobDigest> {
    let (mut hash, mut buffer) = (Hasher::new(algorithm), vec![0; BATCH]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finish()),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn lock(memory: &Shared<Memory>) -> std::sync::MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut slices, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[derive(Default)]
struct Batch {
    chunks: Vec<Bytes>,
    length: usize,
}

/// Writes a body to its session; see [`Blobs::append`](crate::blobs::Blobs::append).
pub(super) async fn append(
    writer: Writer,
    mut body: ByteStream,
    rules: AppendRules,
) -> Result<u64, BlobError> {
    let start = writer.offset;
    if let Some(at) = rules.at.filter(|at| *at != start) {
        return Err(BlobError::OutOfOrder { at, offset: start });
    }
    let mut received = 0;
    let mut job = Job::Idle(writer);
    let arrived = loop {
        let (batch, end) = gather(&mut body, rules.idle_max).await;
        received += batch.length as u64;
        if start + received > rules.total_max {
            break Err(BlobError::TooLarge { max: rules.total_max });
        }
        if batch.length > 0 {
            job = job.write(batch).await?;
        }
        match end {
            End::More => {}
            End::Whole => break Ok(()),
            End::Lost(source) => break Err(BlobError::BodyLost { received, source }),
            End::Idle => break Err(BlobError::Idle { waited: rules.idle_max }),
        }
    };
    let writer = job.done().await?;
    arrived?;
    if let Some(expected) = rules.length.filter(|length| *length != received) {
        return Err(BlobError::WrongLength { found: received, expected });
    }
    let offset = writer.offset;
    if rules.durable {
        blocking(move || writer.keep()).await?;
    }
    Ok(offset)
}

enum End {
    More,
    Whole,
    Lost(io::Error),
    Idle,
}

/// Takes chunks as they come until a batch is full or the body ends.
async fn gather(body: &mut ByteStream, idle_max: Duration) -> (Batch, End) {
    let mut batch = Batch::default();
    while batch.length < BATCH {
        match tokio::time::timeout(idle_max, body.next()).await {
            Ok(Some(Ok(chunk))) => {
                batch.length += chunk.len();
                batch.chunks.push(chunk);
            }
            Ok(Some(Err(error))) => return (batch, End::Lost(error)),
            Ok(None) => return (batch, End::Whole),
            Err(_) => return (batch, End::Idle),
        }
    }
    (batch, End::More)
}

/// The writer is either here or in a thread, never in both.
enum Job {
    Idle(Writer),
    Running(JoinHandle<Result<Writer, BlobError>>),
}

impl Job {
    async fn write(self, batch: Batch) -> Result<Self, BlobError> {
        let mut writer = self.done().await?;
        Ok(Self::Running(tokio::task::spawn_blocking(move || {
            writer.write(&batch).map(|()| writer)
        })))
    }

    async fn done(self) -> Result<Writer, BlobError> {
        match self {
            Self::Idle(writer) => Ok(writer),
            Self::Running(handle) => handle.await.map_err(|error| BlobError::Io {
                path: PathBuf::from("blocking thread"),
                source: io::Error::other(error),
            })?,
        }
    }
}

fn no_session(id: &UploadId, path: &Path) -> impl FnOnce(io::Error) -> BlobError {
    let (id, path) = (id.as_str().to_owned(), path.to_owned());
    move |error| match error.kind() {
        io::ErrorKind::NotFound => BlobError::NoSession { id },
        _ => fails(&path)(error),
    }
}
