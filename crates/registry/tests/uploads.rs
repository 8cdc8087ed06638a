//! `/v2/NAME/blobs/…`: every way in, every refusal, resume after a kill, ranges on the way out.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/server.rs"]
mod server;

use std::time::Duration;

use humdrum_store::blobs::Blobs as _;

use server::{BASIC, Server, sha256};
use tokio::io::AsyncWriteExt as _;

const UPLOADS: &str = "/v2/shop/blobs/uploads/";

#[tokio::test]
async fn every_way_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    // In one request.
    let one = sha256(b"one");
    let reply =
        server.send("POST", &format!("{UPLOADS}?digest={one}"), &[], "one").await.expect(201);
    assert_eq!(reply.header("location"), format!("/v2/shop/blobs/{one}"));
    assert_eq!(reply.header("docker-content-digest"), one);
    // In two.
    let two = server.push_blob("shop", b"two").await;
    // In chunks, the last with the PUT, and the state in between.
    let start = server.send("POST", UPLOADS, &[], "").await.expect(202);
    let place = start.header("location").to_owned();
    assert_eq!(
        (start.header("range"), start.header("docker-upload-uuid").is_empty()),
        ("0-0", false)
    );
    let chunk = server.send("PATCH", &place, &[("content-range", "0-2")], "thr").await.expect(202);
    assert_eq!((chunk.header("range"), chunk.header("location")), ("0-2", place.as_str()));
    let status = server.get(&place).await.expect(204);
    assert_eq!((status.header("range"), status.header("location")), ("0-2", place.as_str()));
    let three = sha256(b"three");
    server
        .send("PUT", &format!("{place}?digest={three}"), &[("content-range", "3-4")], "ee")
        .await
        .expect(201);
    server.get(&place).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    // With sha512, announced and not announced.
    let long =
        humdrum_store::blobs::BlobDigest::of(humdrum_store::blobs::Algorithm::Sha512, b"four");
    for query in ["?digest-algorithm=sha512", ""] {
        let start = server.send("POST", &format!("{UPLOADS}{query}"), &[], "").await.expect(202);
        let place = start.header("location").to_owned();
        server.send("PATCH", &place, &[], "four").await.expect(202);
        server.send("PUT", &format!("{place}?digest={long}"), &[], "").await.expect(201);
    }
    // Nothing at all is a blob too.
    let none = server.push_blob("shop", b"").await;
    for (digest, body) in
        [(&one, "one"), (&two, "two"), (&three, "three"), (&long.to_string(), "four"), (&none, "")]
    {
        let got = server.get(&format!("/v2/shop/blobs/{digest}")).await.expect(200);
        assert_eq!(
            (got.body, got.headers["docker-content-digest"].to_str().unwrap()),
            (body.into(), digest.as_str())
        );
        let head =
            server.send("HEAD", &format!("/v2/shop/blobs/{digest}"), &[], "").await.expect(200);
        assert_eq!(head.header("content-length"), body.len().to_string());
    }
}

#[tokio::test]
async fn what_an_upload_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let limits = humdrum_registry::Limits { blob_bytes: 1000, ..Default::default() };
    let server = Server::start_with(folder.path(), limits).await;
    let good = sha256(b"good");
    // Digests: wrong, malformed, of an unknown algorithm, missing.
    server
        .send("POST", &format!("{UPLOADS}?digest={good}"), &[], "evil")
        .await
        .refused(400, "DIGEST_INVALID");
    for bad in [
        "sha256:baddigeststring",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "x",
        &good.to_uppercase(),
    ] {
        server
            .send("POST", &format!("{UPLOADS}?digest={bad}"), &[], "good")
            .await
            .refused(400, "DIGEST_INVALID");
        server.get(&format!("/v2/shop/blobs/{bad}")).await.refused(400, "DIGEST_INVALID");
    }
    server
        .send("POST", &format!("{UPLOADS}?digest-algorithm=md5"), &[], "")
        .await
        .refused(400, "DIGEST_INVALID");
    let place =
        server.send("POST", UPLOADS, &[], "").await.expect(202).header("location").to_owned();
    server.send("PUT", &place, &[], "good").await.refused(400, "DIGEST_INVALID");
    // Chunks: out of order, overlapping, malformed, of another length than announced.
    server
        .send("PATCH", &place, &[("content-range", "1-4")], "good")
        .await
        .refused(416, "BLOB_UPLOAD_INVALID");
    let first = server.send("PATCH", &place, &[("content-range", "0-1")], "go").await.expect(202);
    assert_eq!(first.header("range"), "0-1");
    let again = server
        .send("PATCH", &place, &[("content-range", "0-1")], "go")
        .await
        .refused(416, "BLOB_UPLOAD_INVALID");
    assert_eq!((again.header("range"), again.header("location")), ("0-1", place.as_str()));
    server
        .send("PATCH", &place, &[("content-range", "two")], "od")
        .await
        .refused(400, "BLOB_UPLOAD_INVALID");
    let bad_put = format!("{place}?digest={good}");
    server
        .send("PUT", &bad_put, &[("content-range", "9-10")], "od")
        .await
        .refused(416, "BLOB_UPLOAD_INVALID");
    server.send("PUT", &bad_put, &[("content-range", "2-3")], "od").await.expect(201);
    let place =
        server.send("POST", UPLOADS, &[], "").await.expect(202).header("location").to_owned();
    server
        .send("PATCH", &place, &[("content-range", "0-9")], "good")
        .await
        .refused(400, "SIZE_INVALID");
    // A wrong digest ends the session.
    server
        .send("PUT", &format!("{place}?digest={good}"), &[], "bad")
        .await
        .refused(400, "DIGEST_INVALID");
    server.get(&place).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    // Sessions: unknown, of another repository, cancelled, climbing out of the folder.
    let place =
        server.send("POST", UPLOADS, &[], "").await.expect(202).header("location").to_owned();
    let other = place.replace("/shop/", "/other/");
    for (method, path) in [
        ("PATCH", &other),
        ("GET", &other),
        ("DELETE", &other),
        ("GET", &format!("{UPLOADS}nonsense")),
        ("GET", &format!("{UPLOADS}..%2f..%2fregistry.db")),
    ] {
        server.send(method, path, &[], "").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    server.send("DELETE", &place, &[], "").await.expect(204);
    server.send("PATCH", &place, &[], "x").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    // Size, and names.
    server
        .send("POST", &format!("{UPLOADS}?digest={good}"), &[], vec![0; 1001])
        .await
        .refused(413, "SIZE_INVALID");
    server.send("POST", "/v2/Shop/blobs/uploads/", &[], "").await.refused(400, "NAME_INVALID");
    server.send("PUT", UPLOADS, &[], "").await.refused(405, "UNSUPPORTED");
    assert_eq!(
        std::fs::read_dir(folder.path().join("uploads")).unwrap().count(),
        0,
        "every refused session is gone"
    );
}

#[tokio::test]
async fn an_upload_goes_on_after_a_kill_and_after_a_lost_connection() {
    let folder = tempfile::tempdir().unwrap();
    let whole: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let digest = sha256(&whole);
    let server = Server::start(folder.path()).await;
    let place =
        server.send("POST", UPLOADS, &[], "").await.expect(202).header("location").to_owned();
    server
        .send("PATCH", &place, &[("content-range", "0-999999")], whole[..1_000_000].to_vec())
        .await
        .expect(202);
    server.kill();

    let server = Server::start(folder.path()).await;
    assert_eq!(server.get(&place).await.expect(204).header("range"), "0-999999");
    // A chunk that breaks off after 500 000 of its announced bytes.
    let mut half = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nhost: x\r\nauthorization: {BASIC}\r\ncontent-length: 1000000\r\n\r\n"
    );
    half.write_all(head.as_bytes()).await.unwrap();
    half.write_all(&whole[1_000_000..1_500_000]).await.unwrap();
    drop(half);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut range = String::new();
    while range != "0-1499999" {
        assert!(tokio::time::Instant::now() < deadline, "stuck at {range}");
        range = server.get(&place).await.expect(204).header("range").to_owned();
    }
    server
        .send(
            "PATCH",
            &place,
            &[("content-range", "1500000-1999999")],
            whole[1_500_000..2_000_000].to_vec(),
        )
        .await
        .expect(202);
    server
        .send("PUT", &format!("{place}?digest={digest}"), &[], whole[2_000_000..].to_vec())
        .await
        .expect(201);
    server.kill();

    let server = Server::start(folder.path()).await;
    let got = server.get(&format!("/v2/shop/blobs/{digest}")).await.expect(200);
    assert!(got.body == whole);
}

#[tokio::test]
async fn sessions_nobody_touches_expire() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let place =
        server.send("POST", UPLOADS, &[], "").await.expect(202).header("location").to_owned();
    let blobs = humdrum_store::blobs::FileBlobs::open(folder.path()).unwrap();
    let day = humdrum_store::blobs::UPLOAD_TTL;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap();
    assert!(blobs.expire(ms(now), false).await.unwrap().is_empty());
    assert_eq!(
        blobs.expire(ms(now + day + Duration::from_secs(60)), false).await.unwrap().len(),
        1
    );
    server.get(&place).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn many_push_the_same_blob_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let bytes = vec![7; 300_000];
    let names: Vec<String> = (0..16).map(|i| format!("repo{}", i % 4)).collect();
    let pushes = names.iter().map(|name| server.push_blob(name, &bytes));
    let digests = futures::future::join_all(pushes).await;
    for (name, digest) in names.iter().zip(&digests) {
        let got = server.get(&format!("/v2/{name}/blobs/{digest}")).await.expect(200);
        assert!(got.body == bytes);
    }
    assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn blobs_are_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let digest = server.push_blob("shop", b"layer").await;
    let mount = |to: &str, rest: &str| format!("/v2/{to}/blobs/uploads/?mount={digest}{rest}");
    let reply = server.send("POST", &mount("other", "&from=shop"), &[], "").await.expect(201);
    assert_eq!(reply.header("location"), format!("/v2/other/blobs/{digest}"));
    server.send("POST", &mount("third", ""), &[], "").await.expect(201);
    for name in ["other", "third"] {
        assert_eq!(
            server.get(&format!("/v2/{name}/blobs/{digest}")).await.expect(200).body,
            "layer"
        );
    }
    // From where it is not, or what is nowhere: an ordinary session.
    let missing = server.send("POST", &mount("fourth", "&from=empty"), &[], "").await.expect(202);
    assert!(missing.header("location").starts_with("/v2/fourth/blobs/uploads/"));
    let nowhere = sha256(b"nowhere");
    server
        .send("POST", &format!("/v2/shop/blobs/uploads/?mount={nowhere}"), &[], "")
        .await
        .expect(202);
    server
        .send("POST", &format!("{UPLOADS}?mount=bad&from=shop"), &[], "")
        .await
        .refused(400, "DIGEST_INVALID");
    // A blob of one repository is not readable through another.
    server.get(&format!("/v2/fourth/blobs/{digest}")).await.refused(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn ranges_conditions_and_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let bytes: Vec<u8> = (0..2048u32).map(|i| (i % 253) as u8).collect();
    let digest = server.push_blob("shop", &bytes).await;
    let path = format!("/v2/shop/blobs/{digest}");
    for (wish, from, to) in [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=2000-5000", 2000, 2048),
    ] {
        let part = server.send("GET", &path, &[("range", wish)], "").await.expect(206);
        assert_eq!(part.body, bytes[from..to], "{wish}");
        assert_eq!(part.header("content-range"), format!("bytes {from}-{}/2048", to - 1));
        let head = server.send("HEAD", &path, &[("range", wish)], "").await.expect(206);
        assert_eq!(head.header("content-length"), (to - from).to_string());
    }
    for wish in ["bytes=500-0", "bytes=5000-10000"] {
        let reply =
            server.send("GET", &path, &[("range", wish)], "").await.refused(416, "SIZE_INVALID");
        assert_eq!(reply.header("content-range"), "bytes */2048");
    }
    server
        .send("GET", &path, &[("range", "bytes=0-1"), ("if-range", "\"other\"")], "")
        .await
        .expect(200);
    let tag = format!("\"{digest}\"");
    server.send("GET", &path, &[("if-none-match", &tag)], "").await.expect(304);
    server.send("HEAD", &format!("/v2/shop/blobs/{}", sha256(b"no")), &[], "").await.expect(404);
    server.get(&format!("/v2/shop/blobs/{}", sha256(b"no"))).await.refused(404, "BLOB_UNKNOWN");
    server.send("DELETE", &path, &[], "").await.expect(202);
    server.send("DELETE", &path, &[], "").await.refused(404, "BLOB_UNKNOWN");
    server.get(&path).await.refused(404, "BLOB_UNKNOWN");
    server.push_blob("shop", &bytes).await;
    assert_eq!(server.get(&path).await.expect(200).body, bytes);
}

/// One byte of a blob's file becomes another; its length stays.
fn alter(root: &std::path::Path, digest: &str) {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let path = root.join("sha256").join(&hex[..2]).join(hex);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn an_altered_blob_is_mended_by_publishing_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let registry = humdrum_registry::Registry::open(folder.path(), server::policy()).unwrap();
    let source = folder.path().join("layer");
    std::fs::write(&source, "layer").unwrap();
    let digest: humdrum_store::blobs::BlobDigest = sha256(b"layer").parse().unwrap();
    let read =
        async |repository: &str| registry.blob_bytes(repository, &digest, 100).await.unwrap();
    for (repository, from_file) in
        [("shop", true), ("shop", true), ("shop", false), ("other", true)]
    {
        if from_file {
            registry.put_blob_file(repository, &source, &digest).await.unwrap();
        } else {
            registry.put_blob(repository, "layer".into()).await.unwrap();
        }
        assert_eq!(read(repository).await, "layer", "{repository}");
        alter(folder.path(), digest.as_str());
        assert_eq!(read("shop").await, "mayer");
    }
    // A file that is gone altogether is no different.
    let hex = digest.hex();
    std::fs::remove_file(folder.path().join("sha256").join(&hex[..2]).join(hex)).unwrap();
    registry.put_blob("shop", "layer".into()).await.unwrap();
    assert_eq!((read("shop").await, read("other").await), ("layer".into(), "layer".into()));
}

#[tokio::test]
async fn an_altered_blob_is_mended_by_an_upload() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let digest = server.push_blob("shop", b"layer").await;
    alter(folder.path(), &digest);
    server.push_blob("shop", b"layer").await;
    assert_eq!(server.get(&format!("/v2/shop/blobs/{digest}")).await.expect(200).body, "layer");
}
