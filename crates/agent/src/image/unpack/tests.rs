//! Layers, good and hostile, as tables of tar entries.

use std::fs;

use tar::{Builder, Header};

use super::*;

enum Item {
    File(&'static str, &'static str),
    Folder(&'static str),
    Symlink(&'static str, &'static str),
    Hard(&'static str, &'static str),
    Other(&'static str, EntryType),
}
use Item::{File as F, Folder, Hard, Other, Symlink};

fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    // The builder's own methods refuse hostile names; a hostile archive does not use them.
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o4755 });
    header.set_mtime(1_700_000_000);
    header
}

fn layer(items: &[Item]) -> Vec<u8> {
    let mut builder = Builder::new(vec![]);
    for item in items {
        let (mut header, data) = match item {
            F(name, text) => (header(name, EntryType::Regular, text.len() as u64), *text),
            Folder(name) => (header(name, EntryType::Directory, 0), ""),
            Other(name, kind) => (header(name, *kind, 0), ""),
            Symlink(name, to) | Hard(name, to) => {
                let symbolic = matches!(item, Symlink(..));
                let kind = if symbolic { EntryType::Symlink } else { EntryType::Link };
                let mut header = header(name, kind, 0);
                let field = &mut header.as_gnu_mut().unwrap().linkname;
                field[..to.len()].copy_from_slice(to.as_bytes());
                (header, "")
            }
        };
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpack(layers: &[&[Item]]) -> (tempfile::TempDir, Result<(), UnpackError>) {
    let folder = tempfile::tempdir().unwrap();
    let rootfs = folder.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    fs::write(folder.path().join("host"), "untouched").unwrap();
    let mut unpacker = Unpacker::new(&rootfs).unwrap();
    let result = layers.iter().try_for_each(|items| {
        let file = folder.path().join("layer.tar");
        fs::write(&file, layer(items)).unwrap();
        unpacker.layer(&file, Compression::None, None)
    });
    (folder, result)
}

fn tree(folder: &Path) -> String {
    let mut names = vec![];
    let mut pending = vec![folder.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            let name = entry.path().strip_prefix(folder).unwrap().display().to_string();
            if kind.is_dir() {
                pending.push(entry.path());
            } else {
                names.push(name);
            }
        }
    }
    names.sort();
    names.join(" ")
}

#[test]
fn layers_cover_and_white_out_lower_ones() {
    #[rustfmt::skip]
    let cases: [(&[&[Item]], &str); 8] = [
        (&[&[F("./a/b", "1"), Folder("a/")]],                          "a/b"),
        (&[&[F("a/b", "1"), F("a/c", "1")], &[F("a/.wh.b", "")]],      "a/c"),
        (&[&[F("a/b/c", "1"), F("d", "")], &[F(".wh.a", "")]],         "d"),
        (&[&[F("a/b", ""), F("a/c", "")], &[F("a/.wh..wh..opq", ""), F("a/d", "")]], "a/d"),
        (&[&[F("a/b", ""), F("a/c", "")], &[F("a/d", ""), F("a/.wh..wh..opq", "")]], "a/d"),
        (&[&[F("a/b", "1")], &[F("a", "file")]],                       "a"),
        (&[&[F("usr/lib/x", ""), Symlink("lib", "usr/lib")], &[F("lib/y", "")]], "lib usr/lib/x usr/lib/y"),
        (&[&[F("a", "1"), Hard("b", "./a")]],                          "a b"),
    ];
    for (index, (layers, expected)) in cases.into_iter().enumerate() {
        let (folder, result) = unpack(layers);
        result.unwrap_or_else(|error| panic!("case {index}: {error:?}"));
        assert_eq!(tree(&folder.path().join("rootfs")), expected, "case {index}");
    }
}

#[test]
fn nothing_leads_out_of_the_folder() {
    #[rustfmt::skip]
    let cases: [(&[&[Item]], &str); 8] = [
        (&[&[F("../host", "bad")]],                     "`..`"),
        (&[&[F("a/../../host", "bad")]],                "`..`"),
        (&[&[F("/etc/x", "bad")]],                      "absolute"),
        (&[&[Hard("a", "../host")]],                    "`..`"),
        (&[&[Hard("a", "/etc/passwd")]],                "absolute"),
        (&[&[Other("null", EntryType::Char)]],          "device"),
        (&[&[Other("sda", EntryType::Block)]],          "device"),
        (&[&[Other("pipe", EntryType::Fifo)]],          "pipe"),
    ];
    for (layers, why) in cases {
        let (folder, result) = unpack(layers);
        let error = result.expect_err(why).to_string();
        assert!(error.contains(why), "{error} should say {why}");
        assert_eq!(fs::read_to_string(folder.path().join("host")).unwrap(), "untouched");
    }
}

#[test]
fn links_made_by_an_archive_are_followed_inside_only() {
    // `..` of the root is the root, as in a chroot: the file lands inside.
    let (folder, result) = unpack(&[&[Symlink("out", ".."), F("out/host", "inside")]]);
    result.unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("host")).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(folder.path().join("rootfs/host")).unwrap(), "inside");
    // A file replaces a link; it is not written through it.
    let (folder, result) = unpack(&[&[Symlink("x", "../host"), F("x", "new")]]);
    result.unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("host")).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(folder.path().join("rootfs/x")).unwrap(), "new");
    // A white-out of a link removes the link and not what it names.
    let (folder, result) = unpack(&[&[Symlink("x", "..")], &[F(".wh.x", "")]]);
    result.unwrap();
    assert!(folder.path().join("host").exists());
}

#[test]
fn a_layer_must_have_the_digest_that_the_configuration_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("layer.tar");
    let bytes = layer(&[F("a", "1")]);
    fs::write(&file, &bytes).unwrap();
    let right = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
    let mut unpacker = Unpacker::new(folder.path()).unwrap();
    unpacker.layer(&file, Compression::None, Some(&right)).unwrap();
    let wrong = unpacker.layer(&file, Compression::None, Some("sha256:00"));
    assert!(matches!(wrong, Err(UnpackError::WrongDiffId { .. })));
}
