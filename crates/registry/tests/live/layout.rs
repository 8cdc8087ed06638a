//! An image from nothing: one static program in an OCI layout, and the tools that carry it.
#![allow(clippy::allow_attributes, reason = "each test file uses a part of this module")]
#![allow(dead_code, reason = "each test file uses a part of this module")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::server::{IMAGE, INDEX, sha256};

/// What the program prints.
pub(crate) const GREETING: &str = "hello from the layout";

/// Runs a tool that must succeed; one that is missing fails the test with the way to get it.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    output
}

#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => panic!("{}", missing(command)),
        Err(error) => panic!("{command:?}: {error}"),
    }
}

pub(crate) fn missing(command: &Command) -> String {
    let name = command.get_program().to_string_lossy();
    format!(
        "`{name}` is not installed: apt-get install --no-install-recommends skopeo docker.io runc iptables podman golang-github-containers-common gcc libc6-dev"
    )
}

/// Writes `folder/index.json` with one image, tagged `v1`, that prints [`GREETING`]; answers the layout's folder.
pub(crate) fn image_layout(folder: &Path) -> PathBuf {
    let source = folder.join("hello.c");
    fs::write(
        &source,
        format!("#include <stdio.h>\nint main(void) {{ puts(\"{GREETING}\"); return 0; }}\n"),
    )
    .unwrap();
    let program = folder.join("hello");
    run(Command::new("gcc").args(["-static", "-Os", "-s", "-o"]).arg(&program).arg(&source));
    run(Command::new("tar")
        .args(["--owner=0", "--group=0", "-C"])
        .arg(folder)
        .arg("-cf")
        .arg(folder.join("layer.tar"))
        .arg("hello"));
    let layout = folder.join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let layer = fs::read(folder.join("layer.tar")).unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/hello"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        sha256(&layer)
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{},"layers":[{}]}}"#,
        store(&layout, "application/vnd.oci.image.config.v1+json", config.as_bytes(), ""),
        store(&layout, "application/vnd.oci.image.layer.v1.tar", &layer, ""),
    );
    let tag = r#","annotations":{"org.opencontainers.image.ref.name":"v1"}"#;
    let entry = store(&layout, IMAGE, manifest.as_bytes(), tag);
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entry}]}}"#);
    fs::write(layout.join("index.json"), index).unwrap();
    layout
}

/// Keeps a blob and answers its descriptor.
fn store(layout: &Path, media_type: &str, bytes: &[u8], extra: &str) -> String {
    let digest = sha256(bytes);
    fs::write(layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:")), bytes)
        .unwrap();
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}{extra}}}"#, bytes.len())
}

/// `skopeo` that asks nobody for a signature policy and keeps no state outside `folder`.
pub(crate) fn skopeo(folder: &Path) -> Command {
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy").env("HOME", folder).env("XDG_RUNTIME_DIR", folder);
    command.env("REGISTRY_AUTH_FILE", folder.join("auth.json"));
    command
}
