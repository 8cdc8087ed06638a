//! Explains how two images of one commit differ: which layer, which file, which bytes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use crate::image::Built;
use crate::layer::LayerBlob;

/// The most differences that are told; the first ones lead to the cause.
pub const DIFFERENCES_MAX: usize = 50;
/// How many bytes are shown from the first difference on.
pub const BYTES_SHOWN: usize = 16;
/// Files up to this size are compared byte by byte in memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// One difference between two builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The layer, or `config`.
    pub layer: String,
    /// The path in the image, or a key of the configuration.
    pub path: String,
    /// What differs.
    pub what: What,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Only the first build has it.
    OnlyFirst,
    /// Only the second build has it.
    OnlySecond,
    /// A property of the entry: kind, mode, time, owner, link.
    Property {
        /// Which.
        name: String,
        /// In the first build.
        first: String,
        /// In the second build.
        second: String,
    },
    /// The bytes.
    Bytes {
        /// The offset of the first different byte.
        offset: u64,
        /// Bytes from there in the first build, in hexadecimal.
        first: String,
        /// And in the second.
        second: String,
        /// Both sizes, in bytes.
        sizes: (u64, u64),
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "layer {}, {}: ", self.layer, self.path)?;
        match &self.what {
            What::OnlyFirst => f.write_str("only in the first build"),
            What::OnlySecond => f.write_str("only in the second build"),
            What::Property { name, first, second } => write!(f, "{name} is {first}, then {second}"),
            What::Bytes { offset, first, second, sizes } => {
                write!(f, "bytes differ from offset {offset}: {first}, then {second}")?;
                if sizes.0 != sizes.1 {
                    write!(f, " ({} bytes, then {})", sizes.0, sizes.1)?;
                }
                Ok(())
            }
        }
    }
}

/// All differences, at most [`DIFFERENCES_MAX`]; none when the images are equal.
///
/// # Errors
/// When a layer's file cannot be read.
pub fn differences(first: &Built, second: &Built) -> io::Result<Vec<Difference>> {
    if first.manifest.digest == second.manifest.digest {
        return Ok(vec![]);
    }
    let mut found = Vec::new();
    for one in &first.layers {
        match second.layers.iter().find(|two| two.name == one.name && two.digest == one.digest) {
            Some(_) => {}
            None => match second.layers.iter().find(|two| two.name == one.name) {
                Some(two) => compare_layers(one, two, &mut found)?,
                None => found.push(whole(one, What::OnlyFirst)),
            },
        }
    }
    for two in &second.layers {
        if !first.layers.iter().any(|one| one.name == two.name) {
            found.push(whole(two, What::OnlySecond));
        }
    }
    if found.is_empty() {
        let one = String::from_utf8_lossy(&first.config.bytes).into_owned();
        let two = String::from_utf8_lossy(&second.config.bytes).into_owned();
        let what = property("text", &one, &two);
        found.push(Difference { layer: "config".into(), path: "/".into(), what });
    }
    found.truncate(DIFFERENCES_MAX);
    Ok(found)
}

fn whole(layer: &LayerBlob, what: What) -> Difference {
    Difference { layer: layer.name.clone(), path: "/".into(), what }
}

/// What is compared of an entry beside its bytes.
type Properties = Vec<(&'static str, String)>;

fn compare_layers(one: &LayerBlob, two: &LayerBlob, found: &mut Vec<Difference>) -> io::Result<()> {
    let (first, second) = (entries(&one.path)?, entries(&two.path)?);
    let mut changed = Vec::new();
    let mut add = |path: &Path, what| {
        let path = Path::new("/").join(path).display().to_string();
        found.push(Difference { layer: one.name.clone(), path, what });
    };
    for (path, (properties, digest)) in &first {
        let Some((others, other)) = second.get(path) else {
            add(path, What::OnlyFirst);
            continue;
        };
        for ((name, a), (_, b)) in properties.iter().zip(others).filter(|((_, a), (_, b))| a != b) {
            add(path, property(name, a, b));
        }
        if digest != other {
            changed.push(path.clone());
        }
    }
    for path in second.keys().filter(|path| !first.contains_key(*path)) {
        add(path, What::OnlySecond);
    }
    for path in changed.into_iter().take(DIFFERENCES_MAX) {
        let bytes = compare_bytes(&read(&one.path, &path)?, &read(&two.path, &path)?);
        add(&path, bytes);
    }
    if first == second {
        // The same tree in other bytes: the packing itself differs.
        found.push(whole(one, property("digest", one.digest.as_str(), two.digest.as_str())));
    }
    Ok(())
}

fn property(name: &str, first: &str, second: &str) -> What {
    What::Property { name: name.into(), first: first.into(), second: second.into() }
}

fn open(layer: &Path) -> io::Result<tar::Archive<GzDecoder<std::fs::File>>> {
    Ok(tar::Archive::new(GzDecoder::new(std::fs::File::open(layer)?)))
}

fn entries(layer: &Path) -> io::Result<BTreeMap<PathBuf, (Properties, String)>> {
    let mut all = BTreeMap::new();
    for entry in open(layer)?.entries()? {
        let mut entry = entry?;
        let header = entry.header();
        let link = entry.link_name()?.map(|link| link.display().to_string()).unwrap_or_default();
        let properties = vec![
            ("kind", format!("{:?}", header.entry_type())),
            ("mode", format!("{:o}", header.mode()?)),
            ("mtime", header.mtime()?.to_string()),
            ("owner", format!("{}:{}", header.uid()?, header.gid()?)),
            ("link", link),
        ];
        let path = entry.path()?.into_owned();
        let mut hashing = crate::layer::Hashing::new(&mut entry);
        io::copy(&mut hashing, &mut io::sink())?;
        all.insert(path, (properties, hashing.digest().to_string()));
    }
    Ok(all)
}

fn read(layer: &Path, path: &Path) -> io::Result<Vec<u8>> {
    for entry in open(layer)?.entries()? {
        let entry = entry?;
        if entry.path()? == path {
            let mut bytes = Vec::new();
            entry.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    Ok(vec![])
}

fn compare_bytes(first: &[u8], second: &[u8]) -> What {
    let common = first.len().min(second.len());
    let at = (0..common).find(|index| first[*index] != second[*index]).unwrap_or(common);
    let shown = |bytes: &[u8]| hex::encode(&bytes[at..bytes.len().min(at + BYTES_SHOWN)]);
    What::Bytes {
        offset: at as u64,
        first: shown(first),
        second: shown(second),
        sizes: (first.len() as u64, second.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Node, Tree};

    #[test]
    fn a_layer_difference_names_file_and_bytes() {
        let scratch = tempfile::tempdir().unwrap();
        let layer = |name: &str, files: &[(&str, &[u8])], time| {
            let mut tree = Tree::default();
            for (path, bytes) in files {
                tree.add(Path::new(path), Node::Text(bytes.to_vec())).unwrap();
            }
            crate::layer::write("app", &tree, time, &scratch.path().join(name)).unwrap()
        };
        let one = layer("1", &[("/a", b"same"), ("/b", b"built 10:01"), ("/c", b"")], 1);
        let two = layer("2", &[("/a", b"same"), ("/b", b"built 10:02"), ("/d", b"")], 1);
        let mut found = vec![];
        compare_layers(&one, &two, &mut found).unwrap();
        let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "layer app, /c: only in the first build",
                "layer app, /d: only in the second build",
                "layer app, /b: bytes differ from offset 10: 31, then 32",
            ]
        );
        let later = layer("3", &[("/a", b"same")], 2);
        let early = layer("4", &[("/a", b"same")], 1);
        let mut found = vec![];
        compare_layers(&early, &later, &mut found).unwrap();
        assert_eq!(found[0].to_string(), "layer app, /a: mtime is 1, then 2");
    }
}
