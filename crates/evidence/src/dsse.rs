//! DSSE envelopes: what exactly is signed, and how the signature is written down.
//!
//! Source: secure-systems-lab/dsse `protocol.md` and `envelope.md`, version 1.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::key::{PrivateKey, PublicKey};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A signed payload. Payload and signatures are base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<'a> {
    #[serde(borrow)]
    pub payload: Cow<'a, str>,
    #[serde(rename = "payloadType", borrow)]
    pub payload_type: Cow<'a, str>,
    #[serde(borrow)]
    pub signatures: Vec<Signature<'a>>,
}

/// One signature of an envelope; `keyid` is only a hint and is never trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature<'a> {
    #[serde(borrow)]
    pub sig: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub keyid: Option<Cow<'a, str>>,
}

/// The bytes that a DSSE signature covers ("pre-authentication encoding"); lengths are in bytes.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = pae_head(payload_type, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// SHA-256 of [`pae`], without a copy of the payload.
pub fn pae_sha256(payload_type: &str, payload: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(pae_head(payload_type, payload.len()));
    hash.update(payload);
    hash.finalize().into()
}

fn pae_head(payload_type: &str, payload_len: usize) -> Vec<u8> {
    format!("DSSEv1 {} {payload_type} {payload_len} ", payload_type.len()).into_bytes()
}

/// Signs a payload with each key in turn.
pub fn sign(payload_type: &str, payload: &[u8], keys: &[&PrivateKey]) -> Envelope<'static> {
    let hash = pae_sha256(payload_type, payload);
    let signatures = keys
        .iter()
        .map(|key| Signature { sig: encode_base64(&key.sign_sha256(&hash)).into(), keyid: None })
        .collect();
    Envelope {
        payload: encode_base64(payload).into(),
        payload_type: payload_type.to_owned().into(),
        signatures,
    }
}

/// Whether `signature` (ASN.1 DER) is `key`'s over the payload with this PAE hash.
pub fn verifies(key: &PublicKey, pae_sha256: &[u8; 32], signature: &[u8]) -> bool {
    key.verifies_sha256(pae_sha256, signature)
}

/// Standard base64 with padding.
pub fn encode_base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Decodes standard or URL-safe base64, padded or not: DSSE asks verifiers to accept both.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The private scalar of the reference vector of DSSE's `protocol.md`, there in decimal
    /// (97358161215184420915383655311931858321456579547487070936769975997791359926199).
    const VECTOR_KEY: &str = "d73ec437fd6346e3619c5ebfdfff0f6916804955ad32ac9ac492b0ede1f6ffb7";

    #[test]
    fn base64_of_both_alphabets_is_read() {
        for text in ["-_8=", "+/8=", "-_8", "+/8"] {
            assert_eq!(decode_base64(text).as_deref(), Some(&[0xfb, 0xff][..]), "{text}");
        }
        for text in ["+_8=", "a", "ab\n=", "===="] {
            assert_eq!(decode_base64(text), None, "{text}");
        }
    }

    #[test]
    fn the_reference_vector_holds() {
        let body = b"hello world";
        let kind = "http://example.com/HelloWorld";
        assert_eq!(pae(kind, body), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        let scalar: [u8; 32] = hex::decode(VECTOR_KEY).unwrap().try_into().unwrap();
        let key = PrivateKey::from_scalar(&scalar).unwrap();
        let der = key.sign_sha256(&pae_sha256(kind, body));
        let raw = p256::ecdsa::Signature::from_der(&der).unwrap().to_bytes();
        // RFC 6979 makes the signature of the vector the only one this key can give.
        assert_eq!(
            encode_base64(&raw),
            "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
        );
        assert!(verifies(&key.public(), &pae_sha256(kind, body), &der));
        assert!(!verifies(&key.public(), &pae_sha256(kind, b"hello worle"), &der));
    }
}
