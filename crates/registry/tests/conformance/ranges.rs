//! `Range` on blobs of 2048 bytes, as the suite asks.

use humdrum_store::blobs::Algorithm;

use crate::server::{Reply, Server};
use crate::wire::{REPO, blob, noise, push};

const SIZE: usize = 2048;

async fn asked(server: &Server, algorithm: Algorithm, range: &str) -> (Reply, Vec<u8>) {
    let bytes = noise(3, SIZE);
    let digest = push(server, REPO, algorithm, &bytes).await;
    (server.send("GET", &blob(REPO, &digest), &[("range", range)], "").await, bytes)
}

fn part(reply: Reply, wanted: &[u8], content_range: &str) {
    let reply = reply.expect(206);
    assert_eq!(reply.body, wanted);
    assert_eq!(reply.header("content-length"), wanted.len().to_string());
    assert_eq!(reply.header("content-range"), content_range);
}

both! { BOTH:
    inside: "`bytes=500-1499`: 206 and 1000 bytes, `Content-Range: bytes 500-1499/2048`" => |s, a| {
        let (reply, bytes) = asked(s, a, "bytes=500-1499").await;
        part(reply, &bytes[500..1500], "bytes 500-1499/2048");
    }
    open_end: "`bytes=500-`: 206 and all from byte 500" => |s, a| {
        let (reply, bytes) = asked(s, a, "bytes=500-").await;
        part(reply, &bytes[500..], "bytes 500-2047/2048");
    }
    last_bytes: "`bytes=-500`: 206 and the last 500 bytes" => |s, a| {
        let (reply, bytes) = asked(s, a, "bytes=-500").await;
        part(reply, &bytes[1548..], "bytes 1548-2047/2048");
    }
    clipped: "`bytes=2000-5000`: 206, cut at the end of the blob" => |s, a| {
        let (reply, bytes) = asked(s, a, "bytes=2000-5000").await;
        part(reply, &bytes[2000..], "bytes 2000-2047/2048");
    }
    backwards: "`bytes=500-0`: 416" => |s, a| {
        let (reply, _) = asked(s, a, "bytes=500-0").await;
        assert_eq!(reply.expect(416).header("content-range"), "bytes */2048");
    }
    beyond: "`bytes=5000-10000`: 416, and `Content-Range` tells the size" => |s, a| {
        let (reply, _) = asked(s, a, "bytes=5000-10000").await;
        assert_eq!(reply.refused(416, "SIZE_INVALID").header("content-range"), "bytes */2048");
    }
}

rows! { ROWS:
    announced: "a blob announces `Accept-Ranges: bytes`" => |s| {
        let digest = s.push_blob(REPO, b"x").await;
        assert_eq!(s.get(&blob(REPO, &digest)).await.header("accept-ranges"), "bytes");
    }
    several: "several ranges at once: 200 with the whole, as RFC 9110 allows" => |s| {
        let (reply, bytes) = asked(s, Algorithm::Sha256, "bytes=0-1,5-6").await;
        assert_eq!(reply.expect(200).body, bytes);
    }
    other_unit: "a unit that is not known: 200 with the whole" => |s| {
        let (reply, bytes) = asked(s, Algorithm::Sha256, "pages=1-2").await;
        assert_eq!(reply.expect(200).body, bytes);
    }
    of_nothing: "a range of an empty blob: 416" => |s| {
        let digest = s.push_blob(REPO, b"").await;
        s.send("GET", &blob(REPO, &digest), &[("range", "bytes=0-0")], "").await.expect(416);
    }
    if_range: "`If-Range` with another `ETag`: 200 with the whole" => |s| {
        let digest = s.push_blob(REPO, b"0123456789").await;
        let headers = [("range", "bytes=1-2"), ("if-range", "\"other\"")];
        assert_eq!(s.send("GET", &blob(REPO, &digest), &headers, "").await.expect(200).body.len(), 10);
        let etag = format!("\"{digest}\"");
        let headers = [("range", "bytes=1-2"), ("if-range", etag.as_str())];
        assert_eq!(s.send("GET", &blob(REPO, &digest), &headers, "").await.expect(206).body, "12");
    }
    head: "`HEAD` with a range: 206, the length of the part, no body" => |s| {
        let digest = s.push_blob(REPO, b"0123456789").await;
        let reply = s.send("HEAD", &blob(REPO, &digest), &[("range", "bytes=1-2")], "").await.expect(206);
        assert_eq!((reply.header("content-length"), reply.body.len()), ("2", 0));
    }
}
