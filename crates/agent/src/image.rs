//! Images on this host: pulled by digest, unpacked once, kept while a unit names them.
//!
//! `blobs/` holds what came from the registry, `images/<digest>/` what instances run from. Both appear by a rename of
//! finished work, so a crash at any moment leaves nothing that looks complete and is not.

mod registry;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use humdrum_model::name::Digest;
use humdrum_model::unit::ImageSource;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};

use crate::durable;
use registry::PullError;
pub(crate) use registry::Registry;
use unpack::{Compression, UnpackError, Unpacker};

/// The most layers of an image; overlay file systems take 128, too.
const LAYERS_MAX: usize = 128;
/// Manifests and configurations larger than this are refused (the OCI distribution's own limit for manifests).
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// One compressed layer.
const LAYER_BYTES_MAX: u64 = 8 << 30;
/// What no unit has named and nobody has used for this long is removed.
pub(crate) const UNUSED_KEEP: Duration = Duration::from_hours(24);

/// Why an image is not there. Each completes the sentence "image … : …".
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("cannot be pulled from {registry}")]
    Pull { registry: String, source: PullError },
    #[error("{what} of the image cannot be read: {why}")]
    Document { what: &'static str, why: String },
    #[error("the image has {found} layers, at most {LAYERS_MAX} are allowed")]
    Layers { found: usize },
    #[error("layer {digest} has the media type {media_type}; tar and tar+gzip are known")]
    MediaType { digest: String, media_type: String },
    #[error("layer {digest} is refused")]
    Unpack { digest: String, source: UnpackError },
    #[error("`{}` cannot be used", path.display())]
    Disk { path: PathBuf, source: io::Error },
}

/// An unpacked image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) rootfs: PathBuf,
    /// The environment that the image itself declares.
    pub(crate) env: BTreeMap<String, String>,
}

/// All images of this host.
pub(crate) struct Images {
    blobs: PathBuf,
    images: PathBuf,
    registry: Registry,
    /// One pull of an image at a time, however many units wait for it.
    busy: Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Opens the folders and clears what a crash left half done.
    pub(crate) fn open(data: &Path, registry: Registry) -> Result<Images, ImageError> {
        let (blobs, images) = (data.join("blobs"), data.join("images"));
        for folder in [&blobs, &images] {
            fs::create_dir_all(folder).map_err(disk(folder))?;
            for entry in fs::read_dir(folder).map_err(disk(folder))?.flatten() {
                if entry.file_name().to_string_lossy().starts_with('.') {
                    durable::remove(&entry.path()).map_err(disk(&entry.path()))?;
                }
            }
        }
        Ok(Images { blobs, images, registry, busy: Mutex::default() })
    }

    /// The image when it is unpacked already.
    pub(crate) fn ready(&self, digest: &Digest) -> Option<Image> {
        let folder = self.images.join(digest.hex());
        let env = durable::read_json(&folder.join("env.json")).ok().flatten()?;
        Some(Image { rootfs: folder.join("rootfs"), env })
    }

    /// The image, pulled and unpacked when it is not there. Work that a former call finished is not repeated.
    ///
    /// The work goes on when the caller stops waiting: of two callers one after the other, the second finds it done.
    pub(crate) async fn ensure(
        self: &Arc<Self>,
        source: &ImageSource,
    ) -> Result<Image, ImageError> {
        let (images, source) = (self.clone(), source.clone());
        let work = tokio::spawn(async move { images.pull_and_unpack(&source).await });
        work.await.unwrap_or_else(|error| {
            Err(ImageError::Document { what: "a part", why: error.to_string() })
        })
    }

    async fn pull_and_unpack(&self, source: &ImageSource) -> Result<Image, ImageError> {
        let turn = self.turn(&source.digest);
        let _mine = turn.lock().await;
        if let Some(image) = self.ready(&source.digest) {
            return Ok(image);
        }
        let manifest: ImageManifest =
            self.document(source, &source.digest, "the manifest", true).await?;
        let layers = manifest.layers();
        if layers.len() > LAYERS_MAX {
            return Err(ImageError::Layers { found: layers.len() });
        }
        let compressions =
            layers.iter().map(compression).collect::<Result<Vec<_>, ImageError>>()?;
        let config = digest_of(manifest.config(), "the configuration")?;
        let config: ImageConfiguration =
            self.document(source, &config, "the configuration", false).await?;
        let mut files = vec![];
        for (layer, compression) in layers.iter().zip(compressions) {
            files.push((self.layer(source, layer).await?, compression));
        }
        let (images, digest) = (self.images.clone(), source.digest.clone());
        let unpacked =
            tokio::task::spawn_blocking(move || unpack(&images, &digest, &config, &files));
        unpacked.await.unwrap_or_else(|error| {
            Err(ImageError::Document { what: "a layer", why: error.to_string() })
        })?;
        let why = || "it is missing after it was unpacked".to_owned();
        self.ready(&source.digest)
            .ok_or_else(|| ImageError::Document { what: "the folder", why: why() })
    }

    /// Removes images and blobs that are not in use and have rested for [`UNUSED_KEEP`].
    pub(crate) fn collect(&self, used: &BTreeSet<Digest>, now: SystemTime) {
        for folder in [&self.images, &self.blobs] {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let in_use =
                    name.starts_with('.') || used.iter().any(|digest| digest.hex() == name);
                let rested = entry.metadata().and_then(|meta| meta.modified());
                let rested = rested
                    .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > UNUSED_KEEP));
                if !in_use
                    && rested
                    && let Err(error) = durable::remove(&entry.path())
                {
                    tracing::warn!(path = %entry.path().display(), %error, "an unused image stays");
                }
            }
        }
    }

    fn turn(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().expect("nothing panics while it holds the turns");
        busy.retain(|_, turn| Arc::strong_count(turn) > 1);
        busy.entry(digest.clone()).or_default().clone()
    }

    async fn document<T: serde::de::DeserializeOwned>(
        &self,
        source: &ImageSource,
        digest: &Digest,
        what: &'static str,
        manifest: bool,
    ) -> Result<T, ImageError> {
        let path = self.blob(source, digest, DOCUMENT_BYTES_MAX, None, manifest).await?;
        let bytes = fs::read(&path).map_err(disk(&path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| ImageError::Document { what, why: error.to_string() })
    }

    async fn layer(
        &self,
        source: &ImageSource,
        layer: &Descriptor,
    ) -> Result<(PathBuf, Digest), ImageError> {
        let digest = digest_of(layer, "a layer")?;
        let path = self.blob(source, &digest, LAYER_BYTES_MAX, Some(layer.size()), false).await?;
        Ok((path, digest))
    }

    async fn blob(
        &self,
        source: &ImageSource,
        digest: &Digest,
        max: u64,
        size: Option<u64>,
        manifest: bool,
    ) -> Result<PathBuf, ImageError> {
        let path = self.blobs.join(digest.hex());
        if path.exists() {
            return Ok(path);
        }
        let partial = self.blobs.join(format!(".{}.{}", digest.hex(), std::process::id()));
        let wanted = registry::Wanted { source, digest, max, size, manifest };
        let pulled = self.registry.pull(&wanted, &partial).await;
        if let Err(error) = pulled {
            drop(fs::remove_file(&partial));
            let registry = source.registry.clone();
            return Err(ImageError::Pull { registry, source: error });
        }
        fs::rename(&partial, &path).map_err(disk(&path))?;
        durable::sync_folder(&self.blobs).map_err(disk(&self.blobs))?;
        Ok(path)
    }
}

/// Puts all layers into a folder beside, brings it to the disk and gives it its name.
fn unpack(
    images: &Path,
    digest: &Digest,
    config: &ImageConfiguration,
    layers: &[((PathBuf, Digest), Compression)],
) -> Result<(), ImageError> {
    let beside = images.join(format!(".{}", digest.hex()));
    durable::remove(&beside).map_err(disk(&beside))?;
    let rootfs = beside.join("rootfs");
    fs::create_dir_all(&rootfs).map_err(disk(&rootfs))?;
    let mut unpacker = Unpacker::new(&rootfs).map_err(disk(&rootfs))?;
    for (index, ((path, layer), compression)) in layers.iter().enumerate() {
        let refused = |source| ImageError::Unpack { digest: layer.to_string(), source };
        let expected = config.rootfs().diff_ids().get(index).map(String::as_str);
        unpacker.layer(path, *compression, expected).map_err(refused)?;
    }
    unpacker.finish().map_err(disk(&rootfs))?;
    durable::write_json(&beside.join("env.json"), &declared_env(config)).map_err(disk(&beside))?;
    let done = images.join(digest.hex());
    durable::remove(&done).map_err(disk(&done))?;
    fs::rename(&beside, &done).map_err(disk(&done))?;
    durable::sync_folder(images).map_err(disk(images))
}

fn declared_env(config: &ImageConfiguration) -> BTreeMap<String, String> {
    let lines =
        config.config().as_ref().and_then(|config| config.env().clone()).unwrap_or_default();
    let pairs = lines.iter().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn digest_of(descriptor: &Descriptor, what: &'static str) -> Result<Digest, ImageError> {
    Digest::new(descriptor.digest().to_string())
        .map_err(|error| ImageError::Document { what, why: error.to_string() })
}

fn compression(layer: &Descriptor) -> Result<Compression, ImageError> {
    match layer.media_type() {
        MediaType::ImageLayer => Ok(Compression::None),
        MediaType::ImageLayerGzip => Ok(Compression::Gzip),
        MediaType::Other(other) if other == "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Ok(Compression::Gzip)
        }
        other => Err(ImageError::MediaType {
            digest: layer.digest().to_string(),
            media_type: other.to_string(),
        }),
    }
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Disk { path, source }
}
