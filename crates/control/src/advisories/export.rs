//! Reads exports of advisories: zips and folders of OSV records, one after the other.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use humdrum_evidence::advisory::osv::{self, RECORD_BYTES_MAX, Record};
use serde::Serialize;

use super::AdvisoriesError;

/// The most records of one export; the largest published one has about 300,000.
const RECORDS_MAX: usize = 2_000_000;
/// The most exports below one folder, and the deepest folder.
const EXPORTS_MAX: usize = 1_000;
const DEPTH_MAX: usize = 4;

/// A file of an export that is no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    pub file: String,
    pub why: String,
}

/// Calls `take` with the records of each export at `path`.
pub fn exports(
    path: &Path,
    mut take: impl FnMut(Vec<Record>, Vec<Unreadable>),
) -> Result<(), AdvisoriesError> {
    let mut found = 0;
    if path.is_dir() {
        let mut open = vec![(path.to_owned(), 0)];
        while let Some((folder, depth)) = open.pop() {
            let (records, inner) = listed(&folder)?;
            let (folders, zips): (Vec<_>, Vec<_>) = inner.into_iter().partition(|one| one.is_dir());
            if depth < DEPTH_MAX {
                open.extend(folders.into_iter().rev().map(|one| (one, depth + 1)));
            }
            if !records.is_empty() {
                let mut export = Export::default();
                for file in &records {
                    export.add_file(file)?;
                }
                found += 1;
                take(export.records, export.unreadable);
            }
            for zip in zips {
                let export = of_zip(&zip)?;
                found += 1;
                take(export.records, export.unreadable);
            }
            if found > EXPORTS_MAX {
                return Err(AdvisoriesError::TooMany {
                    path: path.into(),
                    what: "exports",
                    max: EXPORTS_MAX,
                });
            }
        }
    } else {
        let export = of_zip(path)?;
        found = usize::from(!export.records.is_empty() || !export.unreadable.is_empty());
        take(export.records, export.unreadable);
    }
    if found == 0 { Err(AdvisoriesError::Empty { path: path.into() }) } else { Ok(()) }
}

/// JSON files, then folders and zips, each by name.
fn listed(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), AdvisoriesError> {
    let failed = |source| AdvisoriesError::Io { path: folder.into(), source };
    let mut paths = vec![];
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        paths.push(path);
        if paths.len() > RECORDS_MAX {
            return Err(AdvisoriesError::TooMany {
                path: folder.into(),
                what: "files",
                max: RECORDS_MAX,
            });
        }
    }
    paths.sort();
    let ends = |path: &Path, end: &str| path.extension().is_some_and(|found| found == end);
    let (records, rest): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| ends(path, "json"));
    let inner = rest.into_iter().filter(|path| path.is_dir() || ends(path, "zip")).collect();
    Ok((records, inner))
}

#[derive(Default)]
struct Export {
    records: Vec<Record>,
    unreadable: Vec<Unreadable>,
}

impl Export {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        match osv::read(bytes) {
            Ok(record) => self.records.push(record),
            Err(error) => {
                self.unreadable.push(Unreadable { file: name.to_owned(), why: error.to_string() });
            }
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), AdvisoriesError> {
        let failed = |source| AdvisoriesError::Io { path: path.into(), source };
        let file = fs::File::open(path).map_err(failed)?;
        let bytes = bounded(file).map_err(failed)?;
        self.add(&path.display().to_string(), &bytes);
        Ok(())
    }
}

/// One byte more than is allowed is read, so that the reader of records sees that it is too large.
fn bounded(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    from.take(RECORD_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn of_zip(path: &Path) -> Result<Export, AdvisoriesError> {
    let file =
        fs::File::open(path).map_err(|source| AdvisoriesError::Io { path: path.into(), source })?;
    let damaged = |source| AdvisoriesError::Zip { path: path.into(), source };
    let mut zip = zip::ZipArchive::new(io::BufReader::new(file)).map_err(damaged)?;
    if zip.len() > RECORDS_MAX {
        return Err(AdvisoriesError::TooMany {
            path: path.into(),
            what: "files",
            max: RECORDS_MAX,
        });
    }
    let mut export = Export::default();
    for index in 0..zip.len() {
        let entry = zip.by_index(index).map_err(damaged)?;
        let inside = entry.name().map_err(damaged)?.into_owned();
        if !entry.is_file() || !inside.ends_with(".json") {
            continue;
        }
        let name = format!("{}:{inside}", path.display());
        // A damaged entry is a record that is missing, and is told as one.
        match bounded(entry) {
            Ok(bytes) => export.add(&name, &bytes),
            Err(error) => export.unreadable.push(Unreadable { file: name, why: error.to_string() }),
        }
    }
    Ok(export)
}
