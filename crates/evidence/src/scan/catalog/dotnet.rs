//! NuGet packages of a published .NET program: `NAME.deps.json`.
//!
//! Format: dotnet/sdk, "runtime configuration files": `libraries` by `NAME/VERSION` with a `type`.

use serde_json::Value;

use super::{Catalog, Told};
use crate::scan::Package;

pub const DOTNET: Catalog =
    Catalog { name: ".NET", wants: |path, _| path.ends_with(".deps.json"), read };

fn read(_: &str, bytes: &[u8]) -> Result<Told, String> {
    // The SDK writes a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let libraries =
        document.get("libraries").and_then(Value::as_object).ok_or("lists no libraries")?;
    let packages = libraries
        .iter()
        .filter(|(_, library)| library.get("type").and_then(Value::as_str) == Some("package"))
        .filter_map(|(key, _)| {
            let (name, version) = key.split_once('/')?;
            Some(Package {
                kind: "nuget".into(),
                name: name.to_owned(),
                version: version.to_owned(),
                needs: needs(&document, key),
                ..Package::default()
            })
        });
    Ok(Told::packages(packages.collect()))
}

fn needs(document: &Value, key: &str) -> Vec<String> {
    let targets = document.get("targets").and_then(Value::as_object);
    let of = |target: &Value| {
        Some(target.get(key)?.get("dependencies")?.as_object()?.keys().cloned().collect::<Vec<_>>())
    };
    let mut names: Vec<String> =
        targets.into_iter().flat_map(|targets| targets.values()).filter_map(of).flatten().collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_and_projects_are_not() {
        let document = "\u{feff}{\"targets\":{\".NETCoreApp,Version=v8.0\":{\"Serilog/3.1.1\":{\"dependencies\":{\"System.Text.Json\":\"8.0.0\"}}}},\"libraries\":{\"app/1.0.0\":{\"type\":\"project\"},\"Serilog/3.1.1\":{\"type\":\"package\"}}}";
        let told = read("app.deps.json", document.as_bytes()).unwrap();
        let [package] = told.packages.as_slice() else { panic!("{told:?}") };
        assert_eq!(
            (package.name.as_str(), package.needs.as_slice()),
            ("Serilog", &["System.Text.Json".to_owned()][..])
        );
    }
}
