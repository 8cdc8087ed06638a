//! Base images from a registry, by the OCI distribution protocol. Plain HTTP is for loopback only.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use humdrum_model::name::Digest;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tokio::runtime::Runtime;

use super::{BaseError, Source};

const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// A registry that is silent for longer than this is taken for dead.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) struct Registry {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
    runtime: Runtime,
}

impl Registry {
    pub(super) fn open(name: &str, digest: &Digest) -> Result<Registry, BaseError> {
        let bad = |why: String| BaseError::BadReference { name: name.to_owned(), why };
        let reference: Reference = format!("{name}@{digest}")
            .parse()
            .map_err(|e: oci_client::ParseError| bad(e.to_string()))?;
        // Another part of the program may have chosen the same provider already; either way it is there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = reference.resolve_registry().to_owned();
        let protocol =
            if is_loopback(&host) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            read_timeout: Some(SILENCE),
            connect_timeout: Some(SILENCE),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| bad(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| bad(error.to_string()))?;
        let auth = stored_login(&host).unwrap_or(RegistryAuth::Anonymous);
        Ok(Registry { client, reference, auth, runtime })
    }

    fn failed(&self, what: String, said: &dyn std::fmt::Display) -> BaseError {
        let registry = self.reference.resolve_registry().to_owned();
        BaseError::Registry { registry, what, said: said.to_string() }
    }
}

impl Source for Registry {
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, BaseError> {
        let image = self.reference.clone_with_digest(digest.to_string());
        let pulled = self
            .runtime
            .block_on(self.client.pull_manifest_raw(&image, &self.auth, &ACCEPTED))
            .map_err(|error| self.failed(format!("manifest {digest}"), &error))?;
        Ok(pulled.0.to_vec())
    }

    fn blob(&self, digest: &Digest, size_max: u64, out: &mut dyn Write) -> Result<(), BaseError> {
        let descriptor = OciDescriptor { digest: digest.to_string(), ..OciDescriptor::default() };
        let sink = Bounded { out, left: size_max };
        self.runtime
            .block_on(self.client.pull_blob(&self.reference, &descriptor, sink))
            .map_err(|error| self.failed(format!("blob {digest}"), &error))
    }
}

/// Hosts that plain HTTP can reach without leaving the machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name == "localhost" || name == "[::1]" || name.starts_with("127.")
}

/// The login that `docker login` or `podman login` stored in plain form.
fn stored_login(host: &str) -> Option<RegistryAuth> {
    let home = std::env::var("HOME").ok()?;
    let folder = std::env::var("DOCKER_CONFIG").unwrap_or_else(|_| format!("{home}/.docker"));
    let text = std::fs::read(format!("{folder}/config.json")).ok()?;
    login_in(&serde_json::from_slice(&text).ok()?, host)
}

fn login_in(config: &serde_json::Value, host: &str) -> Option<RegistryAuth> {
    let entry = &config["auths"][host]["auth"];
    let plain = base64::engine::general_purpose::STANDARD.decode(entry.as_str()?).ok()?;
    let plain = String::from_utf8(plain).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some(RegistryAuth::Basic(user.to_owned(), password.to_owned()))
}

/// Writes at most so many bytes, whatever a registry sends.
struct Bounded<'a> {
    out: &'a mut dyn Write,
    left: u64,
}

impl tokio::io::AsyncWrite for Bounded<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let left = self.left.checked_sub(bytes.len() as u64);
        Poll::Ready(match left {
            None => Err(std::io::Error::other("it is larger than any that is accepted")),
            Some(left) => self.out.write_all(bytes).map(|()| {
                self.left = left;
                bytes.len()
            }),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(self.get_mut().out.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        #[rustfmt::skip]
        let cases = [("127.0.0.1:5000", true), ("localhost", true), ("[::1]:80", true), ("127.9.9.9", true),
                     ("registry.example:5000", false), ("10.0.0.1:5000", false), ("localhost.example", false)];
        for (host, expected) in cases {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    #[test]
    fn stored_logins_are_read() {
        let config =
            serde_json::json!({ "auths": { "r.example": { "auth": "dXNlcjpwYXNzOndvcmQ=" } } });
        let expected = RegistryAuth::Basic("user".into(), "pass:word".into());
        assert_eq!(login_in(&config, "r.example"), Some(expected));
        assert_eq!(login_in(&config, "other.example"), None);
    }
}
