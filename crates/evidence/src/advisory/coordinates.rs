//! Which ecosystem, name and version of the advisories a package URL means. Never by guessing: a URL without them is said to be so.
//!
//! Sources: ossf/osv-schema `docs/schema.md` (ecosystems and their names), package-url/purl-spec `types/`, and the qualifiers
//! `distro`, `upstream` and `epoch` that SBOM tools add.

use packageurl::PackageUrl;

use crate::purl::pypi_name;

/// The ecosystems that a package URL can lead to, without releases.
pub const ECOSYSTEMS: [&str; 27] = [
    "crates.io",
    "npm",
    "PyPI",
    "Go",
    "Maven",
    "RubyGems",
    "NuGet",
    "Packagist",
    "Pub",
    "Hex",
    "SwiftURL",
    "GitHub Actions",
    "Bitnami",
    "Debian",
    "Ubuntu",
    "Alpine",
    "Wolfi",
    "Chainguard",
    "MinimOS",
    "Red Hat",
    "Rocky Linux",
    "AlmaLinux",
    "Mageia",
    "Azure Linux",
    "openSUSE",
    "SUSE",
    "openEuler",
];

/// Where advisories about a package are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinates {
    /// Without release: `Debian`, `npm`.
    pub ecosystem: &'static str,
    /// In the spelling of [`key`]; several for RPM, whose advisories name binary or source packages.
    pub names: Vec<String>,
    pub version: Option<String>,
    pub release: Release,
}

/// Which releases of the ecosystem are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    Any,
    /// What follows the ecosystem's name, or the beginning of it up to a `:`.
    Only(String),
}

/// Why a package URL has no coordinates. Each completes "it is not assessed: …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCoordinates {
    #[error("it is no package URL: {why}")]
    NotPurl { why: String },
    #[error("no database of advisories covers package URLs of type `{kind}`")]
    UnknownType { kind: String },
    #[error("no database of advisories covers the distribution `{distribution}`")]
    UnknownDistribution { distribution: String },
    #[error("its qualifier `distro` does not name a release of {ecosystem}: {found}")]
    NoRelease { ecosystem: &'static str, found: String },
}

impl Release {
    /// Whether an advisory's ecosystem (`Debian:12`) is meant.
    pub fn accepts(&self, ecosystem: &str) -> bool {
        let release = ecosystem.split_once(':').map(|(_, release)| release);
        match (self, release) {
            (Self::Any, _) => true,
            (Self::Only(_), None) => true,
            (Self::Only(wanted), Some(release)) => release
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(':')),
        }
    }
}

/// A package's name as it is looked up: registries that ignore case, and Python's spellings, are made one.
pub fn key(ecosystem: &str, name: &str) -> String {
    match ecosystem {
        "PyPI" => pypi_name(name),
        "Go" | "NuGet" | "Packagist" | "SwiftURL" | "GitHub Actions" | "Hex" | "Pub" => {
            name.to_ascii_lowercase()
        }
        _ => name.to_owned(),
    }
}

/// Reads a package URL.
pub fn of_purl(purl: &str) -> Result<Coordinates, NoCoordinates> {
    let purl: PackageUrl<'_> = purl
        .parse()
        .map_err(|error: packageurl::Error| NoCoordinates::NotPurl { why: error.to_string() })?;
    let namespace = purl.namespace().unwrap_or_default();
    let (ecosystem, separator) = match purl.ty() {
        "cargo" => ("crates.io", "/"),
        "npm" => ("npm", "/"),
        "pypi" => ("PyPI", "/"),
        "golang" => ("Go", "/"),
        "maven" => ("Maven", ":"),
        "gem" => ("RubyGems", "/"),
        "nuget" => ("NuGet", "/"),
        "composer" => ("Packagist", "/"),
        "pub" => ("Pub", "/"),
        "hex" => ("Hex", "/"),
        "swift" => ("SwiftURL", "/"),
        "githubactions" => ("GitHub Actions", "/"),
        "bitnami" => ("Bitnami", "/"),
        "deb" | "apk" | "rpm" => return distribution(&purl, namespace),
        kind => return Err(NoCoordinates::UnknownType { kind: kind.to_owned() }),
    };
    let name = match namespace {
        "" => purl.name().to_owned(),
        namespace => format!("{namespace}{separator}{}", purl.name()),
    };
    Ok(Coordinates {
        ecosystem,
        names: vec![key(ecosystem, &name)],
        version: purl.version().map(str::to_owned),
        release: Release::Any,
    })
}

fn distribution(purl: &PackageUrl<'_>, namespace: &str) -> Result<Coordinates, NoCoordinates> {
    let qualifier = |key: &str| purl.qualifiers().get(key).map(AsRef::as_ref).unwrap_or_default();
    let distro: &str = qualifier("distro");
    let namespace = namespace.to_ascii_lowercase();
    // `wolfi` and `chainguard` have no releases.
    let (ecosystem, release) = match (purl.ty(), namespace.as_str()) {
        ("deb", "debian") => ("Debian", release("Debian", distro, debian_release)?),
        ("deb", "ubuntu") => ("Ubuntu", release("Ubuntu", distro, |v| numbers(v, 2))?),
        ("apk", "alpine") => ("Alpine", release("Alpine", distro, alpine_release)?),
        ("apk", "wolfi") => ("Wolfi", Release::Any),
        ("apk", "chainguard") => ("Chainguard", Release::Any),
        ("apk", "minimos") => ("MinimOS", Release::Any),
        ("rpm", "redhat" | "rhel") => (
            "Red Hat",
            release("Red Hat", distro, |v| Some(format!("enterprise_linux:{}", numbers(v, 1)?)))?,
        ),
        ("rpm", "rocky" | "rockylinux") => {
            ("Rocky Linux", release("Rocky Linux", distro, |v| numbers(v, 1))?)
        }
        ("rpm", "almalinux" | "alma") => {
            ("AlmaLinux", release("AlmaLinux", distro, |v| numbers(v, 1))?)
        }
        ("rpm", "mageia") => ("Mageia", release("Mageia", distro, |v| numbers(v, 1))?),
        ("rpm", "azurelinux") => {
            ("Azure Linux", release("Azure Linux", distro, |v| numbers(v, 1))?)
        }
        ("rpm", "opensuse") => ("openSUSE", release("openSUSE", distro, opensuse_release)?),
        ("rpm", "suse" | "sles") => ("SUSE", release("SUSE", distro, sles_release)?),
        ("rpm", "openeuler") => {
            ("openEuler", release("openEuler", distro, |v| Some(v.to_owned()))?)
        }
        _ => {
            let distribution = format!("{}/{namespace}", purl.ty());
            return Err(NoCoordinates::UnknownDistribution { distribution });
        }
    };
    let (names, version) = source(purl, qualifier("upstream"), qualifier("epoch"));
    Ok(Coordinates { ecosystem, names, version, release })
}

/// Advisories of distributions name source packages; `upstream` names the source of a binary one.
fn source(purl: &PackageUrl<'_>, upstream: &str, epoch: &str) -> (Vec<String>, Option<String>) {
    let name = purl.name().to_owned();
    if purl.ty() == "rpm" {
        let mut names = vec![name];
        // `openssl-3.0.7-27.el9.src.rpm`: the name ends before the last two dashes.
        let source = upstream.strip_suffix(".src.rpm").and_then(|rest| rest.rsplitn(3, '-').nth(2));
        names.extend(source.filter(|source| *source != names[0]).map(str::to_owned));
        let version = purl.version().map(|version| match epoch {
            "" | "0" => version.to_owned(),
            _ if version.contains(':') => version.to_owned(),
            epoch => format!("{epoch}:{version}"),
        });
        return (names, version);
    }
    let own = purl.version().map(str::to_owned);
    match upstream.split_once('@') {
        Some((source, version)) => (vec![source.to_owned()], Some(version.to_owned())),
        None if !upstream.is_empty() => (vec![upstream.to_owned()], own),
        None => (vec![name], own),
    }
}

/// `debian-12`, `12` or `bookworm` by the distribution's own reading.
fn release(
    ecosystem: &'static str,
    distro: &str,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Release, NoCoordinates> {
    let lower = distro.to_ascii_lowercase();
    // The name before the first digit is the distribution's; code names have no digit.
    let version = match lower.find(|c: char| c.is_ascii_digit()) {
        Some(at) => &lower[at..],
        None => lower.as_str(),
    };
    // What the reader wants as a whole begins with a word.
    let whole = lower.starts_with("opensuse").then_some(lower.as_str());
    match read(whole.unwrap_or(version)) {
        Some(release) if !release.is_empty() => Ok(Release::Only(release)),
        _ => {
            let found =
                if distro.is_empty() { "there is none".into() } else { format!("`{distro}`") };
            Err(NoCoordinates::NoRelease { ecosystem, found })
        }
    }
}

/// The first `count` dotted numbers.
fn numbers(text: &str, count: usize) -> Option<String> {
    let numbers: Vec<_> = text
        .split(|c: char| !c.is_ascii_digit())
        .take(count)
        .filter(|number| !number.is_empty())
        .collect();
    (numbers.len() == count).then(|| numbers.join("."))
}

fn debian_release(version: &str) -> Option<String> {
    const NAMES: [(&str, &str); 9] = [
        ("wheezy", "7"),
        ("jessie", "8"),
        ("stretch", "9"),
        ("buster", "10"),
        ("bullseye", "11"),
        ("bookworm", "12"),
        ("trixie", "13"),
        ("forky", "14"),
        ("duke", "15"),
    ];
    let name = version.strip_prefix("debian-").unwrap_or(version);
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, number)| (*number).to_owned()).or_else(|| numbers(version, 1))
}

fn alpine_release(version: &str) -> Option<String> {
    numbers(version, 2).map(|release| format!("v{release}"))
}

fn opensuse_release(distro: &str) -> Option<String> {
    if distro.contains("tumbleweed") {
        return Some("Tumbleweed".into());
    }
    let version = &distro[distro.find(|c: char| c.is_ascii_digit())?..];
    numbers(version, 2).map(|release| format!("Leap {release}"))
}

fn sles_release(version: &str) -> Option<String> {
    let number = numbers(version, 1)?;
    Some(match numbers(version, 2) {
        Some(with_pack) => {
            let pack = &with_pack[number.len() + 1..];
            format!("Linux Enterprise Server {number} SP{pack}")
        }
        None => format!("Linux Enterprise Server {number}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_mean_ecosystem_names() {
        #[rustfmt::skip]
        let cases = [
            ("pkg:cargo/serde@1.0.0",                                   "crates.io", "serde",                          Some("1.0.0"),  None),
            ("pkg:npm/%40hapi/boom@10.0.1",                             "npm",       "@hapi/boom",                     Some("10.0.1"), None),
            ("pkg:pypi/zope-interface@5",                               "PyPI",      "zope-interface",                 Some("5"),      None),
            ("pkg:golang/github.com/masterminds/goutils@v1.1.0",        "Go",        "github.com/masterminds/goutils", Some("v1.1.0"), None),
            ("pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1",    "Maven",     "org.apache.logging.log4j:log4j-core", Some("2.14.1"), None),
            ("pkg:composer/symfony/http-kernel@v4",                     "Packagist", "symfony/http-kernel",            Some("v4"),     None),
            ("pkg:nuget/Newtonsoft.Json@12.0.1",                        "NuGet",     "newtonsoft.json",                Some("12.0.1"), None),
            ("pkg:gem/rails",                                           "RubyGems",  "rails",                          None,           None),
            ("pkg:deb/debian/libc6@2.36-9?distro=debian-12&upstream=glibc", "Debian", "glibc",                         Some("2.36-9"), Some("12")),
            ("pkg:deb/debian/libc6@2.36-9?distro=bookworm&upstream=glibc%402.36-8", "Debian", "glibc",                 Some("2.36-8"), Some("12")),
            ("pkg:deb/debian/curl@7?distro=debian-12.5",                "Debian",    "curl",                           Some("7"),      Some("12")),
            ("pkg:deb/ubuntu/curl@7?distro=ubuntu-22.04",               "Ubuntu",    "curl",                           Some("7"),      Some("22.04")),
            ("pkg:apk/alpine/busybox@1.36.1-r15?distro=alpine-3.19.1",  "Alpine",    "busybox",                        Some("1.36.1-r15"), Some("v3.19")),
            ("pkg:apk/wolfi/curl@8?distro=wolfi",                       "Wolfi",     "curl",                           Some("8"),      None),
            ("pkg:rpm/redhat/openssl-libs@3.0.7-27.el9?epoch=1&distro=rhel-9.4&upstream=openssl-3.0.7-27.el9.src.rpm", "Red Hat", "openssl-libs openssl", Some("1:3.0.7-27.el9"), Some("enterprise_linux:9")),
            ("pkg:rpm/rocky/bash@5-1?distro=rocky-9.4",                 "Rocky Linux", "bash",                         Some("5-1"),    Some("9")),
            ("pkg:rpm/opensuse/bash@5-1?distro=opensuse-leap-15.5",     "openSUSE",  "bash",                           Some("5-1"),    Some("Leap 15.5")),
            ("pkg:rpm/suse/bash@5-1?distro=sles-15.5",                  "SUSE",      "bash",                           Some("5-1"),    Some("Linux Enterprise Server 15 SP5")),
        ];
        for (purl, ecosystem, names, version, release) in cases {
            let found = of_purl(purl).unwrap();
            assert_eq!(found.ecosystem, ecosystem, "{purl}");
            assert_eq!(found.names.join(" "), names, "{purl}");
            assert_eq!(found.version.as_deref(), version, "{purl}");
            let release =
                release.map_or(Release::Any, |release: &str| Release::Only(release.into()));
            assert_eq!(found.release, release, "{purl}");
        }
    }

    #[test]
    fn what_is_not_covered_is_said() {
        #[rustfmt::skip]
        let cases = [
            ("pkg:generic/openssl@1",                 "no database of advisories covers package URLs of type `generic`"),
            ("pkg:deb/debian/curl@7",                 "its qualifier `distro` does not name a release of Debian: there is none"),
            ("pkg:deb/debian/curl@7?distro=sid",      "its qualifier `distro` does not name a release of Debian: `sid`"),
            ("pkg:rpm/fedora/curl@7?distro=fedora-40", "no database of advisories covers the distribution `rpm/fedora`"),
        ];
        for (purl, why) in cases {
            assert_eq!(of_purl(purl).unwrap_err().to_string(), why, "{purl}");
        }
        assert!(matches!(of_purl("serde 1.0"), Err(NoCoordinates::NotPurl { .. })));
    }

    #[test]
    fn releases_are_told_apart() {
        let only = |release: &str| Release::Only(release.into());
        assert!(only("12").accepts("Debian:12"));
        assert!(!only("1").accepts("Debian:12"));
        assert!(only("22.04").accepts("Ubuntu:22.04:LTS"));
        assert!(!only("22.04").accepts("Ubuntu:Pro:22.04:LTS"));
        assert!(only("enterprise_linux:9").accepts("Red Hat:enterprise_linux:9::baseos"));
        assert!(Release::Any.accepts("Maven:https://repo.example.com"));
    }
}
