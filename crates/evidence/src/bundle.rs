//! Sigstore bundles v0.3 signed by a key: one DSSE envelope and the hint which key to try.
//!
//! Source: sigstore/cosign `specs/BUNDLE_SPEC.md`, sigstore/protobuf-specs `sigstore_bundle.proto` (the JSON form of protobuf).
//! There is no transparency log entry and no signed timestamp: time is judged by whoever verifies.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::dsse::{self, Envelope};
use crate::key::PrivateKey;
use crate::statement::Statement;

/// The media type of a bundle, also the `artifactType` of its referrer.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// How bundles of the same version were named before.
const MEDIA_TYPE_FORMER: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// The largest bundle that is read, in bytes: an SBOM of 20,000 components stays below it.
pub const BUNDLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A bundle as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle<'a> {
    #[serde(borrow)]
    pub media_type: Cow<'a, str>,
    #[serde(borrow)]
    pub verification_material: VerificationMaterial<'a>,
    #[serde(borrow)]
    pub dsse_envelope: Envelope<'a>,
}

/// What helps to verify. Only a key hint is used; certificates of keyless signatures are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationMaterial<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub public_key: Option<PublicKeyHint<'a>>,
    /// Always written empty: nothing is sent to a transparency log.
    #[serde(default, skip_deserializing)]
    pub tlog_entries: [(); 0],
    #[serde(default, skip_deserializing)]
    pub timestamp_verification_data: NoTimestamps,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeyHint<'a> {
    #[serde(default, borrow)]
    pub hint: Cow<'a, str>,
}

/// An empty object: no signed timestamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct NoTimestamps {}

/// Why bytes are not a bundle that can be verified, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("the bundle has {bytes} bytes; at most {max} are read")]
    TooLarge { bytes: usize, max: usize },
    #[error("the bundle is not JSON of its form: {why}")]
    NotJson { why: String },
    #[error("the bundle's `mediaType` is `{found}`; read is `{MEDIA_TYPE}`")]
    MediaType { found: String },
    #[error("the bundle's `dsseEnvelope.payload` is not base64")]
    Payload,
}

/// Signs a statement into a bundle.
pub fn sign<P: Serialize>(statement: &Statement<P>, key: &PrivateKey) -> Vec<u8> {
    sign_payload(&statement.to_bytes(), key)
}

/// Signs the bytes of an in-toto statement into a bundle.
pub fn sign_payload(statement: &[u8], key: &PrivateKey) -> Vec<u8> {
    let public = key.public();
    let bundle = Bundle {
        media_type: MEDIA_TYPE.into(),
        verification_material: VerificationMaterial {
            public_key: Some(PublicKeyHint { hint: public.hint().into() }),
            tlog_entries: [],
            timestamp_verification_data: NoTimestamps {},
        },
        dsse_envelope: dsse::sign(dsse::IN_TOTO, statement, &[key]),
    };
    serde_json::to_vec(&bundle).expect("a bundle consists of texts")
}

impl<'a> Bundle<'a> {
    /// Reads a bundle; its payload and signatures are still base64 and nothing is verified.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLarge { bytes: bytes.len(), max: BUNDLE_BYTES_MAX });
        }
        let bundle: Self = serde_json::from_slice(bytes)
            .map_err(|error| BundleError::NotJson { why: error.to_string() })?;
        if bundle.media_type != MEDIA_TYPE && bundle.media_type != MEDIA_TYPE_FORMER {
            return Err(BundleError::MediaType { found: shortened(&bundle.media_type) });
        }
        Ok(bundle)
    }

    /// The signed bytes, decoded.
    pub fn payload(&self) -> Result<Vec<u8>, BundleError> {
        dsse::decode_base64(&self.dsse_envelope.payload).ok_or(BundleError::Payload)
    }

    /// Which key the signer says it used.
    pub fn key_hint(&self) -> Option<&str> {
        self.verification_material.public_key.as_ref().map(|key| key.hint.as_ref())
    }
}

/// Foreign text in a message: enough to recognise it, never enough to flood a terminal.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 120;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use humdrum_model::name::Digest;

    use super::*;
    use crate::attestation;

    #[test]
    fn a_bundle_has_the_form_of_the_specification() {
        let key = PrivateKey::from_scalar(&[9; 32]).unwrap();
        let bytes = sign(&attestation::signature(&Digest::of(b"x")), &key);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let expected = format!(
            r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"publicKey":{{"hint":"{}"}},"tlogEntries":[],"timestampVerificationData":{{}}}},"dsseEnvelope":{{"payload":""#,
            key.public().hint()
        );
        assert!(text.starts_with(&expected), "{text}");
        assert!(
            text.contains(
                r#"","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":""#
            )
        );
        assert_eq!(
            sign(&attestation::signature(&Digest::of(b"x")), &key),
            bytes,
            "signing is deterministic"
        );
        let bundle = Bundle::read(&bytes).unwrap();
        assert_eq!(bundle.key_hint(), Some(key.public().hint()));
        assert_eq!(bundle.payload().unwrap(), attestation::signature(&Digest::of(b"x")).to_bytes());
    }

    #[test]
    fn what_is_no_bundle_is_named() {
        #[rustfmt::skip]
        let cases = [
            ("", "the bundle is not JSON of its form: EOF while parsing a value at line 1 column 0"),
            ("{}", "the bundle is not JSON of its form: missing field `mediaType` at line 1 column 2"),
            (r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{},"messageSignature":{}}"#,
             "the bundle is not JSON of its form: missing field `dsseEnvelope` at line 1 column 109"),
            (r#"{"mediaType":"x","verificationMaterial":{},"dsseEnvelope":{"payload":"","payloadType":"","signatures":[]}}"#,
             "the bundle's `mediaType` is `x`; read is `application/vnd.dev.sigstore.bundle.v0.3+json`"),
        ];
        for (text, message) in cases {
            assert_eq!(Bundle::read(text.as_bytes()).unwrap_err().to_string(), message);
        }
    }
}
