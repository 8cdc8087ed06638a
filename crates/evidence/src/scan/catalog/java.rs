//! Java archives: `META-INF/maven/**/pom.properties`, else the manifest; archives inside archives are opened.
//!
//! Formats: Maven's archiver (`pom.properties`), JAR file specification (manifest), OSGi core (bundle headers).

use std::io::{Cursor, Read};

use super::{Catalog, Told, file_name};
use crate::scan::Package;

/// Archives inside archives: a Spring Boot program has one level, an EAR with WARs two.
const DEPTH_MAX: usize = 4;
/// Entries of one archive that are looked at.
const ENTRIES_MAX: usize = 100_000;
/// An unpacked inner archive, in bytes.
const INNER_BYTES_MAX: u64 = 64 << 20;
/// `pom.properties` or a manifest, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

pub const JAVA: Catalog = Catalog { name: "java", wants: |path, _| is_archive(path), read };

fn is_archive(path: &str) -> bool {
    [".jar", ".war", ".ear", ".par", ".jpi", ".hpi"].iter().any(|ending| path.ends_with(ending))
}

fn read(path: &str, bytes: &[u8]) -> Result<Told, String> {
    let mut told = Told::default();
    archive(path, bytes, 0, &mut told)?;
    Ok(told)
}

fn archive(path: &str, bytes: &[u8], depth: usize, told: &mut Told) -> Result<(), String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let before = told.packages.len();
    let mut manifest = None;
    for at in 0..zip.len().min(ENTRIES_MAX) {
        let entry = zip.by_index(at).map_err(|error| error.to_string())?;
        let name = entry.name().map_err(|error| error.to_string())?.into_owned();
        if name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties") {
            told.packages.extend(from_pom(&text(entry)?));
        } else if name == "META-INF/MANIFEST.MF" {
            manifest = Some(text(entry)?);
        } else if is_archive(&name) && depth < DEPTH_MAX && entry.size() <= INNER_BYTES_MAX {
            let mut inner = vec![];
            entry
                .take(INNER_BYTES_MAX)
                .read_to_end(&mut inner)
                .map_err(|error| error.to_string())?;
            // A broken inner archive says nothing about the others.
            if let Err(why) = archive(&name, &inner, depth + 1, told) {
                told.notes.push(format!("`{name}` in it: {why}"));
            }
        }
    }
    let own = told.packages[before..].iter().any(|package| names(path, package));
    if !own && let Some(package) = manifest.and_then(|manifest| from_manifest(path, &manifest)) {
        told.packages.push(package);
    }
    Ok(())
}

/// Whether the archive is called like the package: shaded archives contain the properties of many others.
fn names(path: &str, package: &Package) -> bool {
    file_name(path).starts_with(package.name.as_str())
}

fn text(entry: impl Read) -> Result<String, String> {
    let mut bytes = vec![];
    entry.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn from_pom(properties: &str) -> Option<Package> {
    let value = |key: &str| {
        let lines = properties.lines().filter_map(|line| line.split_once('='));
        lines
            .into_iter()
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().to_owned())
    };
    Some(Package {
        kind: "maven".into(),
        namespace: Some(value("groupId")?),
        name: value("artifactId")?,
        version: value("version")?,
        ..Package::default()
    })
}

/// The manifest names no group; the bundle's symbolic name often begins with it. The file's name gives artifact and version.
fn from_manifest(path: &str, manifest: &str) -> Option<Package> {
    // A line that begins with a space continues the one before.
    let manifest = manifest.replace("\r\n", "\n").replace("\n ", "");
    let value = |key: &str| {
        manifest.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).map(str::trim)
    };
    let stem = file_name(path).rsplit_once('.')?.0;
    let split = stem
        .match_indices('-')
        .find(|(at, _)| stem[at + 1..].starts_with(|first: char| first.is_ascii_digit()));
    let (name, by_file) = match split {
        Some((at, _)) => (&stem[..at], Some(&stem[at + 1..])),
        None => (stem, None),
    };
    let version = by_file
        .or_else(|| value("Implementation-Version"))
        .or_else(|| value("Bundle-Version"))
        .or_else(|| value("Specification-Version"))?;
    let group =
        value("Implementation-Vendor-Id").or_else(|| value("Automatic-Module-Name")).or_else(
            || value("Bundle-SymbolicName").map(|name| name.split(';').next().unwrap_or(name)),
        );
    let group = group.map(|group| group.strip_suffix(&format!(".{name}")).unwrap_or(group));
    Some(Package {
        kind: "maven".into(),
        namespace: Some(group.unwrap_or(name).to_owned()),
        name: name.to_owned(),
        version: version.to_owned(),
        ..Package::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn jar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
        for (name, bytes) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn inner_archives_are_opened() {
        let pom: &[u8] = b"groupId=org.apache.commons\nartifactId=commons-lang3\nversion=3.14.0\n";
        let inner = jar(&[("META-INF/maven/org.apache.commons/commons-lang3/pom.properties", pom)]);
        let plain = jar(&[(
            "META-INF/MANIFEST.MF",
            b"Manifest-Version: 1.0\r\nBundle-SymbolicName: com.acme.util\r\n",
        )]);
        let program = jar(&[
            ("BOOT-INF/lib/commons-lang3-3.14.0.jar", &inner),
            ("BOOT-INF/lib/util-2.1.jar", &plain),
        ]);
        let told = read("app/app.jar", &program).unwrap();
        let names: Vec<String> = told
            .packages
            .iter()
            .map(|p| format!("{}:{}:{}", p.namespace.as_deref().unwrap_or(""), p.name, p.version))
            .collect();
        assert_eq!(names, ["org.apache.commons:commons-lang3:3.14.0", "com.acme:util:2.1"]);
    }

    #[test]
    fn broken_archives_are_named() {
        assert!(read("a.jar", b"PK\x03\x04 and nothing").is_err());
    }
}
