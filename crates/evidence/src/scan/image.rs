//! What a container of an image sees: its layers on top of each other, with package URLs by distribution.

use std::collections::{BTreeMap, BTreeSet};

use humdrum_model::finding::Finding;
use humdrum_model::name::Digest;
use serde::{Deserialize, Serialize};

use super::{Found, LayerFacts, OsRelease, Package};
use crate::purl::{self, Parts};

/// What an image holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageFacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsRelease>,
    /// Ordered by package URL, then path.
    pub packages: Vec<PlacedPackage>,
    pub secrets: Vec<Finding>,
    /// Files, links and devices that can be seen.
    pub files: u64,
    /// Bytes of the files that can be seen.
    pub bytes: u64,
    /// What was not looked at, as sentences.
    pub notes: Vec<String>,
}

/// A package and where it was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlacedPackage {
    pub purl: String,
    #[serde(flatten)]
    pub package: Package,
    /// The file that told of it.
    pub path: String,
    /// The layer that has this file; none for a source tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
}

/// Lays layers on top of each other, the lowest first.
pub fn image<'a>(
    layers: impl IntoIterator<Item = (Option<&'a Digest>, &'a LayerFacts)>,
) -> ImageFacts {
    let mut files: BTreeMap<&str, u64> = BTreeMap::new();
    let mut found: BTreeMap<&str, (Option<&Digest>, &Found)> = BTreeMap::new();
    let mut notes = BTreeSet::new();
    for (digest, layer) in layers {
        let gone = |path: &str| hidden(path, layer);
        files.retain(|path, _| !gone(path));
        found.retain(|path, _| !gone(path) && !layer.files.contains_key(*path));
        files.extend(layer.files.iter().map(|(path, size)| (path.as_str(), *size)));
        found.extend(layer.found.iter().map(|(path, told)| (path.as_str(), (digest, told))));
        notes.extend(layer.notes.iter().cloned());
    }
    let os = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| found.get(path).and_then(|(_, told)| told.os.clone()));
    let mut facts = ImageFacts {
        files: files.len() as u64,
        bytes: files.values().sum(),
        ..ImageFacts::default()
    };
    for (path, (layer, told)) in found {
        facts.secrets.extend(told.secrets.iter().cloned());
        for package in &told.packages {
            match purl_of(package, os.as_ref()) {
                Ok(purl) => facts.packages.push(PlacedPackage {
                    purl,
                    package: package.clone(),
                    path: path.to_owned(),
                    layer: layer.cloned(),
                }),
                Err(error) => drop(notes.insert(format!("`{path}`: {error}"))),
            }
        }
    }
    facts.packages.sort();
    facts.notes = notes.into_iter().collect();
    facts.os = os;
    facts
}

/// Whether a layer removes a path of the layers below it: by whiteout, by an opaque folder above it, or by a file where a folder was.
fn hidden(path: &str, by: &LayerFacts) -> bool {
    if by.removed.contains(path) || (by.opaque.contains("") && !path.is_empty()) {
        return true;
    }
    path.match_indices('/').any(|(at, _)| {
        let folder = &path[..at];
        by.removed.contains(folder) || by.opaque.contains(folder) || by.files.contains_key(folder)
    })
}

/// The package URL. Distribution packages take namespace and `distro` from the image's `os-release`.
pub fn purl_of(package: &Package, os: Option<&OsRelease>) -> Result<String, purl::PurlError> {
    let of_system = matches!(package.kind.as_str(), "deb" | "apk" | "rpm");
    let os = os.filter(|_| of_system);
    let namespace = package.namespace.as_deref().or(os.map(|os| os.id.as_str()));
    let distro = os.map(|os| match os.version.as_str() {
        "" => os.id.clone(),
        version => format!("{}-{version}", os.id),
    });
    let (epoch, version) = match package.version.split_once(':') {
        // The rpm type carries the epoch as a qualifier; deb keeps it in the version.
        Some((epoch, rest)) if package.kind == "rpm" => (epoch, rest),
        _ => ("", package.version.as_str()),
    };
    let upstream = package
        .source
        .as_ref()
        .filter(|(name, version)| *name != package.name || *version != package.version);
    let upstream = upstream.map(|(name, version)| {
        if *version == package.version { name.clone() } else { format!("{name}@{version}") }
    });
    let qualifiers = [
        ("arch", package.architecture.as_deref().unwrap_or_default()),
        ("distro", distro.as_deref().unwrap_or_default()),
        ("epoch", epoch),
        ("upstream", upstream.as_deref().unwrap_or_default()),
    ];
    let parts =
        Parts { namespace, name: &package.name, version: Some(version), qualifiers: &qualifiers };
    purl::purl(catalog_kind(&package.kind), &parts)
}

/// The types that catalogs give, as the constants that package URLs are built with.
fn catalog_kind(kind: &str) -> &'static str {
    const KINDS: &[&str] = &[
        "deb", "apk", "rpm", "npm", "pypi", "golang", "cargo", "maven", "gem", "composer", "nuget",
    ];
    KINDS.iter().find(|known| **known == kind).copied().unwrap_or("generic")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(files: &[&str], removed: &[&str], opaque: &[&str]) -> LayerFacts {
        let package = |path: &str| Package {
            kind: "npm".into(),
            name: path.replace('/', "-"),
            version: "1.0.0".into(),
            ..Package::default()
        };
        let found = |path: &str| Found { packages: vec![package(path)], ..Found::default() };
        LayerFacts {
            format: super::super::FORMAT,
            files: files.iter().map(|path| ((*path).to_owned(), 10)).collect(),
            found: files.iter().map(|path| ((*path).to_owned(), found(path))).collect(),
            removed: removed.iter().map(|path| (*path).to_owned()).collect(),
            opaque: opaque.iter().map(|path| (*path).to_owned()).collect(),
            notes: vec![],
        }
    }

    fn seen(layers: &[LayerFacts]) -> Vec<String> {
        let facts = image(layers.iter().map(|layer| (None, layer)));
        assert_eq!(facts.files as usize, facts.packages.len());
        facts.packages.into_iter().map(|package| package.path).collect()
    }

    #[test]
    fn upper_layers_hide_and_remove() {
        let base = || layer(&["a/x", "a/y", "b/z"], &[], &[]);
        assert_eq!(seen(&[base(), layer(&[], &["a/x"], &[])]), ["a/y", "b/z"]);
        assert_eq!(seen(&[base(), layer(&[], &["a"], &[])]), ["b/z"]);
        assert_eq!(seen(&[base(), layer(&["a/new"], &[], &["a"])]), ["a/new", "b/z"]);
        assert_eq!(
            seen(&[base(), layer(&["a"], &[], &[])]),
            ["a", "b/z"],
            "a file where a folder was"
        );
        assert_eq!(seen(&[base(), layer(&[], &["a/x"], &[]), layer(&["a/x"], &[], &[])]).len(), 3);
    }

    #[test]
    fn a_file_that_is_replaced_tells_only_its_new_content() {
        let mut upper = layer(&["a/x"], &[], &[]);
        upper.found.clear();
        let facts = image([(None, &layer(&["a/x"], &[], &[])), (None, &upper)]);
        assert_eq!((facts.files, facts.packages.len()), (1, 0));
    }

    #[test]
    fn distribution_packages_name_their_distribution() {
        let os =
            OsRelease { id: "debian".into(), version: "12".into(), codename: "bookworm".into() };
        let package = Package {
            kind: "deb".into(),
            name: "libssl3".into(),
            version: "3.0.15-1~deb12u1".into(),
            architecture: Some("amd64".into()),
            source: Some(("openssl".into(), "3.0.15-1~deb12u1".into())),
            ..Package::default()
        };
        assert_eq!(
            purl_of(&package, Some(&os)).unwrap(),
            "pkg:deb/debian/libssl3@3.0.15-1~deb12u1?arch=amd64&distro=debian-12&upstream=openssl"
        );
        let rpm = Package {
            kind: "rpm".into(),
            name: "bash".into(),
            version: "1:5.1-6".into(),
            ..Package::default()
        };
        let os = OsRelease { id: "rhel".into(), version: "9.4".into(), codename: String::new() };
        assert_eq!(
            purl_of(&rpm, Some(&os)).unwrap(),
            "pkg:rpm/rhel/bash@5.1-6?distro=rhel-9.4&epoch=1"
        );
    }
}
