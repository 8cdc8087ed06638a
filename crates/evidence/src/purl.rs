//! Package URLs, written by the rules of each type.
//!
//! Source: package-url/purl-spec and its `types/*-definition.json`.

use packageurl::PackageUrl;

/// A text that cannot stand in a package URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be named by a package URL of type `{kind}`: {why}")]
pub struct PurlError {
    pub kind: &'static str,
    pub name: String,
    pub why: String,
}

/// The parts of a package URL. Qualifiers with an empty value are left out, as the specification asks.
#[derive(Debug, Clone, Default)]
pub struct Parts<'a> {
    pub namespace: Option<&'a str>,
    pub name: &'a str,
    pub version: Option<&'a str>,
    pub qualifiers: &'a [(&'static str, &'a str)],
}

/// Writes a package URL in its canonical form.
pub fn purl(kind: &'static str, parts: &Parts<'_>) -> Result<String, PurlError> {
    build(kind, parts).map_err(|error| PurlError {
        kind,
        name: parts.name.to_owned(),
        why: error.to_string(),
    })
}

fn build(kind: &'static str, parts: &Parts<'_>) -> packageurl::Result<String> {
    let mut purl = PackageUrl::new(kind, parts.name)?;
    if let Some(namespace) = parts.namespace.filter(|text| !text.is_empty()) {
        purl.with_namespace(namespace)?;
    }
    if let Some(version) = parts.version.filter(|text| !text.is_empty()) {
        purl.with_version(version)?;
    }
    for (key, value) in parts.qualifiers.iter().filter(|(_, value)| !value.is_empty()) {
        purl.add_qualifier(*key, *value)?;
    }
    purl.validate()?;
    Ok(purl.to_string())
}

/// The name of a Python project as registries and package URLs write it (PEP 503): lower case, runs of `-`, `_` and `.` as one `-`.
pub fn pypi_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        let separator = matches!(character, '-' | '_' | '.');
        if separator && normal.ends_with('-') {
            continue;
        }
        normal.push(if separator { '-' } else { character.to_ascii_lowercase() });
    }
    normal
}

/// The `vcs_url` qualifier of a git source as lock files write it: `git+https://host/a.git?rev=main#<commit>` becomes
/// `git+https://host/a.git@<commit>`.
pub fn vcs_url(source: &str) -> String {
    let (address, commit) = match source.split_once('#') {
        Some((address, commit)) => (address, Some(commit)),
        None => (source, None),
    };
    let address = address.split('?').next().unwrap_or_default();
    let scheme = if address.starts_with("git+") { "" } else { "git+" };
    match commit {
        Some(commit) => format!("{scheme}{address}@{commit}"),
        None => format!("{scheme}{address}"),
    }
}

/// Adds a qualifier to a package URL of this crate.
pub fn with_qualifier(purl: &str, key: &'static str, value: &str) -> Option<String> {
    let mut parsed: PackageUrl<'_> = purl.parse().ok()?;
    parsed.add_qualifier(key, value).ok()?;
    Some(parsed.to_string())
}

/// Splits a path-like name (`@scope/name`, `github.com/a/b`) into namespace and name.
pub fn split_path(path: &str) -> (Option<&str>, &str) {
    match path.rsplit_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purls_follow_their_type() {
        #[rustfmt::skip]
        let cases = [
            ("npm",    "@hapi/boom",                 "10.0.1",               "pkg:npm/%40hapi/boom@10.0.1"),
            ("npm",    "debug",                      "2.6.9",                "pkg:npm/debug@2.6.9"),
            ("golang", "github.com/BurntSushi/toml", "v1.4.0",               "pkg:golang/github.com/burntsushi/toml@v1.4.0"),
            ("golang", "github.com/docker/docker",   "v28.0.0+incompatible", "pkg:golang/github.com/docker/docker@v28.0.0%2Bincompatible"),
            ("cargo",  "serde",                      "1.0.228",              "pkg:cargo/serde@1.0.228"),
            ("deb",    "debian/libc6",               "2.36-9+deb12u10",      "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10"),
            ("deb",    "debian/zlib1g",              "1:1.2.13.dfsg-1",      "pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1"),
        ];
        for (kind, path, version, expected) in cases {
            let (namespace, name) = split_path(path);
            let parts = Parts { namespace, name, version: Some(version), qualifiers: &[] };
            assert_eq!(purl(kind, &parts).unwrap(), expected);
        }
    }

    #[test]
    fn qualifiers_are_sorted_and_encoded() {
        let qualifiers = [("distro", "debian-12"), ("arch", "amd64"), ("empty", "")];
        let parts = Parts {
            namespace: Some("debian"),
            name: "libc6",
            version: Some("2"),
            qualifiers: &qualifiers,
        };
        assert_eq!(
            purl("deb", &parts).unwrap(),
            "pkg:deb/debian/libc6@2?arch=amd64&distro=debian-12"
        );
        let qualifiers = [("vcs_url", "git+https://example.com/a.git@00ff")];
        let parts = Parts { name: "a", qualifiers: &qualifiers, ..Parts::default() };
        assert_eq!(
            purl("pypi", &parts).unwrap(),
            "pkg:pypi/a?vcs_url=git%2Bhttps:%2F%2Fexample.com%2Fa.git%4000ff"
        );
    }

    #[test]
    fn python_names_are_normal() {
        for (name, expected) in
            [("Zope.Interface", "zope-interface"), ("a__b-.c", "a-b-c"), ("idna", "idna")]
        {
            assert_eq!(pypi_name(name), expected);
        }
    }
}
