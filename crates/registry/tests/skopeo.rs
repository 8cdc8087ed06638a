//! A real skopeo, in and out, in both formats, with credentials.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/layout.rs"]
mod layout;
#[path = "live/server.rs"]
mod server;

use std::fs;
use std::path::Path;

use humdrum_registry::manifest::{DOCKER_IMAGE, OCI_IMAGE};
use layout::{image_layout, output, run, skopeo};
use server::{PASSWORD, Server, sha256};

fn creds() -> String {
    format!("humdrum:{PASSWORD}")
}

fn manifest_of(layout: &Path) -> Vec<u8> {
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    fs::read(layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_in_and_out_byte_for_byte() {
    let (data, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(data.path()).await;
    let layout = image_layout(work.path());
    let remote = format!("docker://{}/team/shop:v1", server.addr);
    let local = format!("oci:{}:v1", layout.display());
    run(skopeo(work.path()).args([
        "copy",
        "--dest-tls-verify=false",
        "--preserve-digests",
        "--dest-creds",
        &creds(),
        &local,
        &remote,
    ]));
    let pushed = server.get("/v2/team/shop/manifests/v1").await.expect(200);
    assert_eq!(
        (&pushed.body[..], pushed.header("content-type")),
        (&manifest_of(&layout)[..], OCI_IMAGE)
    );
    // Out again, and the same bytes.
    let back = work.path().join("back");
    let out = format!("oci:{}:v1", back.display());
    run(skopeo(work.path()).args([
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--src-creds",
        &creds(),
        &remote,
        &out,
    ]));
    assert_eq!(manifest_of(&back), manifest_of(&layout));
    // A second repository takes the layers over without sending them; a push again sends nothing.
    let other = format!("docker://{}/team/other:v1", server.addr);
    run(skopeo(work.path()).args([
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--preserve-digests",
        "--src-creds",
        &creds(),
        "--dest-creds",
        &creds(),
        &remote,
        &other,
    ]));
    assert_eq!(server.get("/v2/team/other/manifests/v1").await.expect(200).body, pushed.body);
    // As docker's own format.
    let docker = format!("docker://{}/team/shop:docker", server.addr);
    run(skopeo(work.path()).args([
        "copy",
        "--format",
        "v2s2",
        "--dest-tls-verify=false",
        "--dest-creds",
        &creds(),
        &local,
        &docker,
    ]));
    assert_eq!(
        server.get("/v2/team/shop/manifests/docker").await.expect(200).header("content-type"),
        DOCKER_IMAGE
    );
    let text = run(skopeo(work.path()).args([
        "inspect",
        "--raw",
        "--tls-verify=false",
        "--creds",
        &creds(),
        &docker,
    ]))
    .stdout;
    assert!(String::from_utf8(text).unwrap().contains(DOCKER_IMAGE));
    let tags = run(skopeo(work.path()).args([
        "list-tags",
        "--tls-verify=false",
        "--creds",
        &creds(),
        &format!("docker://{}/team/shop", server.addr),
    ]))
    .stdout;
    let tags: serde_json::Value = serde_json::from_slice(&tags).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["docker", "v1"]));
    run(skopeo(work.path()).args(["delete", "--tls-verify=false", "--creds", &creds(), &docker]));
    server.get("/v2/team/shop/manifests/docker").await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_reach_the_person() {
    let (data, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(data.path()).await;
    let layout = image_layout(work.path());
    let local = format!("oci:{}:v1", layout.display());
    let remote = format!("docker://{}/shop:production", server.addr);
    let copy = |creds: &str, format: &str| {
        let args = [
            "copy",
            "--dest-tls-verify=false",
            "--format",
            format,
            "--dest-creds",
            creds,
            &local,
            &remote,
        ];
        output(skopeo(work.path()).args(args))
    };
    let wrong = copy("humdrum:wrong", "oci");
    assert!(!wrong.status.success());
    let nobody =
        output(skopeo(work.path()).args(["copy", "--dest-tls-verify=false", &local, &remote]));
    assert!(!nobody.status.success());
    server.get("/v2/shop/tags/list").await.refused(404, "NAME_UNKNOWN");
    assert!(copy(&creds(), "oci").status.success());
    let first = server.get("/v2/shop/manifests/production").await.expect(200).body;
    assert!(copy(&creds(), "oci").status.success(), "the same image again is fine");
    let moved = copy(&creds(), "v2s2");
    let text = String::from_utf8_lossy(&moved.stderr).into_owned();
    assert!(!moved.status.success() && text.contains("production tags never move"), "{text}");
    let now = server.get("/v2/shop/manifests/production").await.expect(200).body;
    assert_eq!(sha256(&now), sha256(&first));
}
