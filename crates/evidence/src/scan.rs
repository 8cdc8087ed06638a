//! One pass over an image layer or a source tree: packages, licences, secrets and files, each byte read once.
//!
//! A layer is scanned by itself, so that its facts can be kept by its digest: a base image is read once, ever. [`image`]
//! then puts layers on top of each other as a container runtime does (upper files hide lower ones, whiteouts remove), and
//! only what a running container would see remains. Memory is bounded: one file at a time, and only files that some
//! [catalog](catalog) asks for. What was too large or broken stands in the notes: "not looked at" is not "clean".

pub mod catalog;
pub mod image;
pub mod layer;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use humdrum_model::finding::Finding;
use serde::{Deserialize, Serialize};

/// Facts of another format are not used: a cache is refilled when catalogs learn something.
pub const FORMAT: u32 = 1;
/// A file that is read whole, in bytes. Two layers at once stay below 300 MB; larger files are named in the notes.
pub const FILE_BYTES_MAX: u64 = 96 << 20;
/// A file that is searched for secrets, in bytes: beyond it stand data and bundles, not configuration.
pub const SECRET_BYTES_MAX: u64 = 8 << 20;
/// Entries of one layer or tree; the largest public images have about 300,000.
pub const ENTRIES_MAX: usize = 2_000_000;
/// Notes of one layer; more are counted.
const NOTES_MAX: usize = 100;
/// As git does: a NUL in the first bytes means that a file is no text.
const TEXT_PROBE_BYTES: usize = 8_000;

/// What one layer or tree holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerFacts {
    pub format: u32,
    /// Every regular file, link and device by its path from the root, without a leading slash; the value is its size in bytes.
    pub files: BTreeMap<String, u64>,
    /// Only files in which something was found.
    pub found: BTreeMap<String, Found>,
    /// Paths of lower layers that are gone (`.wh.NAME`).
    pub removed: BTreeSet<String>,
    /// Folders whose lower contents are gone (`.wh..wh..opq`).
    pub opaque: BTreeSet<String>,
    /// What was not looked at, as sentences.
    pub notes: Vec<String>,
}

/// What one file told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Finding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsRelease>,
}

/// A package as its package manager or its own metadata names it. The package URL is made by [`image`], which knows the distribution.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// The type of its package URL: `deb`, `npm`, `golang` …
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Name and version of the source package, which advisories of distributions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<(String, String)>,
    /// The licence as the package states it; an SPDX expression where the ecosystem asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Names of packages of the same kind that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// The distribution, from `os-release` (its manual page names the fields).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsRelease {
    /// `debian`, `alpine`, `rhel`.
    pub id: String,
    /// `12`, `3.20.1`; empty for a rolling distribution.
    pub version: String,
    /// `bookworm`; empty where there is none.
    pub codename: String,
}

/// Why a layer or tree cannot be scanned. Each message completes "cannot scan: …".
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("the layer cannot be read at entry {entry}")]
    Unreadable { entry: usize, source: io::Error },
    #[error("more than {max} entries")]
    TooMany { max: usize },
    #[error("the layer begins with {start:02x?}, which is neither tar, gzip nor zstd")]
    Compression { start: Vec<u8> },
}

/// Looks for secrets in one text file: path and content to findings.
pub type SecretSearch<'a> = &'a (dyn Fn(&str, &[u8]) -> Vec<Finding> + Sync);

/// What the pass needs to know of a file before its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    /// Somebody may execute it.
    pub executable: bool,
}

/// A pass in progress: hand over one file after the other, in any order, then [`Pass::finish`].
pub struct Pass<'a> {
    facts: LayerFacts,
    secrets: Option<SecretSearch<'a>>,
    buffer: Vec<u8>,
    notes_left_out: usize,
}

impl<'a> Pass<'a> {
    /// `secrets` is left out where only packages are wanted.
    pub fn new(secrets: Option<SecretSearch<'a>>) -> Self {
        Self {
            facts: LayerFacts { format: FORMAT, ..LayerFacts::default() },
            secrets,
            buffer: Vec::new(),
            notes_left_out: 0,
        }
    }

    /// A regular file. Its content is read only when something wants it.
    pub fn file(
        &mut self,
        path: &str,
        head: Head,
        content: &mut dyn Read,
    ) -> Result<(), ScanError> {
        self.entry(path, head.size)?;
        let catalogs: Vec<_> =
            catalog::all().iter().filter(|catalog| (catalog.wants)(path, head)).collect();
        let wants_secrets = self.secrets.is_some() && head.size > 0;
        if catalogs.is_empty() && !wants_secrets {
            return Ok(());
        }
        if head.size > FILE_BYTES_MAX || (catalogs.is_empty() && head.size > SECRET_BYTES_MAX) {
            // A large file that only might hold a secret is the rule in images: not worth a note each.
            if !catalogs.is_empty() {
                self.note(format!(
                    "`{path}` has {} bytes; at most {FILE_BYTES_MAX} are read",
                    head.size
                ));
            }
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        let read = content.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
        if let Err(source) = read {
            return Err(ScanError::Unreadable { entry: self.facts.files.len(), source });
        }
        self.look(path, &bytes, &catalogs, wants_secrets);
        self.buffer = bytes;
        Ok(())
    }

    /// Anything that is not a regular file or a folder: it hides what lower layers have there.
    pub fn other(&mut self, path: &str) -> Result<(), ScanError> {
        self.entry(path, 0)
    }

    pub fn finish(mut self) -> LayerFacts {
        if self.notes_left_out > 0 {
            self.facts.notes.push(format!("{} more files were not looked at", self.notes_left_out));
        }
        self.facts
    }

    fn entry(&mut self, path: &str, size: u64) -> Result<(), ScanError> {
        if self.facts.files.len() >= ENTRIES_MAX {
            return Err(ScanError::TooMany { max: ENTRIES_MAX });
        }
        self.facts.files.insert(path.to_owned(), size);
        // The later entry of the same path is the one that counts, in tar and here.
        self.facts.found.remove(path);
        Ok(())
    }

    fn look(&mut self, path: &str, bytes: &[u8], catalogs: &[&catalog::Catalog], secrets: bool) {
        let mut found = Found::default();
        for catalog in catalogs {
            match (catalog.read)(path, bytes) {
                Ok(told) => {
                    found.packages.extend(told.packages);
                    told.notes.into_iter().for_each(|why| self.note(format!("`{path}`: {why}")));
                    found.os = found.os.or(told.os);
                }
                Err(why) => self.note(format!("`{path}` ({}): {why}", catalog.name)),
            }
        }
        let is_text = !bytes[..bytes.len().min(TEXT_PROBE_BYTES)].contains(&0);
        if let Some(search) = self.secrets.filter(|_| secrets && is_text)
            && bytes.len() as u64 <= SECRET_BYTES_MAX
        {
            found.secrets = search(path, bytes);
        }
        if found != Found::default() {
            found.packages.sort();
            found.packages.dedup();
            self.facts.found.insert(path.to_owned(), found);
        }
    }

    fn note(&mut self, text: String) {
        if self.facts.notes.len() < NOTES_MAX {
            self.facts.notes.push(text);
        } else {
            self.notes_left_out += 1;
        }
    }
}
