//! The packages of a CycloneDX SBOM, of whichever tool and version from 1.2 on.

use serde::Deserialize;

/// The largest SBOM that is read, in bytes.
pub const SBOM_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Components in components in components: deeper ones are refused by the JSON reader itself.
const FORMAT: &str = "CycloneDX";

/// Why a file has no packages to match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    #[error("the SBOM has {bytes} bytes; at most {max} are read")]
    TooLarge { bytes: usize, max: usize },
    #[error("the SBOM is not JSON of its form: {why}")]
    NotJson { why: String },
    #[error("the SBOM's `bomFormat` is `{found}`; read is CycloneDX")]
    Format { found: String },
}

/// One component that is a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: Option<String>,
    /// The component's package URL, when it has one.
    pub purl: Option<String>,
}

#[derive(Deserialize)]
struct Bom {
    #[serde(rename = "bomFormat")]
    format: String,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    purl: Option<String>,
    #[serde(default)]
    components: Vec<Component>,
}

/// The packages of an SBOM: components with a package URL, and libraries and the like without one, which cannot be assessed.
pub fn of_cyclonedx(bytes: &[u8]) -> Result<Vec<Package>, InventoryError> {
    if bytes.len() > SBOM_BYTES_MAX {
        return Err(InventoryError::TooLarge { bytes: bytes.len(), max: SBOM_BYTES_MAX });
    }
    let bom: Bom = serde_json::from_slice(bytes)
        .map_err(|error| InventoryError::NotJson { why: error.to_string() })?;
    if bom.format != FORMAT {
        return Err(InventoryError::Format { found: bom.format });
    }
    let mut packages = vec![];
    let mut open = bom.components;
    open.reverse();
    while let Some(mut component) = open.pop() {
        let inner = std::mem::take(&mut component.components);
        open.extend(inner.into_iter().rev());
        let is_code =
            matches!(component.kind.as_str(), "library" | "framework" | "application" | "platform");
        if component.purl.is_some() || is_code {
            let Component { name, version, purl, .. } = component;
            packages.push(Package { name, version, purl });
        }
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_components_are_packages_and_files_are_not() {
        let sbom = br#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[
            {"type":"library","name":"a","version":"1","purl":"pkg:npm/a@1","components":[{"type":"library","name":"b"}]},
            {"type":"file","name":"/etc/passwd"},{"type":"operating-system","name":"debian","version":"12"},
            {"type":"application","name":"c","purl":"pkg:cargo/c@2"}]}"#;
        let names: Vec<_> =
            of_cyclonedx(sbom).unwrap().into_iter().map(|p| (p.name, p.purl)).collect();
        let purl = |text: &str| Some(text.to_owned());
        assert_eq!(
            names,
            [
                ("a".into(), purl("pkg:npm/a@1")),
                ("b".into(), None),
                ("c".into(), purl("pkg:cargo/c@2"))
            ]
        );
    }

    #[test]
    fn other_files_are_refused() {
        let said = |text: &str| of_cyclonedx(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            said(r#"{"bomFormat":"SPDX"}"#),
            "the SBOM's `bomFormat` is `SPDX`; read is CycloneDX"
        );
        assert!(
            said("{}").starts_with("the SBOM is not JSON of its form: missing field `bomFormat`")
        );
    }
}
