//! A registry on a real port, and a client that shows everything of an answer.
#![allow(clippy::allow_attributes, reason = "each test file uses a part of this module")]
#![allow(dead_code, reason = "each test file uses a part of this module")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use humdrum_registry::{
    Auth, Authenticator, Limits, Observer, Registry, RegistryEvent, RegistryState,
    SingleCredential, TokenKey, router,
};
use humdrum_store::blobs::{Algorithm, BlobDigest, Mutability, TagPolicy};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub(crate) const PASSWORD: &str = "open-sesame";
/// `humdrum:open-sesame`
pub(crate) const BASIC: &str = "Basic aHVtZHJ1bTpvcGVuLXNlc2FtZQ==";

#[derive(Default)]
pub(crate) struct Diary(pub(crate) Mutex<Vec<RegistryEvent>>);

impl Observer for Diary {
    fn record(&self, event: RegistryEvent) {
        self.0.lock().unwrap().push(event);
    }
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) diary: Arc<Diary>,
    task: tokio::task::JoinHandle<()>,
    client: Client<HttpConnector, Full<Bytes>>,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The first error code of the body.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.code(), code, "{}", String::from_utf8_lossy(&reply.body));
        reply
    }
}

pub(crate) fn policy() -> TagPolicy {
    Arc::new(|_, tag| match tag.starts_with("production") {
        true => Mutability::Immutable("production tags never move".to_owned()),
        false => Mutability::Mutable,
    })
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    BlobDigest::of(Algorithm::Sha256, bytes).to_string()
}

/// The door with these people, and the key of the folder.
pub(crate) fn auth(folder: &Path, people: impl Authenticator + 'static) -> Auth {
    let key = TokenKey::load_or_create(&folder.join("token.key")).unwrap();
    Auth::new(Arc::new(people), key, "humdrum")
}

impl Server {
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_with(folder, Limits::default()).await
    }

    pub(crate) async fn start_with(folder: &Path, limits: Limits) -> Self {
        let registry = Registry::open(folder, policy()).unwrap();
        Self::start_changed(folder, registry, |state| state.limits = limits).await
    }

    /// With a registry that the test opened, and a state that it changed.
    pub(crate) async fn start_changed(
        folder: &Path,
        registry: Registry,
        change: impl FnOnce(&mut RegistryState),
    ) -> Self {
        let diary = Arc::new(Diary::default());
        let registry = registry.with_observer(diary.clone());
        let mut state = RegistryState::new(
            registry.clone(),
            auth(folder, SingleCredential::new("humdrum", PASSWORD)),
        );
        change(&mut state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router(state)).await.unwrap() });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { addr, registry, diary, task, client }
    }

    /// Ends at once, as a killed process would: nothing is flushed, closed or told.
    pub(crate) fn kill(self) {
        self.task.abort();
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.addr));
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", BASIC);
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let response =
            self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    /// Pushes a blob in two requests and answers its digest.
    pub(crate) async fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let start = self
            .send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], "")
            .await
            .expect(202);
        let place = format!("{}?digest={digest}", start.header("location"));
        self.send("PUT", &place, &[], bytes.to_vec()).await.expect(201);
        digest
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        body: &str,
    ) -> Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send("PUT", &path, &[("content-type", media_type)], body.to_owned()).await
    }

    /// Pushes an image with one layer under a tag; answers its digest and the manifest.
    pub(crate) async fn push_image(
        &self,
        repository: &str,
        tag: &str,
        layer: &[u8],
    ) -> (String, String) {
        let (config, digest) =
            (self.push_blob(repository, b"{}").await, self.push_blob(repository, layer).await);
        let manifest = image(&config, &[(&digest, layer.len())], "");
        self.put_manifest(repository, tag, IMAGE, &manifest).await.expect(201);
        (sha256(manifest.as_bytes()), manifest)
    }
}

pub(crate) const IMAGE: &str = humdrum_registry::manifest::OCI_IMAGE;
pub(crate) const INDEX: &str = humdrum_registry::manifest::OCI_INDEX;

/// An image manifest whose config is the two bytes `{}`.
pub(crate) fn image(config: &str, layers: &[(&str, usize)], extra: &str) -> String {
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{size}}}"#))
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{}]{extra}}}"#,
        layers.join(",")
    )
}
