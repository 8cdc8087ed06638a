//! `/artifacts/NAME/VERSION/FILE`: files by plain HTTP.

use std::sync::Arc;

use humdrum_registry::{Limits, Registry, artifact};
use humdrum_store::blobs::Algorithm;
use serde_json::json;

use crate::server::{IMAGE, Server, image, policy, sha256};
use crate::wire::{NOBODY, digest, next, noise, well_formed};

const PLACE: &str = "/artifacts/team/app/1.0/app.bin";

async fn put(s: &Server, path: &str, bytes: impl Into<bytes::Bytes>) -> crate::server::Reply {
    s.send("PUT", path, &[], bytes).await
}

/// A server on which the files of `nightly` may be replaced.
async fn with_nightly(folder: &std::path::Path) -> Server {
    let rule = artifact::guarded(policy(), Arc::new(|name| name == "nightly"));
    let registry = Registry::open_with(folder, rule).unwrap();
    Server::start_changed(folder, registry, |_| {}).await
}

rows! { ROWS:
    put_and_get: "`PUT` of a file: 201 with `Location`, digest and a description; `GET` gives its bytes" => |s| {
        let bytes = noise(1, 100_000);
        let reply = put(s, PLACE, bytes.clone()).await.expect(201);
        assert_eq!((reply.header("location"), reply.header("docker-content-digest")), (PLACE, &*sha256(&bytes)));
        let told = reply.json();
        assert_eq!((&told["file"], &told["size"], &told["digest"]), (&json!("app.bin"), &json!(100_000), &json!(sha256(&bytes))));
        let got = s.get(PLACE).await.expect(200);
        assert_eq!(got.body, bytes);
        assert_eq!((got.header("content-length"), got.header("docker-content-digest")), ("100000", &*sha256(&bytes)));
    }
    head: "`HEAD` of a file: the same headers without the bytes" => |s| {
        put(s, PLACE, "bytes").await.expect(201);
        let head = s.send("HEAD", PLACE, &[], "").await.expect(200);
        assert_eq!((head.header("content-length"), head.header("docker-content-digest")), ("5", &*sha256(b"bytes")));
        assert!(head.body.is_empty());
    }
    empty: "a file of no bytes is a file" => |s| {
        put(s, PLACE, "").await.expect(201);
        assert_eq!(s.get(PLACE).await.expect(200).header("content-length"), "0");
    }
    repr_digest: "answers carry `Repr-Digest` (RFC 9530)" => |s| {
        let wanted = "sha-256=:A5BYxvLAyzcpoeHXwHbhf9cXLD7nxwDv3K7fg3ykKIQ=:";
        let reply = put(s, PLACE, "x").await.expect(201);
        assert_eq!(reply.header("repr-digest"), artifact::field(&sha256(b"x").parse().unwrap()));
        assert_eq!(s.get(PLACE).await.header("repr-digest").len(), wanted.len());
    }
    media_type: "the `Content-Type` of the `PUT` is given back; without one it is octets" => |s| {
        s.send("PUT", PLACE, &[("content-type", "Text/Plain; charset=utf-8")], "x").await.expect(201);
        assert_eq!(s.get(PLACE).await.header("content-type"), "text/plain");
        put(s, "/artifacts/team/app/1.0/other", "x").await.expect(201);
        assert_eq!(s.get("/artifacts/team/app/1.0/other").await.header("content-type"), "application/octet-stream");
    }
    not_run_by_browsers: "a browser is told to save a file, not to show it" => |s| {
        s.send("PUT", "/artifacts/team/app/1.0/a%20b.html", &[("content-type", "text/html")], "<script>").await.expect(201);
        let got = s.get("/artifacts/team/app/1.0/a%20b.html").await.expect(200);
        assert_eq!(got.header("content-disposition"), "attachment; filename*=UTF-8''a%20b%2Ehtml");
        assert_eq!((got.header("x-content-type-options"), got.header("content-security-policy")), ("nosniff", "sandbox"));
    }
    range: "a range of a file: 206; outside of it: 416" => |s| {
        put(s, PLACE, "0123456789").await.expect(201);
        let part = s.send("GET", PLACE, &[("range", "bytes=2-4")], "").await.expect(206);
        assert_eq!((&part.body[..], part.header("content-range")), (&b"234"[..], "bytes 2-4/10"));
        s.send("GET", PLACE, &[("range", "bytes=20-")], "").await.refused(416, "SIZE_INVALID");
    }
    unchanged: "`If-None-Match` with the file's `ETag`: 304" => |s| {
        put(s, PLACE, "x").await.expect(201);
        let etag = s.get(PLACE).await.header("etag").to_owned();
        s.send("GET", PLACE, &[("if-none-match", &etag)], "").await.expect(304);
    }
    content_digest: "`Content-Digest` that fits: 201; that does not: 400 `DIGEST_INVALID`, nothing is kept" => |s| {
        let field = artifact::field(&sha256(b"right").parse().unwrap());
        s.send("PUT", PLACE, &[("content-digest", &field)], "wrong").await.refused(400, "DIGEST_INVALID");
        s.get(PLACE).await.expect(404);
        s.send("PUT", PLACE, &[("content-digest", &field)], "right").await.expect(201);
    }
    repr_digest_checked: "`Repr-Digest` is checked in the same way" => |s| {
        let field = artifact::field(&sha256(b"right").parse().unwrap());
        s.send("PUT", PLACE, &[("repr-digest", &field)], "wrong").await.refused(400, "DIGEST_INVALID");
        s.send("PUT", PLACE, &[("repr-digest", &field)], "right").await.expect(201);
    }
    docker_digest: "`Docker-Content-Digest` is checked, and sha512 is kept as sha512" => |s| {
        let long = digest(Algorithm::Sha512, b"right");
        s.send("PUT", PLACE, &[("docker-content-digest", &long)], "wrong").await.refused(400, "DIGEST_INVALID");
        let reply = s.send("PUT", PLACE, &[("docker-content-digest", &long)], "right").await.expect(201);
        assert_eq!(reply.header("docker-content-digest"), long);
        assert!(s.get(PLACE).await.expect(200).header("repr-digest").starts_with("sha-512=:"));
    }
    checksum_header: "`X-Checksum-Sha256` is checked" => |s| {
        let hex = sha256(b"right").replace("sha256:", "");
        s.send("PUT", PLACE, &[("x-checksum-sha256", &hex)], "wrong").await.refused(400, "DIGEST_INVALID");
        s.send("PUT", PLACE, &[("x-checksum-sha256", &hex)], "right").await.expect(201);
    }
    malformed_digest: "a digest header that cannot be read, or two that differ: 400 `DIGEST_INVALID`" => |s| {
        for (name, value) in [
            ("content-digest", "sha-256=x"), ("repr-digest", "md5=:AAAA:"), ("docker-content-digest", "x"), ("x-checksum-sha256", "0"),
        ] {
            well_formed(&s.send("PUT", PLACE, &[(name, value)], "x").await.refused(400, "DIGEST_INVALID"));
        }
        let two = [("docker-content-digest", &*sha256(b"a")), ("x-checksum-sha256", &sha256(b"b")[7..])];
        s.send("PUT", PLACE, &two, "a").await.refused(400, "DIGEST_INVALID");
    }
    immutable: "another content under the same name: 403 `DENIED`, and the file stays" => |s| {
        put(s, PLACE, "one").await.expect(201);
        well_formed(&put(s, PLACE, "two").await.refused(403, "DENIED"));
        assert_eq!(s.get(PLACE).await.expect(200).body, "one");
    }
    again: "the same content again: 200, whatever its media type" => |s| {
        let first = put(s, PLACE, "one").await.expect(201);
        let again = s.send("PUT", PLACE, &[("content-type", "text/plain")], "one").await.expect(200);
        assert_eq!(again.json(), first.json());
    }
    not_deleted: "`DELETE` of a file: 403 `DENIED`" => |s| {
        put(s, PLACE, "one").await.expect(201);
        s.send("DELETE", PLACE, &[], "").await.refused(403, "DENIED");
        s.get(PLACE).await.expect(200);
    }
    not_by_the_other_door: "nor is a file moved or deleted through `/v2/`" => |s| {
        put(s, PLACE, "one").await.expect(201);
        let tag = artifact::tag("1.0", "app.bin").unwrap();
        let path = format!("/v2/artifacts/team/app/manifests/{tag}");
        let other = r#"{"schemaVersion":2,"manifests":[]}"#;
        s.put_manifest("artifacts/team/app", &tag, crate::server::INDEX, other).await.refused(403, "DENIED");
        s.send("DELETE", &path, &[], "").await.refused(403, "DENIED");
        s.send("DELETE", &format!("/v2/artifacts/team/app/blobs/{}", sha256(b"one")), &[], "").await.refused(403, "DENIED");
    }
    mutable: "in an artifact that is mutable a file is replaced and deleted" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = with_nightly(folder.path()).await;
        let place = "/artifacts/nightly/1/x";
        put(&s, place, "one").await.expect(201);
        put(&s, place, "two").await.expect(201);
        assert_eq!(s.get(place).await.expect(200).body, "two");
        s.send("DELETE", place, &[], "").await.expect(202);
        s.get(place).await.refused(404, "MANIFEST_UNKNOWN");
        put(&s, PLACE, "one").await.expect(201);
        put(&s, PLACE, "two").await.refused(403, "DENIED");
    }
    race: "of many that put one name at once with different content, one wins and the others are refused" => |s| {
        let puts = (0..8).map(|n| put(s, PLACE, format!("content {n}")));
        let replies = futures::future::join_all(puts).await;
        let won: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
        assert_eq!((won.len(), replies.iter().filter(|reply| reply.status == 403).count()), (1, 7));
        assert_eq!(s.get(PLACE).await.expect(200).header("docker-content-digest"), won[0].header("docker-content-digest"));
    }
    missing: "`GET`, `HEAD` and `DELETE` of a file that is not there: 404 `MANIFEST_UNKNOWN`" => |s| {
        well_formed(&s.get(PLACE).await.refused(404, "MANIFEST_UNKNOWN"));
        s.send("HEAD", PLACE, &[], "").await.expect(404);
        s.send("DELETE", PLACE, &[], "").await.refused(404, "MANIFEST_UNKNOWN");
    }
    too_large: "a file beyond the largest blob: 413 `SIZE_INVALID`, nothing is kept" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start_with(folder.path(), Limits { blob_bytes: 10, ..Limits::default() }).await;
        put(&s, PLACE, "01234567890").await.refused(413, "SIZE_INVALID");
        s.get(PLACE).await.expect(404);
    }
    is_an_artifact: "a file is an OCI artifact: `Link` leads to its manifest, whose one layer it is" => |s| {
        let manifest = put(s, PLACE, "bytes").await.expect(201).json()["manifest"].as_str().unwrap().to_owned();
        let link = format!("/v2/artifacts/team/app/manifests/{manifest}");
        assert_eq!(s.get(PLACE).await.header("link"), format!("<{link}>; rel=\"describedby\""));
        let got = s.get(&link).await.expect(200);
        assert_eq!(got.header("content-type"), IMAGE);
        let body = got.json();
        assert_eq!(body["artifactType"], artifact::ARTIFACT_TYPE);
        assert_eq!(body["layers"][0]["digest"], sha256(b"bytes"));
        assert_eq!(body["layers"][0]["annotations"]["org.opencontainers.image.title"], "app.bin");
        assert_eq!(body["annotations"]["org.opencontainers.image.version"], "1.0");
    }
    evidence: "evidence refers to a file as to an image" => |s| {
        let file = put(s, PLACE, "bytes").await.expect(201).json()["manifest"].as_str().unwrap().to_owned();
        let repository = "artifacts/team/app";
        let config = s.push_blob(repository, b"{}").await;
        let fields = format!(r#","artifactType":"sig/x","subject":{{"mediaType":"{IMAGE}","digest":"{file}","size":9}}"#);
        let body = image(&config, &[], &fields);
        let signature = sha256(body.as_bytes());
        let reply = s.put_manifest(repository, &signature, IMAGE, &body).await.expect(201);
        assert_eq!(reply.header("oci-subject"), file);
        let list = s.get(&format!("/v2/{repository}/referrers/{file}")).await.expect(200).json();
        assert_eq!(list["manifests"][0]["digest"], signature);
    }
    list: "`GET …/VERSION/`: the files of a version with size, digest and manifest" => |s| {
        for file in ["b.bin", "a_-x", "A", "%C3%A4%20%2B"] {
            put(s, &format!("/artifacts/team/app/1.0/{file}"), file.to_owned()).await.expect(201);
        }
        put(s, "/artifacts/team/app/1.0.1/other", "x").await.expect(201);
        put(s, "/artifacts/team/app/2.0/other", "x").await.expect(201);
        let reply = s.get("/artifacts/team/app/1.0/").await.expect(200);
        let body = reply.json();
        assert_eq!((&body["name"], &body["version"]), (&json!("team/app"), &json!("1.0")));
        let mut files: Vec<_> = body["files"].as_array().unwrap().iter().map(|f| f["file"].as_str().unwrap()).collect();
        files.sort_unstable();
        assert_eq!(files, ["A", "a_-x", "b.bin", "ä +"]);
        let one = body["files"].as_array().unwrap().iter().find(|f| f["file"] == "b.bin").unwrap();
        assert_eq!((&one["size"], &one["digest"]), (&json!(5), &json!(sha256(b"b.bin"))));
        assert!(one["manifest"].as_str().unwrap().starts_with("sha256:"));
    }
    list_in_pages: "the list comes in pages with `n`, `last` and `Link`" => |s| {
        for n in 0..5 {
            put(s, &format!("/artifacts/team/app/1.0/f_{n}"), "x").await.expect(201);
        }
        let (mut place, mut seen) = (Some("/artifacts/team/app/1.0/?n=2".to_owned()), vec![]);
        while let Some(path) = place {
            let reply = s.get(&path).await.expect(200);
            let files = reply.json()["files"].as_array().unwrap().clone();
            assert!(files.len() <= 2);
            seen.extend(files.iter().map(|f| f["file"].as_str().unwrap().to_owned()));
            place = next(&reply);
        }
        assert_eq!(seen, ["f_0", "f_1", "f_2", "f_3", "f_4"]);
        s.get("/artifacts/team/app/1.0/?n=x").await.refused(400, "UNSUPPORTED");
    }
    list_of_nothing: "of an unknown version: 404 `MANIFEST_UNKNOWN`" => |s| {
        s.get("/artifacts/team/app/1.0/").await.refused(404, "MANIFEST_UNKNOWN");
    }
    versions: "`GET …/-/versions`: the versions of an artifact, each once, in pages" => |s| {
        for place in ["1.0/a", "1.0/b", "1.1/a", "2.0/a", "2.0/b"] {
            put(s, &format!("/artifacts/team/app/{place}"), "x").await.expect(201);
        }
        let reply = s.get("/artifacts/team/app/-/versions").await.expect(200);
        assert_eq!(reply.json(), json!({ "name": "team/app", "versions": ["1.0", "1.1", "2.0"] }));
        let first = s.get("/artifacts/team/app/-/versions?n=1").await.expect(200);
        let second = s.get(&next(&first).unwrap()).await.expect(200);
        assert_eq!((&first.json()["versions"], &second.json()["versions"]), (&json!(["1.0"]), &json!(["1.1"])));
    }
    versions_of_nothing: "of an unknown artifact: 404 `NAME_UNKNOWN`" => |s| {
        s.get("/artifacts/team/app/-/versions").await.refused(404, "NAME_UNKNOWN");
    }
    malformed: "a name, version, file or media type outside its grammar: 400" => |s| {
        for bad in ["UPPER/1/x", "a//1/x", "a/.1/x", "a/1%2F2/x", "a/1/..", "a/1/x%2Fy", "a/1/x%0Ay", "a/1/%00"] {
            well_formed(&put(s, &format!("/artifacts/{bad}"), "x").await.refused(400, "NAME_INVALID"));
        }
        put(s, &format!("/artifacts/a/1/{}", "x".repeat(200)), "x").await.refused(400, "NAME_INVALID");
        for bad in ["x", "a/1/%ff"] {
            put(s, &format!("/artifacts/{bad}"), "x").await.refused(404, "UNSUPPORTED");
        }
        s.send("PUT", PLACE, &[("content-type", "nonsense")], "x").await.refused(400, "MANIFEST_INVALID");
    }
    other_method: "another method: 405 with `Allow`" => |s| {
        let reply = s.send("POST", PLACE, &[], "").await.refused(405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), "GET, HEAD, PUT, DELETE");
        assert_eq!(put(s, "/artifacts/a/1/", "x").await.expect(405).header("allow"), "GET, HEAD");
    }
    nobody: "without a credential: 401, and the scope is the one of the repository that holds it" => |s| {
        let reply = s.send("PUT", PLACE, &[NOBODY], "x").await.refused(401, "UNAUTHORIZED");
        assert!(reply.header("www-authenticate").ends_with("scope=\"repository:artifacts/team/app:pull,push\""));
    }
    short_body: "a body that breaks off: nothing is kept" => |s| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(s.addr).await.unwrap();
        let head = format!(
            "PUT {PLACE} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-length: 9\r\n\r\n12345", crate::server::BASIC
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        s.get(PLACE).await.refused(404, "MANIFEST_UNKNOWN");
    }
}
