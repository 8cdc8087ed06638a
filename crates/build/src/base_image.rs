//! The image below ours, named by digest: from a registry or from a local OCI layout. Every byte is checked against its digest.

mod registry;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use humdrum_model::name::Digest;
use serde_json::Value;

use crate::image::architecture;
use crate::layer::{Hashing, LayerBlob};

/// The name of its layers in a build.
pub const LAYER_NAME: &str = "base";
/// The largest manifest or configuration, in bytes; registries refuse larger ones too.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// The largest single layer, in bytes.
pub const LAYER_BYTES_MAX: u64 = 10 << 30;
/// The most layers; overlay file systems mount no more than 128.
pub const LAYERS_MAX: usize = 120;

/// A base image whose layers are on disk.
#[derive(Debug, Clone)]
pub struct Base {
    /// How the plan names it, without the digest.
    pub reference: String,
    /// The digest that was asked for.
    pub digest: Digest,
    /// Its configuration document.
    pub config: Value,
    /// Its layers from the lowest up.
    pub layers: Vec<LayerBlob>,
}

/// Why a base image cannot be used. Each completes "cannot use the base image: …".
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A tag can mean another image tomorrow.
    #[error("`{name}` has no digest; write it as `{name}@sha256:…`")]
    NoDigest {
        /// What the plan says.
        name: String,
    },
    /// The text is no reference.
    #[error("`{name}` is not an image reference: {why}")]
    BadReference {
        /// What the plan says.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Bytes are not what their digest says.
    #[error("{what} has digest {found}, expected {expected}")]
    WrongDigest {
        /// Manifest, configuration or layer.
        what: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// A document is not what the specification says.
    #[error("{what} is not usable: {why}")]
    Malformed {
        /// Manifest, configuration or layer.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The index has no image for this machine.
    #[error("`{name}` has no image for linux/{architecture}")]
    NoPlatform {
        /// What the plan says.
        name: String,
        /// This machine's architecture.
        architecture: &'static str,
    },
    /// The registry refused or failed.
    #[error("registry `{registry}` does not give {what}: {said}")]
    Registry {
        /// Its host.
        registry: String,
        /// What was asked.
        what: String,
        /// What it said.
        said: String,
    },
    /// A file cannot be read or written.
    #[error("`{path}` cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where blobs of an image come from.
pub(crate) trait Source {
    /// A manifest or index, checked by the caller.
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, BaseError>;
    /// Copies a blob; at most `size_max` bytes.
    fn blob(&self, digest: &Digest, size_max: u64, out: &mut dyn Write) -> Result<(), BaseError>;
}

/// A parsed `base:` of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A layout folder; a relative path starts at the checkout's root.
    Layout {
        /// The folder.
        folder: PathBuf,
        /// The image in it.
        digest: Digest,
    },
    /// An image of a registry.
    Registry {
        /// Host and repository.
        name: String,
        /// The image.
        digest: Digest,
    },
}

impl Reference {
    /// Reads `oci:PATH@sha256:…`, `oci-layout:PATH@sha256:…` or `HOST/NAME@sha256:…`.
    ///
    /// # Errors
    /// When there is no digest, or the digest is none.
    pub fn parse(text: &str) -> Result<Reference, BaseError> {
        let Some((name, digest)) = text.rsplit_once('@') else {
            return Err(BaseError::NoDigest { name: text.to_owned() });
        };
        let digest = Digest::new(digest).map_err(|error| BaseError::BadReference {
            name: text.into(),
            why: error.to_string(),
        })?;
        let folder = name.strip_prefix("oci:").or_else(|| name.strip_prefix("oci-layout:"));
        Ok(match folder {
            Some(folder) => Reference::Layout { folder: folder.into(), digest },
            None => Reference::Registry { name: name.to_owned(), digest },
        })
    }

    /// The digest.
    pub fn digest(&self) -> &Digest {
        match self {
            Reference::Layout { digest, .. } | Reference::Registry { digest, .. } => digest,
        }
    }

    fn name(&self) -> String {
        match self {
            Reference::Layout { folder, .. } => format!("oci:{}", folder.display()),
            Reference::Registry { name, .. } => name.clone(),
        }
    }
}

/// Brings the image's layers into `out`.
///
/// # Errors
/// When it cannot be had, or a byte is not what its digest says.
pub fn fetch(text: &str, checkout: &Path, out: &Path) -> Result<Base, BaseError> {
    let reference = Reference::parse(text)?;
    match &reference {
        Reference::Layout { folder, .. } => {
            fetch_from(&Layout { folder: checkout.join(folder) }, &reference, out)
        }
        Reference::Registry { name, digest } => {
            fetch_from(&registry::Registry::open(name, digest)?, &reference, out)
        }
    }
}

fn fetch_from(source: &dyn Source, reference: &Reference, out: &Path) -> Result<Base, BaseError> {
    let mut manifest = checked_manifest(source, reference.digest())?;
    if let Some(entries) = manifest["manifests"].as_array() {
        let digest = for_this_machine(entries).ok_or_else(|| BaseError::NoPlatform {
            name: reference.name(),
            architecture: architecture(),
        })?;
        manifest = checked_manifest(source, &digest)?;
    }
    let config_digest = digest_in(&manifest["config"], "configuration")?;
    let mut bytes = Vec::new();
    source.blob(&config_digest, DOCUMENT_BYTES_MAX, &mut bytes)?;
    let config = checked_json("configuration", &config_digest, &bytes)?;
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    let diff_ids = config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
    if layers.len() != diff_ids.len() || layers.is_empty() || layers.len() > LAYERS_MAX {
        let why = format!("{} layers and {} diff ids", layers.len(), diff_ids.len());
        return Err(BaseError::Malformed { what: "the manifest".into(), why });
    }
    let pairs = layers.iter().zip(&diff_ids);
    let layers =
        pairs.map(|(layer, id)| fetch_layer(source, layer, id, out)).collect::<Result<_, _>>()?;
    Ok(Base { reference: reference.name(), digest: reference.digest().clone(), config, layers })
}

fn fetch_layer(
    source: &dyn Source,
    layer: &Value,
    diff_id: &Value,
    out: &Path,
) -> Result<LayerBlob, BaseError> {
    let digest = digest_in(layer, "layer")?;
    let path = out.join(format!("{}.base", digest.hex()));
    let unreadable = |source| BaseError::Unreadable { path: path.clone(), source };
    let mut file = Hashing::new(io::BufWriter::new(fs::File::create(&path).map_err(unreadable)?));
    source.blob(&digest, LAYER_BYTES_MAX, &mut file)?;
    file.flush().map_err(unreadable)?;
    check("layer", &digest, file.digest())?;
    let media_type = layer["mediaType"].as_str().unwrap_or_default().to_owned();
    let expected = diff_id.as_str().and_then(|text| Digest::new(text).ok());
    let expected = expected.ok_or_else(|| BaseError::Malformed {
        what: "the configuration".into(),
        why: "a diff id is no digest".into(),
    })?;
    // The configuration's word for the unpacked bytes is checked where we can unpack; else it is taken along.
    if media_type.ends_with("gzip") || media_type.ends_with(".tar") {
        let stored = fs::File::open(&path).map_err(unreadable)?;
        let plain: Box<dyn Read> = if media_type.ends_with("gzip") {
            Box::new(GzDecoder::new(stored))
        } else {
            Box::new(stored)
        };
        let mut unpacked = Hashing::new(plain);
        io::copy(&mut unpacked, &mut io::sink()).map_err(unreadable)?;
        check("unpacked layer", &expected, unpacked.digest())?;
    }
    let name = LAYER_NAME.to_owned();
    Ok(LayerBlob { name, digest, size: file.bytes, diff_id: expected, media_type, path })
}

fn checked_manifest(source: &dyn Source, digest: &Digest) -> Result<Value, BaseError> {
    checked_json("manifest", digest, &source.manifest(digest)?)
}

fn checked_json(what: &str, expected: &Digest, bytes: &[u8]) -> Result<Value, BaseError> {
    check(what, expected, Digest::of(bytes))?;
    serde_json::from_slice(bytes).map_err(|error| BaseError::Malformed {
        what: format!("the {what}"),
        why: error.to_string(),
    })
}

fn check(what: &str, expected: &Digest, found: Digest) -> Result<(), BaseError> {
    if *expected == found {
        return Ok(());
    }
    Err(BaseError::WrongDigest { what: what.to_owned(), expected: expected.clone(), found })
}

fn digest_in(descriptor: &Value, what: &str) -> Result<Digest, BaseError> {
    let digest = descriptor["digest"].as_str().and_then(|text| Digest::new(text).ok());
    digest.ok_or_else(|| BaseError::Malformed {
        what: "the manifest".into(),
        why: format!("{what} without digest"),
    })
}

fn for_this_machine(entries: &[Value]) -> Option<Digest> {
    let fits = |entry: &&Value| {
        let platform = &entry["platform"];
        platform["os"] == "linux" && platform["architecture"] == architecture()
    };
    Digest::new(entries.iter().find(fits)?["digest"].as_str()?).ok()
}

impl Base {
    pub(crate) fn env_of(config: &Value) -> BTreeMap<String, String> {
        let entries = config["config"]["Env"].as_array().into_iter().flatten();
        let pairs = entries.filter_map(|entry| entry.as_str()?.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    pub(crate) fn labels_of(config: &Value) -> BTreeMap<String, String> {
        let entries = config["config"]["Labels"].as_object().into_iter().flatten();
        entries
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    }
}

/// A folder in the OCI image layout.
struct Layout {
    folder: PathBuf,
}

impl Layout {
    fn copy(&self, digest: &Digest, size_max: u64, out: &mut dyn Write) -> Result<(), BaseError> {
        let path = self.folder.join("blobs/sha256").join(digest.hex());
        let unreadable = |source| BaseError::Unreadable { path: path.clone(), source };
        let file = fs::File::open(&path).map_err(unreadable)?;
        io::copy(&mut file.take(size_max), out).map_err(unreadable)?;
        Ok(())
    }
}

impl Source for Layout {
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, BaseError> {
        let mut bytes = Vec::new();
        self.copy(digest, DOCUMENT_BYTES_MAX, &mut bytes)?;
        Ok(bytes)
    }

    fn blob(&self, digest: &Digest, size_max: u64, out: &mut dyn Write) -> Result<(), BaseError> {
        self.copy(digest, size_max, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_needs_a_digest() {
        let digest = Digest::of(b"x");
        let layout = Reference::Layout { folder: "images/debian".into(), digest: digest.clone() };
        for prefix in ["oci", "oci-layout"] {
            let text = format!("{prefix}:images/debian@{digest}");
            assert_eq!(Reference::parse(&text).unwrap(), layout);
        }
        let text = format!("127.0.0.1:5000/debian:12@{digest}");
        let name = "127.0.0.1:5000/debian:12".to_owned();
        assert_eq!(Reference::parse(&text).unwrap(), Reference::Registry { name, digest });
        let error = Reference::parse("debian:12").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`debian:12` has no digest; write it as `debian:12@sha256:…`"
        );
        assert!(Reference::parse("debian@sha256:12").is_err());
    }
}
