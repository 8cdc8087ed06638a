//! All files below a folder, tracked or not, as gitleaks' `dir` takes them; only git's own folder is left out.
//!
//! What `.gitignore` names is looked at on purpose: an ignored `.env` is where secrets are, and an image may take it along.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{FILE_BYTES_MAX, Scanned, SourceError, threads};
use crate::secret::Scanner;

/// Deepest folder, to end where folders are mounted into themselves.
const DEPTH_MAX: usize = 128;

/// The findings of every file below `folder`, or of the one file that it is. Symbolic links are not followed.
pub fn scan_tree(scanner: &Scanner, folder: &Path) -> Result<Scanned, SourceError> {
    let meta = std::fs::metadata(folder).map_err(|source| unreadable(folder, source))?;
    let mut scanned = Scanned::default();
    let mut files = Vec::new();
    if meta.is_dir() {
        list(scanner, folder, "", 0, &mut files, &mut scanned)?;
    } else {
        let name =
            folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        files.push((folder.to_owned(), name));
    }
    let next = AtomicUsize::new(0);
    let parts: Vec<Result<Scanned, SourceError>> = std::thread::scope(|scope| {
        let work = || {
            let mut part = Scanned::default();
            while let Some((path, name)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                scan_file(scanner, path, name, &mut part)?;
            }
            Ok(part)
        };
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a scan does not panic")).collect()
    });
    for part in parts {
        scanned.add(part?);
    }
    Ok(scanned.sorted())
}

fn unreadable(path: &Path, source: std::io::Error) -> SourceError {
    SourceError::Unreadable { path: path.into(), source }
}

fn list(
    scanner: &Scanner,
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<(PathBuf, String)>,
    scanned: &mut Scanned,
) -> Result<(), SourceError> {
    if depth > DEPTH_MAX {
        let what = format!("folders are more than {DEPTH_MAX} deep");
        return Err(SourceError::Damaged { path: folder.into(), what });
    }
    for entry in std::fs::read_dir(folder).map_err(|source| unreadable(folder, source))? {
        let entry = entry.map_err(|source| unreadable(folder, source))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(|source| unreadable(&entry.path(), source))?;
        if scanner.skips_path(&name) {
            continue;
        }
        if kind.is_dir() {
            if entry.file_name() != ".git" {
                list(scanner, &entry.path(), &format!("{name}/"), depth + 1, files, scanned)?;
            }
        } else if kind.is_file() {
            let size = entry.metadata().map_err(|source| unreadable(&entry.path(), source))?.len();
            if size > FILE_BYTES_MAX {
                scanned.too_large.push((name, size));
            } else if size > 0 {
                files.push((entry.path(), name));
            }
        }
    }
    Ok(())
}

fn scan_file(
    scanner: &Scanner,
    path: &Path,
    name: &str,
    part: &mut Scanned,
) -> Result<(), SourceError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        // Gone since the folder was read.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(path, error)),
    }
    part.texts += 1;
    part.bytes += bytes.len() as u64;
    part.leaks.extend(scanner.scan_bytes(name, &bytes));
    Ok(())
}
