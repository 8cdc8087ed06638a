//! `humdrum scan`: folders and images, against what the machine's own package manager says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::stage::Stage;

/// Package URLs of a document, without their qualifiers.
fn purls(bom: &Value) -> BTreeSet<String> {
    let components = bom["components"].as_array().unwrap();
    let purls = components.iter().filter_map(|component| component["purl"].as_str());
    purls.map(|purl| purl.split('?').next().unwrap().to_owned()).collect()
}

fn cyclonedx(stage: &Stage, subject: &str) -> Value {
    let ran = stage.run(&["scan", subject, "--sbom", "cyclonedx"]).ok();
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn the_packages_of_this_machine_are_those_that_dpkg_tells() {
    let stage = Stage::new();
    let root = stage.repo();
    for path in ["var/lib/dpkg/status", "etc/os-release"] {
        let target = root.join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(Path::new("/").join(path), target).unwrap();
    }
    let told = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture}\n"])
        .output()
        .unwrap();
    let told: BTreeSet<String> = String::from_utf8(told.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .map(str::to_owned)
        .collect();
    assert!(told.len() > 50, "dpkg tells only {told:?}");
    let bom = cyclonedx(&stage, root.to_str().unwrap());
    let found: BTreeSet<String> = bom["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|component| {
            let purl = component["purl"].as_str().unwrap();
            let architecture = purl.split("arch=").nth(1).unwrap().split('&').next().unwrap();
            let text = |key: &str| component[key].as_str().unwrap();
            format!("{} {} {architecture}", text("name"), text("version"))
        })
        .collect();
    assert_eq!(found, told);
}

#[test]
fn a_tree_has_its_locks_and_its_installed_packages() {
    let stage = Stage::new();
    stage
        .write("web/node_modules/@hapi/boom/package.json", r#"{"name":"@hapi/boom","version":"10.0.1","license":"BSD-3-Clause","dependencies":{"@hapi/hoek":"11"}}"#)
        .write("web/node_modules/@hapi/hoek/package.json", r#"{"name":"@hapi/hoek","version":"11.0.4","license":"Free for all"}"#)
        .write("requirements.txt", "idna==3.7 --hash=sha256:82fee1fc78add43492d3a1898bfa6d8a904cc97d8427f683ed8e798d07761aa0\n")
        .write(".git/node_modules/left/package.json", r#"{"name":"left","version":"1.0.0"}"#);
    let subject = stage.repo().display().to_string();
    let bom = cyclonedx(&stage, &subject);
    let expected =
        ["pkg:npm/%40hapi/boom@10.0.1", "pkg:npm/%40hapi/hoek@11.0.4", "pkg:pypi/idna@3.7"];
    assert_eq!(purls(&bom), BTreeSet::from(expected.map(str::to_owned)));
    let needs = bom["dependencies"].as_array().unwrap();
    let boom = needs.iter().find(|entry| entry["ref"] == expected[0]).unwrap();
    assert_eq!(boom["dependsOn"], json!([expected[1]]));
    let licences: Vec<&Value> =
        bom["components"].as_array().unwrap().iter().map(|one| &one["licenses"][0]).collect();
    assert_eq!(licences[0], &json!({ "expression": "BSD-3-Clause" }));
    assert_eq!(licences[1], &json!({ "license": { "name": "Free for all" } }));
    assert_eq!(cyclonedx(&stage, &subject), bom, "the same bytes every time");

    let ran = stage.run(&["scan", &subject]).ok();
    assert!(ran.out.contains("2 npm") && ran.out.contains("1 pypi"), "{ran:?}");
    let ran = stage.run(&["scan", &subject, "--sbom", "spdx"]).ok();
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    assert_eq!(document["packages"].as_array().unwrap().len(), 4);
    let relations = document["relationships"].as_array().unwrap();
    assert!(relations.iter().any(|one| one["relationshipType"] == "DESCRIBES"));
    assert!(relations.iter().any(|one| one["relationshipType"] == "DEPENDS_ON"));
}

/// Writes a blob into a layout; its descriptor.
fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = hex::encode(Sha256::digest(bytes));
    let folder = layout.join("blobs/sha256");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(&digest), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
}

fn layer(layout: &Path, files: &[(&str, &str)]) -> Value {
    let mut archive =
        tar::Builder::new(flate2::write::GzEncoder::new(vec![], flate2::Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let bytes = archive.into_inner().unwrap().finish().unwrap();
    blob(layout, "application/vnd.oci.image.layer.v1.tar+gzip", &bytes)
}

#[test]
fn an_image_shows_what_a_container_sees() {
    let stage = Stage::new();
    let layout = stage.path().join("layout");
    let lower = layer(
        &layout,
        &[
            ("etc/os-release", "ID=alpine\nVERSION_ID=3.20.1\n"),
            ("lib/apk/db/installed", "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\n"),
            ("app/node_modules/gone/package.json", r#"{"name":"gone","version":"1.0.0"}"#),
        ],
    );
    let upper = layer(
        &layout,
        &[
            ("app/node_modules/.wh.gone", ""),
            ("usr/lib/python3/x-2.dist-info/METADATA", "Name: X\nVersion: 2\n"),
        ],
    );
    let config =
        json!({ "created": "2026-03-01T12:00:00Z", "architecture": "amd64", "os": "linux" });
    let config =
        blob(&layout, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [lower, upper] });
    let manifest = blob(
        &layout,
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    );
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();

    let subject = format!("oci:{}", layout.display());
    let bom = cyclonedx(&stage, &subject);
    let expected = ["pkg:apk/alpine/musl@1.2.5-r0", "pkg:pypi/x@2"];
    assert_eq!(purls(&bom), BTreeSet::from(expected.map(str::to_owned)));
    assert_eq!(bom["metadata"]["timestamp"], "2026-03-01T12:00:00Z");
    assert_eq!(bom["metadata"]["component"]["version"], manifest["digest"]);

    // What is broken is named with its place.
    let file = layout
        .join("blobs/sha256")
        .join(upper["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap());
    std::fs::write(&file, b"PK no layer").unwrap();
    let ran = stage.run(&["scan", &subject]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.err.contains("neither tar, gzip nor zstd") && ran.err.contains("humdrum verify"),
        "{ran:?}"
    );
    let ran = stage.run(&["scan", "oci:/nowhere"]);
    assert!(ran.code == 2 && ran.err.contains("is not an OCI layout"), "{ran:?}");
    let ran = stage.run(&["scan", "nowhere"]);
    assert!(ran.code == 2 && ran.err.contains("`nowhere` cannot be read"), "{ran:?}");
}
