//! Mends what a check found, as far as that loses nothing: bytes are moved aside, never deleted, and every row that goes is recorded first.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use humdrum_store::blobs::{BlobDigest, FileBlobs, Inspection};
use serde_json::json;

use super::{Checkup, Finding, FsckError, Kind};
use crate::manifest;

/// Where damaged things are kept, below the registry's folder, and the record of all repairs.
const DAMAGED: &str = "damaged";
const RECORD: &str = "repairs.jsonl";

/// Mends the findings of a check of `root` and answers a sentence for each that it mended. The registry must not run.
///
/// # Errors
/// [`FsckError`] when the record, a file or the index cannot be written. What was mended until then stands and is recorded.
pub fn repair(root: &Path, checkup: &Checkup, now_ms: i64) -> Result<Vec<String>, FsckError> {
    if checkup.findings.iter().any(|finding| finding.kind == Kind::IndexBroken) {
        return Ok(vec![]);
    }
    let index = Inspection::open(&root.join("registry.db"), true)?;
    let folder = root.join(DAMAGED);
    fs::create_dir_all(&folder).map_err(write(&folder))?;
    let bench = Bench { root, folder, index, now_ms };
    let mut done = Vec::new();
    for finding in &checkup.findings {
        done.extend(bench.mend(finding)?);
    }
    Ok(done)
}

fn write(path: &Path) -> impl FnOnce(std::io::Error) -> FsckError {
    let path = path.to_owned();
    move |source| FsckError::Write { path, source }
}

struct Bench<'a> {
    root: &'a Path,
    folder: PathBuf,
    index: Inspection,
    now_ms: i64,
}

impl Bench<'_> {
    fn mend(&self, finding: &Finding) -> Result<Option<String>, FsckError> {
        let subject = finding.subject.as_str();
        let repository = finding.repositories.first().map_or("", String::as_str);
        Ok(Some(match finding.kind {
            Kind::BlobMissing | Kind::BlobSize | Kind::BlobDigest => self.blob(finding)?,
            Kind::ManifestDigest | Kind::ManifestUnreadable => {
                self.manifest(finding, repository)?
            }
            Kind::ReferenceLost => {
                self.record(finding, None)?;
                self.refer(repository, subject)?;
                format!("{subject}: the index knows its references again")
            }
            Kind::ReferenceLoose => {
                self.record(finding, None)?;
                self.index.drop_loose_references()?;
                format!("{subject}: its references are removed")
            }
            Kind::TagLoose => {
                self.record(finding, None)?;
                self.index.drop_loose_tags()?;
                format!("{repository}:{subject}: the tag is removed")
            }
            Kind::IndexBroken
            | Kind::IndexDigest
            | Kind::ManifestBlob
            | Kind::Orphan
            | Kind::HalfUpload
            | Kind::Stranger => return Ok(None),
        }))
    }

    /// Bytes aside, and nobody has them: a client that asks is told so and pushes them again.
    fn blob(&self, finding: &Finding) -> Result<String, FsckError> {
        let digest = finding
            .subject
            .parse::<BlobDigest>()
            .map_err(humdrum_store::blobs::IndexError::from)?;
        let path = FileBlobs::place(self.root, &digest);
        let kept = path.exists().then(|| self.free_name(&digest.as_str().replace(':', "-")));
        self.record(finding, kept.as_deref())?;
        if let Some(kept) = &kept {
            fs::rename(&path, kept).map_err(write(kept))?;
        }
        self.index.drop_blob(digest.as_str())?;
        let place =
            kept.map_or_else(String::new, |kept| format!("is moved to `{}` and ", kept.display()));
        Ok(format!(
            "{digest}: {place}belongs to no repository any more: {}",
            finding.repositories.join(", ")
        ))
    }

    fn manifest(&self, finding: &Finding, repository: &str) -> Result<String, FsckError> {
        let digest = finding.subject.as_str();
        let kept = self.free_name(&format!("manifest-{}", digest.replace([':', '/'], "-")));
        let mut body = None;
        self.index.each_manifest(|held| {
            if held.repository == repository && held.digest == digest {
                body = Some(held.body);
            }
            Ok::<_, FsckError>(())
        })?;
        self.record(finding, Some(&kept))?;
        fs::write(&kept, body.unwrap_or_default()).map_err(write(&kept))?;
        self.index.drop_manifest(repository, digest)?;
        Ok(format!("{repository}@{digest}: is moved to `{}`", kept.display()))
    }

    fn refer(&self, repository: &str, digest: &str) -> Result<(), FsckError> {
        let mut targets = Vec::new();
        self.index.each_manifest(|held| {
            if held.repository == repository
                && held.digest == digest
                && let Ok(read) = manifest::parse(Some(&held.media_type), &held.body)
            {
                targets.extend(read.blobs.into_iter().map(|blob| blob.digest));
                targets.extend(read.children);
            }
            Ok::<_, FsckError>(())
        })?;
        for target in targets {
            self.index.refer(repository, digest, target.as_str())?;
        }
        Ok(())
    }

    /// A name that nothing has yet: the same blob may be damaged twice.
    fn free_name(&self, name: &str) -> PathBuf {
        let numbered = |n: u32| if n == 0 { name.to_owned() } else { format!("{name}.{n}") };
        let paths = (0..u32::MAX).map(|n| self.folder.join(numbered(n)));
        let free = paths.into_iter().find(|path| !path.exists());
        free.expect("a folder holds fewer than 2^32 files of one name")
    }

    /// One line, durable before the act.
    fn record(&self, finding: &Finding, kept: Option<&Path>) -> Result<(), FsckError> {
        let path = self.folder.join(RECORD);
        let line = json!({ "at_ms": self.now_ms, "finding": finding, "kept": kept });
        let append = || {
            let mut file = File::options().create(true).append(true).open(&path)?;
            writeln!(file, "{line}")?;
            file.sync_all()
        };
        append().map_err(write(&path))
    }
}
