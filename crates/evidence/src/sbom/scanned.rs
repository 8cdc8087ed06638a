//! The bill of materials of something that was only looked at: a base image, a foreign image, a folder.

use std::collections::{BTreeMap, BTreeSet};

use humdrum_model::name::Digest;
use jiff::Timestamp;

use super::cyclonedx::{Bom, Component, Licence, Property};
use super::{About, Materials, sha256};
use crate::ecosystem::{self, LockError, SourceFile};
use crate::purl::{self, Parts, PurlError};
use crate::scan::image::{ImageFacts, PlacedPackage};

/// What is described, and when.
#[derive(Debug, Clone, Copy)]
pub struct ScannedInput<'a> {
    /// A repository's or folder's name.
    pub name: &'a str,
    /// The image's digest; none for a folder.
    pub digest: Option<&'a Digest>,
    /// The time that the document bears: an image's own creation time keeps it the same for the same bytes.
    pub time: Timestamp,
    pub humdrum_version: &'a str,
    pub facts: &'a ImageFacts,
    /// Lock files of a source tree; none for an image, where what is installed counts.
    pub locks: &'a [SourceFile<'a>],
}

/// Why it cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScannedError {
    #[error("the subject is named badly")]
    Name(#[from] PurlError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Writes the bill of materials of a scan.
pub fn sbom(input: &ScannedInput<'_>) -> Result<Bom, ScannedError> {
    let mut parts = Materials::default();
    let (graphs, not_read) = ecosystem::read_all(input.locks)?;
    for lock in &graphs {
        parts.add_lock_graph(lock, |package| package.purl.clone());
    }
    // What nothing else needs is what the subject itself was given.
    let listed = parts.add_scanned(input.facts);
    parts.root_needs.extend(listed);
    parts.root_known = not_read.is_empty() && input.facts.notes.is_empty();
    parts.notes.extend(not_read);
    let kind = if input.digest.is_some() { "oci" } else { "generic" };
    let name = input.name.rsplit('/').next().unwrap_or(input.name).to_ascii_lowercase();
    let version = input.digest.map(Digest::as_str);
    let purl = purl::purl(kind, &Parts { name: &name, version, ..Parts::default() })?;
    let root = Component {
        kind: if input.digest.is_some() { "container" } else { "application" },
        bom_ref: Some(purl.clone()),
        name: input.name.to_owned(),
        version: version.map(str::to_owned),
        hashes: input.digest.map(sha256).into_iter().collect(),
        purl: Some(purl),
        ..Component::default()
    };
    let about =
        About { time: input.time, phase: "post-build", humdrum_version: input.humdrum_version };
    Ok(parts.finish(about, root))
}

impl Materials {
    /// Adds what a scan found; gives the references that no other found package needs.
    pub(super) fn add_scanned(&mut self, facts: &ImageFacts) -> BTreeSet<String> {
        let mut by_name: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
        for placed in &facts.packages {
            let name = full_name(placed);
            by_name.entry((&placed.package.kind, name)).or_default().insert(&placed.purl);
        }
        let mut needed = BTreeSet::new();
        for placed in &facts.packages {
            match self.components.entry(placed.purl.clone()) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(component(placed));
                }
                std::collections::btree_map::Entry::Occupied(mut place) => {
                    super::merge(place.get_mut(), component(placed));
                }
            }
            let mut complete = knows_needs(&placed.package.kind);
            let own = self.needs.entry(placed.purl.clone()).or_default();
            for need in &placed.package.needs {
                // A name that is found twice may mean either; both are in the image.
                match by_name.get(&(placed.package.kind.as_str(), need.clone())) {
                    Some(found) => {
                        let others = found.iter().filter(|purl| **purl != placed.purl);
                        for purl in others {
                            own.insert((*purl).to_owned());
                            needed.insert((*purl).to_owned());
                        }
                    }
                    None => complete = false,
                }
            }
            if !complete {
                self.incomplete.insert(placed.purl.clone());
            }
        }
        self.notes.extend(facts.notes.iter().cloned());
        facts
            .packages
            .iter()
            .map(|placed| placed.purl.clone())
            .filter(|purl| !needed.contains(purl))
            .collect()
    }
}

/// Kinds whose own metadata names what a package needs.
fn knows_needs(kind: &str) -> bool {
    !matches!(kind, "golang" | "maven" | "rpm")
}

/// The name by which others need it: `@scope/name`, `vendor/name`, `name`.
fn full_name(placed: &PlacedPackage) -> String {
    match &placed.package.namespace {
        Some(namespace) => format!("{namespace}/{}", placed.package.name),
        None => placed.package.name.clone(),
    }
}

fn component(placed: &PlacedPackage) -> Component {
    let package = &placed.package;
    let mut properties = vec![Property::own("found-in", &placed.path)];
    if let Some(layer) = &placed.layer {
        properties.push(Property::own("layer", layer.to_string()));
    }
    Component {
        kind: "library",
        bom_ref: Some(placed.purl.clone()),
        group: package.namespace.clone(),
        name: package.name.clone(),
        version: Some(package.version.clone()).filter(|version| !version.is_empty()),
        scope: Some("required"),
        licenses: package.licence.as_deref().map(Licence::of).into_iter().collect(),
        purl: Some(placed.purl.clone()),
        properties,
        ..Component::default()
    }
}
