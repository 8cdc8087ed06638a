//! What goes into an artifact beside the locked packages: files of the build host and the base image. SBOM and provenance both name them.

use humdrum_model::name::Digest;
use serde::{Deserialize, Serialize};

use crate::purl::{self, Parts, PurlError};

/// A file that was copied from the build host into the image: a shared library, a loader, a runtime with its standard library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFile {
    /// Absolute path in the image.
    pub path: String,
    pub digest: Digest,
    /// The host's package that owns the file; none when no package manager knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<HostPackage>,
}

/// A package of the build host's distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPackage {
    pub manager: PackageManager,
    /// The distribution: `debian`, `ubuntu`, `fedora`, `alpine`.
    pub distribution: String,
    pub name: String,
    pub version: String,
    /// `amd64`, `x86_64`; left out when empty.
    #[serde(default)]
    pub architecture: String,
    /// `debian-12`: distribution and release, as package URLs name it; left out when empty.
    #[serde(default)]
    pub release: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageManager {
    Deb,
    Rpm,
    Apk,
}

impl HostPackage {
    /// `pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12`.
    pub fn purl(&self) -> Result<String, PurlError> {
        let kind = match self.manager {
            PackageManager::Deb => "deb",
            PackageManager::Rpm => "rpm",
            PackageManager::Apk => "apk",
        };
        let qualifiers = [("arch", self.architecture.as_str()), ("distro", self.release.as_str())];
        let parts = Parts {
            namespace: Some(&self.distribution),
            name: &self.name,
            version: Some(&self.version),
            qualifiers: &qualifiers,
        };
        purl::purl(kind, &parts)
    }
}

/// The image below the service's own layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImage {
    /// As the manifest names it, without the digest: `registry.example/library/debian`.
    pub reference: String,
    pub digest: Digest,
}

impl BaseImage {
    /// `pkg:oci/debian@sha256:…?repository_url=registry.example%2Flibrary%2Fdebian`.
    pub fn purl(&self) -> Result<String, PurlError> {
        let repository = self.repository();
        let (_, name) = purl::split_path(repository);
        let name = name.to_ascii_lowercase();
        let qualifiers = [("repository_url", repository)];
        let version = Some(self.digest.as_str());
        purl::purl("oci", &Parts { namespace: None, name: &name, version, qualifiers: &qualifiers })
    }

    /// The reference without tag and digest.
    fn repository(&self) -> &str {
        let reference = self.reference.split('@').next().unwrap_or_default();
        match reference.rsplit_once(':') {
            // A colon before a slash belongs to the port of a host.
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => reference,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_image_is_named_by_digest() {
        let digest = Digest::of(b"");
        #[rustfmt::skip]
        let cases = [
            ("registry.example:5000/library/debian:12", "debian", "registry.example:5000%2Flibrary%2Fdebian"),
            ("debian",                                  "debian", "debian"),
            ("localhost:5000/a/B@sha256:00",            "b",      "localhost:5000%2Fa%2FB"),
        ];
        for (reference, name, repository) in cases {
            let base = BaseImage { reference: reference.into(), digest: digest.clone() };
            assert_eq!(
                base.purl().unwrap(),
                format!("pkg:oci/{name}@{digest}?repository_url={repository}")
            );
        }
    }
}
