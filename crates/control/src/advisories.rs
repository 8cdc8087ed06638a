//! The folder with the advisories of an installation: exports of OSV in, signed shards, opened when a scan asks.
//!
//! An export is a zip, or a folder with JSON files, as OSV publishes one for each ecosystem. It speaks for an ecosystem when at least
//! [`OWN_SHARE`] of its records do: the few records of another ecosystem in it must not make that one's data look complete or new.

mod export;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use humdrum_evidence::advisory::coordinates;
use humdrum_evidence::advisory::matching::Database;
use humdrum_evidence::advisory::osv::Record;
use humdrum_evidence::advisory::shard::{self, Dates, Head, Row, Shard, ShardError, Source};
use humdrum_evidence::key::PrivateKey;
use humdrum_evidence::trust::TrustRoot;
use jiff::Timestamp;
use serde::Serialize;

pub use export::{Unreadable, exports};

/// One in this many records of an export must be about an ecosystem for the export to speak for it.
const OWN_SHARE: usize = 10;
/// What a shard's file name ends with.
const EXTENSION: &str = "advisories";

/// Why the folder or an export cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdvisoriesError {
    #[error("`{path}` cannot be used")]
    Io { path: PathBuf, source: io::Error },
    #[error("`{path}` is no zip that can be read")]
    Zip { path: PathBuf, source: zip::result::ZipError },
    #[error("`{path}` holds no JSON files and no zips with them")]
    Empty { path: PathBuf },
    #[error("`{path}` holds more than {max} {what}")]
    TooMany { path: PathBuf, what: &'static str, max: usize },
    #[error("the shard `{path}` is refused")]
    Shard { path: PathBuf, source: ShardError },
    #[error("another import runs in `{path}`")]
    Busy { path: PathBuf },
}

/// A shard's file.
#[derive(Debug)]
pub struct ShardFile(fs::File);

impl Source for ShardFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Advisories {
    folder: PathBuf,
}

/// How an import is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions {
    /// When the exports were published; without it, the newest change of a record in each.
    pub as_of: Option<Timestamp>,
    /// Forgets records that the exports do not have.
    pub replace: bool,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Imported {
    pub ecosystems: Vec<Changes>,
    pub unreadable: Vec<Unreadable>,
    /// Statements about ecosystems that no package URL leads to, or that the export does not speak for; by ecosystem.
    pub not_stored: BTreeMap<String, u64>,
}

/// What an import did to one ecosystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub ecosystem: String,
    pub new: u64,
    pub changed: u64,
    pub unchanged: u64,
    /// In force after the import.
    pub advisories: u64,
    pub as_of: Timestamp,
}

/// Rows of one ecosystem by record.
#[derive(Default)]
struct Loaded {
    records: HashMap<String, Vec<Row>>,
    as_of: Option<Timestamp>,
    changes: Counts,
    touched: bool,
}

#[derive(Default)]
struct Counts {
    new: u64,
    changed: u64,
    unchanged: u64,
}

impl Advisories {
    /// The folder at `path`, which need not be there.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { folder: path.into() }
    }

    /// Opens every shard; an empty database when nothing was imported.
    pub fn open(
        &self,
        trust: &TrustRoot,
        at: Timestamp,
    ) -> Result<Database<ShardFile>, AdvisoriesError> {
        let mut database = Database::new();
        let listed = match fs::read_dir(&self.folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(database),
            Err(source) => return Err(self.io(&self.folder, source)),
        };
        for entry in listed {
            let path = entry.map_err(|source| self.io(&self.folder, source))?.path();
            if path.extension().is_some_and(|end| end == EXTENSION) {
                let file = fs::File::open(&path).map_err(|source| self.io(&path, source))?;
                let refused = |source| AdvisoriesError::Shard { path: path.clone(), source };
                let shard = Shard::open(ShardFile(file), trust, at).map_err(refused)?;
                // A shard under another one's name would hide that one.
                let expected = shard::file_name(&shard.head.ecosystem);
                if path.file_name().is_none_or(|name| name != expected.as_str()) {
                    return Err(refused(ShardError::Damaged {
                        what: "it has another ecosystem's file name",
                    }));
                }
                database.insert(shard.head.ecosystem.clone(), shard);
            }
        }
        Ok(database)
    }

    /// The heads of all shards.
    pub fn heads(&self, trust: &TrustRoot, at: Timestamp) -> Result<Vec<Head>, AdvisoriesError> {
        Ok(self.open(trust, at)?.into_values().map(|shard| shard.head).collect())
    }

    /// Imports the exports at `from`. Records that are there and not older stay; the shards of other ecosystems are not touched.
    pub fn import(
        &self,
        from: &Path,
        options: ImportOptions,
        (key, trust): (&PrivateKey, &TrustRoot),
        now: Timestamp,
    ) -> Result<Imported, AdvisoriesError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|source| self.io(&self.folder, source))?;
        let _lock = self.lock()?;
        let mut loaded: BTreeMap<String, Loaded> = BTreeMap::new();
        for (ecosystem, shard) in self.open(trust, now)? {
            let as_of = Some(shard.head.as_of);
            let path = self.folder.join(shard::file_name(&ecosystem));
            let rows = shard.rows().map_err(|source| AdvisoriesError::Shard { path, source })?;
            let mut records: HashMap<String, Vec<Row>> = HashMap::new();
            for row in rows {
                records.entry(row.id.clone()).or_default().push(row);
            }
            loaded.insert(ecosystem, Loaded { records, as_of, ..Loaded::default() });
        }
        let mut imported = Imported::default();
        exports(from, |records, unreadable| {
            let as_of = options.as_of.or_else(|| records.iter().map(|one| one.modified).max());
            // A record "changed" in the future would keep the data young for ever.
            let as_of = as_of.unwrap_or(now).min(now);
            take_in(records, as_of, options, &mut loaded, &mut imported);
            imported.unreadable.extend(unreadable);
        })?;
        let unreadable = imported.unreadable.len() as u64;
        for (ecosystem, one) in loaded.into_iter().filter(|(_, one)| one.touched) {
            let as_of = one.as_of.unwrap_or(now);
            let dates = Dates { as_of, imported_at: now, unreadable };
            let in_force = |rows: &&Vec<Row>| rows.iter().any(|row| !row.advisory.is_empty());
            imported.ecosystems.push(Changes {
                ecosystem: ecosystem.clone(),
                new: one.changes.new,
                changed: one.changes.changed,
                unchanged: one.changes.unchanged,
                advisories: one.records.values().filter(in_force).count() as u64,
                as_of,
            });
            let rows = one.records.into_values().flatten().collect();
            self.write(&ecosystem, &shard::write(&ecosystem, rows, &dates, key))?;
        }
        Ok(imported)
    }

    /// A crash leaves the former shard or the new one, never a part of it.
    fn write(&self, ecosystem: &str, bytes: &[u8]) -> Result<(), AdvisoriesError> {
        let path = self.folder.join(shard::file_name(ecosystem));
        let new = path.with_extension("new");
        let written = (|| {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            io::Write::write_all(&mut file, bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            fs::File::open(&self.folder)?.sync_all()
        })();
        written.map_err(|source| self.io(&path, source))
    }

    fn lock(&self) -> Result<fs::File, AdvisoriesError> {
        let path = self.folder.join("lock");
        let file =
            fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|source| self.io(&path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                Err(AdvisoriesError::Busy { path: self.folder.clone() })
            }
            Err(fs::TryLockError::Error(source)) => Err(self.io(&path, source)),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as what it is about: this folder's trouble")]
    fn io(&self, path: &Path, source: io::Error) -> AdvisoriesError {
        AdvisoriesError::Io { path: path.to_owned(), source }
    }
}

/// Takes one export into the loaded shards.
fn take_in(
    records: Vec<Record>,
    as_of: Timestamp,
    options: ImportOptions,
    loaded: &mut BTreeMap<String, Loaded>,
    imported: &mut Imported,
) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for one in records.iter().flat_map(ecosystems) {
        *counts.entry(one).or_default() += 1;
    }
    let in_force = records.iter().filter(|record| !record.withdrawn).count();
    let speaks_for = |ecosystem: &str| {
        counts.get(ecosystem).is_some_and(|count| count * OWN_SHARE >= in_force)
            && coordinates::ECOSYSTEMS.contains(&ecosystem)
    };
    let own: Vec<String> =
        counts.keys().filter(|one| speaks_for(one)).map(|one| (*one).to_owned()).collect();
    for ecosystem in &own {
        let one = loaded.entry(ecosystem.clone()).or_default();
        one.touched = true;
        one.as_of = one.as_of.max(Some(as_of));
        if options.replace {
            one.records.clear();
        }
    }
    for record in records {
        let stored: Vec<_> = loaded.keys().cloned().collect();
        for ecosystem in ecosystems(&record).filter(|one| !stored.iter().any(|s| s == one)) {
            *imported.not_stored.entry(ecosystem.to_owned()).or_default() += 1;
        }
        for (ecosystem, one) in loaded.iter_mut() {
            one.take(ecosystem, &record);
        }
    }
}

fn ecosystems(record: &Record) -> impl Iterator<Item = &str> {
    let all = record.statements.iter().map(|one| one.ecosystem.as_str());
    all.enumerate()
        .filter(|(index, one)| {
            record.statements[..*index].iter().all(|before| before.ecosystem != *one)
        })
        .map(|(_, one)| one)
}

impl Loaded {
    fn take(&mut self, ecosystem: &str, record: &Record) {
        let known =
            self.records.get(&record.id).and_then(|rows| rows.first()).map(|row| row.modified);
        let own = || record.statements.iter().filter(|one| one.ecosystem == ecosystem);
        match known {
            None if record.withdrawn || own().next().is_none() => return,
            Some(known) if known >= record.modified => {
                self.changes.unchanged += 1;
                return;
            }
            None => self.changes.new += 1,
            Some(_) => self.changes.changed += 1,
        }
        self.touched = true;
        let row = |name: String, advisory: Vec<u8>| Row {
            name,
            id: record.id.clone(),
            modified: record.modified,
            advisory,
        };
        let mut rows: Vec<Row> = own()
            .map(|one| {
                let text = serde_json::to_vec(&one.advisory);
                row(one.name.clone(), text.expect("an advisory consists of texts and numbers"))
            })
            .collect();
        if rows.is_empty() {
            // Withdrawn, or no longer about this ecosystem: remembered, so that an older export does not bring it back.
            rows.push(row(String::new(), vec![]));
        }
        self.records.insert(record.id.clone(), rows);
    }
}
