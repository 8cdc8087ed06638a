//! Files by plain HTTP as OCI artifacts: `artifacts/NAME/VERSION/FILE` is the image manifest with one layer that repository
//! `artifacts/NAME` has under a tag made of version and file. Pure; so evidence can refer to a file as to any image, and
//! clients that know OCI artifacts can pull it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use humdrum_store::blobs::{Algorithm, BlobDigest, Mutability, TagPolicy};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fallback;
use crate::manifest::OCI_IMAGE;
use crate::name::{TAG_MAX, is_repository, is_tag};

/// Where files live among the repositories.
pub const PREFIX: &str = "artifacts/";
/// `artifactType` of a file's manifest.
pub const ARTIFACT_TYPE: &str = "application/vnd.humdrum.file.v1";
/// Of a file that came without a media type.
pub const OCTETS: &str = "application/octet-stream";
/// The config of an artifact: the two bytes `{}`.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";
/// Between version and file in a tag; an escaped file never holds it.
const BETWEEN: &str = "_-";
/// Longest media type (RFC 6838 section 4.2: two names of 127).
const MEDIA_TYPE_MAX: usize = 255;

/// Says whether the files of an artifact NAME may be replaced and removed.
pub type MutableArtifacts = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What a path below `/artifacts/` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `NAME/VERSION/FILE`
    File { name: String, version: String, file: String },
    /// `NAME/VERSION/`: the files of a version
    Files { name: String, version: String },
    /// `NAME/-/versions`; no version starts with `-`
    Versions { name: String },
}

/// Why something is no file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    #[error("the path is not artifacts/NAME/VERSION/FILE")]
    Path,
    #[error("`{text}` is not an artifact name")]
    Name { text: String },
    #[error(
        "`{text}` is not a version: 1 to {TAG_MAX} of a-z A-Z 0-9 _ . - and no . or - at the start"
    )]
    Version { text: String },
    #[error("`{text}` is not a file name: no `/`, no control character, not `.` or `..`")]
    File { text: String },
    #[error("version and file name need {found} characters as a tag, at most {TAG_MAX} fit")]
    TooLong { found: usize },
    #[error("`{text}` is not a media type")]
    MediaType { text: String },
    #[error("header `{header}` holds no digest this registry knows: `{text}`")]
    Digest { header: &'static str, text: String },
    #[error("two headers name different digests")]
    TwoDigests,
}

/// A file as its manifest tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    pub digest: BlobDigest,
    /// Bytes.
    pub size: u64,
    pub media_type: String,
}

impl Place {
    /// Reads the raw path after `/artifacts/`.
    ///
    /// # Errors
    /// [`ArtifactError`] names the part that is wrong.
    pub fn parse(rest: &str) -> Result<Self, ArtifactError> {
        let mut parts: Vec<String> = Vec::new();
        for part in rest.split('/') {
            let text = percent_decode_str(part).decode_utf8().map_err(|_| ArtifactError::Path)?;
            parts.push(text.into_owned());
        }
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let [name @ .., version, file] = words.as_slice() else { return Err(ArtifactError::Path) };
        let name = name.join("/");
        if !is_repository(&format!("{PREFIX}{name}")) {
            return Err(ArtifactError::Name { text: shown(&name) });
        }
        if (*version, *file) == ("-", "versions") {
            return Ok(Self::Versions { name });
        }
        let version = (*version).to_owned();
        if !is_tag(&version) {
            return Err(ArtifactError::Version { text: shown(&version) });
        }
        match *file {
            "" => Ok(Self::Files { name, version }),
            file => Ok(Self::File { name, version, file: file.to_owned() }),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::File { name, .. } | Self::Files { name, .. } | Self::Versions { name } => name,
        }
    }

    /// The repository that holds it.
    pub fn repository(&self) -> String {
        format!("{PREFIX}{}", self.name())
    }
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The tag of a file.
///
/// # Errors
/// [`ArtifactError::File`] and [`ArtifactError::TooLong`].
pub fn tag(version: &str, file: &str) -> Result<String, ArtifactError> {
    if matches!(file, "" | "." | "..") || file.contains('/') || file.chars().any(char::is_control) {
        return Err(ArtifactError::File { text: shown(file) });
    }
    let tag = format!("{}{}", stem(version), escaped(file));
    if tag.len() > TAG_MAX {
        return Err(ArtifactError::TooLong { found: tag.len() });
    }
    Ok(tag)
}

/// What the tags of all files of a version begin with.
pub fn stem(version: &str) -> String {
    format!("{version}{BETWEEN}")
}

/// Letters, digits, `.` and `-` as they are, other bytes as `_` and two hex digits.
fn escaped(file: &str) -> String {
    let mut text = String::with_capacity(file.len());
    for b in file.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => text.push(char::from(b)),
            _ => text.push_str(&format!("_{b:02x}")),
        }
    }
    text
}

/// Version and file of a tag; `None` for a tag that something else made.
pub fn of_tag(tag: &str) -> Option<(String, String)> {
    let (version, rest) = tag.rsplit_once(BETWEEN)?;
    let (mut bytes, mut rest) = (Vec::new(), rest.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'_' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
        }
    }
    let file = String::from_utf8(bytes).ok()?;
    is_tag(version).then(|| (version.to_owned(), file))
}

/// The manifest of a file: the same file always gives the same bytes. `config` is the digest of `{}`.
pub fn manifest(version: &str, file: &str, entry: &FileEntry, config: &BlobDigest) -> String {
    let value = json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "artifactType": ARTIFACT_TYPE,
        "config": { "mediaType": EMPTY, "digest": config.as_str(), "size": 2 },
        "layers": [{
            "mediaType": entry.media_type, "digest": entry.digest.as_str(), "size": entry.size,
            "annotations": { TITLE: file },
        }],
        "annotations": { TITLE: file, VERSION: version },
    });
    value.to_string()
}

/// The file in a stored manifest; `None` when it is none of ours.
pub fn entry(body: &[u8]) -> Option<FileEntry> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stored {
        artifact_type: String,
        layers: Vec<Layer>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layer {
        media_type: String,
        digest: String,
        size: u64,
    }
    let stored: Stored = serde_json::from_slice(body).ok()?;
    let [layer] = stored.layers.as_slice() else { return None };
    let digest = layer.digest.parse().ok()?;
    let entry = FileEntry { digest, size: layer.size, media_type: layer.media_type.clone() };
    (stored.artifact_type == ARTIFACT_TYPE).then_some(entry)
}

/// How lists and answers describe a file; `manifest` is what evidence refers to.
pub fn described(file: &str, entry: &FileEntry, manifest: &BlobDigest) -> Value {
    json!({
        "file": file,
        "size": entry.size,
        "digest": entry.digest.as_str(),
        "mediaType": entry.media_type,
        "manifest": manifest.as_str(),
    })
}

/// The media type of a request's `Content-Type`, without parameters.
///
/// # Errors
/// [`ArtifactError::MediaType`] when it is none.
pub fn media_type(header: Option<&str>) -> Result<String, ArtifactError> {
    let Some(header) = header else { return Ok(OCTETS.to_owned()) };
    let text = header.split(';').next().unwrap_or_default().trim();
    let word = |text: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && text.bytes().all(fits)
    };
    let good = text.split_once('/').is_some_and(|(kind, sub)| word(kind) && word(sub));
    if !good || text.len() > MEDIA_TYPE_MAX {
        return Err(ArtifactError::MediaType { text: shown(header) });
    }
    Ok(text.to_ascii_lowercase())
}

/// The digest a client says its body has: `Content-Digest` or `Repr-Digest` (RFC 9530), `Docker-Content-Digest`, or
/// `X-Checksum-Sha256`, which build tools send.
///
/// # Errors
/// [`ArtifactError::Digest`] for a header that cannot be read, [`ArtifactError::TwoDigests`] when headers disagree.
pub fn announced(headers: &HeaderMap) -> Result<Option<BlobDigest>, ArtifactError> {
    type Read = fn(&str) -> Option<BlobDigest>;
    let known: [(&'static str, Read); 4] = [
        ("content-digest", of_field),
        ("repr-digest", of_field),
        ("docker-content-digest", |text| text.parse().ok()),
        ("x-checksum-sha256", |text| format!("sha256:{}", text.to_ascii_lowercase()).parse().ok()),
    ];
    let mut found: Option<BlobDigest> = None;
    for (header, read) in known {
        for value in headers.get_all(header) {
            let text = value.to_str().unwrap_or_default().trim();
            let digest =
                read(text).ok_or_else(|| ArtifactError::Digest { header, text: shown(text) })?;
            if found.as_ref().is_some_and(|other| *other != digest) {
                return Err(ArtifactError::TwoDigests);
            }
            found = Some(digest);
        }
    }
    Ok(found)
}

/// A field of RFC 9530: `sha-256=:BASE64:`, the strongest known of several.
fn of_field(text: &str) -> Option<BlobDigest> {
    let mut best: Option<BlobDigest> = None;
    for member in text.split(',') {
        let (name, value) = member.trim().split_once('=')?;
        let algorithm = match name {
            "sha-256" => Algorithm::Sha256,
            "sha-512" => Algorithm::Sha512,
            _ => continue,
        };
        let value = value.strip_prefix(':')?.strip_suffix(':')?;
        let bytes = STANDARD.decode(value).ok()?;
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let digest: BlobDigest = format!("{}:{hex}", algorithm.name()).parse().ok()?;
        if best.as_ref().is_none_or(|best| best.algorithm() < algorithm) {
            best = Some(digest);
        }
    }
    best
}

/// The `Repr-Digest` of a file.
pub fn field(digest: &BlobDigest) -> String {
    let name = match digest.algorithm() {
        Algorithm::Sha256 => "sha-256",
        Algorithm::Sha512 => "sha-512",
    };
    let hex = digest.hex().as_bytes();
    let digit = |b: u8| char::from(b).to_digit(16).expect("a digest is checked") as u8;
    let bytes: Vec<u8> = hex.chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect();
    format!("{name}=:{}:", STANDARD.encode(bytes))
}

/// `inner`, and beyond it: a file once put stays as it is, unless its artifact is mutable. Signatures that clients keep under
/// tags of their own may be added to, as everywhere.
pub fn guarded(inner: TagPolicy, mutable: MutableArtifacts) -> TagPolicy {
    Arc::new(move |repository, tag| {
        let name = repository.strip_prefix(PREFIX);
        let fixed = name.is_some_and(|name| !mutable(name)) && !fallback::is_tag(tag);
        match inner(repository, tag) {
            Mutability::Mutable if fixed => {
                Mutability::Immutable("a file of an artifact is never replaced".to_owned())
            }
            other => other,
        }
    })
}

#[cfg(test)]
mod tests;
