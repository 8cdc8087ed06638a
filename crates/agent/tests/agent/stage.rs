//! What the tests stand on: a compiled service, an agent process of their own, its socket, and an end for all of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use humdrum_model::name::Digest;
use humdrum_model::unit::{InstanceState, InstanceStatus, UnitStatus};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::registry::{PASSWORD, Registry, USER, layer};

/// Longer than anything here takes on a busy machine, and an end for what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const UNIT: &str = "shop.production.a";

/// The service's program, compiled once for all tests.
pub(crate) fn service() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("service");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agent/service.c");
        let mut compile = Command::new("cc");
        compile.args(["-static", "-O1", "-o"]).arg(&program).arg(source);
        assert!(compile.status().expect("`cc` is needed: apt-get install gcc").success());
        std::fs::read(program).unwrap()
    })
}

/// A data folder with a registry and at most one living agent.
pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) registry: Registry,
    agent: Option<Child>,
    first_port: u16,
    pub(crate) retired_ms: u64,
    /// Another user for the agent.
    pub(crate) uid: Option<u32>,
}

impl Stage {
    pub(crate) async fn new() -> Stage {
        // Below the kernel's own choices and apart from each other, so that no test takes another's port.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let nth =
            NEXT.fetch_add(1, Ordering::Relaxed) + u16::try_from(std::process::id() % 100).unwrap();
        Stage {
            folder: tempfile::tempdir().unwrap(),
            registry: Registry::start().await,
            agent: None,
            first_port: 12_000 + nth * 40,
            retired_ms: 3_600_000,
            uid: None,
        }
    }

    /// A stage with the service's image and a working agent.
    pub(crate) async fn with_service() -> (Stage, Digest) {
        let mut stage = Stage::new().await;
        let image = stage.registry.image(&[layer(&[("app", service())])]);
        stage.start_agent().await;
        (stage, image)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    pub(crate) fn index(&self, index: u32) -> PathBuf {
        self.folder.path().join("agent/units").join(UNIT).join(index.to_string())
    }

    pub(crate) async fn start_agent(&mut self) {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(env!("CARGO_BIN_EXE_humdrum-agent-alone"));
        command.arg(self.folder.path()).arg(self.socket()).args([USER, PASSWORD]);
        command.args([self.first_port, self.first_port + 39].map(|port| port.to_string()));
        command.arg(self.retired_ms.to_string()).stdin(Stdio::null());
        // What must not reach an instance.
        command.env("HOST_SECRET", "leaks");
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        drop(std::fs::remove_file(self.socket()));
        self.agent = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !self.socket().exists() {
            let ended = self.agent.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "the agent ended: {ended:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// kill -9, and nothing else.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent works");
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Bytes) {
        let stream = tokio::net::UnixStream::connect(self.socket()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = Request::builder().method(method).uri(path).header("host", "agent");
        let answer = sender.send_request(request.body(Full::new(body)).unwrap());
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
        let status = answer.status();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    }

    /// An answer that is read bit by bit.
    pub(crate) async fn stream(&self, path: &str) -> Chunks {
        let stream = tokio::net::UnixStream::connect(self.socket()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "agent").body(Full::default()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        Chunks { body: answer.into_body(), _sender: sender }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body:?}");
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) async fn put(&self, spec: &Value) -> (StatusCode, Value) {
        let path = format!("/units/{}", spec["unit"].as_str().unwrap());
        let (status, body) = self.ask("PUT", &path, Some(spec)).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn accepted(&self, spec: &Value) {
        let (status, body) = self.put(spec).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    pub(crate) async fn status(&self) -> UnitStatus {
        serde_json::from_value(self.get(&format!("/units/{UNIT}")).await).unwrap()
    }

    /// Follows the agent's own notifications until the unit is as wanted.
    pub(crate) async fn until(&self, what: &str, good: impl Fn(&UnitStatus) -> bool) -> UnitStatus {
        let deadline = Instant::now() + PATIENCE;
        let mut after = 0;
        loop {
            let seen = self.get(&format!("/watch?after={after}&wait_ms=2000")).await;
            after = seen["version"].as_u64().unwrap();
            let units: Vec<UnitStatus> = serde_json::from_value(seen["units"].clone()).unwrap();
            let unit = units.into_iter().find(|unit| unit.unit == UNIT);
            if let Some(unit) = unit.as_ref().filter(|unit| good(unit)) {
                return unit.clone();
            }
            assert!(Instant::now() < deadline, "never {what}: {unit:#?}");
        }
    }

    pub(crate) async fn until_ready(&self, count: usize) -> UnitStatus {
        self.until("ready", |unit| {
            let ready = unit.instances.iter().filter(|i| i.state == InstanceState::Ready);
            ready.count() == count
        })
        .await
    }

    /// The wish for the service.
    pub(crate) fn spec(&self, image: &Digest, instances: u32) -> Value {
        json!({
            "unit": UNIT, "fence": 5, "generation": 1,
            "image": {"registry": self.registry.addr.to_string(), "repository": "shop", "digest": image},
            "command": ["/app", "{port}"],
            "env": {"LOG": "info"},
            "health": {"check": {"http": "/healthz"}, "interval_ms": 100, "timeout_ms": 2000,
                       "healthy_after": 1, "unhealthy_after": 3, "start_ms": 20000},
            "instances": instances,
            "uid": 61_007,
            "stop": {"grace_ms": 5000},
            "labels": {"service": "shop", "environment": "production", "release": "0123456789abcdef",
                       "deployment_id": "dep-1", "commit": "c0ffee", "build_id": "b-1"},
        })
    }
}

/// The body of an answer that goes on.
pub(crate) struct Chunks {
    body: hyper::body::Incoming,
    _sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Chunks {
    pub(crate) async fn next_chunk(&mut self) -> String {
        let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.unwrap();
        String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap()
    }
}

impl Drop for Stage {
    /// Ends the agent and every shim whose command line names this stage's own folder; their jails end with them.
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            drop(agent.kill());
            drop(agent.wait());
        }
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(words) = std::fs::read(process.path().join("cmdline")) else { continue };
            let words = String::from_utf8_lossy(&words).into_owned();
            let ours =
                words.contains("__shim") && words.contains(&*self.folder.path().to_string_lossy());
            if let (true, Ok(pid)) = (ours, process.file_name().to_string_lossy().parse::<i32>()) {
                kill(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

pub(crate) fn kill(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

pub(crate) fn kill_instance(instance: &InstanceStatus) {
    let pid = i32::try_from(instance.pid.expect("it runs")).unwrap();
    kill(pid, rustix::process::Signal::KILL);
}

/// What an instance answers to a GET.
pub(crate) async fn fetch(instance: &InstanceStatus, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(instance.addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    drop(tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap());
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}
