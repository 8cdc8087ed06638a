//! The bill of materials of a service: every locked package with its graph, files of the build host, and the base image.
//!
//! The same input gives the same bytes: the time is the commit's, the serial number a hash of the rest. What is not known is
//! said: in `compositions` for programs and in `metadata.properties` for people.

pub mod cyclonedx;
pub mod scanned;
pub mod spdx;

use std::collections::{BTreeMap, BTreeSet};

use humdrum_model::name::{Commit, Digest, ServiceName};
use jiff::Timestamp;

use crate::ecosystem::{self, Hash, LockError, LockGraph, Package, Scope, SourceFile};
use crate::material::{BaseImage, HostFile, HostPackage};
use crate::purl::{self, Parts, PurlError};
use crate::scan::image::ImageFacts;
use cyclonedx::{
    Bom, Component, Composition, Dependency, ExternalReference, Lifecycle, Metadata, Property,
    Tools,
};

/// What a bill of materials is made from.
#[derive(Debug, Clone, Copy)]
pub struct SbomInput<'a> {
    pub service: &'a ServiceName,
    pub commit: &'a Commit,
    pub commit_time: Timestamp,
    /// Where the commit can be had, if that can be told.
    pub repository: Option<&'a str>,
    pub humdrum_version: &'a str,
    /// Lock files and companions, see [`ecosystem::is_wanted`]; others are ignored.
    pub files: &'a [SourceFile<'a>],
    pub host_files: &'a [HostFile],
    pub base: Option<&'a BaseImage>,
    /// What a scan of the base image found; without it the document says that its contents are not listed.
    pub base_contents: Option<&'a ImageFacts>,
}

/// Why no bill of materials can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SbomError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("a part of the image is named badly")]
    Name(#[from] PurlError),
}

/// Writes the bill of materials.
pub fn sbom(input: &SbomInput<'_>) -> Result<Bom, SbomError> {
    let (graphs, not_read) = ecosystem::read_all(input.files)?;
    let mut parts = Materials::default();
    for lock in &graphs {
        parts.add_lock(lock, input);
    }
    parts.add_host_files(input.host_files)?;
    if let Some(base) = input.base {
        parts.add_base(base, input.base_contents)?;
    }
    parts.notes.extend(not_read.iter().cloned());
    if !not_read.is_empty() {
        parts.root_known = false;
    }
    let about =
        About { time: input.commit_time, phase: "build", humdrum_version: input.humdrum_version };
    Ok(parts.finish(about, root(input)?))
}

/// What the head of a document tells beside its subject.
#[derive(Clone, Copy)]
struct About<'a> {
    time: Timestamp,
    /// CycloneDX's name of the moment in a product's life: `build`, `post-build`.
    phase: &'static str,
    humdrum_version: &'a str,
}

/// The parts of the document while it is put together; keys are `bom-ref`s.
struct Materials {
    components: BTreeMap<String, Component>,
    needs: BTreeMap<String, BTreeSet<String>>,
    root_needs: BTreeSet<String>,
    /// Whether everything that the service itself needs is listed.
    root_known: bool,
    /// Components whose needs are not all known.
    incomplete: BTreeSet<String>,
    /// Components whose needs are not known at all.
    unknown: BTreeSet<String>,
    /// Components whose contents are not described.
    opaque: BTreeSet<String>,
    notes: BTreeSet<String>,
}

impl Default for Materials {
    fn default() -> Self {
        Self {
            components: BTreeMap::new(),
            needs: BTreeMap::new(),
            root_needs: BTreeSet::new(),
            root_known: true,
            incomplete: BTreeSet::new(),
            unknown: BTreeSet::new(),
            opaque: BTreeSet::new(),
            notes: BTreeSet::new(),
        }
    }
}

impl Materials {
    fn add_lock(&mut self, lock: &LockGraph, input: &SbomInput<'_>) {
        self.add_lock_graph(lock, |package| reference(package, input));
    }

    fn add_lock_graph(&mut self, lock: &LockGraph, reference: impl Fn(&Package) -> String) {
        let graph = &lock.graph;
        let references: Vec<String> = graph.packages.iter().map(reference).collect();
        for (package, reference) in graph.packages.iter().zip(&references) {
            let fresh = component(package, reference, &lock.path);
            match self.components.entry(reference.clone()) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(fresh);
                }
                std::collections::btree_map::Entry::Occupied(mut place) => {
                    merge(place.get_mut(), fresh)
                }
            }
            self.needs.entry(reference.clone()).or_default();
        }
        for (from, to) in &graph.edges {
            let targets = to.iter().map(|index| references[*index].clone());
            let own = &references[*from];
            self.needs
                .entry(own.clone())
                .or_default()
                .extend(targets.filter(|target| target != own));
        }
        self.root_needs.extend(graph.roots.iter().map(|index| references[*index].clone()));
        if !graph.edges_complete {
            self.incomplete.extend(references);
        }
        self.notes.extend(graph.unknown.iter().cloned());
    }

    fn add_host_files(&mut self, files: &[HostFile]) -> Result<(), PurlError> {
        let mut by_package: BTreeMap<Option<&HostPackage>, BTreeMap<(&str, &Digest), Component>> =
            BTreeMap::new();
        for file in files {
            by_package
                .entry(file.package.as_ref())
                .or_default()
                .insert((&file.path, &file.digest), file_component(file));
        }
        for (package, files) in by_package {
            let files = files.into_values();
            let Some(package) = package else {
                files.for_each(|file| self.add_opaque(file));
                continue;
            };
            let purl = package.purl()?;
            self.add_opaque(Component {
                kind: "library",
                bom_ref: Some(purl.clone()),
                name: package.name.clone(),
                version: Some(package.version.clone()),
                scope: Some("required"),
                purl: Some(purl),
                components: files.collect(),
                properties: vec![Property::own("origin", "build host")],
                ..Component::default()
            });
        }
        Ok(())
    }

    fn add_base(
        &mut self,
        base: &BaseImage,
        contents: Option<&ImageFacts>,
    ) -> Result<(), PurlError> {
        let purl = base.purl()?;
        if contents.is_none() {
            self.opaque.insert(purl.clone());
            let name = &base.reference;
            self.notes.insert(format!("the contents of the base image `{name}` are not listed"));
        }
        self.add_opaque(Component {
            kind: "container",
            bom_ref: Some(purl.clone()),
            name: base.reference.clone(),
            version: Some(base.digest.to_string()),
            scope: Some("required"),
            hashes: vec![sha256(&base.digest)],
            purl: Some(purl.clone()),
            ..Component::default()
        });
        if let Some(contents) = contents {
            let listed = self.add_scanned(contents);
            self.unknown.remove(&purl);
            self.needs.entry(purl).or_default().extend(listed);
        }
        Ok(())
    }

    /// Adds something that the image holds and whose needs nothing tells.
    fn add_opaque(&mut self, component: Component) {
        let reference = component.bom_ref.clone().unwrap_or_default();
        self.root_needs.insert(reference.clone());
        self.unknown.insert(reference.clone());
        self.components.insert(reference, component);
    }

    fn finish(self, about: About<'_>, root: Component) -> Bom {
        let compositions = self.compositions(root.bom_ref.clone().unwrap_or_default());
        let root_entry = Dependency {
            reference: root.bom_ref.clone().unwrap_or_default(),
            depends_on: self.root_needs.into_iter().collect(),
        };
        let entries = self.needs.into_iter().map(|(reference, needs)| Dependency {
            reference,
            depends_on: needs.into_iter().collect(),
        });
        let bom = Bom {
            bom_format: "CycloneDX",
            spec_version: "1.6",
            serial_number: None,
            version: 1,
            metadata: Metadata {
                timestamp: about.time.to_string(),
                lifecycles: vec![Lifecycle { phase: about.phase }],
                tools: Tools { components: vec![tool(about.humdrum_version)] },
                component: root,
                properties: self
                    .notes
                    .into_iter()
                    .map(|note| Property::own("not-known", note))
                    .collect(),
            },
            components: self.components.into_values().collect(),
            dependencies: std::iter::once(root_entry).chain(entries).collect(),
            compositions,
        };
        let serial_number = serial_number(&Digest::of(&bom.to_bytes()));
        Bom { serial_number: Some(serial_number), ..bom }
    }

    fn compositions(&self, root: String) -> Vec<Composition> {
        let mut complete: Vec<String> = self
            .needs
            .keys()
            .filter(|reference| !self.incomplete.contains(*reference))
            .cloned()
            .collect();
        let mut incomplete: Vec<String> = self.incomplete.iter().cloned().collect();
        if self.root_known {
            complete.push(root)
        } else {
            incomplete.push(root)
        }
        let aggregate = |aggregate, assemblies: Vec<String>, dependencies: Vec<String>| {
            Composition { aggregate, assemblies, dependencies }
        };
        [
            aggregate("complete", vec![], complete),
            aggregate("incomplete", vec![], incomplete),
            aggregate(
                "unknown",
                self.opaque.iter().cloned().collect(),
                self.unknown.iter().cloned().collect(),
            ),
        ]
        .into_iter()
        .filter(|composition| !composition.dependencies.is_empty())
        .collect()
    }
}

/// The service itself, with the commit as its version.
fn root(input: &SbomInput<'_>) -> Result<Component, PurlError> {
    let vcs = input.repository.map(|repository| source_url(repository, input.commit));
    let qualifiers = [("vcs_url", vcs.as_deref().unwrap_or_default())];
    let parts = Parts {
        namespace: None,
        name: input.service.as_str(),
        version: Some(input.commit.as_str()),
        qualifiers: &qualifiers,
    };
    let purl = purl::purl("generic", &parts)?;
    let repository = input.repository.map(|url| ExternalReference {
        url: url.to_owned(),
        kind: "vcs",
        hashes: vec![],
    });
    Ok(Component {
        kind: "application",
        bom_ref: Some(purl.clone()),
        name: input.service.to_string(),
        version: Some(input.commit.to_string()),
        purl: Some(purl),
        external_references: repository.into_iter().collect(),
        ..Component::default()
    })
}

fn tool(version: &str) -> Component {
    Component {
        kind: "application",
        name: "humdrum".to_owned(),
        version: Some(version.to_owned()),
        ..Component::default()
    }
}

fn source_url(repository: &str, commit: &Commit) -> String {
    purl::vcs_url(&format!("{repository}#{commit}"))
}

/// A package's own URL; one of the source tree also names the commit, so that it is not taken for a published one.
fn reference(package: &Package, input: &SbomInput<'_>) -> String {
    match input.repository.filter(|_| package.local) {
        Some(repository) => {
            purl::with_qualifier(&package.purl, "vcs_url", &source_url(repository, input.commit))
                .unwrap_or_else(|| package.purl.clone())
        }
        None => package.purl.clone(),
    }
}

fn component(package: &Package, reference: &str, lock: &str) -> Component {
    let mut properties = vec![Property::own("lock-file", lock)];
    if package.local {
        properties.push(Property::own("origin", "this commit"));
    }
    properties.extend(package.properties.iter().map(|(name, value)| Property::own(name, value)));
    Component {
        kind: "library",
        bom_ref: Some(reference.to_owned()),
        group: package.group.clone(),
        name: package.name.clone(),
        version: package.version.clone(),
        scope: Some(match package.scope {
            Scope::Required => "required",
            Scope::Optional => "optional",
            Scope::Excluded => "excluded",
        }),
        hashes: package.hashes.iter().map(hash).collect(),
        purl: Some(reference.to_owned()),
        licenses: vec![],
        external_references: package
            .distributions
            .iter()
            .map(|file| ExternalReference {
                url: file.url.clone(),
                kind: "distribution",
                hashes: file.hashes.iter().map(hash).collect(),
            })
            .collect(),
        components: vec![],
        properties,
    }
}

/// Joins what two lock files (or two places in one) say about the same package.
fn merge(into: &mut Component, other: Component) {
    // Needed anywhere is needed: `required` before `optional` before `excluded`.
    let rank = |scope: Option<&str>| {
        ["required", "optional", "excluded"].iter().position(|known| scope == Some(known))
    };
    if rank(other.scope) < rank(into.scope) {
        into.scope = other.scope;
    }
    join(&mut into.hashes, other.hashes);
    join(&mut into.external_references, other.external_references);
    join(&mut into.properties, other.properties);
}

fn join<T: Ord>(into: &mut Vec<T>, other: Vec<T>) {
    into.extend(other);
    into.sort();
    into.dedup();
}

fn file_component(file: &HostFile) -> Component {
    Component {
        kind: "file",
        bom_ref: Some(format!("file:{}#{}", file.path, file.digest.short())),
        name: file.path.clone(),
        hashes: vec![sha256(&file.digest)],
        properties: vec![Property::own("origin", "build host")],
        ..Component::default()
    }
}

fn hash(hash: &Hash) -> cyclonedx::Hash {
    cyclonedx::Hash { alg: hash.algorithm, content: hash.hex.clone() }
}

fn sha256(digest: &Digest) -> cyclonedx::Hash {
    cyclonedx::Hash { alg: "SHA-256", content: digest.hex().to_owned() }
}

/// A UUID of version 8 (RFC 9562: "custom") from the first 128 bits of the digest.
fn serial_number(content: &Digest) -> String {
    let hex = content.hex();
    // The variant takes the two highest bits of the fourth group: 8, 9, a or b.
    let variant = ['8', '9', 'a', 'b'][usize::from(hex.as_bytes()[16] & 3)];
    format!(
        "urn:uuid:{}-{}-8{}-{variant}{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}
