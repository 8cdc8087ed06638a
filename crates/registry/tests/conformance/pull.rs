//! `GET` and `HEAD /v2/NAME/blobs/DIGEST`, end-2.

use crate::wire::{OTHER, REPO, blob, digest, noise, push, well_formed};

both! { BOTH:
    get: "`GET` of a blob: 200, its bytes, `Content-Length`, `Docker-Content-Digest`" => |s, a| {
        let bytes = noise(1, 4096);
        let digest = push(s, REPO, a, &bytes).await;
        let got = s.get(&blob(REPO, &digest)).await.expect(200);
        assert_eq!(got.body, bytes);
        assert_eq!((got.header("content-length"), got.header("docker-content-digest")), ("4096", &*digest));
    }
    head: "`HEAD` of a blob: 200, the same headers, no body" => |s, a| {
        let digest = push(s, REPO, a, &noise(2, 512)).await;
        let got = s.send("HEAD", &blob(REPO, &digest), &[], "").await.expect(200);
        assert_eq!((got.header("content-length"), got.header("docker-content-digest")), ("512", &*digest));
        assert!(got.body.is_empty());
    }
    get_missing: "`GET` of a blob that was never pushed: 404 `BLOB_UNKNOWN`" => |s, a| {
        let reply = s.get(&blob(REPO, &digest(a, b"never"))).await.refused(404, "BLOB_UNKNOWN");
        well_formed(&reply);
    }
    head_missing: "`HEAD` of a blob that was never pushed: 404 without a body" => |s, a| {
        let reply = s.send("HEAD", &blob(REPO, &digest(a, b"never")), &[], "").await.expect(404);
        assert!(reply.body.is_empty());
    }
    empty: "a blob of no bytes is pushed, found and pulled" => |s, a| {
        let digest = push(s, REPO, a, b"").await;
        let head = s.send("HEAD", &blob(REPO, &digest), &[], "").await.expect(200);
        assert_eq!(head.header("content-length"), "0");
        let got = s.get(&blob(REPO, &digest)).await.expect(200);
        assert_eq!((got.body.len(), got.header("content-length")), (0, "0"));
    }
    empty_json: "the blob `{}` is pushed, found and pulled" => |s, a| {
        let digest = push(s, REPO, a, b"{}").await;
        let head = s.send("HEAD", &blob(REPO, &digest), &[], "").await.expect(200);
        assert_eq!(head.header("content-length"), "2");
        assert_eq!(s.get(&blob(REPO, &digest)).await.expect(200).body, "{}");
    }
    encoded: "the digest may be percent-encoded in the path" => |s, a| {
        let digest = push(s, REPO, a, b"x").await;
        s.get(&blob(REPO, &digest.replace(':', "%3A"))).await.expect(200);
    }
}

rows! { ROWS:
    other_repository: "a blob of another repository is unknown here: 404" => |s| {
        let digest = s.push_blob(OTHER, b"secret").await;
        s.get(&blob(REPO, &digest)).await.refused(404, "BLOB_UNKNOWN");
    }
    octets: "a blob is `application/octet-stream`, whatever it is" => |s| {
        let digest = s.push_blob(REPO, b"<html>").await;
        assert_eq!(s.get(&blob(REPO, &digest)).await.header("content-type"), "application/octet-stream");
    }
    both_digests: "one content under digests of both kinds is two blobs, each found" => |s| {
        use humdrum_store::blobs::Algorithm;
        for algorithm in Algorithm::ALL {
            push(s, REPO, algorithm, b"same").await;
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(s.get(&blob(REPO, &digest(algorithm, b"same"))).await.expect(200).body, "same");
        }
    }
    unchanged: "`If-None-Match` with the blob's `ETag`: 304 without a body" => |s| {
        let digest = s.push_blob(REPO, b"x").await;
        let etag = format!("\"{digest}\"");
        assert_eq!(s.get(&blob(REPO, &digest)).await.header("etag"), etag);
        let reply = s.send("GET", &blob(REPO, &digest), &[("if-none-match", &etag)], "").await.expect(304);
        assert!(reply.body.is_empty());
    }
    cacheable: "bytes under a digest may be cached for ever" => |s| {
        let digest = s.push_blob(REPO, b"x").await;
        let reply = s.get(&blob(REPO, &digest)).await;
        assert_eq!(reply.header("cache-control"), "max-age=31536000, immutable");
    }
    other_method: "another method on a blob: 405 with `Allow`" => |s| {
        let digest = s.push_blob(REPO, b"x").await;
        let reply = s.send("PUT", &blob(REPO, &digest), &[], "").await.refused(405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), "GET, HEAD, DELETE");
    }
}
