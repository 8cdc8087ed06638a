//! cosign's encrypted key file: PKCS#8 in XSalsa20-Poly1305 under a scrypt key, as JSON in PEM.
//!
//! Source: sigstore/cosign `pkg/cosign/keys.go` and go-securesystemslib `encrypted.go`. An empty password is legal there and here.

use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::EncodePrivateKey as _;
use serde::{Deserialize, Serialize};

use super::pem::{decode, encode, find_label};
use super::{KeyError, PrivateKey};
use crate::dsse::{decode_base64, encode_base64};

/// What cosign 2 and later write.
pub const SIGSTORE: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What cosign 1 wrote.
pub const COSIGN: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// scrypt's cost when writing: cosign's default. 64 MiB and a fraction of a second each time.
const N_WRITTEN: u32 = 65_536;
/// The costs that cosign has written or writes; any other is refused, so that a file cannot make us spend memory at will.
const N_READ: [u32; 3] = [32_768, 65_536, 131_072];
const R: u32 = 8;
const P: u32 = 1;

#[derive(Serialize, Deserialize)]
struct EncryptedKey {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Params {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// Reads a key file that `cosign generate-key-pair` or [`Self::to_cosign_pem`] wrote.
    ///
    /// # Errors
    /// [`KeyError::WrongPassword`] when the password does not fit (a damaged body cannot be told from that).
    pub fn from_cosign_pem(text: &str, password: &[u8]) -> Result<Self, KeyError> {
        let label = find_label(text, &[SIGSTORE, COSIGN])?;
        let block = decode(text, label)?;
        let malformed = |why: String| KeyError::Malformed { label: label.to_owned(), why };
        let file: EncryptedKey =
            serde_json::from_slice(&block.body).map_err(|error| malformed(error.to_string()))?;
        check_algorithms(&file)?;
        let salt = bytes::<32>(&file.kdf.salt)
            .ok_or_else(|| malformed("the salt is not 32 bytes of base64".into()))?;
        let nonce = bytes::<24>(&file.cipher.nonce)
            .ok_or_else(|| malformed("the nonce is not 24 bytes of base64".into()))?;
        let ciphertext = decode_base64(&file.ciphertext)
            .ok_or_else(|| malformed("the ciphertext is not base64".into()))?;
        let key = derive(password, &salt, file.kdf.params.n);
        let plain = XSalsa20Poly1305::new(key.as_ref().into())
            .decrypt(Nonce::from_slice(&nonce), ciphertext.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| KeyError::WrongPassword)?;
        Self::from_pkcs8_der(&plain, label)
    }

    /// Writes the key encrypted, as `cosign generate-key-pair` does; cosign reads it with the same password.
    pub fn to_cosign_pem(&self, password: &[u8], rng: &mut impl rand::CryptoRng) -> String {
        let (mut salt, mut nonce) = ([0u8; 32], [0u8; 24]);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut nonce);
        let plain = self.secret().to_pkcs8_der().expect("a P-256 key always has a PKCS#8 form");
        let key = derive(password, &salt, N_WRITTEN);
        let ciphertext = XSalsa20Poly1305::new(key.as_ref().into())
            .encrypt(Nonce::from_slice(&nonce), plain.as_bytes())
            .expect("a key is far below the limit of the cipher");
        let file = EncryptedKey {
            kdf: Kdf {
                name: "scrypt".into(),
                params: Params { n: N_WRITTEN, r: R, p: P },
                salt: encode_base64(&salt),
            },
            cipher: Cipher { name: "nacl/secretbox".into(), nonce: encode_base64(&nonce) },
            ciphertext: encode_base64(&ciphertext),
        };
        encode(SIGSTORE, &serde_json::to_vec(&file).expect("strings and numbers are always JSON"))
    }
}

fn check_algorithms(file: &EncryptedKey) -> Result<(), KeyError> {
    let unsupported = |what, found: &str, expected| KeyError::Unsupported {
        what,
        found: found.to_owned(),
        expected,
    };
    if file.kdf.name != "scrypt" {
        return Err(unsupported("the key derivation", &file.kdf.name, "`scrypt`"));
    }
    if file.cipher.name != "nacl/secretbox" {
        return Err(unsupported("the cipher", &file.cipher.name, "`nacl/secretbox`"));
    }
    let Params { n, r, p } = file.kdf.params;
    if !N_READ.contains(&n) || r != R || p != P {
        let found = format!("N={n} r={r} p={p}");
        return Err(unsupported(
            "the scrypt cost",
            &found,
            "N=32768, 65536 or 131072 with r=8 p=1",
        ));
    }
    Ok(())
}

fn derive(password: &[u8], salt: &[u8], n: u32) -> Zeroizing<[u8; 32]> {
    let log_n = u8::try_from(n.ilog2()).expect("a 32-bit number has at most 31 as its logarithm");
    let params =
        scrypt::Params::new(log_n, R, P, 32).expect("the accepted costs are valid for scrypt");
    let mut key = Zeroizing::new([0u8; 32]);
    scrypt::scrypt(password, salt, &params, key.as_mut())
        .expect("32 bytes is a valid length for scrypt");
    key
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode_base64(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `cosign generate-key-pair` 3.1.3 with the password `secret`.
    const COSIGN_KEY: &str = include_str!("../../tests/keys/cosign.key");
    const COSIGN_PUB: &str = include_str!("../../tests/keys/cosign.pub");

    #[test]
    fn a_key_of_cosign_is_read() {
        let key = PrivateKey::from_cosign_pem(COSIGN_KEY, b"secret").unwrap();
        assert_eq!(key.public().to_pem(), COSIGN_PUB);
        let legacy = COSIGN_KEY.replace("SIGSTORE", "COSIGN");
        assert_eq!(PrivateKey::from_cosign_pem(&legacy, b"secret").unwrap().public(), key.public());
    }

    #[test]
    fn a_wrong_password_has_its_own_error() {
        for password in [&b"Secret"[..], b""] {
            let error = PrivateKey::from_cosign_pem(COSIGN_KEY, password).unwrap_err();
            assert_eq!(error, KeyError::WrongPassword);
        }
    }

    #[test]
    fn an_own_file_is_read_again_with_any_password() {
        let key = PrivateKey::generate(&mut rand::rng()).unwrap();
        for password in [&b""[..], "pässword".as_bytes()] {
            let text = key.to_cosign_pem(password, &mut rand::rng());
            assert_eq!(
                PrivateKey::from_cosign_pem(&text, password).unwrap().public(),
                key.public()
            );
        }
    }

    #[test]
    fn odd_files_are_refused_without_work() {
        let file = |change: fn(&mut serde_json::Value)| {
            let body = decode(COSIGN_KEY, SIGSTORE).unwrap().body;
            let mut value = serde_json::from_slice(&body).unwrap();
            change(&mut value);
            encode(SIGSTORE, value.to_string().as_bytes())
        };
        #[rustfmt::skip]
        let cases = [
            (file(|v| v["kdf"]["params"]["N"] = (1 << 30).into()),
             "the encrypted key uses the scrypt cost `N=1073741824 r=8 p=1`; read are N=32768, 65536 or 131072 with r=8 p=1"),
            (file(|v| v["kdf"]["params"]["r"] = 1024.into()),
             "the encrypted key uses the scrypt cost `N=65536 r=1024 p=1`; read are N=32768, 65536 or 131072 with r=8 p=1"),
            (file(|v| v["kdf"]["name"] = "argon2".into()),
             "the encrypted key uses the key derivation `argon2`; read are `scrypt`"),
            (file(|v| v["cipher"]["name"] = "aes".into()),
             "the encrypted key uses the cipher `aes`; read are `nacl/secretbox`"),
            (file(|v| v["cipher"]["nonce"] = "AA==".into()),
             "the PEM block `ENCRYPTED SIGSTORE PRIVATE KEY` is malformed: the nonce is not 24 bytes of base64"),
        ];
        for (text, message) in cases {
            let error = PrivateKey::from_cosign_pem(&text, b"secret").unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
