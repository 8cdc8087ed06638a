//! Looking into the layers of an image, each layer once: what was found is kept by the layer's digest.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use humdrum_build::layer::LayerBlob;
use humdrum_evidence::scan::image::{ImageFacts, image};
use humdrum_evidence::scan::{self, FORMAT, LayerFacts, ScanError};
use humdrum_evidence::secret::{Leak, Options, RuleSet, Scanner};
use humdrum_model::finding::{FindingKind, ScanReport};
use humdrum_model::name::Digest;
use jiff::Timestamp;

/// Rules are part of the program, so another version reads layers again.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Kept facts of one layer, in bytes; a layer of 300,000 files needs 40 MB.
const KEPT_BYTES_MAX: u64 = 256 << 20;

/// Layers whose facts are kept. Each release brings one of its own, so without a limit the folder would grow for ever.
const KEPT_LAYERS_MAX: usize = 512;

/// What is known of layers, in files named by digest. Losing it costs time, never truth.
pub(super) struct Layers {
    folder: PathBuf,
    /// Made when the first layer is read: its tables take some milliseconds.
    secrets: LazyLock<Scanner>,
}

/// Why a layer's contents are not known. Each message completes "cannot look into layer …: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum LayersError {
    #[error("`{digest}` cannot be opened: {source}")]
    Open { digest: Digest, source: io::Error },
    #[error("`{digest}`: {source}")]
    Scan { digest: Digest, source: ScanError },
}

fn shipped() -> Scanner {
    Scanner::new(RuleSet::shipped(), Options::default())
}

/// What the search for secrets says of an image.
pub(super) fn secret_report(facts: &ImageFacts, at: Timestamp) -> ScanReport {
    ScanReport {
        kind: FindingKind::Secret,
        scanner: format!("humdrum {VERSION}"),
        at,
        data_as_of: None,
        failed: None,
        findings: facts.secrets.clone(),
    }
}

impl Layers {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, secrets: LazyLock::new(shipped) }
    }

    /// What the given layers hold, laid on top of each other, the lowest first.
    pub(super) fn image<'a>(
        &self,
        layers: impl Iterator<Item = &'a LayerBlob>,
    ) -> Result<ImageFacts, LayersError> {
        let mut all = vec![];
        for layer in layers {
            all.push((&layer.digest, self.layer(&layer.digest, &layer.path)?));
        }
        Ok(image(all.iter().map(|(digest, facts)| (Some(*digest), facts))))
    }

    fn layer(&self, digest: &Digest, path: &Path) -> Result<LayerFacts, LayersError> {
        let kept = self.folder.join(format!("{FORMAT}-{VERSION}-{}.json", digest.hex()));
        if let Some(facts) = read(&kept) {
            return Ok(facts);
        }
        let file = std::fs::File::open(path)
            .map_err(|source| LayersError::Open { digest: digest.clone(), source })?;
        let search = |path: &str, bytes: &[u8]| {
            self.secrets.scan_bytes(path, bytes).iter().map(Leak::finding).collect()
        };
        let facts = scan::layer::scan(file, Some(&search))
            .map_err(|source| LayersError::Scan { digest: digest.clone(), source })?;
        if let Err(error) = self.keep(&kept, &facts) {
            tracing::warn!(path = %kept.display(), %error, "what a layer holds cannot be kept; it will be read again");
        }
        Ok(facts)
    }

    /// Written beside and renamed, so that a half-written file is never read.
    fn keep(&self, kept: &Path, facts: &LayerFacts) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let draft = tempfile_name(kept);
        let file = io::BufWriter::new(std::fs::File::create(&draft)?);
        serde_json::to_writer(file, facts)?;
        std::fs::rename(&draft, kept)?;
        forget_oldest(&self.folder, KEPT_LAYERS_MAX)
    }
}

/// Leaves the files that were written last. What is forgotten is read again when it is asked for.
fn forget_oldest(folder: &Path, max: usize) -> io::Result<()> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    for (_, path) in &files[..files.len().saturating_sub(max)] {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

fn tempfile_name(kept: &Path) -> PathBuf {
    kept.with_extension(format!("{}.new", std::process::id()))
}

/// Facts of this format, or nothing: a damaged file is simply made again.
fn read(kept: &Path) -> Option<LayerFacts> {
    let file = std::fs::File::open(kept).ok()?;
    if file.metadata().ok()?.len() > KEPT_BYTES_MAX {
        return None;
    }
    let facts: LayerFacts = serde_json::from_reader(io::BufReader::new(file)).ok()?;
    (facts.format == FORMAT).then_some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(folder: &Path, name: &str, status: &str) -> LayerBlob {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(status.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, "var/lib/dpkg/status", status.as_bytes()).unwrap();
        let bytes = archive.into_inner().unwrap();
        let path = folder.join(name);
        std::fs::write(&path, &bytes).unwrap();
        LayerBlob {
            name: name.into(),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            diff_id: Digest::of(&bytes),
            media_type: "application/vnd.oci.image.layer.v1.tar".into(),
            path,
        }
    }

    #[test]
    fn a_layer_is_read_once_and_damage_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let layers = Layers::new(folder.path().join("scans"));
        let status = "Package: musl\nStatus: install ok installed\nVersion: 1.2\n";
        let blob = blob(folder.path(), "base", status);
        let first = layers.image([&blob].into_iter()).unwrap();
        assert_eq!(first.packages[0].package.name, "musl");
        let bytes = std::fs::read(&blob.path).unwrap();
        std::fs::remove_file(&blob.path).unwrap();
        assert_eq!(layers.image([&blob].into_iter()).unwrap(), first, "kept facts are used");
        let kept = std::fs::read_dir(folder.path().join("scans")).unwrap().next().unwrap();
        std::fs::write(kept.unwrap().path(), b"{ half").unwrap();
        let error = layers.image([&blob].into_iter()).unwrap_err();
        assert!(error.to_string().ends_with("(os error 2)"), "{error}");
        std::fs::write(&blob.path, bytes).unwrap();
        assert_eq!(layers.image([&blob].into_iter()).unwrap(), first);
    }

    #[test]
    fn only_the_newest_facts_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..5 {
            let file = std::fs::File::create(folder.path().join(format!("{number}.json"))).unwrap();
            // Written in the order opposite to their names.
            let age = std::time::Duration::from_secs(1_000 - number);
            file.set_modified(std::time::UNIX_EPOCH + age).unwrap();
        }
        forget_oldest(folder.path(), 2).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["0.json", "1.json"]);
    }
}
