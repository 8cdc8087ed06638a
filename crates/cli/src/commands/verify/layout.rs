//! Reads an image and its referrers from an OCI layout folder (image-spec 1.1, `image-layout.md`), and checks every byte it names.
//!
//! Referrers are found where tools put them: as entries of `index.json` whose manifest has the image as its subject, and below the
//! tag `sha256-…` of the referrers tag schema (distribution-spec 1.1).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use humdrum_evidence::bundle::BUNDLE_BYTES_MAX;
use humdrum_evidence::referrer::MANIFEST_BYTES_MAX;
use humdrum_model::name::Digest;
use humdrum_store::blobs::{Algorithm, Hasher};
use serde_json::Value;

use super::{Check, Image, Pick};
use crate::commands::build::size;
use crate::exit::{Exit, Failure};

/// Entries of a layout that are looked at, those of indexes inside it included.
const ENTRIES_MAX: usize = 2_000;
/// An index in an index in `index.json` is as deep as tools nest.
const DEPTH_MAX: usize = 3;
const NAME: &str = "org.opencontainers.image.ref.name";
const CHUNK_BYTES: usize = 1 << 18;

struct Layout<'a> {
    folder: &'a Path,
    entries: Vec<Entry>,
}

/// A manifest or index that the layout names.
struct Entry {
    digest: Digest,
    names: Vec<String>,
    bytes: Vec<u8>,
    document: Value,
}

/// Reads an image from the layout at `folder`.
pub(super) fn read(folder: &Path, pick: &Pick) -> Result<Image, Failure> {
    let layout = Layout::open(folder)?;
    let image = layout.pick(pick)?;
    let content = layout.content(&image.document);
    let referrers = layout
        .entries
        .iter()
        .filter(|entry| subject(&entry.document) == Some(image.digest.as_str()));
    let referrers =
        referrers.map(|entry| (entry.bytes.clone(), layout.bundle(&entry.document))).collect();
    Ok(Image { digest: image.digest.clone(), manifest: image.bytes.clone(), referrers, content })
}

/// What is needed to look into an image.
pub(in crate::commands) struct Contents {
    pub(in crate::commands) digest: Digest,
    /// The configuration's own `created`, in RFC 3339.
    pub(in crate::commands) created: Option<String>,
    /// Digest and file of each layer, the lowest first.
    pub(in crate::commands) layers: Vec<(Digest, PathBuf)>,
}

/// Finds the layers of an image in the layout at `folder`; an index of several platforms gives the first of Linux.
pub(in crate::commands) fn contents(folder: &Path, pick: &Pick) -> Result<Contents, Failure> {
    let layout = Layout::open(folder)?;
    let picked = layout.pick(pick)?;
    let image = match picked.document.get("manifests") {
        Some(children) => layout.of_linux(children).unwrap_or(picked),
        None => picked,
    };
    let malformed = |what: &str| {
        let what = format!("the manifest {} in `{}` {what}", image.digest, folder.display());
        Failure::new(Exit::BadInput, "no-image", what).next("humdrum verify oci:DIR")
    };
    let layers = image.document["layers"].as_array().ok_or_else(|| malformed("has no layers"))?;
    let layers: Option<Vec<Digest>> = layers.iter().map(digest_of).collect();
    let layers = layers.ok_or_else(|| malformed("names a layer without a sha256 digest"))?;
    let config = digest_of(&image.document["config"])
        .and_then(|digest| bounded(&layout.blob(&digest), MANIFEST_BYTES_MAX).ok())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .unwrap_or(Value::Null);
    Ok(Contents {
        digest: image.digest.clone(),
        created: config["created"].as_str().map(str::to_owned),
        layers: layers
            .into_iter()
            .map(|digest| {
                let path = layout.blob(&digest);
                (digest, path)
            })
            .collect(),
    })
}

impl<'a> Layout<'a> {
    fn of_linux(&self, children: &Value) -> Option<&Entry> {
        let linux = |child: &&Value| child["platform"]["os"].as_str() == Some("linux");
        let child = children.as_array()?.iter().find(linux).and_then(digest_of)?;
        self.entries.iter().find(|entry| entry.digest == child)
    }

    fn open(folder: &'a Path) -> Result<Self, Failure> {
        let none = || {
            let what = format!("`{}` is not an OCI layout", folder.display());
            Failure::new(Exit::BadInput, "no-layout", what)
                .next("humdrum build --output DIR writes one")
        };
        let index = bounded(&folder.join("index.json"), MANIFEST_BYTES_MAX)
            .map_err(|error| none().cause(&error))?;
        let index: Value = serde_json::from_slice(&index).map_err(|error| none().cause(&error))?;
        let mut layout = Self { folder, entries: vec![] };
        layout.add(&index, 0);
        Ok(layout)
    }

    /// An entry without its bytes, or with others than its digest says, stays: whoever asks for it is told so.
    fn add(&mut self, index: &Value, depth: usize) {
        for descriptor in index["manifests"].as_array().into_iter().flatten() {
            let Some(digest) = digest_of(descriptor) else { continue };
            let name = descriptor["annotations"][NAME].as_str().map(str::to_owned);
            if let Some(known) = self.entries.iter_mut().find(|entry| entry.digest == digest) {
                known.names.extend(name);
                continue;
            }
            if self.entries.len() == ENTRIES_MAX {
                return;
            }
            let bytes = bounded(&self.blob(&digest), MANIFEST_BYTES_MAX).unwrap_or_default();
            let document: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let nested = document.get("manifests").is_some().then(|| document.clone());
            self.entries.push(Entry { digest, names: name.into_iter().collect(), bytes, document });
            if let Some(nested) = nested.filter(|_| depth < DEPTH_MAX) {
                self.add(&nested, depth + 1);
            }
        }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn pick(&self, pick: &Pick) -> Result<&Entry, Failure> {
        let known = || {
            let named = self.images().map(|entry| {
                entry.names.first().cloned().unwrap_or_else(|| entry.digest.to_string())
            });
            let named: Vec<_> = named.take(10).collect();
            if named.is_empty() {
                "it has no image".into()
            } else {
                format!("it has: {}", named.join(", "))
            }
        };
        let unknown = |what: String| {
            let what = format!("`{}` {what}; {}", self.folder.display(), known());
            let first = self.images().find_map(|entry| entry.names.first().cloned());
            let next = format!(":{}", first.unwrap_or_else(|| "TAG".into()));
            Failure::new(Exit::BadInput, "unknown-image", what)
                .next(format!("humdrum verify oci:{}{next}", self.folder.display()))
        };
        match pick {
            Pick::Digest(digest) => {
                let found = self.entries.iter().find(|entry| entry.digest == *digest);
                found.ok_or_else(|| unknown(format!("has no {digest}")))
            }
            Pick::Tag(tag) => {
                let found = self.entries.iter().find(|entry| entry.names.contains(tag));
                found.ok_or_else(|| unknown(format!("has no image `{tag}`")))
            }
            Pick::Only => {
                let mut images = self.images();
                match (images.next(), images.next()) {
                    (Some(only), None) => Ok(only),
                    (None, _) => Err(unknown("names nothing to verify".into())),
                    _ => Err(unknown("has several images: name one by tag or digest".into())),
                }
            }
        }
    }

    /// What is neither a referrer nor the list of one.
    fn images(&self) -> impl Iterator<Item = &Entry> {
        let list = |entry: &&Entry| !entry.names.iter().any(|name| name.starts_with("sha256-"));
        self.entries.iter().filter(list).filter(|entry| subject(&entry.document).is_none())
    }

    fn bundle(&self, manifest: &Value) -> Vec<u8> {
        let digest = manifest["layers"].get(0).and_then(digest_of);
        digest
            .and_then(|digest| bounded(&self.blob(&digest), BUNDLE_BYTES_MAX).ok())
            .unwrap_or_default()
    }

    /// Whether every blob that the manifest names is there with its size and bytes.
    fn content(&self, manifest: &Value) -> Check {
        let named = std::iter::once(&manifest["config"])
            .chain(manifest["layers"].as_array().into_iter().flatten());
        let (mut blobs, mut total) = (0_u64, 0_u64);
        for descriptor in named {
            let Some(digest) = digest_of(descriptor) else {
                return Check::refused(
                    "content",
                    "malformed_manifest",
                    "the manifest names a blob without a sha256 digest".into(),
                );
            };
            match hash(&self.blob(&digest)) {
                Err(error) => {
                    return Check::refused(
                        "content",
                        "missing_blob",
                        format!("{digest} cannot be read: {error}"),
                    );
                }
                Ok((found, _)) if found != digest.as_str() => {
                    return Check::refused(
                        "content",
                        "blob_digest_mismatch",
                        format!("the bytes of {digest} have {found}"),
                    );
                }
                Ok((_, bytes)) => total += bytes,
            }
            blobs += 1;
        }
        Check::passed(
            "content",
            format!("{blobs} blobs, {}, each with the bytes of its digest", size(total)),
        )
    }
}

fn digest_of(descriptor: &Value) -> Option<Digest> {
    Digest::new(descriptor.get("digest")?.as_str()?).ok()
}

fn subject(manifest: &Value) -> Option<&str> {
    manifest["subject"]["digest"].as_str()
}

fn bounded(path: &Path, max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the limits of the evidence crate see that it is too much.
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn hash(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let (mut chunk, mut total) = (vec![0; CHUNK_BYTES], 0);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok((hasher.finish().to_string(), total));
        }
        hasher.update(&chunk[..read]);
        total += read as u64;
    }
}
