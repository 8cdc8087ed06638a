//! Installed PHP packages: `vendor/composer/installed.json`, of Composer 1 (a list) and 2 (`packages`).

use serde_json::Value;

use super::{Catalog, Told};
use crate::scan::Package;

pub const COMPOSER: Catalog =
    Catalog { name: "composer", wants: |path, _| path.ends_with("composer/installed.json"), read };

fn read(_: &str, bytes: &[u8]) -> Result<Told, String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let list = document.get("packages").unwrap_or(&document);
    let list = list.as_array().ok_or("lists no packages")?;
    Ok(Told::packages(list.iter().filter_map(package).collect()))
}

fn package(entry: &Value) -> Option<Package> {
    let (vendor, name) = entry.get("name")?.as_str()?.split_once('/')?;
    let version = entry.get("version")?.as_str()?;
    let licences: Vec<&str> = entry
        .get("license")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let needs = entry.get("require").and_then(Value::as_object);
    Some(Package {
        kind: "composer".into(),
        namespace: Some(vendor.to_owned()),
        name: name.to_owned(),
        version: version.trim_start_matches('v').to_owned(),
        // Composer: several licences mean a choice.
        licence: (!licences.is_empty()).then(|| licences.join(" OR ")),
        // `php` and `ext-json` name the platform; packages have a vendor.
        needs: needs
            .map(|needs| needs.keys().filter(|key| key.contains('/')).cloned().collect())
            .unwrap_or_default(),
        ..Package::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let entry = r#"{"name":"monolog/monolog","version":"v3.5.0","license":["MIT"],"require":{"php":">=8.1","psr/log":"^2"}}"#;
        for document in [format!("[{entry}]"), format!(r#"{{"packages":[{entry}]}}"#)] {
            let told = read("vendor/composer/installed.json", document.as_bytes()).unwrap();
            assert_eq!(
                (told.packages[0].version.as_str(), told.packages[0].needs.as_slice()),
                ("3.5.0", &["psr/log".to_owned()][..])
            );
        }
    }
}
