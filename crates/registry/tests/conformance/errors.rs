//! Each error code once, with its status and body; the `Warning` channel; 429.

use std::sync::Arc;

use humdrum_registry::{Limits, Notices, Registry};
use humdrum_store::blobs::BlobDigest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::{BASIC, INDEX, Server, image, policy, sha256};
use crate::wire::{NOBODY, REPO, blob, manifest, session, uploads, well_formed};

const EMPTY_INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

struct Say(&'static [&'static str]);

impl Notices for Say {
    fn about(&self, repository: &str, manifest: &BlobDigest) -> Vec<String> {
        assert_eq!(
            (repository, manifest.as_str()),
            (REPO, sha256(EMPTY_INDEX.as_bytes()).as_str())
        );
        self.0.iter().map(|text| (*text).to_owned()).collect()
    }
}

async fn saying(folder: &std::path::Path, texts: &'static [&'static str]) -> Server {
    let registry = Registry::open(folder, policy()).unwrap();
    let server =
        Server::start_changed(folder, registry, |state| state.notices = Arc::new(Say(texts))).await;
    server.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
    server
}

/// Sends the head of an upload and waits until the server has begun with it.
async fn slow_upload(server: &Server) -> tokio::net::TcpStream {
    let place = session(server, REPO).await;
    let mut slow = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nhost: x\r\nauthorization: {BASIC}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    slow
}

rows! { ROWS:
    body: "a refusal is JSON: `errors`, each with `code`, `message` and, where there is one, `detail`" => |s| {
        let reply = s.get(&blob(REPO, &sha256(b"x"))).await.expect(404);
        well_formed(&reply);
        let body = image(&sha256(b"ghost"), &[], "");
        let reply = s.put_manifest(REPO, "v1", "", &body).await.expect(404);
        assert_eq!(reply.json()["errors"][0]["detail"]["digest"], sha256(b"ghost"));
    }
    blob_unknown: "`BLOB_UNKNOWN`, 404: a blob that the repository does not have" => |s| {
        well_formed(&s.get(&blob(REPO, &sha256(b"x"))).await.refused(404, "BLOB_UNKNOWN"));
    }
    blob_upload_invalid: "`BLOB_UPLOAD_INVALID`, 416: a chunk out of order" => |s| {
        let place = session(s, REPO).await;
        let reply = s.send("PATCH", &place, &[("content-range", "5-6")], "xx").await;
        well_formed(&reply.refused(416, "BLOB_UPLOAD_INVALID"));
    }
    blob_upload_unknown: "`BLOB_UPLOAD_UNKNOWN`, 404: a session that is not there" => |s| {
        well_formed(&s.get(&format!("{}x", uploads(REPO))).await.refused(404, "BLOB_UPLOAD_UNKNOWN"));
    }
    digest_invalid: "`DIGEST_INVALID`, 400: what is no digest, or not the one of the content" => |s| {
        well_formed(&s.get(&blob(REPO, "sha256:x")).await.refused(400, "DIGEST_INVALID"));
    }
    manifest_blob_unknown: "`MANIFEST_BLOB_UNKNOWN`, 404: a manifest that names blobs which are not here" => |s| {
        let reply = s.put_manifest(REPO, "v1", "", &image(&sha256(b"ghost"), &[], "")).await;
        well_formed(&reply.refused(404, "MANIFEST_BLOB_UNKNOWN"));
    }
    manifest_invalid: "`MANIFEST_INVALID`, 400: what is no manifest" => |s| {
        well_formed(&s.put_manifest(REPO, "v1", INDEX, "{}").await.refused(400, "MANIFEST_INVALID"));
    }
    manifest_unknown: "`MANIFEST_UNKNOWN`, 404: a manifest that the repository does not have" => |s| {
        well_formed(&s.get(&manifest(REPO, "v1")).await.refused(404, "MANIFEST_UNKNOWN"));
    }
    name_invalid: "`NAME_INVALID`, 400: what is no repository name" => |s| {
        well_formed(&s.get("/v2/UPPER/tags/list").await.refused(400, "NAME_INVALID"));
    }
    name_unknown: "`NAME_UNKNOWN`, 404: the tags of a repository that was never pushed to" => |s| {
        well_formed(&s.get("/v2/nobody/tags/list").await.refused(404, "NAME_UNKNOWN"));
    }
    size_invalid: "`SIZE_INVALID`, 400: content of another length than was announced" => |s| {
        let place = session(s, REPO).await;
        let reply = s.send("PATCH", &place, &[("content-range", "0-9")], "xx").await;
        well_formed(&reply.refused(400, "SIZE_INVALID"));
    }
    unauthorized: "`UNAUTHORIZED`, 401: no or a wrong credential" => |s| {
        well_formed(&s.send("GET", "/v2/", &[NOBODY], "").await.refused(401, "UNAUTHORIZED"));
    }
    denied: "`DENIED`, 403: what policy forbids, with the reason" => |s| {
        s.put_manifest(REPO, "production", INDEX, EMPTY_INDEX).await.expect(201);
        let reply = s.send("DELETE", &manifest(REPO, "production"), &[], "").await.refused(403, "DENIED");
        well_formed(&reply);
        assert_eq!(reply.json()["errors"][0]["detail"]["tag"], "production");
    }
    unsupported: "`UNSUPPORTED`, 405: a method that means nothing there" => |s| {
        well_formed(&s.send("PATCH", &manifest(REPO, "v1"), &[], "").await.refused(405, "UNSUPPORTED"));
    }
    too_many_requests: "`TOOMANYREQUESTS`, 429 with `Retry-After`: more requests at one time than the limit" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let retry_after = std::time::Duration::from_secs(7);
        let s = Server::start_with(folder.path(), Limits { requests: 1, retry_after, ..Limits::default() }).await;
        let slow = slow_upload(&s).await;
        let reply = s.get("/v2/").await.refused(429, "TOOMANYREQUESTS");
        well_formed(&reply);
        assert_eq!(reply.header("retry-after"), "7");
        assert_eq!(s.send("PUT", "/artifacts/a/1/x", &[], "x").await.expect(429).header("retry-after"), "7");
        drop(slow);
        // The server notices the lost connection in its own time.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while s.get("/v2/").await.status == 429 {
            assert!(std::time::Instant::now() < deadline, "the turn was given back");
            tokio::task::yield_now().await;
        }
    }
    turn_ends_with_the_answer: "a request counts until the last byte of its answer is sent" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start_with(folder.path(), Limits { requests: 1, ..Limits::default() }).await;
        let digest = s.push_blob(REPO, &vec![7; 32 << 20]).await;
        let mut reader = tokio::net::TcpStream::connect(s.addr).await.unwrap();
        let head = format!("GET {} HTTP/1.1\r\nhost: x\r\nauthorization: {BASIC}\r\n\r\n", blob(REPO, &digest));
        reader.write_all(head.as_bytes()).await.unwrap();
        reader.read_exact(&mut [0; 100]).await.unwrap();
        s.get("/v2/").await.refused(429, "TOOMANYREQUESTS");
        let (mut left, mut buffer) = (32 << 20, vec![0; 1 << 20]);
        while left > 0 {
            left -= reader.read(&mut buffer).await.unwrap().min(left);
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while s.get("/v2/").await.status == 429 {
            assert!(std::time::Instant::now() < deadline, "the turn was given back");
            tokio::task::yield_now().await;
        }
    }
    warning_on_get: "`Warning: 299 - \\\"…\\\"` on `GET` of a manifest that somebody should know about" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = saying(folder.path(), &["this image is deprecated", "it is not \"signed\""]).await;
        let reply = s.get(&manifest(REPO, "v1")).await.expect(200);
        let told: Vec<_> = reply.headers.get_all("warning").iter().collect();
        assert_eq!(told, [r#"299 - "this image is deprecated""#, r#"299 - "it is not \"signed\"""#]);
    }
    warning_on_head: "the same on `HEAD`" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = saying(folder.path(), &["this image is deprecated"]).await;
        let reply = s.send("HEAD", &manifest(REPO, "v1"), &[], "").await.expect(200);
        assert_eq!(reply.header("warning"), r#"299 - "this image is deprecated""#);
    }
    warning_on_put: "the same on `PUT`" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = saying(folder.path(), &["this image is deprecated"]).await;
        let reply = s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        assert_eq!(reply.header("warning"), r#"299 - "this image is deprecated""#);
    }
    warnings_are_bounded: "warnings together stay below 4096 bytes" => |_s| {
        const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123";
        let folder = tempfile::tempdir().unwrap();
        let s = saying(folder.path(), &[LONG; 100]).await;
        let reply = s.get(&manifest(REPO, "v1")).await.expect(200);
        let bytes: usize = reply.headers.get_all("warning").iter().map(|value| value.len()).sum();
        assert!(bytes > 3900 && bytes <= 4096, "{bytes}");
    }
    no_warning: "without a reason there is no `Warning`" => |s| {
        s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        assert_eq!(s.get(&manifest(REPO, "v1")).await.header("warning"), "");
    }
}
