//! Every way of pushing a blob, with digests of both kinds: end-4, end-5, end-6, end-11, end-13, end-14.

use crate::server::Server;
use crate::wire::{OTHER, REPO, arrived, blob, digest, noise, push, session, uploads};

/// The smallest chunk the suite sends when the server names none.
const CHUNK: usize = 1024;

/// Content of three chunks, the last one shorter.
fn three() -> Vec<u8> {
    noise(7, CHUNK * 3 - 5)
}

async fn chunk(
    server: &Server,
    method: &str,
    place: &str,
    bytes: &[u8],
    from: usize,
    to: usize,
) -> crate::server::Reply {
    let range = format!("{from}-{}", to - 1);
    let headers = [("content-range", range.as_str()), ("content-type", "application/octet-stream")];
    server.send(method, place, &headers, bytes[from..to].to_vec()).await
}

/// Before each right chunk a wrong one is tried; the session tells where to go on.
async fn out_of_order(s: &Server, bytes: &[u8], digest: &str, put_last: bool) {
    let mut place = session(s, REPO).await;
    let mut at = 0;
    while at < bytes.len() {
        let skipped = if at + CHUNK < bytes.len() { at + CHUNK } else { 0 };
        let wrong_end = (skipped + CHUNK).min(bytes.len());
        let wrong_last = put_last && wrong_end == bytes.len();
        let (method, to) = if wrong_last {
            ("PUT", format!("{place}?digest={digest}"))
        } else {
            ("PATCH", place.clone())
        };
        chunk(s, method, &to, bytes, skipped, wrong_end).await.refused(416, "BLOB_UPLOAD_INVALID");
        let status = s.get(&place).await.expect(204);
        if at > 0 {
            assert_eq!(status.header("range"), format!("0-{}", at - 1));
        }
        place = status.header("location").to_owned();
        let end = (at + CHUNK).min(bytes.len());
        if put_last && end == bytes.len() {
            let reply = chunk(s, "PUT", &format!("{place}?digest={digest}"), bytes, at, end)
                .await
                .expect(201);
            return arrived(s, &reply, digest, bytes).await;
        }
        place = chunk(s, "PATCH", &place, bytes, at, end)
            .await
            .expect(202)
            .header("location")
            .to_owned();
        at = end;
    }
    let reply = s.send("PUT", &format!("{place}?digest={digest}"), &[], "").await.expect(201);
    arrived(s, &reply, digest, bytes).await;
}

async fn is_unknown(server: &Server, digest: &str) {
    server.send("HEAD", &blob(REPO, digest), &[], "").await.expect(404);
}

both! { BOTH:
    post_only: "`POST ?digest=` with the content: 201, and `Location` can be pulled" => |s, a| {
        let bytes = noise(1, 512);
        let digest = digest(a, &bytes);
        let reply = s.send("POST", &format!("{}?digest={digest}", uploads(REPO)), &[], bytes.clone()).await.expect(201);
        arrived(s, &reply, &digest, &bytes).await;
    }
    post_put: "`POST`, then `PUT ?digest=` with the content: 202, 201" => |s, a| {
        let bytes = noise(2, 512);
        let (digest, place) = (digest(a, &bytes), session(s, REPO).await);
        let reply = s.send("PUT", &format!("{place}?digest={digest}"), &[], bytes.clone()).await.expect(201);
        arrived(s, &reply, &digest, &bytes).await;
    }
    announced_algorithm: "`POST ?digest-algorithm=`: 202, then chunks and `PUT` with such a digest: 201" => |s, a| {
        let bytes = three();
        let digest = digest(a, &bytes);
        let query = format!("{}?digest-algorithm={}", uploads(REPO), a.name());
        let place = s.send("POST", &query, &[], "").await.expect(202).header("location").to_owned();
        s.send("PATCH", &place, &[], bytes.clone()).await.expect(202);
        let reply = s.send("PUT", &format!("{place}?digest={digest}"), &[], "").await.expect(201);
        arrived(s, &reply, &digest, &bytes).await;
    }
    chunked_single: "one `PATCH` with `Content-Range`, then `PUT`: 202 with `Location` and `Range`, 201" => |s, a| {
        let bytes = noise(3, 512);
        let (digest, place) = (digest(a, &bytes), session(s, REPO).await);
        let sent = chunk(s, "PATCH", &place, &bytes, 0, 512).await.expect(202);
        assert_eq!(sent.header("range"), "0-511");
        let place = format!("{}?digest={digest}", sent.header("location"));
        let reply = s.send("PUT", &place, &[], "").await.expect(201);
        arrived(s, &reply, &digest, &bytes).await;
    }
    chunked_multi: "three chunks, then `PUT` without content: 201" => |s, a| {
        let bytes = three();
        let (digest, mut place) = (digest(a, &bytes), session(s, REPO).await);
        for at in [0, CHUNK, CHUNK * 2] {
            let end = (at + CHUNK).min(bytes.len());
            let sent = chunk(s, "PATCH", &place, &bytes, at, end).await.expect(202);
            assert_eq!(sent.header("range"), format!("0-{}", end - 1));
            place = sent.header("location").to_owned();
        }
        let reply = s.send("PUT", &format!("{place}?digest={digest}"), &[], "").await.expect(201);
        arrived(s, &reply, &digest, &bytes).await;
    }
    chunked_multi_put_chunk: "two chunks, and the last with the `PUT`: 201" => |s, a| {
        let bytes = three();
        let (digest, mut place) = (digest(a, &bytes), session(s, REPO).await);
        for at in [0, CHUNK] {
            place = chunk(s, "PATCH", &place, &bytes, at, at + CHUNK).await.expect(202).header("location").to_owned();
        }
        let place = format!("{place}?digest={digest}");
        let reply = chunk(s, "PUT", &place, &bytes, CHUNK * 2, bytes.len()).await.expect(201);
        arrived(s, &reply, &digest, &bytes).await;
    }
    chunked_out_of_order: "a chunk out of order: 416; `GET` tells where to go on, and the upload ends well" => |s, a| {
        let bytes = three();
        out_of_order(s, &bytes, &digest(a, &bytes), false).await;
    }
    chunked_out_of_order_put_chunk: "the same when the wrong or the last chunk comes with the `PUT`" => |s, a| {
        let bytes = three();
        out_of_order(s, &bytes, &digest(a, &bytes), true).await;
    }
    stream: "one `PATCH` without `Content-Range`, then `PUT`: 202, 201" => |s, a| {
        let bytes = noise(4, 512);
        let (digest, place) = (digest(a, &bytes), session(s, REPO).await);
        let place = s.send("PATCH", &place, &[], bytes.clone()).await.expect(202).header("location").to_owned();
        let reply = s.send("PUT", &format!("{place}?digest={digest}"), &[], "").await.expect(201);
        arrived(s, &reply, &digest, &bytes).await;
    }
    mount: "`POST ?mount=&from=`: 201, and the blob is in both repositories" => |s, a| {
        let bytes = noise(5, 512);
        let digest = push(s, OTHER, a, &bytes).await;
        let query = format!("{}?mount={digest}&from={OTHER}", uploads(REPO));
        let reply = s.send("POST", &query, &[], "").await.expect(201);
        assert_eq!(reply.header("location"), blob(REPO, &digest));
        arrived(s, &reply, &digest, &bytes).await;
        s.get(&blob(OTHER, &digest)).await.expect(200);
    }
    mount_anonymous: "`POST ?mount=` without `from`: 201 when a repository that may be pulled has it" => |s, a| {
        let bytes = noise(6, 512);
        let digest = push(s, OTHER, a, &bytes).await;
        let reply = s.send("POST", &format!("{}?mount={digest}", uploads(REPO)), &[], "").await.expect(201);
        arrived(s, &reply, &digest, &bytes).await;
    }
    mount_missing: "a mount of a blob that is nowhere: 202, and the session takes the content" => |s, a| {
        let bytes = noise(8, 512);
        let digest = digest(a, &bytes);
        let query = format!("{}?mount={digest}&from={OTHER}", uploads(REPO));
        let reply = s.send("POST", &query, &[], "").await.expect(202);
        let place = format!("{}?digest={digest}", reply.header("location"));
        let reply = s.send("PUT", &place, &[], bytes.clone()).await.expect(201);
        arrived(s, &reply, &digest, &bytes).await;
    }
    mount_missing_anonymous: "the same without `from`: 202" => |s, a| {
        let query = format!("{}?mount={}", uploads(REPO), digest(a, b"nowhere"));
        let reply = s.send("POST", &query, &[], "").await.expect(202);
        assert!(!reply.header("location").is_empty());
    }
    cancel: "`DELETE` of a session: 204; it and its content are gone" => |s, a| {
        let bytes = noise(9, 512);
        let (digest, place) = (digest(a, &bytes), session(s, REPO).await);
        s.send("PATCH", &place, &[], bytes.clone()).await.expect(202);
        assert!(s.send("DELETE", &place, &[], "").await.expect(204).body.is_empty());
        s.get(&place).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        s.send("PATCH", &place, &[], "x").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        is_unknown(s, &digest).await;
    }
    bad_digest_post_only: "`POST ?digest=` with other content: 400 `DIGEST_INVALID`, nothing is kept" => |s, a| {
        let digest = digest(a, b"right");
        let query = format!("{}?digest={digest}", uploads(REPO));
        s.send("POST", &query, &[], "right, oh no").await.refused(400, "DIGEST_INVALID");
        is_unknown(s, &digest).await;
    }
    bad_digest_post_put: "`PUT` with other content: 400 `DIGEST_INVALID`" => |s, a| {
        let (digest, place) = (digest(a, b"right"), session(s, REPO).await);
        s.send("PUT", &format!("{place}?digest={digest}"), &[], "oh no").await.refused(400, "DIGEST_INVALID");
        is_unknown(s, &digest).await;
    }
    bad_digest_chunked: "chunks of other content: 400 at the `PUT`" => |s, a| {
        let (bytes, place) = (three(), session(s, REPO).await);
        let digest = digest(a, &bytes[1..]);
        chunk(s, "PATCH", &place, &bytes, 0, CHUNK).await.expect(202);
        chunk(s, "PATCH", &place, &bytes, CHUNK, bytes.len()).await.expect(202);
        s.send("PUT", &format!("{place}?digest={digest}"), &[], "").await.refused(400, "DIGEST_INVALID");
        is_unknown(s, &digest).await;
    }
    bad_digest_chunked_put_chunk: "the same with the last chunk in the `PUT`: 400" => |s, a| {
        let (bytes, place) = (three(), session(s, REPO).await);
        let digest = digest(a, &bytes[1..]);
        chunk(s, "PATCH", &place, &bytes, 0, CHUNK).await.expect(202);
        let place = format!("{place}?digest={digest}");
        chunk(s, "PUT", &place, &bytes, CHUNK, bytes.len()).await.refused(400, "DIGEST_INVALID");
        is_unknown(s, &digest).await;
    }
    bad_digest_stream: "a stream of other content: 400 at the `PUT`" => |s, a| {
        let (digest, place) = (digest(a, b"right"), session(s, REPO).await);
        s.send("PATCH", &place, &[], "oh no").await.expect(202);
        s.send("PUT", &format!("{place}?digest={digest}"), &[], "").await.refused(400, "DIGEST_INVALID");
        is_unknown(s, &digest).await;
    }
    again: "a blob that is there is pushed again: 201" => |s, a| {
        let digest = push(s, REPO, a, b"twice").await;
        assert_eq!(push(s, REPO, a, b"twice").await, digest);
        assert_eq!(s.get(&blob(REPO, &digest)).await.expect(200).body, "twice");
    }
    resumed_after_a_restart: "a session goes on after the server was killed: `GET` tells the byte" => |s, a| {
        let folder = tempfile::tempdir().unwrap();
        let bytes = three();
        let digest = digest(a, &bytes);
        let before = Server::start(folder.path()).await;
        let place = session(&before, REPO).await;
        chunk(&before, "PATCH", &place, &bytes, 0, CHUNK).await.expect(202);
        before.kill();
        let after = Server::start(folder.path()).await;
        assert_eq!(after.get(&place).await.expect(204).header("range"), format!("0-{}", CHUNK - 1));
        let place = format!("{place}?digest={digest}");
        let reply = chunk(&after, "PUT", &place, &bytes, CHUNK, bytes.len()).await.expect(201);
        arrived(&after, &reply, &digest, &bytes).await;
        assert_ne!(s.addr, after.addr);
    }
}
