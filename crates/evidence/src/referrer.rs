//! The OCI manifest that hangs a bundle on an image.
//!
//! Source: sigstore/cosign `specs/BUNDLE_SPEC.md`; opencontainers/image-spec 1.1 `manifest.md` ("guidelines for artifact usage").

use std::collections::BTreeMap;

use humdrum_model::name::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bundle;

pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const EMPTY_BODY: &[u8] = b"{}";

/// When the referrer was made.
pub const CREATED: &str = "org.opencontainers.image.created";
/// What the bundle holds: `dsse-envelope`.
pub const CONTENT: &str = "dev.sigstore.bundle.content";
/// The predicate type of the statement in the bundle.
pub const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// The largest manifest that is read, in bytes: what registries must accept.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A content descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A referrer ready to be pushed: first the blobs, then the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    pub manifest: Vec<u8>,
    pub digest: Digest,
    pub blobs: Vec<(Digest, Vec<u8>)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    pub(crate) media_type: String,
    pub(crate) artifact_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) subject: Descriptor,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Builds the referrer of a bundle. The same arguments give the same bytes.
pub fn referrer(
    subject: &Descriptor,
    bundle: Vec<u8>,
    predicate_type: &str,
    created: Timestamp,
) -> Referrer {
    let empty = Descriptor {
        media_type: EMPTY.to_owned(),
        digest: Digest::of(EMPTY_BODY),
        size: EMPTY_BODY.len() as u64,
    };
    let layer = Descriptor {
        media_type: bundle::MEDIA_TYPE.to_owned(),
        digest: Digest::of(&bundle),
        size: bundle.len() as u64,
    };
    let blobs = vec![(empty.digest.clone(), EMPTY_BODY.to_vec()), (layer.digest.clone(), bundle)];
    let manifest = Manifest {
        schema_version: 2,
        media_type: IMAGE_MANIFEST.to_owned(),
        artifact_type: bundle::MEDIA_TYPE.to_owned(),
        config: empty,
        layers: vec![layer],
        subject: subject.clone(),
        annotations: BTreeMap::from([
            (CREATED.to_owned(), created.to_string()),
            (CONTENT.to_owned(), "dsse-envelope".to_owned()),
            (PREDICATE_TYPE.to_owned(), predicate_type.to_owned()),
        ]),
    };
    let manifest = serde_json::to_vec(&manifest).expect("a manifest consists of texts and numbers");
    Referrer { digest: Digest::of(&manifest), manifest, blobs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_referrer_is_an_artifact_manifest() {
        let subject =
            Descriptor { media_type: IMAGE_MANIFEST.into(), digest: Digest::of(b"image"), size: 5 };
        let made = referrer(
            &subject,
            b"bundle".to_vec(),
            "https://cyclonedx.org/bom",
            "2026-03-01T12:00:00Z".parse().unwrap(),
        );
        assert_eq!(
            String::from_utf8(made.manifest.clone()).unwrap(),
            format!(
                concat!(
                    r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","#,
                    r#""config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}},"#,
                    r#""layers":[{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":"{}","size":6}}],"#,
                    r#""subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":5}},"#,
                    r#""annotations":{{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://cyclonedx.org/bom","org.opencontainers.image.created":"2026-03-01T12:00:00Z"}}}}"#,
                ),
                Digest::of(b"bundle"),
                Digest::of(b"image"),
            )
        );
        assert_eq!(made.digest, Digest::of(&made.manifest));
        for (digest, bytes) in &made.blobs {
            assert_eq!(digest, &Digest::of(bytes));
        }
    }
}
