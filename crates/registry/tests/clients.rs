//! Real crane and regctl: push, pull, copy with mounts, artifacts and their referrers, lists, deletes.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/layout.rs"]
mod layout;
#[path = "live/server.rs"]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use layout::{image_layout, output, run};
use server::{PASSWORD, Server, sha256};

/// A program of `target/tools/bin`, with its home in the test's folder.
fn tool(name: &str, folder: &Path) -> Command {
    let program: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin").join(name);
    assert!(
        program.exists(),
        "{name} is not at {}; install it: scripts/test-tools.sh",
        program.display()
    );
    let mut command = Command::new(program);
    command.current_dir(folder).env("HOME", folder).env("DOCKER_CONFIG", folder.join("docker"));
    command.env("REGCTL_CONFIG", folder.join("regctl.json"));
    command
}

fn said(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap().trim().to_owned()
}

fn lines(command: &mut Command) -> Vec<String> {
    said(command).lines().map(str::to_owned).collect()
}

async fn deeds(server: &Server, deed: humdrum_registry::Deed) -> usize {
    server.diary.0.lock().unwrap().iter().filter(|event| event.deed == deed).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crane_pushes_pulls_copies_lists_and_deletes() {
    let (data, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(data.path()).await;
    let layout = image_layout(work.path());
    let crane = || tool("crane", work.path());
    let image = |name: &str| format!("{}/{name}", server.addr);
    let push = |to: &str| {
        let mut command = crane();
        command.arg("push").arg(&layout).arg(image(to));
        command
    };
    assert!(!output(&mut push("team/shop:v1")).status.success(), "not logged in");
    let login = |password: &str| {
        let address = server.addr.to_string();
        output(crane().args(["auth", "login", &address, "-u", "humdrum", "-p", password]))
    };
    assert!(login(PASSWORD).status.success());
    run(&mut push("team/shop:v1"));
    let pushed = server.get("/v2/team/shop/manifests/v1").await.expect(200).body;
    assert_eq!(said(crane().args(["digest", &image("team/shop:v1")])), sha256(&pushed));
    assert_eq!(
        said(crane().args(["manifest", &image("team/shop:v1")])).as_bytes(),
        pushed.trim_ascii()
    );
    run(crane().args(["validate", "--fast", "--remote", &image("team/shop:v1")]));
    run(crane().args(["pull", "--format=oci", &image("team/shop:v1"), "back"]));
    let hex = sha256(&pushed).replace("sha256:", "");
    assert_eq!(fs::read(work.path().join("back/blobs/sha256").join(hex)).unwrap(), &pushed[..]);
    // The other repository takes the layers over without sending them.
    run(crane().args(["copy", &image("team/shop:v1"), &image("team/other:v1")]));
    assert!(deeds(&server, humdrum_registry::Deed::BlobMounted).await >= 1);
    assert_eq!(server.get("/v2/team/other/manifests/v1").await.expect(200).body, pushed);
    run(crane().args(["tag", &image("team/shop:v1"), "v2"]));
    assert_eq!(lines(crane().args(["ls", &image("team/shop")])), ["v1", "v2"]);
    assert_eq!(
        lines(crane().args(["catalog", &server.addr.to_string()])),
        ["team/other", "team/shop"]
    );
    let index = [
        "index",
        "append",
        "--docker-empty-base=false",
        "-m",
        &image("team/shop:v1"),
        "-t",
        &image("team/shop:all"),
    ];
    run(crane().args(index));
    let all = server.get("/v2/team/shop/manifests/all").await.expect(200);
    assert_eq!(all.json()["manifests"][0]["digest"], sha256(&pushed));
    run(crane().args(["delete", &image("team/shop:v2")]));
    server.get("/v2/team/shop/manifests/v2").await.refused(404, "MANIFEST_UNKNOWN");
    run(crane().args(["delete", &image(&format!("team/other@{}", sha256(&pushed)))]));
    server.get("/v2/team/other/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
    // A production tag is refused with its reason.
    run(crane().args(["tag", &image("team/shop:v1"), "production"]));
    let moved = output(crane().args(["tag", &image("team/shop:all"), "production"]));
    let text = String::from_utf8_lossy(&moved.stderr).into_owned();
    assert!(!moved.status.success() && text.contains("production tags never move"), "{text}");
}

/// regctl that knows the registry as plain HTTP, and has logged in.
fn regctl_in(server: &Server, folder: &Path) {
    let address = server.addr.to_string();
    run(tool("regctl", folder).args([
        "registry",
        "set",
        &address,
        "--tls",
        "disabled",
        "--skip-check",
    ]));
    let wrong = ["registry", "login", &address, "-u", "humdrum", "-p", "wrong"];
    assert!(!output(tool("regctl", folder).args(wrong)).status.success());
    run(tool("regctl", folder)
        .args(["registry", "login", &address, "-u", "humdrum", "-p", PASSWORD]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regctl_pushes_pulls_copies_with_referrers_and_deletes() {
    let (data, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(data.path()).await;
    let layout = image_layout(work.path());
    let regctl = || tool("regctl", work.path());
    let image = |name: &str| format!("{}/{name}", server.addr);
    regctl_in(&server, work.path());
    let local = format!("ocidir://{}:v1", layout.display());
    run(regctl().args(["image", "copy", &local, &image("team/shop:v1")]));
    let pushed = server.get("/v2/team/shop/manifests/v1").await.expect(200).body;
    assert_eq!(said(regctl().args(["image", "digest", &image("team/shop:v1")])), sha256(&pushed));
    // Evidence about the image, found again by its type.
    fs::write(work.path().join("sbom.json"), b"{\"sbom\":1}").unwrap();
    fs::write(work.path().join("scan.json"), b"{\"scan\":1}").unwrap();
    let subject = image("team/shop:v1");
    for (kind, file) in
        [("application/spdx+json", "sbom.json"), ("application/x.scan", "scan.json")]
    {
        let put = [
            "artifact",
            "put",
            "--artifact-type",
            kind,
            "--subject",
            &subject,
            "-f",
            file,
            "-m",
            kind,
        ];
        run(regctl().args(put));
    }
    let list = |filter: &[&str]| {
        let format = "{{range .Descriptors}}{{.ArtifactType}}\n{{end}}";
        let mut command = regctl();
        command.args(["artifact", "list", "--format", format, &subject]).args(filter);
        let mut kinds = lines(&mut command);
        kinds.sort();
        kinds
    };
    assert_eq!(list(&[]), ["application/spdx+json", "application/x.scan"]);
    assert_eq!(list(&["--filter-artifact-type", "application/x.scan"]), ["application/x.scan"]);
    let get = [
        "artifact",
        "get",
        "--subject",
        &subject,
        "--filter-artifact-type",
        "application/spdx+json",
    ];
    assert_eq!(said(regctl().args(get)), "{\"sbom\":1}");
    // A copy into another repository takes the evidence along, and sends no layer.
    run(regctl().args(["image", "copy", "--referrers", &subject, &image("team/other:v1")]));
    assert!(deeds(&server, humdrum_registry::Deed::BlobMounted).await >= 1);
    let path = format!("/v2/team/other/referrers/{}", sha256(&pushed));
    assert_eq!(
        server.get(&path).await.expect(200).json()["manifests"].as_array().unwrap().len(),
        2
    );
    // And out again, with it.
    let back = format!("ocidir://{}:v1", work.path().join("back").display());
    run(regctl().args(["image", "copy", "--referrers", &image("team/other:v1"), &back]));
    assert_eq!(said(regctl().args(["image", "digest", &back])), sha256(&pushed));
    assert_eq!(lines(regctl().args(["tag", "ls", &image("team/shop")])), ["v1"]);
    assert_eq!(
        lines(regctl().args(["repo", "ls", &server.addr.to_string()])),
        ["team/other", "team/shop"]
    );
    run(regctl().args(["tag", "delete", &image("team/other:v1")]));
    server.get("/v2/team/other/manifests/v1").await.refused(404, "MANIFEST_UNKNOWN");
    run(regctl().args(["manifest", "delete", &image(&format!("team/other@{}", sha256(&pushed)))]));
    server.get(&format!("/v2/team/other/manifests/{}", sha256(&pushed))).await.expect(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regctl_puts_artifacts_whole_and_in_chunks_and_gets_plain_files() {
    let (data, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(data.path()).await;
    let regctl = || tool("regctl", work.path());
    let image = |name: &str| format!("{}/{name}", server.addr);
    regctl_in(&server, work.path());
    let large: Vec<u8> =
        (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(work.path().join("large.bin"), &large).unwrap();
    let put = |tag: &str| {
        let kind = ["artifact", "put", "--artifact-type", "application/x.test", "--file-title"];
        let mut command = regctl();
        command.args(kind).args(["-f", "large.bin", "-m", "application/x.bytes", &image(tag)]);
        run(&mut command);
    };
    put("tools/large:whole");
    let address = server.addr.to_string();
    let chunks = ["registry", "set", &address, "--blob-max", "1000000", "--blob-chunk", "500000"];
    run(regctl().args(chunks));
    put("tools/chunked:v1");
    for reference in ["tools/large:whole", "tools/chunked:v1"] {
        let got = run(regctl().args(["artifact", "get", &image(reference)])).stdout;
        assert!(got == large, "{reference}");
    }
    let one = server.get("/v2/tools/chunked/manifests/v1").await.expect(200).json();
    assert_eq!(one["artifactType"], "application/x.test");
    assert_eq!(one["layers"][0]["annotations"]["org.opencontainers.image.title"], "large.bin");
    // A file that came by plain HTTP is an artifact to every client.
    server.send("PUT", "/artifacts/team/app/1.0/app.bin", &[], "by plain http").await.expect(201);
    let reference = image("artifacts/team/app:1.0_-app.bin");
    assert_eq!(said(regctl().args(["artifact", "get", &reference])), "by plain http");
    let mut stdin = regctl();
    stdin.args([
        "artifact",
        "put",
        "--artifact-type",
        "application/x.note",
        "--subject",
        &reference,
    ]);
    let mut child = stdin.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"seen").unwrap();
    assert!(child.wait().unwrap().success());
    let format = "{{range .Descriptors}}{{.ArtifactType}}{{end}}";
    let listed = said(regctl().args(["artifact", "list", "--format", format, &reference]));
    assert_eq!(listed, "application/x.note");
}
