//! Everything that lies in a folder of blobs, for a check of the whole: finished blobs, uploads, and what nobody put there.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::shelf::entries;
use super::{FileBlobs, fails};
use crate::blobs::{
    AbandonedUpload, Algorithm, BlobDigest, BlobError, Hasher, StoredBlob, UPLOAD_TTL,
};

/// Read at a time while a blob is hashed, bytes.
const PIECE: usize = 1 << 20;

/// What lies in a folder of blobs.
#[derive(Debug, Default)]
pub struct Survey {
    pub blobs: Vec<StoredBlob>,
    /// Uploads that nobody came back to for [`UPLOAD_TTL`].
    pub abandoned: Vec<AbandonedUpload>,
    /// Files where only blobs should be, whose names are no digests.
    pub strangers: Vec<PathBuf>,
}

impl FileBlobs {
    /// Lists what lies in `root`. Blocking.
    ///
    /// # Errors
    /// [`BlobError::Io`] when a folder cannot be read.
    pub fn survey(root: &Path, now: SystemTime) -> Result<Survey, BlobError> {
        let mut found = Survey::default();
        for algorithm in Algorithm::ALL {
            for folder in entries(&root.join(algorithm.name()))? {
                let path = folder.path();
                if !path.is_dir() {
                    found.strangers.push(path);
                    continue;
                }
                for entry in entries(&path)? {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let digest = format!("{}:{name}", algorithm.name()).parse::<BlobDigest>();
                    match (digest, entry.metadata()) {
                        (Ok(digest), Ok(meta))
                            if Self::place(root, &digest) == entry.path() && meta.is_file() =>
                        {
                            found.blobs.push(StoredBlob { digest, size: meta.len() });
                        }
                        // It went while we looked.
                        (_, Err(_)) => {}
                        _ => found.strangers.push(entry.path()),
                    }
                }
            }
        }
        for entry in entries(&root.join("uploads"))? {
            let Ok(meta) = entry.metadata() else { continue };
            let age = meta.modified().ok().and_then(|changed| now.duration_since(changed).ok());
            if age.is_some_and(|age| age > UPLOAD_TTL) {
                let id = entry.file_name().to_string_lossy().into_owned();
                found.abandoned.push(AbandonedUpload { id, size: meta.len() });
            }
        }
        found.blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(found)
    }

    /// Where the bytes of a digest lie below `root`.
    pub fn place(root: &Path, digest: &BlobDigest) -> PathBuf {
        let hex = digest.hex();
        root.join(digest.algorithm().name()).join(&hex[..2]).join(hex)
    }

    /// The digest that a file's bytes have. Blocking.
    ///
    /// # Errors
    /// [`BlobError::Io`] when it cannot be read.
    pub fn digest_of(path: &Path, algorithm: Algorithm) -> Result<BlobDigest, BlobError> {
        let mut file = fs::File::open(path).map_err(fails(path))?;
        let (mut hash, mut buffer) = (Hasher::new(algorithm), vec![0; PIECE]);
        loop {
            match file.read(&mut buffer).map_err(fails(path))? {
                0 => return Ok(hash.finish()),
                n => hash.update(&buffer[..n]),
            }
        }
    }
}
