//! Alpine's packages: `/lib/apk/db/installed`, one letter for each field.
//!
//! Format: Alpine wiki, "Apk spec", section "Installed database".

use super::{Catalog, Told, text};
use crate::scan::Package;

pub const APK: Catalog = Catalog {
    name: "apk",
    wants: |path, _| matches!(path, "lib/apk/db/installed" | "usr/lib/apk/db/installed"),
    read,
};

fn read(_: &str, bytes: &[u8]) -> Result<Told, String> {
    let text = text(bytes);
    let packages = text.split("\n\n").filter_map(|paragraph| {
        let value = |letter: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(letter)?.strip_prefix(':'))
        };
        let (name, version) = (value("P")?, value("V")?);
        let origin = value("o").unwrap_or(name);
        Some(Package {
            kind: "apk".into(),
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: value("A").map(str::to_owned),
            source: Some((origin.to_owned(), version.to_owned())),
            licence: value("L").filter(|text| !text.is_empty()).map(str::to_owned),
            needs: value("D").into_iter().flat_map(needs).collect(),
            ..Package::default()
        })
    });
    Ok(Told::packages(packages.collect()))
}

/// Packages by name; `so:` and `cmd:` name what a package provides, not a package, and `!` forbids one.
fn needs(list: &str) -> impl Iterator<Item = String> {
    list.split_whitespace()
        .filter(|one| !one.contains(':') && !one.starts_with('!'))
        .filter_map(|one| one.split(['<', '>', '=', '~']).next())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_told() {
        let text = "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld.so\n\nP:busybox-binsh\nV:1.36.1-r28\nL:GPL-2.0-only\no:busybox\nD:busybox=1.36.1-r28 so:libc.musl-x86_64.so.1 !other\n";
        let told = read("lib/apk/db/installed", text.as_bytes()).unwrap();
        assert_eq!(told.packages.len(), 2);
        assert_eq!(told.packages[0].licence.as_deref(), Some("MIT"));
        assert_eq!(told.packages[1].source, Some(("busybox".into(), "1.36.1-r28".into())));
        assert_eq!(told.packages[1].needs, ["busybox"]);
    }
}
