//! The folders of finished blobs: what is in them, and how something leaves them.
//!
//! A blob leaves by a rename into `leaving/`, which takes microseconds whatever its size; the file there is removed later. Removing a
//! large file at once would keep a push of the same content waiting for as long as the file system needs.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::fails;
use crate::blobs::{Algorithm, BlobDigest, BlobError, StoredBlob};

const LEAVING: &str = "leaving";

/// Moves a blob out of reach; `false` when there is none.
pub(super) fn take_away(root: &Path, path: &Path) -> Result<bool, BlobError> {
    let leaving = root.join(LEAVING);
    let name = path.file_name().expect("a blob's file is named by its digits");
    let to = leaving.join(name);
    let moved = match fs::rename(path, &to) {
        // Either the blob or the folder is missing; making the folder tells which.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(&leaving).map_err(fails(&leaving))?;
            fs::rename(path, &to)
        }
        moved => moved,
    };
    match moved {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(fails(path)(error)),
    }
}

/// Removes what was taken away, also by a process that died.
pub(super) fn free(root: &Path) -> Result<(), BlobError> {
    for entry in entries(&root.join(LEAVING))? {
        match fs::remove_file(entry.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fails(&entry.path())(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Blobs in order of digest, whole folders at a time until there are `limit`. Files with other names are left out.
pub(super) fn list(
    root: &Path,
    after: Option<&BlobDigest>,
    limit: usize,
) -> Result<Vec<StoredBlob>, BlobError> {
    let mut found = Vec::new();
    for algorithm in Algorithm::ALL {
        if after.is_some_and(|after| after.algorithm() > algorithm) {
            continue;
        }
        let after = after.filter(|after| after.algorithm() == algorithm);
        let mut folders = entries(&root.join(algorithm.name()))?;
        folders.sort_by_key(DirEntry::file_name);
        for folder in folders {
            let name = folder.file_name();
            // Of the folder in which the last part ended, the rest.
            if after.is_some_and(|after| name.as_os_str() < OsStr::new(&after.hex()[..2])) {
                continue;
            }
            let of_folder = entries(&folder.path())?;
            let mut blobs: Vec<_> =
                of_folder.iter().filter_map(|entry| stored(algorithm, entry)).collect();
            blobs.retain(|blob| after.is_none_or(|after| blob.digest > *after));
            blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
            found.extend(blobs);
            if found.len() >= limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn stored(algorithm: Algorithm, entry: &DirEntry) -> Option<StoredBlob> {
    let name = entry.file_name();
    let digest = format!("{}:{}", algorithm.name(), name.to_str()?).parse().ok()?;
    // Gone in the meantime, or no file: not a blob.
    let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    Some(StoredBlob { digest, size: meta.len() })
}

/// What a folder holds; nothing when it is not there.
pub(super) fn entries(folder: &Path) -> Result<Vec<DirEntry>, BlobError> {
    match fs::read_dir(folder) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(vec![])
        }
        Err(error) => Err(fails(folder)(error)),
        Ok(entries) => entries.collect::<Result<_, _>>().map_err(fails(folder)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_listed_in_parts_and_leave_by_a_rename() {
        let root = tempfile::tempdir().unwrap();
        let mut digests = Vec::new();
        for n in 0..40 {
            let algorithm = Algorithm::ALL[n % 2];
            let digest = BlobDigest::of(algorithm, &[n as u8]);
            let folder = root.path().join(algorithm.name()).join(&digest.hex()[..2]);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(digest.hex()), [n as u8]).unwrap();
            fs::write(folder.join("notes.txt"), "no blob").unwrap();
            digests.push(digest);
        }
        digests.sort_by_key(|digest| (digest.algorithm(), digest.clone()));
        for limit in [1, 7, 100] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let part = list(root.path(), after.as_ref(), limit).unwrap();
                let Some(last) = part.last() else { break };
                after = Some(last.digest.clone());
                seen.extend(part.into_iter().map(|blob| blob.digest));
            }
            assert_eq!(seen, digests, "parts of {limit}");
        }
        let first = &digests[0];
        let path = root.path().join("sha256").join(&first.hex()[..2]).join(first.hex());
        assert!(take_away(root.path(), &path).unwrap() && !path.exists());
        assert!(!take_away(root.path(), &path).unwrap());
        assert_eq!(entries(&root.path().join(LEAVING)).unwrap().len(), 1);
        free(root.path()).unwrap();
        assert!(entries(&root.path().join(LEAVING)).unwrap().is_empty());
        assert_eq!(list(root.path(), None, 100).unwrap().len(), 39);
    }
}
