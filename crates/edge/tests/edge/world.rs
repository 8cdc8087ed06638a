//! Real instances, a real edge and plain clients, all on loopback.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use humdrum_edge::{EdgeConfig, EdgeError, run};
use humdrum_model::block::Block;
use humdrum_model::name::Slot;
use humdrum_model::route::{Arm, Endpoint, Listen, RouteStatus, RouteTable};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::sync::CancellationToken;

pub(crate) const LONG: Duration = Duration::from_secs(10);

/// Waits for something that must come true.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !check() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that stays free until the edge listens there: below the range of outgoing connections, any of which may have one that `bind` to
/// port 0 gave and that was closed again. It is marked by a name that ends with this process, so that no other test gets it.
pub(crate) fn free_port() -> SocketAddr {
    use std::os::linux::net::SocketAddrExt as _;
    let first = std::process::id() as u16 % 8_000;
    for port in (0..8_000).map(|n| 10_000 + (first + n) % 8_000) {
        let name = format!("humdrum-test-port-{port}");
        let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let Ok(mark) = std::os::unix::net::UnixListener::bind_addr(&name) else { continue };
        if let Ok(tried) = TcpListener::bind(("127.0.0.1", port)) {
            std::mem::forget(mark);
            return tried.local_addr().unwrap();
        }
    }
    panic!("every port from 10000 to 17999 is taken");
}

/// An instance that answers with its name.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    pub(crate) hits: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Instance {
    pub(crate) fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (addr, hits, stop) =
            (listener.local_addr().unwrap(), Arc::<AtomicU64>::default(), CancellationToken::new());
        let (owned, counter, token) = (name.to_owned(), Arc::clone(&hits), stop.clone());
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let accept = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let (name, hits) = (owned.clone(), counter.clone());
                        tokio::spawn(async move {
                            let service = service_fn(move |request| {
                                respond(name.clone(), hits.clone(), request)
                            });
                            let server =
                                hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                            let _ = server
                                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                                .await;
                        });
                    }
                };
                tokio::select! { () = accept => {}, () = token.cancelled() => {} }
            });
        });
        Self { name: name.to_owned(), addr, hits, stop }
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

type Body = BoxBody<Bytes, Infallible>;

fn full(text: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(text.into()).boxed()
}

async fn respond(
    name: String,
    hits: Arc<AtomicU64>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    hits.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    let mut response = Response::new(full(name));
    match path.as_str() {
        "/fail" => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        "/slow" => tokio::time::sleep(Duration::from_millis(300)).await,
        "/never" => std::future::pending().await,
        "/head" => {
            let fields =
                request.headers().iter().map(|(k, v)| format!("{k}: {}", v.to_str().unwrap()));
            let lines: Vec<String> = fields.chain([format!("target: {}", request.uri())]).collect();
            *response.body_mut() = full(lines.join("\n"));
        }
        "/length" => {
            let length =
                request.into_body().collect().await.map(|b| b.to_bytes().len()).unwrap_or(0);
            *response.body_mut() = full(length.to_string());
        }
        // Each part of the request's body comes back as soon as it was read, then the trailers.
        "/mirror" => {
            let trailers = futures::stream::once(async {
                let mut map = HeaderMap::new();
                map.insert("grpc-status", "0".parse().unwrap());
                Ok(Frame::trailers(map))
            });
            let parts = request
                .into_body()
                .into_data_stream()
                .filter_map(|d| async { d.ok().map(|d| Ok(Frame::data(d))) });
            response.headers_mut().insert("trailer", "grpc-status".parse().unwrap());
            response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            *response.body_mut() = StreamBody::new(parts.chain(trailers)).boxed_unsync_to_sync();
        }
        "/events" => {
            let ticks = tokio::time::interval(Duration::from_millis(200));
            let events = futures::stream::unfold((ticks, 0), |(mut ticks, n)| async move {
                ticks.tick().await;
                Some((Ok(Frame::data(Bytes::from(format!("data: {n}\n\n")))), (ticks, n + 1)))
            });
            response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            *response.body_mut() = StreamBody::new(events).boxed_unsync_to_sync();
        }
        "/socket" => {
            let switch = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(TokioIo::new(switch.await.unwrap()));
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            *response.body_mut() = full("");
        }
        _ => {}
    }
    Ok(response)
}

/// `BoxBody` wants `Sync`, which streams of futures are not; a lock makes them so.
trait Shared {
    fn boxed_unsync_to_sync(self) -> Body;
}

impl<S> Shared for StreamBody<S>
where
    S: futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static,
{
    fn boxed_unsync_to_sync(self) -> Body {
        let (send, receive) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let mut body = Box::pin(self);
            while let Some(frame) = body.frame().await {
                if send.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let frames =
            futures::stream::unfold(receive, |mut r| async move { r.recv().await.map(|f| (f, r)) });
        BodyExt::boxed(StreamBody::new(frames))
    }
}

pub(crate) fn arm(name: &str, slot: Slot, weight: u32, instances: &[&Instance]) -> Arm {
    Arm {
        name: name.into(),
        slot,
        release: format!("release-{name}"),
        deployment_id: format!("deployment-{name}"),
        weight,
        instances: instances
            .iter()
            .map(|i| Endpoint { instance: i.name.clone(), addr: i.addr })
            .collect(),
    }
}

pub(crate) fn table(listen: SocketAddr, generation: u64, arms: Vec<Arm>) -> RouteTable {
    RouteTable {
        route: "shop.test".into(),
        fence: 1,
        generation,
        listen: Listen { addr: listen, host: None },
        arms,
        closed_reason: None,
        sticky: None,
        testers: None,
        limits: Default::default(),
        block_ms: 100,
    }
}

/// An edge in this process or in one of its own.
pub(crate) struct Edge {
    pub(crate) folder: Arc<tempfile::TempDir>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<Result<(), EdgeError>>>,
    child: Option<Child>,
}

impl Edge {
    pub(crate) fn start() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let stop = CancellationToken::new();
        let data = folder.path().to_owned();
        let config = EdgeConfig { admin_socket: data.join("admin.sock"), data, threads: 2 };
        let token = stop.clone();
        let thread = Some(std::thread::spawn(move || run(config, token)));
        let edge = Self { folder, stop, thread, child: None };
        eventually("the admin socket answers", || {
            admin(&edge.socket(), "GET", "/healthz", "").is_some()
        });
        edge
    }

    /// As a process that can be killed. The example is built with the tests.
    pub(crate) fn spawn(folder: &Arc<tempfile::TempDir>) -> Self {
        let test = std::env::current_exe().unwrap();
        let program = test.parent().unwrap().parent().unwrap().join("examples/edge");
        let child = Command::new(program).arg(folder.path()).arg("2").spawn().unwrap();
        let edge = Self {
            folder: folder.clone(),
            stop: CancellationToken::new(),
            thread: None,
            child: Some(child),
        };
        eventually("the new process answers", || {
            edge.pid() == Some(edge.child.as_ref().unwrap().id())
        });
        edge
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        let (_, body) = admin(&self.socket(), "GET", "/healthz", "")?;
        serde_json::from_str::<serde_json::Value>(&body).ok()?["pid"].as_u64().map(|p| p as u32)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        admin(&self.socket(), method, path, body).expect("the admin socket answers")
    }

    pub(crate) fn put(&self, table: &RouteTable) -> RouteStatus {
        let path = format!("/routes/{}", table.route);
        let (status, body) = self.ask("PUT", &path, &serde_json::to_string(table).unwrap());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn status(&self) -> RouteStatus {
        let (status, body) = self.ask("GET", "/routes/shop.test", "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn blocks(&self, after: u64, wait_ms: u32) -> Vec<Block> {
        let path = format!("/routes/shop.test/blocks?after={after}&limit=1000&wait_ms={wait_ms}");
        let (status, body) = self.ask("GET", &path, "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// All blocks once the counted requests reached a number.
    pub(crate) fn blocks_with(&self, requests: u64) -> Vec<Block> {
        let mut blocks = vec![];
        eventually(&format!("{requests} requests in blocks"), || {
            blocks = self.blocks(0, 0);
            count(&blocks) >= requests
        });
        blocks
    }

    pub(crate) fn kill(&mut self) {
        let child = self.child.as_mut().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The process ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join().unwrap();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

pub(crate) fn count(blocks: &[Block]) -> u64 {
    blocks.iter().flat_map(|b| &b.cells).map(|c| c.requests).sum()
}

fn admin(socket: &Path, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// One keep-alive connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![] }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// `None` when the connection ended instead.
    pub(crate) fn try_get(&mut self, path: &str, fields: &str) -> Option<Reply> {
        let text = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n");
        self.stream.write_all(text.as_bytes()).ok()?;
        self.reply()
    }

    pub(crate) fn get(&mut self, path: &str, fields: &str) -> Reply {
        self.try_get(path, fields).expect("an answer")
    }

    /// Reads until this text came.
    pub(crate) fn read_until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|w| w == end.as_bytes()) {
                let text = self.buffer.drain(..at + end.len()).collect();
                return String::from_utf8(text).ok();
            }
            let mut part = [0; 4096];
            match self.stream.read(&mut part) {
                Ok(0) => return None,
                Err(error) => {
                    eprintln!("the connection broke: {error}");
                    return None;
                }
                Ok(n) => self.buffer.extend_from_slice(&part[..n]),
            }
        }
    }

    pub(crate) fn head(&mut self) -> Option<Reply> {
        let head = self.read_until("\r\n\r\n")?;
        let mut lines = head.trim_end().lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|l| l.split_once(": "))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        Some(Reply { status, headers, body: String::new() })
    }

    /// An answer with a length or in chunks.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let mut reply = self.head()?;
        if let Some(length) = reply.headers.get("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                let mut part = [0; 4096];
                match self.stream.read(&mut part) {
                    Ok(0) | Err(_) => return None,
                    Ok(n) => self.buffer.extend_from_slice(&part[..n]),
                }
            }
            reply.body = String::from_utf8(self.buffer.drain(..length).collect()).unwrap();
        } else if reply.headers.contains_key("transfer-encoding") {
            reply.body = self.read_until("0\r\n\r\n")?;
        }
        Some(reply)
    }
}

pub(crate) fn get(addr: SocketAddr, path: &str, fields: &str) -> Reply {
    Client::connect(addr).get(path, fields)
}
