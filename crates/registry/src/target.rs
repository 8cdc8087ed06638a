//! What a path below `/v2/` means. Repository names hold slashes, so paths are read from their end.

use percent_encoding::percent_decode_str;

/// An endpoint with its repository; what follows is unchecked text of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub repository: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `manifests/REFERENCE`
    Manifest(String),
    /// `blobs/DIGEST`
    Blob(String),
    /// `blobs/uploads/`
    Uploads,
    /// `blobs/uploads/ID`
    Upload(String),
    /// `tags/list`
    Tags,
    /// `referrers/DIGEST`
    Referrers(String),
    /// `_oci/ext/discover`
    Extensions,
    /// `_catalog`, of no repository
    Catalog,
}

impl Kind {
    /// The value of `Allow` (RFC 9110) for this endpoint.
    pub fn methods(&self) -> &'static str {
        match self {
            Self::Manifest(_) => "GET, HEAD, PUT, DELETE",
            Self::Blob(_) => "GET, HEAD, DELETE",
            Self::Uploads => "POST",
            Self::Upload(_) => "GET, HEAD, PATCH, PUT, DELETE",
            Self::Tags | Self::Referrers(_) | Self::Extensions | Self::Catalog => "GET, HEAD",
        }
    }

    /// Whether it belongs to the registry itself when no repository is named.
    pub fn is_global(&self) -> bool {
        matches!(self, Self::Extensions | Self::Catalog)
    }
}

/// Reads the part of the raw path after `/v2/`; `None` when it is no endpoint.
pub fn parse(rest: &str) -> Option<Target> {
    let mut parts: Vec<String> = Vec::new();
    for part in rest.split('/') {
        parts.push(percent_decode_str(part).decode_utf8().ok()?.into_owned());
    }
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (name, kind) = match words.as_slice() {
        ["_catalog"] => (&[][..], Kind::Catalog),
        [name @ .., "_oci", "ext", "discover"] => (name, Kind::Extensions),
        [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
            (name, Kind::Uploads)
        }
        [name @ .., "blobs", "uploads", id] => (name, Kind::Upload((*id).to_owned())),
        [name @ .., "tags", "list"] => (name, Kind::Tags),
        [name @ .., "manifests", reference] => (name, Kind::Manifest((*reference).to_owned())),
        [name @ .., "blobs", digest] => (name, Kind::Blob((*digest).to_owned())),
        [name @ .., "referrers", digest] => (name, Kind::Referrers((*digest).to_owned())),
        _ => return None,
    };
    Some(Target { repository: name.join("/"), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let cases = [
            ("shop/manifests/v1", "shop", Kind::Manifest("v1".into())),
            ("a/b/c/manifests/sha256%3Aaa", "a/b/c", Kind::Manifest("sha256:aa".into())),
            ("a/blobs/sha256:00", "a", Kind::Blob("sha256:00".into())),
            ("a/blobs/uploads", "a", Kind::Uploads),
            ("a/blobs/uploads/", "a", Kind::Uploads),
            ("a/blobs/uploads/x", "a", Kind::Upload("x".into())),
            ("blobs/uploads/tags/list", "blobs/uploads", Kind::Tags),
            ("manifests/manifests/manifests", "manifests", Kind::Manifest("manifests".into())),
            ("a/referrers/sha256:00", "a", Kind::Referrers("sha256:00".into())),
            ("manifests/x", "", Kind::Manifest("x".into())),
            ("_catalog", "", Kind::Catalog),
            ("_oci/ext/discover", "", Kind::Extensions),
            ("a/b/_oci/ext/discover", "a/b", Kind::Extensions),
        ];
        for (path, repository, kind) in cases {
            let wanted = Target { repository: repository.into(), kind };
            assert_eq!(parse(path), Some(wanted), "{path}");
        }
        for bad in ["", "a/_catalog", "a", "a/manifests/x/y", "a/%ff/tags/list", "a/tags/other"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
