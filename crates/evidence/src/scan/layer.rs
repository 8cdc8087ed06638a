//! A layer as registries keep it: tar, plain or compressed with gzip or zstd, recognised by its first bytes.
//!
//! Source: OCI image specification, `layer.md` (media types, whiteouts).

use std::io::{self, BufReader, Read};

use super::{Head, LayerFacts, Pass, ScanError, SecretSearch};

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The tar magic stands at this place of the first header.
const USTAR_AT: usize = 257;
/// Large enough that system calls and the decoder's calls do not matter.
const BUFFER_BYTES: usize = 256 << 10;

/// Scans one layer as it streams by.
pub fn scan(layer: impl Read, secrets: Option<SecretSearch<'_>>) -> Result<LayerFacts, ScanError> {
    let mut layer = BufReader::with_capacity(BUFFER_BYTES, layer);
    let mut start = [0; 512];
    let known = fill(&mut layer, &mut start).map_err(unreadable(0))?;
    let start = &start[..known];
    let whole = io::Cursor::new(start.to_vec()).chain(layer);
    if start.starts_with(&GZIP) {
        // A layer may consist of several gzip members (eStargz does).
        let plain = flate2::read::MultiGzDecoder::new(whole);
        entries(BufReader::with_capacity(BUFFER_BYTES, plain), secrets)
    } else if start.starts_with(&ZSTD) {
        entries(Frames::new(whole).map_err(unreadable(0))?, secrets)
    } else if start.is_empty()
        || start[USTAR_AT.min(known)..].starts_with(b"ustar")
        || start.iter().all(|byte| *byte == 0)
    {
        entries(whole, secrets)
    } else {
        Err(ScanError::Compression { start: start[..known.min(4)].to_vec() })
    }
}

fn fill(from: &mut impl Read, start: &mut [u8]) -> io::Result<usize> {
    let mut known = 0;
    while known < start.len() {
        match from.read(&mut start[known..])? {
            0 => break,
            n => known += n,
        }
    }
    Ok(known)
}

fn unreadable(entry: usize) -> impl Fn(io::Error) -> ScanError {
    move |source| ScanError::Unreadable { entry, source }
}

fn entries(plain: impl Read, secrets: Option<SecretSearch<'_>>) -> Result<LayerFacts, ScanError> {
    let mut pass = Pass::new(secrets);
    let (mut removed, mut opaque) = (vec![], vec![]);
    let mut archive = tar::Archive::new(plain);
    for (number, entry) in archive.entries().map_err(unreadable(0))?.enumerate() {
        let mut entry = entry.map_err(unreadable(number))?;
        let path = clean(&String::from_utf8_lossy(&entry.path_bytes()));
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let kind = entry.header().entry_type();
        if name == OPAQUE {
            opaque.push(folder.to_owned());
        } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
            removed.push(if folder.is_empty() {
                gone.to_owned()
            } else {
                format!("{folder}/{gone}")
            });
        } else if kind.is_file() || kind.is_contiguous() {
            let mode = entry.header().mode().unwrap_or(0);
            let head = Head { size: entry.size(), executable: mode & 0o111 != 0 };
            pass.file(&path, head, &mut entry)?;
        } else if !kind.is_dir() && !path.is_empty() {
            pass.other(&path)?;
        }
    }
    let mut facts = pass.finish();
    facts.removed.extend(removed);
    facts.opaque.extend(opaque);
    Ok(facts)
}

/// A path from the root without `./`, leading and doubled slashes; `..` is dropped, as nothing is unpacked here.
fn clean(path: &str) -> String {
    let parts: Vec<&str> =
        path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    parts.join("/")
}

/// A zstd stream. The decoder stops after one frame without a word, and what follows must not be taken for the end.
struct Frames<R: Read> {
    decoder: Option<ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>,
}

impl<R: Read> Frames<R> {
    fn new(source: R) -> io::Result<Self> {
        let decoder = ruzstd::decoding::StreamingDecoder::new(source).map_err(io::Error::other)?;
        Ok(Self { decoder: Some(decoder) })
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = self.decoder.as_mut() else { return Ok(0) };
        let n = decoder.read(into)?;
        if n > 0 || into.is_empty() {
            return Ok(n);
        }
        let mut rest = self.decoder.take().expect("it was there a line ago").into_inner();
        if rest.read(&mut [0])? == 0 {
            return Ok(0);
        }
        Err(io::Error::other("more than one zstd frame in a layer is not read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, *bytes).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn every_compression_gives_the_same_facts() {
        let plain = tar_of(&[
            ("etc/os-release", b"ID=alpine\nVERSION_ID=3.20.1\n"),
            ("usr/.wh.old", b""),
            ("var/.wh..wh..opq", b""),
        ]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(
            plain.as_slice(),
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        let facts = scan(plain.as_slice(), None).unwrap();
        assert_eq!(facts.found["etc/os-release"].os.as_ref().unwrap().id, "alpine");
        assert_eq!(facts.removed.iter().collect::<Vec<_>>(), ["usr/old"]);
        assert_eq!(facts.opaque.iter().collect::<Vec<_>>(), ["var"]);
        assert_eq!(scan(gzip.as_slice(), None).unwrap(), facts);
        assert_eq!(scan(zstd.as_slice(), None).unwrap(), facts);
    }

    #[test]
    fn foreign_bytes_are_named() {
        let error = scan(&b"PK\x03\x04 not a layer"[..], None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the layer begins with [50, 4b, 03, 04], which is neither tar, gzip nor zstd"
        );
        let mut cut = tar_of(&[("a", &[7; 5000])]);
        cut.truncate(2000);
        let found = scan(cut.as_slice(), Some(&|_, _| vec![]));
        assert!(matches!(found, Err(ScanError::Unreadable { .. })), "{found:?}");
    }

    #[test]
    fn secrets_are_searched_in_texts() {
        let layer = tar_of(&[("app/.env", b"TOKEN=x"), ("app/blob", b"TOKEN=\0")]);
        let asked = std::sync::Mutex::new(vec![]);
        let search = |path: &str, bytes: &[u8]| {
            asked.lock().unwrap().push((path.to_owned(), bytes.len()));
            vec![]
        };
        scan(layer.as_slice(), Some(&search)).unwrap();
        assert_eq!(*asked.lock().unwrap(), [("app/.env".to_owned(), 7)]);
    }
}
