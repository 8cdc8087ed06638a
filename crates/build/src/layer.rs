//! Packs a tree into an OCI layer whose bytes depend on the tree and one time only.
//!
//! Entries are sorted, owners are 0, modes are normalised, every time is the commit's, and the gzip header carries
//! neither time nor system. The compressor and its level are part of Humdrum's version.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use humdrum_model::name::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::tree::{Node, Tree};

/// The media type of the layers we write (OCI image specification, `layer.md`).
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Level 6 is gzip's own default; higher levels cost twice the time for about one percent.
const LEVEL: u32 = 6;
/// "Unknown" of RFC 1952, whatever this program was compiled on.
const GZIP_SYSTEM_UNKNOWN: u8 = 255;

/// A layer on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// The group of files it holds; `base` for layers of the image below.
    pub name: String,
    /// Digest of the bytes as stored.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Digest of the unpacked tar.
    pub diff_id: Digest,
    /// OCI media type.
    pub media_type: String,
    /// Where the bytes are.
    pub path: PathBuf,
}

/// Writes a layer to `path`. `time_s` is the time of every entry, in seconds since 1970.
///
/// # Errors
/// When a source cannot be read or the layer cannot be written.
pub fn write(name: &str, tree: &Tree, time_s: u64, path: &Path) -> io::Result<LayerBlob> {
    let file = Hashing::new(io::BufWriter::new(File::create(path)?));
    let gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(GZIP_SYSTEM_UNKNOWN)
        .write(file, Compression::new(LEVEL));
    let packed = write_tar(tree, time_s, Hashing::new(gzip))?;
    let diff_id = packed.digest();
    let mut stored = GzEncoder::finish(packed.inner)?;
    stored.flush()?;
    let (digest, size) = (stored.digest(), stored.bytes);
    let file = stored.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    let media_type = LAYER_GZIP.to_owned();
    Ok(LayerBlob { name: name.to_owned(), digest, size, diff_id, media_type, path: path.into() })
}

/// Writes the tar form of a tree.
///
/// # Errors
/// When a source cannot be read or changes its size meanwhile, or `out` fails.
pub fn write_tar<W: Write>(tree: &Tree, time_s: u64, out: W) -> io::Result<W> {
    let mut builder = tar::Builder::new(out);
    for (path, node) in tree.iter() {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(time_s);
        append(&mut builder, &mut header, inside, node).map_err(|error| {
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        })?;
    }
    builder.into_inner()
}

fn append<W: Write>(
    builder: &mut tar::Builder<W>,
    header: &mut tar::Header,
    path: &Path,
    node: &Node,
) -> io::Result<()> {
    let mut set = |kind, mode, size| {
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
    };
    match node {
        Node::Folder { shared } => {
            set(tar::EntryType::Directory, if *shared { 0o1777 } else { 0o755 }, 0);
            // Folders end with a slash by convention, and some readers rely on it.
            builder.append_data(header, path.join(""), io::empty())
        }
        Node::File { source, program } => {
            let file = File::open(source)?;
            let size = file.metadata()?.len();
            set(tar::EntryType::Regular, if *program { 0o755 } else { 0o644 }, size);
            let mut exact = Exactly { file: file.take(size), left: size };
            builder.append_data(header, path, &mut exact)
        }
        Node::Text(bytes) => {
            set(tar::EntryType::Regular, 0o644, bytes.len() as u64);
            builder.append_data(header, path, bytes.as_slice())
        }
        Node::Link(to) => {
            set(tar::EntryType::Symlink, 0o777, 0);
            builder.append_link(header, path, to)
        }
    }
}

/// A file that must have the size its header already told.
struct Exactly {
    file: io::Take<File>,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.left -= read as u64;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it shrank while being packed",
            ));
        }
        Ok(read)
    }
}

/// Counts and hashes what passes.
pub(crate) struct Hashing<W> {
    pub(crate) inner: W,
    hash: Sha256,
    pub(crate) bytes: u64,
}

impl<W> Hashing<W> {
    pub(crate) fn new(inner: W) -> Hashing<W> {
        Hashing { inner, hash: Sha256::new(), bytes: 0 }
    }

    pub(crate) fn digest(&self) -> Digest {
        digest_of(self.hash.clone())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

pub(crate) fn digest_of(hash: Sha256) -> Digest {
    let text = format!("sha256:{}", hex::encode(hash.finalize()));
    Digest::new(text).expect("a hash in hexadecimal is a digest")
}

/// The digest and size of a file.
pub(crate) fn digest_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut hashing = Hashing::new(File::open(path)?);
    io::copy(&mut hashing, &mut io::sink())?;
    Ok((hashing.digest(), hashing.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn any_tree_comes_back_from_its_tar(
            files in proptest::collection::btree_map("[a-c]{1,3}(/[a-cé]{1,90}){0,3}", (proptest::collection::vec(any::<u8>(), 0..600), any::<bool>()), 0..8),
        ) {
            let mut tree = Tree::default();
            let mut kept = BTreeMap::new();
            for (path, (bytes, link)) in files {
                let place = Path::new("/").join(&path);
                let to = PathBuf::from("t".repeat(bytes.len() % 300 + 1));
                let node = if link { Node::Link(to.clone()) } else { Node::Text(bytes.clone()) };
                // A file where another path needs a folder is refused by the tree, not our concern here.
                if tree.add(&place, node).is_ok() {
                    kept.insert(path, if link { Err(to) } else { Ok(bytes) });
                }
            }
            let packed = write_tar(&tree, 7, vec![]).unwrap();
            let mut read = tar::Archive::new(packed.as_slice());
            let (mut seen, mut last) = (BTreeMap::new(), PathBuf::new());
            for entry in read.entries().unwrap() {
                let mut entry = entry.unwrap();
                let header = entry.header().clone();
                prop_assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (7, 0, 0));
                let path = entry.path().unwrap().into_owned();
                prop_assert!(path > last, "sorted");
                last = path.clone();
                let name = path.to_str().unwrap().to_owned();
                match header.entry_type() {
                    tar::EntryType::Regular => {
                        let mut bytes = vec![];
                        entry.read_to_end(&mut bytes).unwrap();
                        seen.insert(name, Ok(bytes));
                    }
                    tar::EntryType::Symlink => {
                        seen.insert(name, Err(entry.link_name().unwrap().unwrap().into_owned()));
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(seen, kept);
            prop_assert_eq!(write_tar(&tree, 7, vec![]).unwrap(), packed);
        }
    }

    #[test]
    fn a_layer_says_nothing_of_its_host() {
        let scratch = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.add(Path::new("/a"), Node::Text(b"x".to_vec())).unwrap();
        let one = write("app", &tree, 5, &scratch.path().join("1")).unwrap();
        let two = write("app", &tree, 5, &scratch.path().join("2")).unwrap();
        assert_eq!(
            (one.digest, one.diff_id, one.size),
            (two.digest.clone(), two.diff_id, two.size)
        );
        let bytes = std::fs::read(&two.path).unwrap();
        assert_eq!(Digest::of(&bytes), two.digest);
        // RFC 1952: time in bytes 4 to 7, system in byte 9.
        assert_eq!((&bytes[4..8], bytes[9]), (&[0, 0, 0, 0][..], 255));
    }
}
