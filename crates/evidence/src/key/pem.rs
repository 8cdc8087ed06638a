//! Keys as PEM text: PKCS#8 and SEC1 private keys, PKIX public keys.

use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::der::pem as rfc7468;
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, LineEnding};

use super::{KeyError, PrivateKey, PublicKey};

/// A key file is a few hundred bytes; what is larger is not one.
pub const KEY_FILE_BYTES_MAX: usize = 64 * 1024;

const PKCS8: &str = "PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";
const PKIX: &str = "PUBLIC KEY";

/// One PEM block: its label and its decoded body.
pub(super) struct Block {
    pub(super) label: String,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Reads an unencrypted PKCS#8 or SEC1 key. Other blocks in the text (openssl's `EC PARAMETERS`) are skipped.
    ///
    /// # Errors
    /// [`KeyError::PasswordNeeded`] for cosign's encrypted form, else what is wrong with the text.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let label =
            find_label(text, &[PKCS8, SEC1, super::cosign::SIGSTORE, super::cosign::COSIGN])?;
        if !matches!(label, PKCS8 | SEC1) {
            return Err(KeyError::PasswordNeeded);
        }
        let block = decode(text, label)?;
        let secret = if label == PKCS8 {
            p256::SecretKey::from_pkcs8_der(&block.body).ok()
        } else {
            p256::SecretKey::from_sec1_der(&block.body).ok()
        };
        secret.map(Self::from_secret).ok_or(KeyError::NotP256 { label: block.label })
    }

    /// The unencrypted PKCS#8 form; `cosign import-key-pair` reads it.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        self.secret().to_pkcs8_pem(LineEnding::LF).expect("a P-256 key always has a PKCS#8 form")
    }

    pub(super) fn from_pkcs8_der(der: &[u8], label: &str) -> Result<Self, KeyError> {
        p256::SecretKey::from_pkcs8_der(der)
            .map(Self::from_secret)
            .map_err(|_| KeyError::NotP256 { label: label.to_owned() })
    }
}

impl PublicKey {
    /// Reads a PKIX public key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = decode(text, find_label(text, &[PKIX])?)?;
        Self::from_der(&block.body).ok_or(KeyError::NotP256 { label: block.label })
    }

    /// Reads the PKIX form; `None` when it is none on P-256.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        p256::ecdsa::VerifyingKey::from_public_key_der(der).ok().map(|key| Self::from_key(&key))
    }

    /// The PKIX form as PEM, as cosign writes `cosign.pub`.
    pub fn to_pem(&self) -> String {
        encode(PKIX, self.der())
    }
}

/// The first of `wanted` that opens a block in the text.
pub(super) fn find_label(text: &str, wanted: &[&'static str]) -> Result<&'static str, KeyError> {
    if text.len() > KEY_FILE_BYTES_MAX {
        return Err(KeyError::TooLarge { bytes: text.len(), max: KEY_FILE_BYTES_MAX });
    }
    wanted.iter().copied().find(|label| text.contains(&begin(label))).ok_or_else(|| {
        let found: Vec<&str> = labels(text).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        KeyError::NoKeyInPem { found }
    })
}

pub(super) fn decode(text: &str, label: &str) -> Result<Block, KeyError> {
    let malformed = |why: String| KeyError::Malformed { label: label.to_owned(), why };
    let start = text.find(&begin(label)).ok_or_else(|| malformed("it has no begin line".into()))?;
    let end_line = format!("-----END {label}-----");
    let end =
        text[start..].find(&end_line).ok_or_else(|| malformed("it has no end line".into()))?;
    let block = &text[start..start + end + end_line.len()];
    let (label, body) =
        rfc7468::decode_vec(block.as_bytes()).map_err(|error| malformed(error.to_string()))?;
    Ok(Block { label: label.to_owned(), body: Zeroizing::new(body) })
}

pub(super) fn encode(label: &str, body: &[u8]) -> String {
    rfc7468::encode_string(label, LineEnding::LF, body)
        .expect("the labels are valid and a key is far below the limit of the format")
}

fn begin(label: &str) -> String {
    format!("-----BEGIN {label}-----")
}

fn labels(text: &str) -> impl Iterator<Item = &str> {
    const LABELS_SHOWN_MAX: usize = 4;
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .take(LABELS_SHOWN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl ecparam -name prime256v1 -genkey` and converted by `openssl pkcs8 -topk8 -nocrypt`.
    const OPENSSL_SEC1: &str = include_str!("../../tests/keys/sec1.pem");
    const OPENSSL_PKCS8: &str = include_str!("../../tests/keys/pkcs8.pem");
    const OPENSSL_PUBLIC: &str = include_str!("../../tests/keys/public.pem");

    #[test]
    fn openssl_keys_are_read_and_are_one() {
        let public = PublicKey::from_pem(OPENSSL_PUBLIC).unwrap();
        for text in [OPENSSL_SEC1, OPENSSL_PKCS8] {
            let key = PrivateKey::from_pem(text).unwrap();
            assert_eq!(key.public(), public);
            assert_eq!(PrivateKey::from_pem(&key.to_pkcs8_pem()).unwrap().public(), public);
        }
        assert_eq!(public.to_pem(), OPENSSL_PUBLIC);
    }

    #[test]
    fn what_is_no_key_is_named() {
        let cases = [
            ("hello", "the key file has no PEM block of a kind that is read; it has: none"),
            (
                OPENSSL_PUBLIC,
                "the key file has no PEM block of a kind that is read; it has: PUBLIC KEY",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n",
                "the PEM block `PRIVATE KEY` is malformed: it has no end line",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "the PEM block `PRIVATE KEY` is no key on the curve P-256",
            ),
            (
                "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
                "the key file is encrypted and no password was given",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(PrivateKey::from_pem(text).unwrap_err().to_string(), message);
        }
        let large = "-".repeat(KEY_FILE_BYTES_MAX + 1);
        assert!(matches!(PublicKey::from_pem(&large), Err(KeyError::TooLarge { .. })));
    }
}
