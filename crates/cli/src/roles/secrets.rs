//! What an installation keeps secret: the API token, the registry's token key, the signing key. Each is made once, for the owner alone.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use humdrum_evidence::key::PrivateKey;
use humdrum_evidence::trust::{TrustRoot, TrustedKey};
use humdrum_registry::TokenKey;

use crate::exit::{Exit, Failure};
use crate::places::{Places, unusable};

/// Environment variable with the signing key's password; without it the password lies beside the key.
const PASSWORD: &str = "HUMDRUM_KEY_PASSWORD";
/// What the first key is called in the trust root.
const KEY_ID: &str = "local-1";

/// Writes a file once, mode 0600, whole or not at all; `false` when it is there already.
fn write_once(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // A link never replaces: of two first starts one wins, and both read the same secret.
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn random_hex<const N: usize>() -> String {
    hex::encode(rand::random::<[u8; N]>())
}

/// The API token: 32 random bytes as hex.
pub(crate) fn token(places: &Places) -> Result<String, Failure> {
    let path = places.token();
    if !path.exists() {
        write_once(&path, random_hex::<32>().as_bytes())
            .map_err(|error| unusable(&path, &error))?;
    }
    let text = std::fs::read_to_string(&path).map_err(|error| unusable(&path, &error))?;
    let token = text.trim().to_owned();
    if token.len() < 32 {
        return Err(Failure::new(Exit::Failed, "token", "the token file holds no token")
            .at(path.display().to_string())
            .next("remove the file; the next start makes a new one"));
    }
    Ok(token)
}

/// The key that the registry signs its short-lived tokens with.
pub(crate) fn registry_key(places: &Places) -> Result<TokenKey, Failure> {
    let path = places.keys().join("registry-token.key");
    TokenKey::load_or_create(&path).map_err(|error| {
        Failure::new(Exit::Failed, "registry-key", "the registry's token key cannot be used")
            .cause(&error)
    })
}

fn password(places: &Places) -> Result<Vec<u8>, Failure> {
    if let Some(password) = std::env::var_os(PASSWORD) {
        return Ok(password.into_encoded_bytes());
    }
    let path = places.keys().join("signing.password");
    if !path.exists() {
        write_once(&path, random_hex::<32>().as_bytes())
            .map_err(|error| unusable(&path, &error))?;
    }
    std::fs::read(&path).map_err(|error| unusable(&path, &error))
}

fn signing_path(places: &Places) -> std::path::PathBuf {
    places.keys().join("signing.key")
}

/// Makes the signing key in cosign's form, its public half and a trust root, unless they are there.
pub(crate) fn make_signing_key(places: &Places) -> Result<(), Failure> {
    let (private, public, trust) =
        (signing_path(places), places.keys().join("signing.pub"), trust_path(places));
    if private.exists() && public.exists() && trust.exists() {
        return Ok(());
    }
    let failed = |error: &dyn std::error::Error| {
        Failure::new(Exit::Failed, "signing-key", "the signing key cannot be made").cause(error)
    };
    let mut made = None;
    if !private.exists() {
        let mut rng = rand::rng();
        let key = PrivateKey::generate(&mut rng).map_err(|error| failed(&error))?;
        let pem = key.to_cosign_pem(&password(places)?, &mut rng);
        let won =
            write_once(&private, pem.as_bytes()).map_err(|error| unusable(&private, &error))?;
        // Opening what was just closed would cost another third of a second of scrypt at the first start.
        made = won.then(|| key.public());
    }
    let key = match made {
        Some(key) => key,
        None => signing_key(places)?.public(),
    };
    write_once(&public, key.to_pem().as_bytes()).map_err(|error| unusable(&public, &error))?;
    let trusted =
        TrustedKey { id: KEY_ID.into(), key, valid_from: None, valid_until: None, revoked: false };
    let root = TrustRoot::new(vec![trusted]).map_err(|error| failed(&error))?;
    write_once(&trust, root.to_json().as_bytes()).map_err(|error| unusable(&trust, &error))?;
    Ok(())
}

/// Opens the signing key; it costs 64 MiB for a moment (scrypt), so it is opened for a build and dropped after.
pub(crate) fn signing_key(places: &Places) -> Result<PrivateKey, Failure> {
    let path = signing_path(places);
    let pem = std::fs::read_to_string(&path).map_err(|error| unusable(&path, &error))?;
    PrivateKey::from_cosign_pem(&pem, &password(places)?).map_err(|error| {
        Failure::new(Exit::Failed, "signing-key", "the signing key cannot be opened")
            .cause(&error)
            .at(path.display().to_string())
            .next(format!("set {PASSWORD} to the key's password"))
    })
}

pub(crate) fn trust_path(places: &Places) -> std::path::PathBuf {
    places.keys().join("trust.json")
}

/// The public keys that count here.
pub(crate) fn trust(places: &Places) -> Result<TrustRoot, Failure> {
    let path = trust_path(places);
    let bytes = std::fs::read(&path).map_err(|error| unusable(&path, &error))?;
    TrustRoot::read(&bytes).map_err(|error| {
        Failure::new(Exit::Failed, "trust-root", "the trust root cannot be read")
            .cause(&error)
            .at(path.display().to_string())
    })
}
