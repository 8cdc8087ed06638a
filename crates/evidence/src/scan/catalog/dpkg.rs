//! Debian's and Ubuntu's packages: `/var/lib/dpkg/status`, and `status.d/` in images without a package manager.
//!
//! Format: deb-control(5) and dpkg-query(1): only packages whose state ends with `installed` are there.

use super::{Catalog, Told, field, file_name, paragraphs, text};
use crate::scan::Package;

pub const DPKG: Catalog = Catalog {
    name: "dpkg",
    wants: |path, _| {
        path == "var/lib/dpkg/status"
            || path
                .strip_prefix("var/lib/dpkg/status.d/")
                .is_some_and(|file| !file.ends_with(".md5sums"))
    },
    read,
};

fn read(path: &str, bytes: &[u8]) -> Result<Told, String> {
    let text = text(bytes).replace("\r\n", "\n");
    let whole = file_name(path) == "status";
    let mut packages = vec![];
    for fields in paragraphs(&text) {
        let (Some(name), Some(version)) = (field(&fields, "Package"), field(&fields, "Version"))
        else {
            continue;
        };
        // `status.d` has one file for each package that is there, mostly without a state.
        let state = field(&fields, "Status").unwrap_or(if whole { "" } else { "installed" });
        if state.split_whitespace().next_back() != Some("installed") {
            continue;
        }
        packages.push(Package {
            kind: "deb".into(),
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: field(&fields, "Architecture").map(str::to_owned),
            source: Some(source(field(&fields, "Source"), name, version)),
            needs: [field(&fields, "Pre-Depends"), field(&fields, "Depends")]
                .into_iter()
                .flatten()
                .flat_map(needs)
                .collect(),
            ..Package::default()
        });
    }
    Ok(Told::packages(packages))
}

/// `Source: openssl (3.0.1)`: the version stands there only when it is another one.
fn source(field: Option<&str>, name: &str, version: &str) -> (String, String) {
    let Some(field) = field else { return (name.to_owned(), version.to_owned()) };
    match field.split_once('(') {
        Some((name, rest)) => {
            (name.trim().to_owned(), rest.trim_end_matches(')').trim().to_owned())
        }
        None => (field.trim().to_owned(), version.to_owned()),
    }
}

/// Names only: `libc6 (>= 2.36), default-mta | mail-transport-agent` needs `libc6` and `default-mta`.
fn needs(list: &str) -> impl Iterator<Item = String> {
    list.split(',').filter_map(|one| {
        let first = one.split('|').next()?.trim();
        let name = first.split([' ', '(', ':']).next()?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl (3.0.15-1)\nVersion: 3.0.15-1+b1\nDepends: libc6 (>= 2.34), debconf:any | debconf-2.0\nDescription: toolkit\n more text\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";

    #[test]
    fn installed_packages_are_told() {
        let told = read("var/lib/dpkg/status", STATUS.as_bytes()).unwrap();
        let [package] = told.packages.as_slice() else { panic!("{told:?}") };
        assert_eq!((package.name.as_str(), package.version.as_str()), ("libssl3", "3.0.15-1+b1"));
        assert_eq!(package.source, Some(("openssl".into(), "3.0.15-1".into())));
        assert_eq!(package.needs, ["libc6", "debconf"]);
    }

    #[test]
    fn distroless_images_have_a_file_for_each() {
        let told =
            read("var/lib/dpkg/status.d/tzdata", b"Package: tzdata\nVersion: 2024a-0\n").unwrap();
        assert_eq!(told.packages[0].source, Some(("tzdata".into(), "2024a-0".into())));
        assert!((DPKG.wants)(
            "var/lib/dpkg/status.d/tzdata",
            crate::scan::Head { size: 1, executable: false }
        ));
        assert!(!(DPKG.wants)(
            "var/lib/dpkg/status.d/tzdata.md5sums",
            crate::scan::Head { size: 1, executable: false }
        ));
    }
}
