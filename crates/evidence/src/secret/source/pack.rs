//! Git's object store, read without git: every blob once, in the order in which its base is at hand.
//!
//! A pack stores most blobs as differences to another one. Walking from each base to what builds on it decodes every object once,
//! needs only one chain in memory, and tells which bytes of a blob are new: what is copied was looked at in the base.
//! Source of the formats: git's `gitformat-pack` and `gitformat-index` pages.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{FILE_BYTES_MAX, SourceError};

/// Deepest chain of folders that borrow objects from each other; git's own limit.
const ALTERNATES_MAX: usize = 5;
/// Bytes that hold the head of any packed object: type, size and base.
const HEAD_BYTES: usize = 64;

/// An object's name; the rest is zero where names have 20 bytes.
pub(super) type Name = [u8; 32];

/// A blob, and what of it does not stand in the blob that it builds on. `base_clean` is what the visitor said of that one.
pub(super) struct Blob<'a> {
    pub(super) name: Name,
    pub(super) bytes: &'a [u8],
    /// None: it builds on nothing.
    pub(super) fresh: Option<(&'a [Range<usize>], bool)>,
}

/// The folders of a repository's objects: its own, and those that it borrows from.
pub(super) fn folders(objects: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut all = vec![objects.to_owned()];
    let mut at = 0;
    while at < all.len() {
        let file = all[at].join("info/alternates");
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                    let folder = all[at].join(line);
                    if !all.contains(&folder) && all.len() <= ALTERNATES_MAX {
                        all.push(folder);
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(SourceError::Unreadable { path: file, source }),
        }
        at += 1;
    }
    Ok(all)
}

/// The packs of a folder of objects.
pub(super) fn packs(folder: &Path, name_bytes: usize) -> Result<Vec<Pack>, SourceError> {
    let mut packs = Vec::new();
    for path in entries(&folder.join("pack"))? {
        if path.extension().is_some_and(|extension| extension == "idx") {
            packs.push(Pack::open(&path, name_bytes)?);
        }
    }
    Ok(packs)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| SourceError::Unreadable { path: folder.into(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(SourceError::Unreadable { path: folder.into(), source }),
    }
}

/// The files of objects that are in no pack.
pub(super) fn loose(folder: &Path) -> Result<Vec<(Name, PathBuf)>, SourceError> {
    let mut all = Vec::new();
    for inner in entries(folder)? {
        let Some(head) =
            inner.file_name().and_then(|name| name.to_str()).filter(|name| name.len() == 2)
        else {
            continue;
        };
        for path in entries(&inner)? {
            let tail = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(name) = name(&format!("{head}{tail}")) {
                all.push((name, path));
            }
        }
    }
    all.sort();
    Ok(all)
}

/// An object's name from its hexadecimal form.
pub(super) fn name(text: &str) -> Option<Name> {
    let bytes = hex::decode(text).ok().filter(|bytes| matches!(bytes.len(), 20 | 32))?;
    let mut name = Name::default();
    name[..bytes.len()].copy_from_slice(&bytes);
    Some(name)
}

/// The bytes of a loose blob; none for another kind of object, and for one that is too large.
pub(super) fn loose_blob(path: &Path) -> Result<Option<Vec<u8>>, SourceError> {
    let unreadable = |source| SourceError::Unreadable { path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        // Packed since the folder was read; the pack was there first.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut reader = std::io::BufReader::new(flate2::read::ZlibDecoder::new(file));
    let mut head = Vec::new();
    std::io::BufRead::read_until(&mut reader.by_ref().take(64), 0, &mut head)
        .map_err(unreadable)?;
    let size = head.strip_prefix(b"blob ").and_then(|size| size.strip_suffix(b"\0"));
    let size = size.and_then(|size| std::str::from_utf8(size).ok()?.parse::<u64>().ok());
    if size.is_none_or(|size| size > FILE_BYTES_MAX) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    reader.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Some(bytes))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blob,
    Other,
    Delta,
}

/// What the pack says of one object before its bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    /// Where its bytes start, behind `offset`.
    head: u32,
    kind: Kind,
    /// Index of the first object that builds on it, and of the next that builds on the same one; `NONE` ends.
    child: u32,
    sibling: u32,
    size: u64,
}

const NONE: u32 = u32::MAX;

/// One pack with its index.
pub(super) struct Pack {
    path: PathBuf,
    file: File,
    bytes: u64,
    name_bytes: usize,
    /// Sorted, as in the index.
    names: Vec<u8>,
    /// By offset; `order` leads to their names.
    entries: Vec<Entry>,
    order: Vec<u32>,
}

impl Pack {
    fn open(index: &Path, name_bytes: usize) -> Result<Self, SourceError> {
        let path = index.with_extension("pack");
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| SourceError::Unreadable { path, source }
        };
        let text = std::fs::read(index).map_err(unreadable(index))?;
        let file = File::open(&path).map_err(unreadable(&path))?;
        let bytes = file.metadata().map_err(unreadable(&path))?.len();
        let damaged = |what: &str| SourceError::Damaged { path: index.into(), what: what.into() };
        let (names, mut places) =
            read_index(&text, name_bytes).ok_or_else(|| damaged("it is no index of version 2"))?;
        places.sort_unstable();
        let mut pack =
            Self { path, file, bytes, name_bytes, names, entries: Vec::new(), order: Vec::new() };
        pack.order = places.iter().map(|(_, at)| *at).collect();
        pack.read_heads(&places)?;
        Ok(pack)
    }

    fn damaged(&self, what: impl Into<String>) -> SourceError {
        SourceError::Damaged { path: self.path.clone(), what: what.into() }
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, SourceError> {
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|source| SourceError::Unreadable { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    /// The kind of every object and what builds on what.
    fn read_heads(&mut self, places: &[(u64, u32)]) -> Result<(), SourceError> {
        let end = self.bytes.saturating_sub(self.name_bytes as u64);
        let mut bases = Vec::with_capacity(places.len());
        for (offset, _) in places {
            let length = (end.saturating_sub(*offset) as usize).min(HEAD_BYTES);
            let head = self.read(*offset, length)?;
            let head = read_head(&head, *offset, self.name_bytes);
            let (kind, size, base, head) =
                head.ok_or_else(|| self.damaged(format!("no object at {offset}")))?;
            self.entries.push(Entry {
                offset: *offset,
                head,
                kind,
                child: NONE,
                sibling: NONE,
                size,
            });
            bases.push(base);
        }
        for (at, base) in bases.iter().enumerate() {
            let base = match base {
                Base::None => continue,
                Base::Offset(offset) => {
                    self.entries.binary_search_by_key(offset, |entry| entry.offset).ok()
                }
                Base::Named(name) => {
                    self.place(name).and_then(|which| self.order.iter().position(|at| *at == which))
                }
            };
            let base =
                base.ok_or_else(|| self.damaged("an object builds on one that is not there"))?;
            self.entries[at].sibling = self.entries[base].child;
            self.entries[base].child = u32::try_from(at).expect("git counts objects in 32 bits");
        }
        Ok(())
    }

    fn place(&self, name: &Name) -> Option<u32> {
        let count = self.names.len() / self.name_bytes;
        let at = |index: usize| &self.names[index * self.name_bytes..][..self.name_bytes];
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            match at(middle).cmp(&name[..self.name_bytes]) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return u32::try_from(middle).ok(),
            }
        }
        None
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.place(name).is_some()
    }

    fn name(&self, at: usize) -> Name {
        let mut name = Name::default();
        let from = self.order[at] as usize * self.name_bytes;
        name[..self.name_bytes].copy_from_slice(&self.names[from..from + self.name_bytes]);
        name
    }

    /// The blobs that build on nothing; each leads to all that build on it.
    pub(super) fn roots(&self) -> Vec<usize> {
        (0..self.entries.len()).filter(|at| self.entries[*at].kind == Kind::Blob).collect()
    }

    /// Visits a root and all that builds on it; `visit` tells whether a blob is clean. Too large ones end their branch.
    pub(super) fn walk(
        &self,
        root: usize,
        too_large: &mut Vec<(String, u64)>,
        visit: &mut impl FnMut(&Blob) -> bool,
    ) -> Result<(), SourceError> {
        if !self.fits(root, self.entries[root].size, too_large) {
            return Ok(());
        }
        let bytes = self.inflated(root)?;
        let clean = visit(&Blob { name: self.name(root), bytes: &bytes, fresh: None });
        let mut chain = vec![(bytes, clean, self.entries[root].child)];
        while let Some((base, base_clean, next)) = chain.last_mut() {
            if *next == NONE {
                chain.pop();
                continue;
            }
            let at = *next as usize;
            *next = self.entries[at].sibling;
            let delta = self.inflated(at)?;
            let size =
                delta_size(&delta).ok_or_else(|| self.damaged("a difference has no size"))?;
            if !self.fits(at, size, too_large) {
                continue;
            }
            let (bytes, fresh) = apply(base, &delta)
                .ok_or_else(|| self.damaged("a difference does not fit its base"))?;
            let blob =
                Blob { name: self.name(at), bytes: &bytes, fresh: Some((&fresh, *base_clean)) };
            let clean = visit(&blob);
            if self.entries[at].child != NONE {
                chain.push((bytes, clean, self.entries[at].child));
            }
        }
        Ok(())
    }

    fn fits(&self, at: usize, size: u64, too_large: &mut Vec<(String, u64)>) -> bool {
        if size > FILE_BYTES_MAX {
            too_large.push((hex::encode(&self.name(at)[..self.name_bytes]), size));
        }
        size <= FILE_BYTES_MAX
    }

    fn inflated(&self, at: usize) -> Result<Vec<u8>, SourceError> {
        let entry = self.entries[at];
        let start = entry.offset + u64::from(entry.head);
        let end = match self.entries.get(at + 1) {
            Some(next) => next.offset,
            None => self.bytes - self.name_bytes as u64,
        };
        let packed = self.read(start, end.saturating_sub(start) as usize)?;
        // One byte more, so that a wrong size shows.
        let mut bytes = Vec::with_capacity(entry.size as usize + 1);
        let mut inflate = flate2::Decompress::new(true);
        let status = inflate.decompress_vec(&packed, &mut bytes, flate2::FlushDecompress::Finish);
        if !matches!(status, Ok(flate2::Status::StreamEnd)) || bytes.len() as u64 != entry.size {
            return Err(self.damaged(format!("the object at {} cannot be unpacked", entry.offset)));
        }
        Ok(bytes)
    }
}

/// Offsets, each with the place of its object's name.
type Places = Vec<(u64, u32)>;

/// The names of an index, and each object's offset with the place of its name.
fn read_index(text: &[u8], name_bytes: usize) -> Option<(Vec<u8>, Places)> {
    let rest = text.strip_prefix(b"\xfftOc\0\0\0\x02")?;
    let word = |at: usize| Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let count = word(255 * 4)? as usize;
    let names = 256 * 4;
    let offsets = names + count * (name_bytes + 4);
    let large = offsets + count * 4;
    let mut places = Vec::with_capacity(count);
    for at in 0..count {
        let offset = word(offsets + at * 4)?;
        let offset = if offset >> 31 == 0 {
            u64::from(offset)
        } else {
            let at = large + (offset & 0x7fff_ffff) as usize * 8;
            u64::from_be_bytes(rest.get(at..at + 8)?.try_into().ok()?)
        };
        places.push((offset, u32::try_from(at).ok()?));
    }
    Some((rest.get(names..names + count * name_bytes)?.to_vec(), places))
}

enum Base {
    None,
    Offset(u64),
    Named(Name),
}

/// Kind, size and base of a packed object, and the length of this head.
fn read_head(text: &[u8], offset: u64, name_bytes: usize) -> Option<(Kind, u64, Base, u32)> {
    let first = *text.first()?;
    let mut size = u64::from(first & 15);
    let (mut at, mut shift) = (1, 4);
    let mut byte = first;
    while byte & 0x80 != 0 {
        byte = *text.get(at)?;
        size |= u64::from(byte & 0x7f).checked_shl(shift)?;
        (at, shift) = (at + 1, shift + 7);
    }
    let (kind, base) = match (first >> 4) & 7 {
        3 => (Kind::Blob, Base::None),
        1 | 2 | 4 => (Kind::Other, Base::None),
        6 => {
            let mut byte = *text.get(at)?;
            let mut back = u64::from(byte & 0x7f);
            at += 1;
            while byte & 0x80 != 0 {
                byte = *text.get(at)?;
                back = ((back + 1) << 7) | u64::from(byte & 0x7f);
                at += 1;
            }
            (Kind::Delta, Base::Offset(offset.checked_sub(back)?))
        }
        7 => {
            let mut name = Name::default();
            name[..name_bytes].copy_from_slice(text.get(at..at + name_bytes)?);
            at += name_bytes;
            (Kind::Delta, Base::Named(name))
        }
        _ => return None,
    };
    Some((kind, size, base, u32::try_from(at).ok()?))
}

/// A size of seven bits a byte, the lowest first.
fn varint(text: &[u8], at: &mut usize) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = *text.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
}

fn delta_size(delta: &[u8]) -> Option<u64> {
    let mut at = 0;
    varint(delta, &mut at)?;
    varint(delta, &mut at)
}

/// The blob that a difference makes of its base, and the parts of it that are not copied, seams included.
fn apply(base: &[u8], delta: &[u8]) -> Option<(Vec<u8>, Vec<Range<usize>>)> {
    let mut at = 0;
    if varint(delta, &mut at)? != base.len() as u64 {
        return None;
    }
    let size = varint(delta, &mut at)? as usize;
    let mut out = Vec::with_capacity(size);
    let mut fresh: Vec<Range<usize>> = Vec::new();
    while at < delta.len() {
        let op = delta[at];
        at += 1;
        let start = out.len();
        if op & 0x80 != 0 {
            let mut field = |bits: u8| -> Option<usize> {
                let mut value = 0;
                for place in (0..8).filter(|place| bits & (1 << place) != 0) {
                    value |= usize::from(*delta.get(at)?) << (8 * place);
                    at += 1;
                }
                Some(value)
            };
            let from = field(op & 0x0f)?;
            let length = match field((op >> 4) & 0x07)? {
                0 => 0x1_0000,
                length => length,
            };
            out.extend_from_slice(base.get(from..from.checked_add(length)?)?);
            if start > 0 {
                fresh.push(start..start); // What stood apart in the base meets here.
            }
        } else if op > 0 {
            let length = usize::from(op);
            out.extend_from_slice(delta.get(at..at + length)?);
            at += length;
            fresh.push(start..start + length);
        } else {
            return None;
        }
    }
    (out.len() == size).then_some((out, fresh))
}

#[cfg(test)]
mod tests {
    use super::{apply, read_head};

    #[test]
    fn a_difference_tells_what_is_new() {
        // base "hello world", result "hello, new world": copy 0..5, insert ", new", copy 5..11.
        let delta = [11, 16, 0x90, 5, 5, b',', b' ', b'n', b'e', b'w', 0x91, 5, 6];
        let (bytes, fresh) = apply(b"hello world", &delta).unwrap();
        assert_eq!(bytes, b"hello, new world");
        assert_eq!(fresh, [5..10, 10..10]);
        for cut in 0..delta.len() {
            assert!(apply(b"hello world", &delta[..cut]).is_none(), "{cut}");
        }
        assert!(apply(b"hello", &delta).is_none());
        assert!(apply(b"hello world", &[11, 1, 0]).is_none());
        assert!(apply(b"hello world", &[11, 9, 0x91, 200, 9]).is_none());
    }

    #[test]
    fn heads_that_end_early_are_no_heads() {
        assert!(read_head(&[0xb5], 0, 20).is_none());
        assert!(read_head(&[0x60], 9, 20).is_none());
        assert!(read_head(&[0x60, 10], 9, 20).is_none(), "its base would be before the pack");
        assert!(read_head(&[0x70, 1, 2], 9, 20).is_none());
        assert!(read_head(&[0x55], 9, 20).is_none());
        assert!(read_head(&[0x35], 9, 20).is_some_and(|(_, size, _, head)| (size, head) == (5, 1)));
    }
}
