//! `humdrum scan`: what a folder or an image holds, read once, offline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use humdrum_evidence::ecosystem::{self, LOCK_FILE_BYTES_MAX, SourceFile};
use humdrum_evidence::sbom::cyclonedx::Bom;
use humdrum_evidence::sbom::{scanned, spdx};
use humdrum_evidence::scan::image::{ImageFacts, image};
use humdrum_evidence::scan::{Head, LayerFacts, Pass, layer};
use humdrum_model::name::Digest;
use jiff::Timestamp;

use super::verify::layout::{self, Contents};
use super::verify::split;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

/// Packages that are listed for people; all of them are in every document.
const LISTED: usize = 200;
/// Folders inside folders.
const DEPTH_MAX: usize = 64;
/// Whatever is in here belongs to version control, not to the tree.
const LEFT_OUT: &[&str] = &[".git", ".hg", ".svn"];

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// A folder, or an image in an OCI layout: `oci:DIR`, `oci:DIR:tag`, `oci:DIR@sha256:…`.
    #[arg(value_name = "FOLDER|IMAGE")]
    subject: String,
    /// Print a bill of materials instead of a summary.
    #[arg(long, value_enum, value_name = "FORMAT")]
    sbom: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// CycloneDX 1.6, JSON.
    Cyclonedx,
    /// SPDX 2.3, JSON.
    Spdx,
}

/// What was looked into.
struct Looked {
    name: String,
    digest: Option<Digest>,
    created: Timestamp,
    facts: ImageFacts,
    locks: Vec<(String, Vec<u8>)>,
}

impl Scan {
    pub(crate) fn run(self, _: &Places, ui: &Ui) -> Outcome {
        let looked = match self.subject.strip_prefix("oci:") {
            Some(rest) => of_layout(rest)?,
            None => of_folder(Path::new(&self.subject))?,
        };
        let bom = bom(&looked)?;
        match self.sbom {
            Some(Format::Cyclonedx) => ui.raw(&text(bom.to_bytes())),
            Some(Format::Spdx) => ui.raw(&text(spdx::document(&bom).to_bytes())),
            None => summary(&looked, &bom, ui),
        }
        Ok(Exit::Ok)
    }
}

fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).expect("JSON is UTF-8")
}

fn bom(looked: &Looked) -> Result<Bom, Failure> {
    let locks: Vec<SourceFile<'_>> =
        looked.locks.iter().map(|(path, bytes)| SourceFile { path, bytes }).collect();
    let input = scanned::ScannedInput {
        name: &looked.name,
        digest: looked.digest.as_ref(),
        time: looked.created,
        humdrum_version: env!("CARGO_PKG_VERSION"),
        facts: &looked.facts,
        locks: &locks,
    };
    scanned::sbom(&input).map_err(|error| {
        let what = format!("`{}` cannot be described: {error}", looked.name);
        Failure::new(Exit::BadInput, "scan", what).cause(&error)
    })
}

fn of_layout(rest: &str) -> Result<Looked, Failure> {
    let bad = |why: String| {
        Failure::new(Exit::BadInput, "reference", format!("`oci:{rest}` names no image: {why}"))
            .next("humdrum scan oci:DIR")
    };
    let (folder, pick) = split(rest).map_err(bad)?;
    let Contents { digest, created, layers } = layout::contents(Path::new(folder), &pick)?;
    let created = created.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut facts: Vec<(Digest, LayerFacts)> = vec![];
    for (layer_digest, path) in layers {
        facts.push((layer_digest, of_layer(&path)?));
    }
    let facts = image(facts.iter().map(|(digest, facts)| (Some(digest), facts)));
    Ok(Looked { name: folder.to_owned(), digest: Some(digest), created, facts, locks: vec![] })
}

fn of_layer(path: &Path) -> Result<LayerFacts, Failure> {
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    layer::scan(file, None).map_err(|error| {
        Failure::new(Exit::BadInput, "scan", format!("the layer cannot be scanned: {error}"))
            .cause(&error)
            .at(path.display().to_string())
            .next("humdrum verify oci:DIR checks every byte of the layout")
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let what = format!("`{}` cannot be read", path.display());
    Failure::new(Exit::BadInput, "scan", what)
        .cause(error)
        .next("humdrum scan FOLDER or humdrum scan oci:DIR")
}

fn of_folder(folder: &Path) -> Result<Looked, Failure> {
    let absolute = std::fs::canonicalize(folder).map_err(|error| unreadable(folder, &error))?;
    let mut walk = Walk { root: absolute.clone(), pass: Pass::new(None), locks: vec![] };
    walk.folder("", 0)?;
    let facts = walk.pass.finish();
    let name =
        absolute.file_name().map_or("root".into(), |name| name.to_string_lossy().into_owned());
    Ok(Looked {
        name,
        digest: None,
        // A folder has no time of its own, and the same files should give the same document.
        created: Timestamp::UNIX_EPOCH,
        facts: image([(None, &facts)]),
        locks: walk.locks,
    })
}

/// A walk through a folder; links are named and never followed.
struct Walk {
    root: PathBuf,
    pass: Pass<'static>,
    locks: Vec<(String, Vec<u8>)>,
}

impl Walk {
    fn folder(&mut self, below: &str, depth: usize) -> Result<(), Failure> {
        let path = self.root.join(below);
        let entries = std::fs::read_dir(&path).map_err(|error| unreadable(&path, &error))?;
        let mut entries: Vec<_> =
            entries.collect::<Result<_, _>>().map_err(|error| unreadable(&path, &error))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), &error))?;
            if kind.is_dir() {
                if !LEFT_OUT.contains(&name.as_str()) && depth < DEPTH_MAX {
                    self.folder(&path, depth + 1)?;
                }
            } else if kind.is_file() {
                self.file(&path, &entry.path())?;
            } else {
                self.pass.other(&path).map_err(|error| refused(&entry.path(), &error))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, below: &str, path: &Path) -> Result<(), Failure> {
        use std::os::unix::fs::PermissionsExt;
        let mut file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
        let about = file.metadata().map_err(|error| unreadable(path, &error))?;
        let executable = about.permissions().mode() & 0o111 != 0;
        let head = Head { size: about.len(), executable };
        self.pass.file(below, head, &mut file).map_err(|error| refused(path, &error))?;
        if ecosystem::is_wanted(below) && about.len() <= LOCK_FILE_BYTES_MAX as u64 {
            let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
            self.locks.push((below.to_owned(), bytes));
        }
        Ok(())
    }
}

fn refused(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::BadInput, "scan", format!("`{}` cannot be scanned", path.display()))
        .cause(error)
}

fn summary(looked: &Looked, bom: &Bom, ui: &Ui) {
    ui.document(&serde_json::json!({
        "subject": looked.name,
        "digest": looked.digest,
        "facts": looked.facts,
        "components": bom.components.len(),
    }));
    let facts = &looked.facts;
    let system =
        facts.os.as_ref().map_or(String::new(), |os| format!(", {} {}", os.id, os.version));
    ui.line(format!(
        "{}: {} components, {} files, {}{system}",
        ui.tone(Tone::Strong, &looked.name),
        bom.components.len(),
        facts.files,
        super::build::size(facts.bytes),
    ));
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for component in &bom.components {
        *kinds.entry(kind_of(component.purl.as_deref())).or_default() += 1;
    }
    for (kind, count) in kinds {
        ui.line(format!("  {count:>6} {kind}"));
    }
    for component in bom.components.iter().take(LISTED) {
        let licence = component.licenses.first().map_or(String::new(), |licence| match licence {
            humdrum_evidence::sbom::cyclonedx::Licence::Expression(text) => format!("  {text}"),
            humdrum_evidence::sbom::cyclonedx::Licence::License(named) => {
                format!("  ({})", named.name)
            }
        });
        let purl = component.purl.as_deref().unwrap_or(&component.name);
        ui.line(format!("{purl}{}", ui.tone(Tone::Quiet, &licence)));
    }
    if bom.components.len() > LISTED {
        let more = bom.components.len() - LISTED;
        ui.line(format!("… and {more} more: humdrum scan --sbom cyclonedx lists all"));
    }
    for note in &facts.notes {
        ui.line(format!("not looked at: {note}"));
    }
}

/// The type of a package URL.
fn kind_of(purl: Option<&str>) -> &str {
    let kind = purl.and_then(|purl| purl.strip_prefix("pkg:")?.split('/').next());
    kind.unwrap_or("without a package URL")
}
