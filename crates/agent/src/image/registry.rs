//! Pulls manifests and blobs over loopback HTTP by the OCI distribution protocol, with its token flow.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use humdrum_model::name::Digest;
use humdrum_model::unit::ImageSource;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

use crate::check;

/// A registry on this machine that says nothing for this long is stuck.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A token answer is a short JSON object.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// What a manifest may be asked for as.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Why something could not be pulled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error("GET {path}: no answer")]
    Unreachable { path: String, source: hyper_util::client::legacy::Error },
    #[error("GET {path}: nothing came for {} s", SILENCE_MAX.as_secs())]
    Silent { path: String },
    #[error("GET {path}: the answer broke off")]
    Broken { path: String, source: hyper::Error },
    #[error("GET {path}: the registry answered {status}")]
    Status { path: String, status: StatusCode },
    #[error("the registry asks for a token in a way that is not understood: {why}")]
    Challenge { why: String },
    #[error("{digest} has more than {max} bytes")]
    TooLarge { digest: Digest, max: u64 },
    #[error("the bytes of {wanted} have the digest {found}")]
    WrongDigest { wanted: Digest, found: String },
    #[error("{digest} has {found} bytes, the manifest says {wanted}")]
    WrongSize { digest: Digest, wanted: u64, found: u64 },
    #[error("the bytes cannot be stored")]
    Disk(#[from] io::Error),
}

/// What to pull and how much of it at most.
pub(crate) struct Wanted<'a> {
    pub(crate) source: &'a ImageSource,
    pub(crate) digest: &'a Digest,
    pub(crate) max: u64,
    /// What the manifest says.
    pub(crate) size: Option<u64>,
    /// Manifests have another address than blobs.
    pub(crate) manifest: bool,
}

/// A client of registries on this machine.
pub(crate) struct Registry {
    user: String,
    password: String,
    client: Client<HttpConnector, Empty<Bytes>>,
    /// The last token and what it is for.
    token: Mutex<Option<(String, String)>>,
}

impl Registry {
    pub(crate) fn new(user: String, password: String) -> Registry {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(SILENCE_MAX));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Registry { user, password, client, token: Mutex::new(None) }
    }

    /// Writes the bytes to `path` and on to the disk. An error leaves a partial file behind.
    pub(crate) async fn pull(&self, wanted: &Wanted<'_>, path: &Path) -> Result<(), PullError> {
        let source = wanted.source;
        let kind = if wanted.manifest { "manifests" } else { "blobs" };
        let at = format!("/v2/{}/{kind}/{}", source.repository, wanted.digest);
        let answer = self.authorized(source, &at).await?;
        if answer.status() != StatusCode::OK {
            return Err(PullError::Status { path: at, status: answer.status() });
        }
        let mut body = answer.into_body();
        let mut file = tokio::fs::File::create(path).await?;
        let (mut hash, mut size) = (Sha256::new(), 0u64);
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
            let next = next.map_err(|_| PullError::Silent { path: at.clone() })?;
            let Some(frame) = next else { break };
            let frame = frame.map_err(|source| PullError::Broken { path: at.clone(), source })?;
            let Ok(data) = frame.into_data() else { continue };
            size += data.len() as u64;
            if size > wanted.size.unwrap_or(wanted.max).min(wanted.max) {
                let (digest, max) = (wanted.digest.clone(), wanted.size.unwrap_or(wanted.max));
                return Err(PullError::TooLarge { digest, max });
            }
            hash.update(&data);
            file.write_all(&data).await?;
        }
        check_bytes(wanted, size, &hex::encode(hash.finalize()))?;
        file.flush().await?;
        Ok(file.sync_all().await?)
    }

    async fn authorized(
        &self,
        source: &ImageSource,
        at: &str,
    ) -> Result<Response<Incoming>, PullError> {
        let scope = format!("{} {}", source.registry, source.repository);
        let known = self.token.lock().expect("nothing panics while it holds the token").clone();
        let bearer =
            known.filter(|(of, _)| *of == scope).map(|(_, token)| format!("Bearer {token}"));
        let answer = self.get(&source.registry, at, bearer.as_deref()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let basic =
            format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)));
        let authorization = match challenge(&answer)? {
            Challenge::Basic => basic,
            Challenge::Bearer(parameters) => {
                let token = self.fetch_token(source, &parameters, &basic).await?;
                let header = format!("Bearer {token}");
                *self.token.lock().expect("nothing panics while it holds the token") =
                    Some((scope, token));
                header
            }
        };
        self.get(&source.registry, at, Some(&authorization)).await
    }

    async fn fetch_token(
        &self,
        source: &ImageSource,
        parameters: &Parameters,
        basic: &str,
    ) -> Result<String, PullError> {
        let realm: http::Uri = parameters.realm.parse().map_err(|_| PullError::Challenge {
            why: format!("the realm `{}` is not an address", parameters.realm),
        })?;
        let authority = realm.authority().map_or("", |authority| authority.as_str());
        // The password goes only to this machine, and only by the scheme that the wish implied.
        if realm.scheme_str() != Some("http") || !check::is_loopback(authority) {
            let why = format!("the realm `{realm}` is not plain HTTP on loopback");
            return Err(PullError::Challenge { why });
        }
        let scope = format!("repository:{}:pull", source.repository);
        let query = form_urlencoded::Serializer::new(realm.query().unwrap_or_default().to_owned())
            .append_pair("service", &parameters.service)
            .append_pair("scope", &scope)
            .finish();
        let at = format!("{}?{query}", realm.path());
        let answer = self.get(authority, &at, Some(basic)).await?;
        if answer.status() != StatusCode::OK {
            let path = realm.path().to_owned();
            return Err(PullError::Status { path, status: answer.status() });
        }
        let body = Limited::new(answer.into_body(), TOKEN_BYTES_MAX).collect();
        let body = tokio::time::timeout(SILENCE_MAX, body).await;
        let body = body.map_err(|_| PullError::Silent { path: at })?;
        let unread = |why: String| PullError::Challenge { why };
        let body = body.map_err(|error| unread(error.to_string()))?.to_bytes();
        let token: Token = serde_json::from_slice(&body).map_err(|e| unread(e.to_string()))?;
        token.token.or(token.access_token).ok_or_else(|| unread("the answer has no token".into()))
    }

    async fn get(
        &self,
        authority: &str,
        at: &str,
        authorization: Option<&str>,
    ) -> Result<Response<Incoming>, PullError> {
        let mut request =
            Request::get(format!("http://{authority}{at}")).header(ACCEPT, MANIFEST_TYPES);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| PullError::Challenge { why: error.to_string() })?;
        let path = || at.split('?').next().unwrap_or_default().to_owned();
        tokio::time::timeout(SILENCE_MAX, self.client.request(request))
            .await
            .map_err(|_| PullError::Silent { path: path() })?
            .map_err(|source| PullError::Unreachable { path: path(), source })
    }
}

/// Both names are used (distribution's token specification).
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Debug, PartialEq)]
enum Challenge {
    Basic,
    Bearer(Parameters),
}

#[derive(Debug, Default, PartialEq)]
struct Parameters {
    realm: String,
    service: String,
}

fn challenge<B>(answer: &Response<B>) -> Result<Challenge, PullError> {
    let header = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    parse_challenge(header.unwrap_or_default()).ok_or_else(|| PullError::Challenge {
        why: format!("WWW-Authenticate is `{}`", header.unwrap_or_default()),
    })
}

/// RFC 9110 part 11.6.1, as registries write it: one scheme, quoted values.
fn parse_challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = Parameters::default();
    let mut rest = rest.trim_start();
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"')?;
        match key.trim_start_matches([',', ' ']) {
            "realm" => parameters.realm = value.to_owned(),
            "service" => parameters.service = value.to_owned(),
            _ => {}
        }
        rest = after;
    }
    (!parameters.realm.is_empty()).then_some(Challenge::Bearer(parameters))
}

fn check_bytes(wanted: &Wanted<'_>, size: u64, hex: &str) -> Result<(), PullError> {
    if let Some(expected) = wanted.size.filter(|expected| *expected != size) {
        let digest = wanted.digest.clone();
        return Err(PullError::WrongSize { digest, wanted: expected, found: size });
    }
    if hex != wanted.digest.hex() {
        let found = format!("sha256:{hex}");
        return Err(PullError::WrongDigest { wanted: wanted.digest.clone(), found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: &str| {
            Some(Challenge::Bearer(Parameters { realm: realm.into(), service: service.into() }))
        };
        #[rustfmt::skip]
        let cases = [
            (r#"Bearer realm="http://h/v2/token",service="s",scope="repository:a:pull,push""#, bearer("http://h/v2/token", "s")),
            (r#"bearer service="s", realm="http://h/t""#, bearer("http://h/t", "s")),
            (r#"Bearer realm="http://h/t""#,              bearer("http://h/t", "")),
            (r#"Basic realm="x""#,                        Some(Challenge::Basic)),
            (r#"Bearer service="s""#,                     None),
            (r#"Bearer realm="x"#,                        None),
            ("Negotiate",                                 None),
            ("",                                          None),
        ];
        for (header, expected) in cases {
            assert_eq!(parse_challenge(header), expected, "{header}");
        }
    }
}
