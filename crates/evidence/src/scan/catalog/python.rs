//! Installed Python packages: `*.dist-info/METADATA` and `*.egg-info`.
//!
//! Format: Python packaging specifications, "Core metadata".

use super::{Catalog, Told, field, fields, text};
use crate::purl::pypi_name;
use crate::scan::Package;

pub const PYTHON: Catalog = Catalog {
    name: "python",
    wants: |path, _| {
        path.ends_with(".dist-info/METADATA")
            || path.ends_with(".egg-info/PKG-INFO")
            || path.ends_with(".egg-info")
    },
    read,
};

fn read(_: &str, bytes: &[u8]) -> Result<Told, String> {
    let text = text(bytes).replace("\r\n", "\n");
    // The description follows after an empty line and may contain anything.
    let fields = fields(text.split("\n\n").next().unwrap_or_default());
    let (Some(name), Some(version)) = (field(&fields, "Name"), field(&fields, "Version")) else {
        return Err("names no package and version".into());
    };
    let licence = field(&fields, "License-Expression").or_else(|| {
        field(&fields, "License").filter(|text| !text.contains('\n') && *text != "UNKNOWN")
    });
    let mut needs: Vec<String> = fields
        .iter()
        .filter(|(key, _)| *key == "Requires-Dist")
        .filter_map(|(_, value)| need(value))
        .collect();
    needs.dedup();
    Ok(Told::packages(vec![Package {
        kind: "pypi".into(),
        name: pypi_name(name),
        version: version.to_owned(),
        licence: licence.map(str::to_owned),
        needs,
        ..Package::default()
    }]))
}

/// `idna (<4,>=2.5) ; python_version >= "3"` needs `idna`; what only an extra needs was not asked for.
fn need(requirement: &str) -> Option<String> {
    let (what, marker) = requirement.split_once(';').unwrap_or((requirement, ""));
    if marker.contains("extra") {
        return None;
    }
    let end =
        what.find(|c: char| !(c.is_alphanumeric() || "-_.".contains(c))).unwrap_or(what.len());
    (end > 0).then(|| pypi_name(&what[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read() {
        let text = "Metadata-Version: 2.4\nName: Flask_Login\nVersion: 0.6.3\nLicense-Expression: MIT\nRequires-Dist: Flask>=1.0.4\nRequires-Dist: sphinx ; extra == \"docs\"\n\nName: not this\n";
        let told = read("x.dist-info/METADATA", text.as_bytes()).unwrap();
        let package = &told.packages[0];
        assert_eq!((package.name.as_str(), package.version.as_str()), ("flask-login", "0.6.3"));
        assert_eq!(
            (package.licence.as_deref(), package.needs.as_slice()),
            (Some("MIT"), &["flask".to_owned()][..])
        );
        assert_eq!(read("x.egg-info", b"nothing").unwrap_err(), "names no package and version");
    }
}
