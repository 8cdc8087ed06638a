//! Version ordering of each package ecosystem, as its own tools order.
//!
//! One file per ordering. Everything is pure, total and bounded: any text gives an order or says why it is [`Unreadable`], and
//! none panics. Numbers have no upper limit. docs/versions.md tells against which implementation each is tested, and where
//! it reads more than its ecosystem's tools accept.

use std::cmp::Ordering;
use std::fmt;

mod alpine;
mod composer;
mod debian;
mod decimal;
mod maven;
mod nuget;
mod pep440;
mod rpm;
mod rubygems;
mod semver;

/// The longest version that is read, in bytes. Real ones stay under 150; Maven's order is recursive, so this also bounds its depth.
pub const VERSION_BYTES_MAX: usize = 512;

/// How the versions of an ecosystem are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Semantic Versioning 2.0.0: Cargo, Hex, Swift, GitHub Actions, Bitnami, Julia.
    SemVer,
    /// node-semver.
    Npm,
    /// `golang.org/x/mod/semver`, and the releases of Go itself (`go1.22rc1`).
    Go,
    /// Dart's `pub_semver`: Semantic Versioning, and build metadata counts.
    Pub,
    /// Python: the version specifiers of PyPA, formerly PEP 440.
    Pep440,
    /// Maven's `ComparableVersion`.
    Maven,
    /// dpkg: Debian, Ubuntu, Echo.
    Debian,
    /// `rpmvercmp` on epoch, version and release: Red Hat and its rebuilds, SUSE, openEuler, Azure Linux.
    Rpm,
    /// apk-tools 3: Alpine, Wolfi, Chainguard, MinimOS.
    Alpine,
    /// Ruby's `Gem::Version`.
    RubyGems,
    /// `NuGetVersion`.
    NuGet,
    /// `composer/semver`: normalized, then PHP's `version_compare`.
    Composer,
}

/// A version that its ecosystem's rules give no place in the order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{version}` is no {scheme} version: {why}")]
pub struct Unreadable {
    pub scheme: Scheme,
    /// As given, shortened to 80 characters.
    pub version: String,
    pub why: &'static str,
}

impl Scheme {
    /// Every ordering there is.
    pub const ALL: [Self; 12] = [
        Self::SemVer,
        Self::Npm,
        Self::Go,
        Self::Pub,
        Self::Pep440,
        Self::Maven,
        Self::Debian,
        Self::Rpm,
        Self::Alpine,
        Self::RubyGems,
        Self::NuGet,
        Self::Composer,
    ];

    /// The ordering of an ecosystem as OSV names it, with or without a release: `PyPI`, `Debian:12`, `Red Hat:enterprise_linux:9::baseos`.
    pub fn of_ecosystem(ecosystem: &str) -> Option<Self> {
        Some(match ecosystem.split(':').next().unwrap_or_default() {
            "crates.io" | "Hex" | "SwiftURL" | "GitHub Actions" | "Bitnami" | "Julia" => {
                Self::SemVer
            }
            "npm" => Self::Npm,
            "Go" => Self::Go,
            "Pub" => Self::Pub,
            "PyPI" => Self::Pep440,
            "Maven" => Self::Maven,
            "Debian" | "Ubuntu" | "Echo" => Self::Debian,
            "Red Hat" | "Rocky Linux" | "AlmaLinux" | "SUSE" | "openSUSE" | "openEuler"
            | "Mageia" | "Photon OS" | "Azure Linux" => Self::Rpm,
            "Alpine"
            | "Wolfi"
            | "Chainguard"
            | "MinimOS"
            | "Alpaquita"
            | "BellSoft Hardened Containers" => Self::Alpine,
            "RubyGems" => Self::RubyGems,
            "NuGet" => Self::NuGet,
            "Packagist" => Self::Composer,
            _ => return None,
        })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SemVer => "semantic",
            Self::Npm => "npm",
            Self::Go => "Go",
            Self::Pub => "Pub",
            Self::Pep440 => "Python",
            Self::Maven => "Maven",
            Self::Debian => "Debian",
            Self::Rpm => "RPM",
            Self::Alpine => "Alpine",
            Self::RubyGems => "RubyGems",
            Self::NuGet => "NuGet",
            Self::Composer => "Composer",
        })
    }
}

/// The order of two versions; `Equal` also for different spellings of one version (`1.0` and `1.0.0` in Python).
pub fn compare(scheme: Scheme, a: &str, b: &str) -> Result<Ordering, Unreadable> {
    match scheme {
        Scheme::SemVer | Scheme::Npm => ordered(scheme, a, b, semver::parse, semver::order),
        Scheme::Go => ordered(scheme, a, b, semver::parse_go, semver::order),
        Scheme::Pub => ordered(scheme, a, b, semver::parse, semver::order_with_build),
        Scheme::Pep440 => ordered(scheme, a, b, pep440::parse, pep440::order),
        Scheme::Maven => ordered(scheme, a, b, maven::parse, maven::order),
        Scheme::Debian => ordered(scheme, a, b, debian::parse, debian::order),
        Scheme::Rpm => ordered(scheme, a, b, rpm::parse, rpm::order),
        Scheme::Alpine => ordered(scheme, a, b, alpine::parse, alpine::order),
        Scheme::RubyGems => ordered(scheme, a, b, rubygems::parse, rubygems::order),
        Scheme::NuGet => ordered(scheme, a, b, nuget::parse, nuget::order),
        Scheme::Composer => ordered(scheme, a, b, composer::parse, composer::order),
    }
}

/// Whether a version can be ordered.
pub fn check(scheme: Scheme, version: &str) -> Result<(), Unreadable> {
    compare(scheme, version, version).map(|_| ())
}

/// What each file has: one function that reads, one that orders.
fn ordered<'a, V>(
    scheme: Scheme,
    a: &'a str,
    b: &'a str,
    parse: fn(&'a str) -> Result<V, &'static str>,
    order: fn(&V, &V) -> Ordering,
) -> Result<Ordering, Unreadable> {
    let read = |version: &'a str| {
        let parsed = match version.len() {
            0 => Err("it is empty"),
            1..=VERSION_BYTES_MAX => parse(version),
            _ => Err("it has more than 512 bytes"),
        };
        let short = || version.chars().take(80).collect();
        parsed.map_err(|why| Unreadable { scheme, version: short(), why })
    };
    Ok(order(&read(a)?, &read(b)?))
}
