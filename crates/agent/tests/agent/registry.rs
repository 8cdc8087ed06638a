//! A small registry over hyper: token flow, manifests and blobs of images made in the test.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use humdrum_model::name::Digest;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub(crate) const USER: &str = "agent";
pub(crate) const PASSWORD: &str = "a-token";

/// Serves until the test's runtime ends.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    /// Path to bytes.
    files: Mutex<BTreeMap<String, Bytes>>,
    /// One permit is needed for each blob answer; tests that stop a pull half way take them away.
    blobs: Semaphore,
    /// Paths asked for with a token, in order.
    asked: Mutex<Vec<String>>,
}

impl Registry {
    pub(crate) async fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = State {
            files: Mutex::default(),
            blobs: Semaphore::new(1_000),
            asked: Mutex::default(),
        };
        let state = Arc::new(state);
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request| answer(state.clone(), addr, request));
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Registry { addr, state }
    }

    /// Puts an image of these layers under `shop` and answers its digest.
    pub(crate) fn image(&self, layers: &[Vec<u8>]) -> Digest {
        let diff_ids: Vec<String> = layers.iter().map(|l| Digest::of(l).to_string()).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["IMAGE_SAYS=hello"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config =
            self.blob(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| self.blob(gzip(layer), "application/vnd.oci.image.layer.v1.tar+gzip"))
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers,
        });
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        self.put(format!("/v2/shop/manifests/{digest}"), bytes);
        digest
    }

    fn blob(&self, bytes: Vec<u8>, kind: &str) -> serde_json::Value {
        let digest = Digest::of(&bytes);
        let size = bytes.len();
        self.put(format!("/v2/shop/blobs/{digest}"), bytes);
        serde_json::json!({"mediaType": kind, "digest": digest, "size": size})
    }

    fn put(&self, path: String, bytes: Vec<u8>) {
        self.state.files.lock().unwrap().insert(path, bytes.into());
    }

    /// Changes one byte of every blob that holds a layer.
    pub(crate) fn spoil_layers(&self) {
        for (path, bytes) in self.state.files.lock().unwrap().iter_mut() {
            if path.contains("/blobs/") && bytes.starts_with(&[0x1f, 0x8b]) {
                let mut spoiled = bytes.to_vec();
                let last = spoiled.len() - 1;
                spoiled[last] ^= 1;
                *bytes = spoiled.into();
            }
        }
    }

    /// Lets only this many blobs out from now on.
    pub(crate) fn only_blobs(&self, count: usize) {
        self.state.blobs.forget_permits(10_000);
        self.state.blobs.add_permits(count);
    }

    /// How many paths with this part were asked for exactly once.
    pub(crate) fn asked_once(&self, part: &str) -> usize {
        let asked = self.state.asked.lock().unwrap();
        let once = |path: &&String| asked.iter().filter(|other| other == path).count() == 1;
        asked.iter().filter(|path| path.contains(part)).filter(once).count()
    }

    pub(crate) fn asked(&self, part: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|path| path.contains(part)).count()
    }
}

async fn answer(
    state: Arc<State>,
    addr: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    use base64::Engine as _;
    let path = request.uri().path().to_owned();
    let header = request.headers().get(http::header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let reply = |status, body: Bytes| Response::builder().status(status).body(Full::new(body));
    if path == "/v2/token" {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let query = request.uri().query().unwrap_or_default();
        let good =
            header == format!("Basic {basic}") && query.contains("scope=repository%3Ashop%3Apull");
        let status = if good { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        return Ok(reply(status, r#"{"token":"good"}"#.into()).unwrap());
    }
    if header != "Bearer good" {
        let challenge = format!("Bearer realm=\"http://{addr}/v2/token\",service=\"humdrum\"");
        let refusal = Response::builder().status(401).header("www-authenticate", challenge);
        return Ok(refusal.body(Full::default()).unwrap());
    }
    if path.contains("/blobs/") {
        state.blobs.acquire().await.unwrap().forget();
    }
    state.asked.lock().unwrap().push(path.clone());
    let found = state.files.lock().unwrap().get(&path).cloned();
    Ok(match found {
        Some(bytes) => reply(StatusCode::OK, bytes).unwrap(),
        None => reply(StatusCode::NOT_FOUND, Bytes::new()).unwrap(),
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layer with these files, all executable.
pub(crate) fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(1);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}
