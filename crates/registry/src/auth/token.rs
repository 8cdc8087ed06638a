//! Short-lived bearer tokens: `BODY.MAC`, both base64url; the body is JSON, the MAC is HMAC-SHA-256 of its text.
//!
//! Only this registry reads them, so they are no JWT: there is no algorithm to choose and none to confuse.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::scope::Scope;

/// Life of a token, seconds. Clients fetch a new one by themselves; a request that has begun is not cut off.
pub const TOKEN_SECONDS: i64 = 900;

/// The secret that signs tokens.
pub struct TokenKey([u8; 32]);

/// Why the key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("token key `{path}` has {found} bytes, not 32")]
    Length { path: PathBuf, found: usize },
    #[error("token key `{path}` cannot be used")]
    Io { path: PathBuf, source: io::Error },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(rename = "sub")]
    pub(super) subject: String,
    #[serde(rename = "aud")]
    audience: String,
    /// Unix ms.
    #[serde(rename = "exp")]
    expires_ms: i64,
    pub(super) scopes: Vec<Scope>,
}

impl TokenKey {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the key of a data folder, and makes it at the first start: tokens stay good over restarts.
    ///
    /// # Errors
    /// [`KeyError`] when the file is damaged or cannot be read or written.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let fails = |source| KeyError::Io { path: path.to_owned(), source };
        match fs::read(path) {
            Ok(bytes) => {
                let found = bytes.len();
                let wrong = |_| KeyError::Length { path: path.to_owned(), found };
                bytes.try_into().map(Self).map_err(wrong)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key: [u8; 32] = rand::random();
                write_new(path, &key).map_err(fails)?;
                // Read back: of two processes that start at once, both take the one that won.
                fs::read(path).map_err(fails)?.try_into().map(Self).map_err(|bytes: Vec<u8>| {
                    KeyError::Length { path: path.to_owned(), found: bytes.len() }
                })
            }
            Err(error) => Err(fails(error)),
        }
    }

    pub(super) fn seal(
        &self,
        subject: &str,
        audience: &str,
        scopes: Vec<Scope>,
        now_ms: i64,
    ) -> String {
        let claims = Claims {
            subject: subject.to_owned(),
            audience: audience.to_owned(),
            expires_ms: now_ms + TOKEN_SECONDS * 1000,
            scopes,
        };
        let body = serde_json::to_vec(&claims).expect("claims are always JSON");
        let body = URL_SAFE_NO_PAD.encode(body);
        let mac = URL_SAFE_NO_PAD.encode(self.mac(&body).finalize().into_bytes());
        format!("{body}.{mac}")
    }

    /// The claims of a token of ours that has not expired.
    pub(super) fn open(&self, token: &str, audience: &str, now_ms: i64) -> Option<Claims> {
        let (body, mac) = token.split_once('.')?;
        self.mac(body).verify_slice(&URL_SAFE_NO_PAD.decode(mac).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        (claims.audience == audience && now_ms < claims.expires_ms).then_some(claims)
    }

    fn mac(&self, body: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(body.as_bytes());
        mac
    }
}

/// Writes beside and links into place, so that nobody ever reads half a key.
fn write_new(path: &Path, key: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("new-{:016x}", rand::random::<u64>()));
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(key)?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_time_service_and_key() {
        let key = TokenKey::from_bytes([1; 32]);
        let token = key.seal("ann", "here", vec![], 1000);
        let end = 1000 + TOKEN_SECONDS * 1000;
        assert_eq!(key.open(&token, "here", end - 1).unwrap().subject, "ann");
        assert!(key.open(&token, "here", end).is_none());
        assert!(key.open(&token, "there", 1000).is_none());
        assert!(TokenKey::from_bytes([2; 32]).open(&token, "here", 1000).is_none());
        for at in [0, token.len() / 2, token.len() - 2] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(key.open(std::str::from_utf8(&bytes).unwrap(), "here", 1000).is_none(), "{at}");
        }
    }

    #[test]
    fn the_key_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token.key");
        let token = TokenKey::load_or_create(&path).unwrap().seal("ann", "here", vec![], 0);
        assert!(TokenKey::load_or_create(&path).unwrap().open(&token, "here", 0).is_some());
        fs::write(&path, b"short").unwrap();
        assert!(matches!(TokenKey::load_or_create(&path), Err(KeyError::Length { found: 5, .. })));
    }
}
