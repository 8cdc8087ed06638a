//! OSV records as published, and the part of them that a shard keeps.
//!
//! Source: ossf/osv-schema `docs/schema.md`, version 1.7.

use humdrum_model::finding::Severity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::coordinates;
use super::rating::{self, Rating, Vector};

/// The largest record that is read, in bytes; the largest published ones, of kernels, have about 5 MB.
pub const RECORD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The longest name or id, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// The longest summary that is kept, in characters.
const SUMMARY_CHARS_MAX: usize = 300;

/// Why a file is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record has {bytes} bytes; at most {max} are read")]
    TooLarge { bytes: usize, max: usize },
    #[error("the record is not JSON of the OSV form: {why}")]
    NotOsv { why: String },
    #[error("the record has schema version {found}; read are 1.x")]
    Version { found: String },
    #[error("the record's {what} is empty or longer than {max} bytes")]
    Name { what: &'static str, max: usize },
}

/// A record: when it was changed, and what it says about each package, by ecosystem.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub id: String,
    pub modified: Timestamp,
    /// A withdrawn record says nothing any more.
    pub withdrawn: bool,
    /// One for each package name and ecosystem (without its release).
    pub statements: Vec<Statement>,
}

/// What a record says about one name in one ecosystem.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Without release: `Debian`, `npm`.
    pub ecosystem: String,
    /// In the spelling by which it is looked up.
    pub name: String,
    pub advisory: Advisory,
}

/// An advisory about one package name, as a shard keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advisory {
    pub id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    pub rating: Rating,
    pub affected: Vec<Affected>,
}

/// The versions that are affected, in one ecosystem and release of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Affected {
    /// With release: `Debian:12`.
    pub ecosystem: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// Ranges of versions; those of commits are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Vec<Event>>,
}

/// Where a range begins and ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first affected version; `0` is before all.
    Introduced(String),
    /// The first version that is not affected any more.
    Fixed(String),
    /// The last affected version.
    LastAffected(String),
    /// Nothing from here on is meant; `*` is after all.
    Limit(String),
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    schema_version: Option<String>,
    id: String,
    modified: Timestamp,
    #[serde(default)]
    withdrawn: Option<Timestamp>,
    #[serde(default)]
    aliases: Option<Vec<String>>,
    #[serde(default)]
    upstream: Option<Vec<String>>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    severity: Option<Vec<Vector>>,
    #[serde(default)]
    affected: Option<Vec<FileAffected>>,
    #[serde(default)]
    database_specific: Option<Database>,
}

#[derive(Deserialize)]
struct FileAffected {
    #[serde(default)]
    package: Option<FilePackage>,
    #[serde(default)]
    severity: Option<Vec<Vector>>,
    #[serde(default)]
    ranges: Option<Vec<FileRange>>,
    #[serde(default)]
    versions: Option<Vec<String>>,
    #[serde(default)]
    database_specific: Option<Database>,
}

#[derive(Deserialize)]
struct FilePackage {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct FileRange {
    #[serde(rename = "type")]
    kind: String,
    events: Vec<Event>,
}

/// What databases add; forms that are not known are not read.
#[derive(Deserialize)]
#[serde(untagged)]
enum Database {
    Known {
        /// GitHub's word: `LOW`, `MODERATE`, `HIGH`, `CRITICAL`.
        #[serde(default)]
        severity: Option<String>,
        /// RustSec: the record tells of no vulnerability (`unmaintained`, `unsound`, `notice`).
        #[serde(default)]
        informational: Option<String>,
    },
    Other(serde::de::IgnoredAny),
}

impl Database {
    fn severity(&self) -> Option<&str> {
        match self {
            Self::Known { severity, .. } => severity.as_deref(),
            Self::Other(_) => None,
        }
    }

    fn informational(&self) -> Option<&str> {
        match self {
            Self::Known { informational, .. } => informational.as_deref(),
            Self::Other(_) => None,
        }
    }
}

/// Reads one record.
pub fn read(bytes: &[u8]) -> Result<Record, RecordError> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(RecordError::TooLarge { bytes: bytes.len(), max: RECORD_BYTES_MAX });
    }
    let file: File = serde_json::from_slice(bytes)
        .map_err(|error| RecordError::NotOsv { why: error.to_string() })?;
    if let Some(version) = &file.schema_version
        && !version.starts_with("1.")
    {
        return Err(RecordError::Version { found: version.clone() });
    }
    name("id", &file.id)?;
    let mut statements: Vec<Statement> = vec![];
    let affected = if file.withdrawn.is_some() { &None } else { &file.affected };
    for one in affected.iter().flatten() {
        // Without a package only commits are meant.
        let Some(package) = &one.package else { continue };
        name("package name", &package.name)?;
        name("ecosystem", &package.ecosystem)?;
        let ecosystem = package.ecosystem.split(':').next().unwrap_or_default();
        let key = coordinates::key(ecosystem, &package.name);
        let known = statements.iter_mut().find(|s| s.ecosystem == ecosystem && s.name == key);
        let rating = file.rating(one);
        match known {
            Some(statement) => {
                statement.advisory.rating = statement.advisory.rating.worse(rating);
                statement.advisory.affected.push(one.kept(package));
            }
            None => statements.push(Statement {
                ecosystem: ecosystem.to_owned(),
                name: key,
                advisory: file.advisory(rating, one.kept(package)),
            }),
        }
    }
    let withdrawn = file.withdrawn.is_some();
    Ok(Record { id: file.id, modified: file.modified, withdrawn, statements })
}

fn name(what: &'static str, text: &str) -> Result<(), RecordError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(RecordError::Name { what, max: NAME_BYTES_MAX });
    }
    Ok(())
}

impl File {
    fn advisory(&self, rating: Rating, affected: Affected) -> Advisory {
        let mut aliases = self.aliases.clone().unwrap_or_default();
        // A distribution's advisory with one upstream is that; with several, it is a collection and no other name of any of them.
        if let Some([only]) = self.upstream.as_deref() {
            aliases.push(only.clone());
        }
        aliases.retain(|alias| *alias != self.id);
        aliases.sort();
        aliases.dedup();
        let summary = self.summary.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let summary = summary.map(|text| {
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUMMARY_CHARS_MAX)
        });
        Advisory {
            id: self.id.clone(),
            aliases,
            summary: summary.map(Iterator::collect),
            rating,
            affected: vec![affected],
        }
    }

    /// A package's own severity goes before the record's; a vector before a word; a word before nothing.
    fn rating(&self, affected: &FileAffected) -> Rating {
        // Malicious packages carry no vector, and there is nothing worse.
        if self.id.starts_with("MAL-") {
            return Rating { severity: Severity::Critical, score: None };
        }
        let own = affected.severity.as_deref().filter(|vectors| !vectors.is_empty());
        let vectors = own.or(self.severity.as_deref()).unwrap_or_default();
        let words = [&affected.database_specific, &self.database_specific];
        let word = || words.iter().copied().flatten().find_map(Database::severity);
        let information = || words.iter().copied().flatten().find_map(Database::informational);
        rating::of_vectors(vectors)
            .or_else(|| word().and_then(rating::of_word))
            .or_else(|| information().and_then(rating::of_information))
            .unwrap_or(Rating { severity: Severity::Unknown, score: None })
    }
}

impl FileAffected {
    fn kept(&self, package: &FilePackage) -> Affected {
        let ranges = self.ranges.iter().flatten().filter(|range| range.kind != "GIT");
        Affected {
            ecosystem: package.ecosystem.clone(),
            versions: self.versions.clone().unwrap_or_default(),
            ranges: ranges.map(|range| range.events.clone()).collect(),
        }
    }
}
