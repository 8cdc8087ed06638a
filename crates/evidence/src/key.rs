//! P-256 keys: made, read, written, and used on SHA-256 hashes.
//!
//! Signatures are ASN.1 DER and deterministic (RFC 6979), so that signing needs no randomness.

pub mod cosign;
pub mod pem;

use std::fmt;

use humdrum_model::name::Digest;
use p256::SecretKey;
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::EncodePublicKey as _;
use sha2::{Digest as _, Sha256};

use crate::dsse::encode_base64;

/// Why a key cannot be read or written. Each message completes "cannot use the key: …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the password does not open the key file, or the file is damaged")]
    WrongPassword,
    #[error("the key file is encrypted and no password was given")]
    PasswordNeeded,
    #[error("the key file has no PEM block of a kind that is read; it has: {found}")]
    NoKeyInPem { found: String },
    #[error("the PEM block `{label}` is malformed: {why}")]
    Malformed { label: String, why: String },
    #[error("the encrypted key uses {what} `{found}`; read are {expected}")]
    Unsupported { what: &'static str, found: String, expected: &'static str },
    #[error("the PEM block `{label}` is no key on the curve P-256")]
    NotP256 { label: String },
    #[error("the key file has {bytes} bytes; at most {max} are read")]
    TooLarge { bytes: usize, max: usize },
    #[error("the random source gave no usable number in {tries} tries")]
    NoRandomness { tries: usize },
}

/// A key that signs. Its `Debug` shows the public half only.
#[derive(Clone)]
pub struct PrivateKey {
    secret: SecretKey,
}

/// A key that verifies, with its PKIX form and the digest of that.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    der: Vec<u8>,
    digest: Digest,
    hint: String,
}

/// A random 32-byte number is outside the curve's order with odds of 2^-32; more than this many in a row is a broken source.
const SCALAR_TRIES_MAX: usize = 16;

impl PrivateKey {
    /// Makes a new key from the given source.
    pub fn generate(rng: &mut impl rand::CryptoRng) -> Result<Self, KeyError> {
        for _ in 0..SCALAR_TRIES_MAX {
            let mut scalar = p256::elliptic_curve::zeroize::Zeroizing::new([0u8; 32]);
            rng.fill_bytes(scalar.as_mut());
            if let Some(key) = Self::from_scalar(&scalar) {
                return Ok(key);
            }
        }
        Err(KeyError::NoRandomness { tries: SCALAR_TRIES_MAX })
    }

    /// A key from its big-endian number; `None` when that is 0 or not below the curve's order.
    pub fn from_scalar(scalar: &[u8; 32]) -> Option<Self> {
        SecretKey::from_slice(scalar).ok().map(Self::from_secret)
    }

    pub(crate) fn from_secret(secret: SecretKey) -> Self {
        Self { secret }
    }

    pub(crate) fn secret(&self) -> &SecretKey {
        &self.secret
    }

    pub fn public(&self) -> PublicKey {
        PublicKey::from_key(SigningKey::from(&self.secret).verifying_key())
    }

    /// Signs a SHA-256 hash; the answer is ASN.1 DER.
    pub fn sign_sha256(&self, hash: &[u8; 32]) -> Vec<u8> {
        let signature: Signature = SigningKey::from(&self.secret)
            .sign_prehash(hash)
            .expect("a hash of 32 bytes is never too short for P-256");
        signature.to_der().as_bytes().to_vec()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public().digest())
    }
}

impl PublicKey {
    pub(crate) fn from_key(key: &VerifyingKey) -> Self {
        let der = key
            .to_public_key_der()
            .expect("a point of P-256 always has a PKIX form")
            .as_bytes()
            .to_vec();
        let digest = Digest::of(&der);
        let hint = encode_base64(&Sha256::digest(&der));
        Self { key: *key, der, digest, hint }
    }

    /// The PKIX form (`SubjectPublicKeyInfo`).
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The digest of the PKIX form: the key's name wherever none was given.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What Sigstore bundles call `hint`: base64 of the SHA-256 of the PKIX form.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Whether `signature` (ASN.1 DER) is this key's over the SHA-256 hash.
    pub fn verifies_sha256(&self, hash: &[u8; 32], signature: &[u8]) -> bool {
        Signature::from_der(signature)
            .is_ok_and(|signature| self.key.verify_prehash(hash, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zeros;
    impl rand::RngCore for Zeros {
        fn next_u32(&mut self) -> u32 {
            0
        }
        fn next_u64(&mut self) -> u64 {
            0
        }
        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }
    impl rand::CryptoRng for Zeros {}

    #[test]
    fn a_broken_random_source_ends() {
        let error = PrivateKey::generate(&mut Zeros).unwrap_err();
        assert_eq!(error, KeyError::NoRandomness { tries: 16 });
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = PrivateKey::from_scalar(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), format!("PrivateKey(of {})", key.public().digest()));
    }
}
