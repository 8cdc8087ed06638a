//! A real Docker Engine and a real podman log in, pull and run an image from the registry. Needs root.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/layout.rs"]
mod layout;
#[path = "live/server.rs"]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use layout::{GREETING, image_layout, missing, output, run, skopeo};
use server::{PASSWORD, Server};

/// A Docker Engine of our own: its data, sockets and processes are below one folder and end with it.
struct Engine {
    process: Child,
    folder: PathBuf,
}

impl Engine {
    fn start(folder: &Path) -> Self {
        let log = fs::File::create(folder.join("dockerd.log")).unwrap();
        let mut command = Command::new("dockerd");
        command
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("-H")
            .arg(Self::socket(folder))
            .args(["--bridge=none", "--iptables=false", "--ip-masq=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let process =
            command.spawn().unwrap_or_else(|error| panic!("{error}: {}", missing(&command)));
        let engine = Self { process, folder: folder.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !output(engine.docker().arg("version")).status.success() {
            let log = || fs::read_to_string(folder.join("dockerd.log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "dockerd does not answer (it needs root): {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        engine
    }

    fn socket(folder: &Path) -> String {
        format!("unix://{}", folder.join("s").display())
    }

    fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .arg("--config")
            .arg(self.folder.join("client"))
            .arg("-H")
            .arg(Self::socket(&self.folder));
        command
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its containerd gets SIGKILL from the kernel when the engine itself ends.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn pushed(data: &Path, work: &Path) -> (Server, String) {
    let server = Server::start(data).await;
    let layout = image_layout(work);
    let local = format!("oci:{}:v1", layout.display());
    for (tag, format) in [("oci", "oci"), ("docker", "v2s2")] {
        let remote = format!("docker://{}/team/hello:{tag}", server.addr);
        let creds = format!("humdrum:{PASSWORD}");
        run(skopeo(work).args([
            "copy",
            "--format",
            format,
            "--dest-tls-verify=false",
            "--dest-creds",
            &creds,
            &local,
            &remote,
        ]));
    }
    let repository = format!("{}/team/hello", server.addr);
    (server, repository)
}

fn login(command: &mut Command, server: &Server, password: &str) -> bool {
    use std::io::Write as _;
    command.args(["-u", "humdrum", "--password-stdin", &server.addr.to_string()]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("{error}: {}", missing(command)));
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_logs_in_pulls_runs_and_pushes() {
    let (data, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, repository) = pushed(data.path(), work.path()).await;
    let engine = Engine::start(work.path());
    assert!(
        !output(engine.docker().args(["pull", &format!("{repository}:oci")])).status.success(),
        "not logged in"
    );
    assert!(!login(engine.docker().arg("login"), &server, "wrong"));
    assert!(login(engine.docker().arg("login"), &server, PASSWORD));
    for tag in ["oci", "docker"] {
        let image = format!("{repository}:{tag}");
        run(engine.docker().args(["pull", &image]));
        let said = run(engine.docker().args(["run", "--rm", "--network", "none", &image])).stdout;
        assert_eq!(String::from_utf8(said).unwrap().trim(), GREETING);
    }
    let copy = format!("{}/other/hello:pushed", server.addr);
    run(engine.docker().args(["tag", &format!("{repository}:docker"), &copy]));
    run(engine.docker().args(["push", &copy]));
    run(engine.docker().args(["push", &copy]));
    assert_eq!(
        server.get("/v2/other/hello/manifests/pushed").await.expect(200).json()["layers"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_logs_in_pulls_runs_and_pushes() {
    let (data, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, repository) = pushed(data.path(), work.path()).await;
    let folder = work.path();
    fs::write(
        folder.join("containers.conf"),
        "[containers]\ndefault_ulimits=[\"nofile=20000:20000\",\"nproc=10000:10000\"]\n\
         [engine]\nruntime=\"runc\"\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\n",
    )
    .unwrap();
    let podman = || {
        let mut command = Command::new("podman");
        command.arg("--root").arg(folder.join("root")).arg("--runroot").arg(folder.join("run"));
        command.arg("--tmpdir").arg(folder.join("tmp")).args(["--storage-driver", "vfs"]);
        command.env("CONTAINERS_CONF", folder.join("containers.conf"));
        command.env("REGISTRY_AUTH_FILE", folder.join("podman-auth.json"));
        command
    };
    let image = |tag: &str| format!("{repository}:{tag}");
    assert!(
        !output(podman().args(["pull", "--tls-verify=false", &image("oci")])).status.success(),
        "not logged in"
    );
    assert!(!login(podman().args(["login", "--tls-verify=false"]), &server, "wrong"));
    assert!(login(podman().args(["login", "--tls-verify=false"]), &server, PASSWORD));
    for tag in ["oci", "docker"] {
        run(podman().args(["pull", "--tls-verify=false", &image(tag)]));
        let said = run(podman().args(["run", "--rm", "--network", "none", &image(tag)])).stdout;
        assert_eq!(String::from_utf8(said).unwrap().trim(), GREETING);
    }
    let copy = format!("{}/other/hello:pushed", server.addr);
    run(podman().args(["tag", &image("oci"), &copy]));
    run(podman().args(["push", "--tls-verify=false", &copy]));
    let pushed = server.get("/v2/other/hello/manifests/pushed").await.expect(200);
    assert_eq!(pushed.json()["layers"].as_array().unwrap().len(), 1);
    run(podman().args(["rmi", "--all", "--force"]));
    run(podman().args(["pull", "--tls-verify=false", &copy]));
}
