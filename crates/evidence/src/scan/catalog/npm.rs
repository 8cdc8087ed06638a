//! Installed npm packages: `node_modules/**/package.json`. Format: docs.npmjs.com, "package.json".

use serde_json::Value;

use super::{Catalog, Told, file_name};
use crate::scan::Package;

pub const NPM: Catalog = Catalog {
    name: "npm",
    wants: |path, _| file_name(path) == "package.json" && is_package(path),
    read,
};

/// `node_modules/NAME/package.json` or `node_modules/@SCOPE/NAME/package.json`; deeper ones only choose a module format.
fn is_package(path: &str) -> bool {
    let Some((_, below)) = path.rsplit_once("node_modules/") else { return false };
    let parts = below.split('/').count();
    parts == if below.starts_with('@') { 3 } else { 2 }
}

fn read(_: &str, bytes: &[u8]) -> Result<Told, String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let text =
        |key: &str| document.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(name), Some(version)) = (text("name"), text("version")) else {
        return Err("names no package and version".into());
    };
    let (namespace, short) = match name.split_once('/') {
        Some((scope, short)) => (Some(scope.to_owned()), short),
        None => (None, name),
    };
    // Old packages write `{"license": {"type": "MIT"}}`.
    let licence = text("license")
        .or_else(|| document.pointer("/license/type").and_then(Value::as_str))
        .filter(|text| !text.starts_with("SEE LICENSE"));
    let needs = document.get("dependencies").and_then(Value::as_object);
    Ok(Told::packages(vec![Package {
        kind: "npm".into(),
        namespace,
        name: short.to_owned(),
        version: version.to_owned(),
        licence: licence.map(str::to_owned),
        needs: needs.map(|needs| needs.keys().cloned().collect()).unwrap_or_default(),
        ..Package::default()
    }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_are_wanted() {
        for (path, wanted) in [
            ("app/node_modules/a/package.json", true),
            ("app/node_modules/@s/a/package.json", true),
            ("app/node_modules/a/node_modules/b/package.json", true),
            ("app/node_modules/a/dist/esm/package.json", false),
            ("app/package.json", false),
        ] {
            assert_eq!(is_package(path), wanted, "{path}");
        }
        let told = read("p", br#"{"name":"@hapi/boom","version":"10.0.1","license":{"type":"BSD-3-Clause"},"dependencies":{"@hapi/hoek":"^11"}}"#).unwrap();
        let package = &told.packages[0];
        assert_eq!((package.namespace.as_deref(), package.name.as_str()), (Some("@hapi"), "boom"));
        assert_eq!(package.licence.as_deref(), Some("BSD-3-Clause"));
    }
}
