//! What no client should send, on each endpoint.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::{BASIC, INDEX, Server, sha256};
use crate::wire::{REPO, session, uploads, well_formed};

async fn bad_name(server: &Server, name: &str) {
    let digest = sha256(b"x");
    for (method, path) in [
        ("GET", format!("/v2/{name}/tags/list")),
        ("GET", format!("/v2/{name}/manifests/v1")),
        ("PUT", format!("/v2/{name}/manifests/v1")),
        ("DELETE", format!("/v2/{name}/manifests/v1")),
        ("GET", format!("/v2/{name}/blobs/{digest}")),
        ("POST", format!("/v2/{name}/blobs/uploads/")),
        ("GET", format!("/v2/{name}/referrers/{digest}")),
    ] {
        well_formed(&server.send(method, &path, &[], "").await.refused(400, "NAME_INVALID"));
    }
}

async fn bad_digest(server: &Server, digest: &str) {
    for (method, path) in [
        ("GET", format!("/v2/{REPO}/blobs/{digest}")),
        ("HEAD", format!("/v2/{REPO}/blobs/{digest}")),
        ("DELETE", format!("/v2/{REPO}/blobs/{digest}")),
        ("POST", format!("{}?digest={digest}", uploads(REPO))),
        ("POST", format!("{}?mount={digest}", uploads(REPO))),
        ("PUT", format!("{}?digest={digest}", session(server, REPO).await)),
        ("GET", format!("/v2/{REPO}/referrers/{digest}")),
    ] {
        let reply = server.send(method, &path, &[], "x").await.expect(400);
        if method != "HEAD" {
            assert_eq!(reply.code(), "DIGEST_INVALID", "{method} {path}");
            well_formed(&reply);
        }
    }
}

/// Sends bytes as they are and answers what comes back first.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // A server may also close at once; what it said until then counts.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

rows! { ROWS:
    upper_case: "a name with upper case letters: 400 `NAME_INVALID` on every endpoint" => |s| { bad_name(s, "Shop").await; }
    two_dots: "a name with two dots: 400" => |s| { bad_name(s, "a..b").await; }
    three_underscores: "a name with three underscores: 400" => |s| { bad_name(s, "a___b").await; }
    mixed_separators: "a name with mixed separators: 400" => |s| { bad_name(s, "a._b").await; }
    leading_separator: "a name that begins with a separator: 400" => |s| { bad_name(s, "-a").await; }
    trailing_separator: "a name that ends with a separator: 400" => |s| { bad_name(s, "a-").await; }
    empty_component: "a name with an empty component: 400" => |s| { bad_name(s, "a//b").await; }
    parent_folder: "a name that climbs: 400" => |s| { bad_name(s, "a/%2e%2e/b").await; }
    encoded_slash_climb: "a name that climbs by encoded slashes: 400" => |s| { bad_name(s, "..%2f..%2fetc").await; }
    blank: "a name with a blank: 400" => |s| { bad_name(s, "a%20b").await; }
    not_ascii: "a name beyond ASCII: 400" => |s| { bad_name(s, "%C3%A4").await; }
    nul: "a name with a NUL: 400" => |s| { bad_name(s, "a%00b").await; }
    too_long_a_name: "a name of more than 255 characters: 400" => |s| { bad_name(s, &"a".repeat(256)).await; }
    longest_name: "a name of 255 characters is taken" => |s| {
        s.push_blob(&"a".repeat(255), b"x").await;
    }
    good_names: "names of the grammar are taken: `a.b/c_d/e__f/g---h/9`" => |s| {
        s.push_blob("a.b/c_d/e__f/g---h/9", b"x").await;
    }
    words_of_the_protocol: "`blobs`, `manifests`, `tags` and `uploads` are names as any other" => |s| {
        s.push_blob("blobs/uploads/tags/manifests", b"x").await;
        s.get("/v2/blobs/uploads/tags/manifests/tags/list").await.expect(200);
    }
    broken_encoding: "a path that is no UTF-8 when decoded: 404" => |s| {
        s.get("/v2/a%ff/tags/list").await.refused(404, "UNSUPPORTED");
    }
    longest_tag: "a tag of 128 characters is taken, one of 129 is 400" => |s| {
        let body = r#"{"schemaVersion":2,"manifests":[]}"#;
        s.put_manifest(REPO, &"t".repeat(128), INDEX, body).await.expect(201);
        s.put_manifest(REPO, &"t".repeat(129), INDEX, body).await.refused(400, "MANIFEST_INVALID");
    }
    bad_tags: "tags outside the grammar: 400 `MANIFEST_INVALID`" => |s| {
        for tag in ["-a", ".a", "a%20b", "a%2Bb", "%C3%A4", "a@b", "a%00"] {
            let reply = s.put_manifest(REPO, tag, INDEX, r#"{"schemaVersion":2,"manifests":[]}"#).await;
            reply.refused(400, "MANIFEST_INVALID");
        }
    }
    digest_without_colon: "a digest without a colon: 400 `DIGEST_INVALID` on every endpoint" => |s| {
        bad_digest(s, &sha256(b"x").replace(':', "")).await;
    }
    digest_too_short: "a digest with too few digits: 400" => |s| { bad_digest(s, &sha256(b"x")[..70]).await; }
    digest_too_long: "a digest with too many digits: 400" => |s| { bad_digest(s, &format!("{}0", sha256(b"x"))).await; }
    digest_upper_case: "a digest with upper case digits: 400" => |s| {
        bad_digest(s, &sha256(b"x").to_uppercase().replace("SHA", "sha")).await;
    }
    digest_no_hex: "a digest with what is no hex digit: 400" => |s| {
        bad_digest(s, &format!("sha256:{}", "g".repeat(64))).await;
    }
    digest_unknown_algorithm: "a digest of an algorithm that is not known: 400" => |s| {
        bad_digest(s, "md5:d41d8cd98f00b204e9800998ecf8427e").await;
    }
    digest_of_the_other_length: "sha512 with the digits of sha256: 400" => |s| {
        bad_digest(s, &sha256(b"x").replace("sha256", "sha512")).await;
    }
    digest_that_climbs: "a digest that climbs: 400" => |s| { bad_digest(s, "sha256:..%2f..%2fetc%2fpasswd").await; }
    no_digest_at_all: "an empty digest: 400" => |s| { bad_digest(s, "").await; }
    session_that_climbs: "a session name that climbs: 404 `BLOB_UPLOAD_UNKNOWN`" => |s| {
        let path = format!("{}..%2f..%2ftoken.key", uploads(REPO));
        s.get(&path).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    authorization_not_text: "an `Authorization` that is no text: 401" => |s| {
        let head = b"GET /v2/ HTTP/1.1\r\nhost: x\r\nauthorization: Basic \xff\xfe\r\nconnection: close\r\n\r\n";
        assert!(raw(s, head).await.starts_with("HTTP/1.1 401"));
    }
    no_http: "what is no HTTP is answered 400 or not at all, and the server lives on" => |s| {
        let answer = raw(s, b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        s.get("/v2/").await.expect(200);
    }
    negative_length: "a `Content-Length` below zero: 400, and the server lives on" => |s| {
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: {BASIC}\r\ncontent-length: -5\r\n\r\n", uploads(REPO)
        );
        assert!(raw(s, head.as_bytes()).await.starts_with("HTTP/1.1 400"));
        s.get("/v2/").await.expect(200);
    }
    short_body: "a body that ends before its `Content-Length`: nothing is kept as a blob" => |s| {
        let digest = sha256(b"12345");
        let head = format!(
            "POST {}?digest={digest} HTTP/1.1\r\nhost: x\r\nauthorization: {BASIC}\r\ncontent-length: 9\r\n\r\n12345",
            uploads(REPO)
        );
        let answer = raw(s, head.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        s.get(&format!("/v2/{REPO}/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
    }
    short_manifest: "a manifest that ends before its `Content-Length`: nothing is kept" => |s| {
        let head = format!(
            "PUT /v2/{REPO}/manifests/v1 HTTP/1.1\r\nhost: x\r\nauthorization: {BASIC}\r\ncontent-type: {INDEX}\r\n\
             content-length: 99\r\n\r\n{{\"schemaVersion\":2,\"manifests\":[]}}"
        );
        let answer = raw(s, head.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        s.get(&format!("/v2/{REPO}/manifests/v1")).await.refused(404, "MANIFEST_UNKNOWN");
    }
    unknown_query: "parameters that are not known are ignored" => |s| {
        let digest = s.push_blob(REPO, b"x").await;
        s.get(&format!("/v2/{REPO}/blobs/{digest}?ns=docker.io&x=%ff&=&&")).await.expect(200);
    }
}
