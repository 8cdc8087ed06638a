//! Streams a range of a file, one piece ahead of its reader.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{blocking, fails};
use crate::blobs::{BlobDigest, BlobError, ByteStream};

/// Bytes read at a time: large enough to hide the hand-over to a thread; two of them are in memory for each download.
const PIECE: u64 = 256 << 10;

/// Opens the file and reads its first piece in one go, so that a small blob costs one hand-over to a thread.
pub(super) async fn open(
    path: PathBuf,
    digest: BlobDigest,
    range: Range<u64>,
) -> Result<ByteStream, BlobError> {
    let (file, first) = blocking(move || {
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing { digest },
            _ => fails(&path)(error),
        })?;
        let first = piece(&file, range.clone()).map_err(fails(&path))?;
        Ok((
            Reading { file: Arc::new(file), rest: range.start + first.len() as u64..range.end },
            first,
        ))
    })
    .await?;
    let state = (file, Ahead::Ready(first));
    Ok(Box::pin(futures::stream::unfold(Some(state), next)))
}

struct Reading {
    file: Arc<File>,
    rest: Range<u64>,
}

enum Ahead {
    Ready(Bytes),
    Coming(JoinHandle<io::Result<Bytes>>),
}

type Step = Option<(Reading, Ahead)>;

async fn next(step: Step) -> Option<(io::Result<Bytes>, Step)> {
    let (mut reading, ahead) = step?;
    let bytes = match ahead {
        Ahead::Ready(bytes) => Ok(bytes),
        Ahead::Coming(handle) => handle.await.unwrap_or_else(|error| Err(io::Error::other(error))),
    };
    match bytes {
        Ok(bytes) if bytes.is_empty() => None,
        Ok(bytes) => {
            let rest = reading.rest.clone();
            if rest.is_empty() {
                return Some((Ok(bytes), None));
            }
            let end = rest.end.min(rest.start + PIECE);
            reading.rest = end..rest.end;
            let file = reading.file.clone();
            let coming = tokio::task::spawn_blocking(move || piece(&file, rest.start..end));
            Some((Ok(bytes), Some((reading, Ahead::Coming(coming)))))
        }
        Err(error) => Some((Err(error), None)),
    }
}

/// Reads the first [`PIECE`] bytes of a range, all of them or an error.
fn piece(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let length = (range.end - range.start).min(PIECE) as usize;
    let mut buffer = Vec::with_capacity(length);
    while buffer.len() < length {
        let at = range.start + buffer.len() as u64;
        let read = rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    buffer.truncate(length);
    Ok(buffer.into())
}
