//! What the rows have in common: names, digests of both kinds, and the ways in.

use humdrum_store::blobs::{Algorithm, BlobDigest};
use serde_json::Value;

use crate::server::{Reply, Server};

pub(crate) const REPO: &str = "team/shop";
pub(crate) const OTHER: &str = "team/other";
pub(crate) const NOBODY: (&str, &str) = ("authorization", "");

pub(crate) fn digest(algorithm: Algorithm, bytes: &[u8]) -> String {
    BlobDigest::of(algorithm, bytes).to_string()
}

/// Bytes that are the same in each run and look like none.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn uploads(repository: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/")
}

/// Opens a session and answers its place.
pub(crate) async fn session(server: &Server, repository: &str) -> String {
    let reply = server.send("POST", &uploads(repository), &[], "").await.expect(202);
    reply.header("location").to_owned()
}

/// Pushes a blob under a digest of this kind, which it answers.
pub(crate) async fn push(
    server: &Server,
    repository: &str,
    algorithm: Algorithm,
    bytes: &[u8],
) -> String {
    let digest = digest(algorithm, bytes);
    let place = format!("{}?digest={digest}", uploads(repository));
    server.send("POST", &place, &[], bytes.to_vec()).await.expect(201);
    digest
}

pub(crate) fn blob(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

pub(crate) fn manifest(repository: &str, reference: &str) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

/// A blob is where its `Location` says, under the digest that the answer names.
pub(crate) async fn arrived(server: &Server, reply: &Reply, digest: &str, bytes: &[u8]) {
    assert_eq!(reply.header("docker-content-digest"), digest);
    let got = server.get(reply.header("location")).await.expect(200);
    assert_eq!(got.body, bytes);
    assert_eq!(got.header("docker-content-digest"), digest);
    assert_eq!(got.header("content-length"), bytes.len().to_string());
}

/// The one link to the next page, when there is one.
pub(crate) fn next(reply: &Reply) -> Option<String> {
    let link = reply.header("link");
    if link.is_empty() {
        return None;
    }
    assert!(link.ends_with("; rel=\"next\""), "{link}");
    link.split(['<', '>']).nth(1).map(str::to_owned)
}

pub(crate) fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap();
    list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The body of every refusal: a list of errors, each with a known code and a message.
pub(crate) fn well_formed(reply: &Reply) {
    const CODES: [&str; 14] = [
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    ];
    assert_eq!(reply.header("content-type"), "application/json");
    let body = reply.json();
    let errors = body["errors"].as_array().unwrap();
    assert!(!errors.is_empty());
    for error in errors {
        assert!(CODES.contains(&error["code"].as_str().unwrap()), "{error}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{error}");
    }
}
