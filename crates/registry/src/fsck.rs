//! A check of a whole registry on the disk: every byte that somebody has, every manifest, every name. Blocking, for a command.
//!
//! Damage is what a client would meet: bytes that are missing or wrong, a manifest without its blobs, a tag that leads nowhere, a broken
//! index. Leftovers are what deaths and strangers left: orphans, abandoned uploads, foreign files; a collection takes care of the first
//! two. A running registry may be checked, since each finding is asked for again before it is told; it must not be repaired.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use humdrum_store::blobs::{
    Algorithm, BlobDigest, BlobError, FileBlobs, HeldManifest, IndexError, Inspection,
};
use serde::{Deserialize, Serialize};

use crate::manifest;

mod repair;

pub use repair::repair;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// SQLite's own check found a fault in the index.
    IndexBroken,
    /// The index holds something that is no digest.
    IndexDigest,
    BlobMissing,
    BlobSize,
    BlobDigest,
    /// A manifest whose bytes are not those of its digest.
    ManifestDigest,
    /// A manifest that cannot be read as one.
    ManifestUnreadable,
    /// A manifest whose repository lacks a blob that it needs, or has it in another size.
    ManifestBlob,
    /// A manifest whose references the index does not know, so that a collection could take them.
    ReferenceLost,
    /// References of a manifest that is not there: they keep blobs for ever.
    ReferenceLoose,
    TagLoose,
    /// Bytes that nobody has.
    Orphan,
    /// An upload that nobody came back to.
    HalfUpload,
    /// A file that no registry put there.
    Stranger,
}

impl Kind {
    /// Whether a client would meet it; the rest is only in the way.
    pub fn is_damage(self) -> bool {
        !matches!(self, Self::Orphan | Self::HalfUpload | Self::Stranger)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// A digest, tag, upload or path.
    pub subject: String,
    /// What was found and what was expected.
    pub what: String,
    /// How a person mends it.
    pub next: String,
}

/// What was looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkup {
    pub blobs: u64,
    /// Of all blobs, bytes.
    pub bytes: u64,
    pub manifests: u64,
    /// Every blob was read and hashed.
    pub read: bool,
    pub findings: Vec<Finding>,
}

impl Checkup {
    pub fn damage(&self) -> usize {
        self.findings.iter().filter(|finding| finding.kind.is_damage()).count()
    }
}

/// Why a registry could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    #[error("there is no registry in `{root}`")]
    NoRegistry { root: PathBuf },
    #[error("the index cannot be read")]
    Index(#[from] IndexError),
    #[error("the files cannot be read")]
    Files(#[from] BlobError),
    #[error("`{path}` cannot be written")]
    Write { path: PathBuf, source: std::io::Error },
}

/// Checks the registry in `root`; with `read`, every byte.
///
/// # Errors
/// [`FsckError`] when it could not be looked at. What is wrong with it is no error but a finding.
pub fn check(root: &Path, read: bool, now: SystemTime) -> Result<Checkup, FsckError> {
    let path = root.join("registry.db");
    if !path.is_file() {
        return Err(FsckError::NoRegistry { root: root.to_owned() });
    }
    let mut checkup = Checkup { read, ..Checkup::default() };
    let broken = |checkup: &mut Checkup, fault: String| {
        let next = "restore a backup: `humdrum restore`; without one, push everything again";
        checkup.findings.push(finding(Kind::IndexBroken, "registry.db", fault, next));
    };
    // A file that cannot even be opened is the gravest finding, and the only one that can be told then.
    let index = match Inspection::open(&path, false).and_then(|index| Ok((index.faults()?, index)))
    {
        Ok((faults, index)) if faults.is_empty() => index,
        Ok((faults, _)) => {
            faults.into_iter().for_each(|fault| broken(&mut checkup, fault));
            return Ok(checkup);
        }
        Err(IndexError::Database(error)) => {
            broken(&mut checkup, error.to_string());
            return Ok(checkup);
        }
        Err(error) => return Err(error.into()),
    };
    let mut check = Check { root, index: &index, read, checkup: &mut checkup };
    check.blobs(now)?;
    index.each_manifest(|manifest| check.manifest(&manifest))?;
    check.names()?;
    Ok(checkup)
}

fn finding(kind: Kind, subject: impl Into<String>, what: String, next: &str) -> Finding {
    Finding { kind, repositories: vec![], subject: subject.into(), what, next: next.to_owned() }
}

struct Check<'a> {
    root: &'a Path,
    index: &'a Inspection,
    read: bool,
    checkup: &'a mut Checkup,
}

const AGAIN: &str = "`humdrum registry fsck --repair` moves it aside; then push the artifact again";

impl Check<'_> {
    fn blobs(&mut self, now: SystemTime) -> Result<(), FsckError> {
        // The index first: what is pushed in between is then a file without a row, and asked for again.
        let mut held: HashMap<String, (u64, Vec<String>)> = HashMap::new();
        for blob in self.index.blobs()? {
            let name =
                if blob.trashed { format!("{} (trash)", blob.repository) } else { blob.repository };
            held.entry(blob.digest).or_insert((blob.size, vec![])).1.push(name);
        }
        let survey = FileBlobs::survey(self.root, now)?;
        let sizes: HashMap<&str, u64> =
            survey.blobs.iter().map(|blob| (blob.digest.as_str(), blob.size)).collect();
        let mut digests: Vec<_> = held.into_iter().collect();
        digests.sort();
        for (digest, (size, repositories)) in digests {
            self.checkup.blobs += 1;
            self.checkup.bytes += size;
            if let Some((kind, what)) =
                self.blob(&digest, size, sizes.get(digest.as_str()).copied())?
            {
                let next = if kind == Kind::IndexDigest {
                    "restore a backup: `humdrum restore`"
                } else {
                    AGAIN
                };
                self.checkup
                    .findings
                    .push(Finding { repositories, ..finding(kind, digest, what, next) });
            }
        }
        for blob in &survey.blobs {
            if !self.index.is_held(blob.digest.as_str())? {
                let what = format!("{} bytes that no repository has", blob.size);
                let next = "`humdrum registry gc` frees them";
                self.checkup.findings.push(finding(Kind::Orphan, blob.digest.as_str(), what, next));
            }
        }
        for upload in survey.abandoned {
            let what =
                format!("{} bytes of an upload that nobody came back to for a day", upload.size);
            let next = "`humdrum registry gc` drops it";
            self.checkup.findings.push(finding(Kind::HalfUpload, upload.id, what, next));
        }
        for path in survey.strangers {
            let what = "a file whose name is no digest, in a folder of blobs".to_owned();
            let next = "look what it is; nothing here touches it";
            self.checkup.findings.push(finding(
                Kind::Stranger,
                path.display().to_string(),
                what,
                next,
            ));
        }
        Ok(())
    }

    /// What is wrong with the bytes of one digest.
    fn blob(
        &self,
        text: &str,
        size: u64,
        found: Option<u64>,
    ) -> Result<Option<(Kind, String)>, FsckError> {
        let Ok(digest) = text.parse::<BlobDigest>() else {
            return Ok(Some((Kind::IndexDigest, "the index holds what is no digest".to_owned())));
        };
        let path = FileBlobs::place(self.root, &digest);
        let gone = || -> Result<Option<(Kind, String)>, FsckError> {
            // A running registry may have let it go since; then nobody misses it.
            let missed = self.index.is_held(text)? && !path.is_file();
            Ok(missed.then(|| {
                (Kind::BlobMissing, format!("its {size} bytes are not in `{}`", path.display()))
            }))
        };
        match found {
            None => return gone(),
            Some(found) if found != size => {
                return Ok(Some((Kind::BlobSize, format!("{found} bytes instead of {size}"))));
            }
            Some(_) if !self.read => return Ok(None),
            Some(_) => {}
        }
        match FileBlobs::digest_of(&path, digest.algorithm()) {
            Ok(is) if is == digest => Ok(None),
            Ok(is) => Ok(Some((Kind::BlobDigest, format!("its bytes are {is}")))),
            Err(_) if !path.exists() => gone(),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let what = format!("it cannot be read: {}", cause.unwrap_or_default());
                Ok(Some((Kind::BlobDigest, what)))
            }
        }
    }

    fn manifest(&mut self, held: &HeldManifest) -> Result<(), FsckError> {
        self.checkup.manifests += 1;
        let add = |check: &mut Self, kind, what, next| {
            let repositories = vec![held.repository.clone()];
            let found = Finding { repositories, ..finding(kind, held.digest.as_str(), what, next) };
            check.checkup.findings.push(found);
        };
        let algorithm = held.digest.split_once(':').and_then(|(name, _)| Algorithm::named(name));
        let is = BlobDigest::of(algorithm.unwrap_or(Algorithm::Sha256), &held.body);
        if is.as_str() != held.digest {
            add(self, Kind::ManifestDigest, format!("its bytes are {is}"), AGAIN);
            return Ok(());
        }
        let read = match manifest::parse(Some(&held.media_type), &held.body) {
            Ok(read) => read,
            Err(error) => {
                add(self, Kind::ManifestUnreadable, error.to_string(), AGAIN);
                return Ok(());
            }
        };
        let known: HashSet<String> =
            self.index.targets(&held.repository, &held.digest)?.into_iter().collect();
        for target in read.blobs.iter().map(|blob| &blob.digest).chain(&read.children) {
            if !known.contains(target.as_str()) {
                let what = format!("the index does not know that it refers to {target}");
                add(self, Kind::ReferenceLost, what, "`humdrum registry fsck --repair` adds it");
            }
        }
        for blob in &read.blobs {
            let has = self.index.linked(&held.repository, blob.digest.as_str())?;
            let what = match (has, blob.size) {
                (None, _) => format!("blob {} is not in its repository", blob.digest),
                (Some(has), Some(says)) if has != says => {
                    format!("blob {} has {has} bytes, the manifest says {says}", blob.digest)
                }
                _ => continue,
            };
            add(
                self,
                Kind::ManifestBlob,
                what,
                "push the artifact again, restore the blob from the trash, or delete the manifest",
            );
        }
        Ok(())
    }

    fn names(&mut self) -> Result<(), FsckError> {
        let next = "`humdrum registry fsck --repair` removes it and keeps a record";
        for loose in self.index.loose_tags()? {
            let what = format!("tag `{}` names {}, which is not there", loose.from, loose.to);
            let found = finding(Kind::TagLoose, loose.from, what, next);
            self.checkup.findings.push(Finding { repositories: vec![loose.repository], ..found });
        }
        for loose in self.index.loose_references()? {
            let what = format!("refers to {}, but is not there itself", loose.to);
            let found = finding(Kind::ReferenceLoose, loose.from, what, next);
            self.checkup.findings.push(Finding { repositories: vec![loose.repository], ..found });
        }
        Ok(())
    }
}
