//! Modules in Go programs: the build information that the linker leaves in every one since Go 1.18.
//!
//! Format: Go source, `src/debug/buildinfo/buildinfo.go` (the header) and `runtime/debug/mod.go` (the text): a magic of 14
//! bytes, pointer size, flags (2: strings follow inline); at 32 the Go version and the module text, each with a varint length.

use memchr::memmem;

use super::{Catalog, Told, is_elf};
use crate::purl::split_path;
use crate::scan::Package;

const MAGIC: &[u8] = b"\xff Go buildinf:";
const STRINGS_AT: usize = 32;
const INLINE_STRINGS: u8 = 2;
/// The header is aligned to this.
const ALIGNMENT: usize = 16;
/// The module text is framed by 16 bytes on either side, so that a reader of raw memory finds it.
const FRAME_BYTES: usize = 16;

pub const GOLANG: Catalog =
    Catalog { name: "go", wants: |_, head| head.executable && head.size > 64, read };

fn read(_: &str, bytes: &[u8]) -> Result<Told, String> {
    if !is_elf(bytes) {
        return Ok(Told::default());
    }
    // Programs that read build information contain the magic as data too, hence alignment and flags.
    let info = memmem::find_iter(bytes, MAGIC)
        .filter(|at| at % ALIGNMENT == 0)
        .find_map(|at| strings(&bytes[at..]));
    let Some((version, modules)) = info else { return Ok(Told::default()) };
    let mut packages = modules_of(&modules);
    let release = version.strip_prefix("go").unwrap_or(&version);
    let release = release.split([' ', '-']).next().unwrap_or(release);
    packages.push(module("stdlib", release));
    Ok(Told::packages(packages))
}

fn strings(header: &[u8]) -> Option<(String, String)> {
    if header.get(MAGIC.len() + 1)? & INLINE_STRINGS == 0 {
        return None;
    }
    let (version, rest) = string(header.get(STRINGS_AT..)?)?;
    let (modules, _) = string(rest)?;
    let framed = modules.len() >= 2 * FRAME_BYTES;
    let modules = if framed { &modules[FRAME_BYTES..modules.len() - FRAME_BYTES] } else { &[] };
    Some((
        String::from_utf8_lossy(version).into_owned(),
        String::from_utf8_lossy(modules).into_owned(),
    ))
}

fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut shift, mut at) = (0u64, 0, 0);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        length |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 56 {
            return None;
        }
    }
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    Some((bytes.get(at..end)?, &bytes[end..]))
}

/// Lines of tab-separated fields; `=>` replaces the module of the line before.
fn modules_of(text: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = vec![];
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            // The program's own module has a version only when it was installed by version.
            ["mod", path, version, ..] if *version != "(devel)" => {
                packages.push(module(path, version))
            }
            ["dep", path, version, ..] => packages.push(module(path, version)),
            ["=>", path, version, ..] => {
                packages.pop();
                packages.push(module(path, version));
            }
            _ => {}
        }
    }
    packages
}

fn module(path: &str, version: &str) -> Package {
    let (namespace, name) = split_path(path);
    Package {
        kind: "golang".into(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        version: version.to_owned(),
        ..Package::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(text: &str) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.resize(64, 0);
        bytes.extend(MAGIC);
        bytes.extend([8, INLINE_STRINGS]);
        bytes.resize(64 + STRINGS_AT, 0);
        bytes.push(8);
        bytes.extend(b"go1.22.5");
        let framed = format!("{}{text}{}", "s".repeat(16), "e".repeat(16));
        assert!(framed.len() > 127, "a length of two bytes is tried, too");
        bytes.extend([(framed.len() & 0x7f) as u8 | 0x80, (framed.len() >> 7) as u8]);
        bytes.extend(framed.as_bytes());
        bytes
    }

    #[test]
    fn modules_are_told() {
        let text = "path\texample.com/app\nmod\texample.com/app\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x=\ndep\tgolang.org/x/net\tv0.1.0\n=>\tgolang.org/x/net\tv0.2.0\th1:y=\nbuild\t-compiler=gc\n";
        let told = read("app", &program(text)).unwrap();
        let names: Vec<String> =
            told.packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        assert_eq!(names, ["b v1.2.3", "net v0.2.0", "stdlib 1.22.5"]);
    }

    #[test]
    fn cut_programs_do_not_panic() {
        let whole = program(&"dep\tgithub.com/a/b\tv1.2.3\n".repeat(10));
        for length in 0..whole.len() {
            let _ = read("app", &whole[..length]);
        }
    }
}
