//! The bill of materials of real lock files, made by the package managers themselves. `UPDATE=1` rewrites the golden files.

#![expect(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use humdrum_evidence::ecosystem::SourceFile;
use humdrum_evidence::material::{BaseImage, HostFile, HostPackage, PackageManager};
use humdrum_evidence::sbom::{SbomInput, sbom};
use humdrum_model::name::{Commit, Digest, ServiceName};
use serde_json::Value;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The files of one folder of `locks/`, under `prefix`.
fn locks(name: &str, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(tests().join("locks").join(name))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (format!("{prefix}{name}"), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn describe(
    files: &[(String, Vec<u8>)],
    host_files: &[HostFile],
    base: Option<&BaseImage>,
) -> Vec<u8> {
    let files: Vec<SourceFile<'_>> =
        files.iter().map(|(path, bytes)| SourceFile { path, bytes }).collect();
    let input = SbomInput {
        service: &ServiceName::new("shop").unwrap(),
        commit: &Commit::new("0123456789abcdef0123456789abcdef01234567").unwrap(),
        commit_time: "2026-03-01T12:00:00Z".parse().unwrap(),
        repository: Some("https://example.com/shop.git"),
        humdrum_version: "0.1.0",
        files: &files,
        host_files,
        base,
        base_contents: None,
    };
    sbom(&input).unwrap().to_bytes()
}

fn check_golden(name: &str, bytes: &[u8]) {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
    let golden = tests().join("golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&golden).unwrap(), "{name}");
}

fn host_files() -> Vec<HostFile> {
    let libc = HostPackage {
        manager: PackageManager::Deb,
        distribution: "debian".into(),
        name: "libc6".into(),
        version: "2.36-9+deb12u10".into(),
        architecture: "amd64".into(),
        release: "debian-12".into(),
    };
    let file = |path: &str, package| HostFile {
        path: path.into(),
        digest: Digest::of(path.as_bytes()),
        package,
    };
    vec![
        file("/lib/x86_64-linux-gnu/libm.so.6", Some(libc.clone())),
        file("/lib/x86_64-linux-gnu/libc.so.6", Some(libc)),
        file("/usr/local/bin/node", None),
    ]
}

/// Every rule that the JSON schema states about what is written here, and that a reader relies on.
fn check_form(bytes: &[u8]) {
    let bom: Value = serde_json::from_slice(bytes).unwrap();
    let mut references =
        BTreeSet::from([bom["metadata"]["component"]["bom-ref"].as_str().unwrap().to_owned()]);
    for component in bom["components"].as_array().unwrap() {
        assert!(
            references.insert(component["bom-ref"].as_str().unwrap().to_owned()),
            "{component}"
        );
        if component["type"] != "file" {
            let purl = component["purl"].as_str().unwrap();
            let parsed: packageurl::PackageUrl<'_> = purl.parse().unwrap();
            assert_eq!(parsed.to_string(), purl, "canonical");
        }
    }
    for entry in bom["dependencies"].as_array().unwrap() {
        assert!(references.contains(entry["ref"].as_str().unwrap()), "{entry}");
        for needed in entry["dependsOn"].as_array().into_iter().flatten() {
            assert!(references.contains(needed.as_str().unwrap()), "{needed}");
        }
    }
}

#[test]
fn every_lock_file_is_described_as_recorded() {
    for name in ["cargo", "npm-v1", "npm-v2", "npm-v3", "go", "requirements", "poetry", "uv"] {
        let bytes = describe(&locks(name, ""), &[], None);
        check_form(&bytes);
        check_golden(&format!("{name}.cdx.json"), &bytes);
    }
}

#[test]
fn the_three_versions_of_npm_say_the_same() {
    let graph = |name| {
        let bom: Value = serde_json::from_slice(&describe(&locks(name, ""), &[], None)).unwrap();
        let components: Vec<Value> = bom["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|component| {
                serde_json::json!([component["purl"], component["hashes"], component["scope"]])
            })
            .collect();
        (components, bom["dependencies"].clone())
    };
    assert_eq!(graph("npm-v1"), graph("npm-v3"));
    assert_eq!(graph("npm-v2"), graph("npm-v3"));
}

#[test]
fn a_whole_service_is_described_in_any_order_with_the_same_bytes() {
    let mut files = locks("cargo", "");
    files.extend(locks("npm-v3", "web/"));
    files.extend(locks("npm-v1", "admin/"));
    files.extend(locks("go", "tools/"));
    files.push(("legacy/yarn.lock".into(), b"# yarn lockfile v1\n".to_vec()));
    let base = BaseImage {
        reference: "registry.example/library/debian:12".into(),
        digest: Digest::of(b"base"),
    };
    let mut host = host_files();
    let bytes = describe(&files, &host, Some(&base));
    check_form(&bytes);
    check_golden("whole.cdx.json", &bytes);
    files.reverse();
    host.reverse();
    assert_eq!(describe(&files, &host, Some(&base)), bytes);
}

#[test]
fn another_input_has_another_serial_number() {
    let serial = |files: &[(String, Vec<u8>)]| {
        let bom: Value = serde_json::from_slice(&describe(files, &[], None)).unwrap();
        bom["serialNumber"].as_str().unwrap().to_owned()
    };
    let one = serial(&locks("cargo", ""));
    assert_ne!(one, serial(&locks("cargo", "other/")));
    assert!(one.starts_with("urn:uuid:") && one.as_bytes()[23] == b'8', "{one}");
}
