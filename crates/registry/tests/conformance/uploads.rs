//! Sessions and mounts beyond what both algorithms share: headers, refusals, limits.

use humdrum_registry::Limits;
use humdrum_store::blobs::Algorithm;

use crate::server::{Server, sha256};
use crate::wire::{OTHER, REPO, arrived, blob, digest, push, session, uploads};

rows! { ROWS:
    begins: "`POST` without parameters: 202 with `Location`, `Range: 0-0` and `Docker-Upload-UUID`" => |s| {
        let reply = s.send("POST", &uploads(REPO), &[], "").await.expect(202);
        assert!(reply.header("location").starts_with(&uploads(REPO)));
        assert_eq!(reply.header("range"), "0-0");
        assert!(reply.header("location").ends_with(reply.header("docker-upload-uuid")));
    }
    without_slash: "`POST …/uploads` without the last slash is the same" => |s| {
        s.send("POST", &format!("/v2/{REPO}/blobs/uploads"), &[], "").await.expect(202);
    }
    of_a_new_repository: "the first push makes the repository" => |s| {
        s.get("/v2/brand/new/tags/list").await.refused(404, "NAME_UNKNOWN");
        s.push_blob("brand/new", b"x").await;
        s.get("/v2/brand/new/tags/list").await.expect(200);
    }
    unknown_algorithm: "`?digest-algorithm=` of an algorithm that is not known: 400 `DIGEST_INVALID`" => |s| {
        let query = format!("{}?digest-algorithm=md5", uploads(REPO));
        s.send("POST", &query, &[], "").await.refused(400, "DIGEST_INVALID");
    }
    other_algorithm: "a session announced for sha256 takes a sha512 digest, and the other way round" => |s| {
        for (announced, used) in [(Algorithm::Sha256, Algorithm::Sha512), (Algorithm::Sha512, Algorithm::Sha256)] {
            let query = format!("{}?digest-algorithm={}", uploads(REPO), announced.name());
            let place = s.send("POST", &query, &[], "").await.expect(202).header("location").to_owned();
            let digest = digest(used, b"either way");
            let reply = s.send("PUT", &format!("{place}?digest={digest}"), &[], "either way").await.expect(201);
            arrived(s, &reply, &digest, b"either way").await;
        }
    }
    status: "`GET` of a session: 204 with `Location`, `Range` and no body" => |s| {
        let place = session(s, REPO).await;
        s.send("PATCH", &place, &[], "12345").await.expect(202);
        let reply = s.get(&place).await.expect(204);
        assert_eq!((reply.header("range"), reply.header("location"), reply.body.len()), ("0-4", &*place, 0));
    }
    no_minimum: "no `OCI-Chunk-Min-Length` is asked for: chunks of one byte are taken" => |s| {
        let reply = s.send("POST", &uploads(REPO), &[], "").await.expect(202);
        assert_eq!(reply.header("oci-chunk-min-length"), "");
        let place = reply.header("location");
        for (at, byte) in ["a", "b", "c"].into_iter().enumerate() {
            s.send("PATCH", place, &[("content-range", &format!("{at}-{at}"))], byte).await.expect(202);
        }
        s.send("PUT", &format!("{place}?digest={}", sha256(b"abc")), &[], "").await.expect(201);
    }
    overlapping: "a chunk that was sent already: 416 with `Location` and the `Range` that is there" => |s| {
        let place = session(s, REPO).await;
        s.send("PATCH", &place, &[("content-range", "0-1")], "go").await.expect(202);
        let reply = s.send("PATCH", &place, &[("content-range", "0-1")], "go").await;
        let reply = reply.refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!((reply.header("range"), reply.header("location")), ("0-1", &*place));
    }
    bytes_prefix: "`Content-Range: bytes 0-1/*` of clients that follow RFC 9110 is understood" => |s| {
        let place = session(s, REPO).await;
        s.send("PATCH", &place, &[("content-range", "bytes 0-1/*")], "go").await.expect(202);
    }
    malformed_range: "a `Content-Range` that is none: 400 `BLOB_UPLOAD_INVALID`" => |s| {
        for bad in ["two", "5", "5-2", "-1", "1-", "0-99999999999999999999999"] {
            let place = session(s, REPO).await;
            let reply = s.send("PATCH", &place, &[("content-range", bad)], "go").await;
            reply.refused(400, "BLOB_UPLOAD_INVALID");
        }
    }
    other_length: "a chunk of another length than its `Content-Range` says: 400 `SIZE_INVALID`" => |s| {
        let place = session(s, REPO).await;
        s.send("PATCH", &place, &[("content-range", "0-9")], "go").await.refused(400, "SIZE_INVALID");
    }
    no_digest: "`PUT` without `digest`: 400 `DIGEST_INVALID`, and the session lives on" => |s| {
        let place = session(s, REPO).await;
        s.send("PUT", &place, &[], "x").await.refused(400, "DIGEST_INVALID");
        s.get(&place).await.expect(204);
    }
    patch_unknown: "`PATCH` of an unknown session: 404 `BLOB_UPLOAD_UNKNOWN`" => |s| {
        let place = format!("{}nothing", uploads(REPO));
        s.send("PATCH", &place, &[], "x").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    put_unknown: "`PUT` of an unknown session: 404 `BLOB_UPLOAD_UNKNOWN`" => |s| {
        let place = format!("{}nothing?digest={}", uploads(REPO), sha256(b"x"));
        s.send("PUT", &place, &[], "x").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    get_unknown: "`GET` of an unknown session: 404 `BLOB_UPLOAD_UNKNOWN`" => |s| {
        s.get(&format!("{}nothing", uploads(REPO))).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    delete_unknown: "`DELETE` of an unknown session: 404 `BLOB_UPLOAD_UNKNOWN`" => |s| {
        let place = format!("{}nothing", uploads(REPO));
        s.send("DELETE", &place, &[], "").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    of_another_repository: "a session belongs to its repository: 404 in another one" => |s| {
        let place = session(s, REPO).await.replace(REPO, OTHER);
        s.get(&place).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    ended: "a session that became a blob is gone: 404" => |s| {
        let place = session(s, REPO).await;
        let put = format!("{place}?digest={}", sha256(b"x"));
        s.send("PUT", &put, &[], "x").await.expect(201);
        s.get(&place).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        s.send("PUT", &put, &[], "").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    too_large_at_once: "`POST ?digest=` beyond the largest blob: 413 `SIZE_INVALID`" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start_with(folder.path(), Limits { blob_bytes: 10, ..Limits::default() }).await;
        let query = format!("{}?digest={}", uploads(REPO), sha256(&[0; 11]));
        s.send("POST", &query, &[], vec![0; 11]).await.refused(413, "SIZE_INVALID");
    }
    too_large_in_chunks: "chunks beyond the largest blob: 413 `SIZE_INVALID`" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start_with(folder.path(), Limits { blob_bytes: 10, ..Limits::default() }).await;
        let place = session(&s, REPO).await;
        s.send("PATCH", &place, &[], vec![0; 6]).await.expect(202);
        s.send("PATCH", &place, &[], vec![0; 6]).await.refused(413, "SIZE_INVALID");
    }
    mount_malformed: "`?mount=` of what is no digest: 400 `DIGEST_INVALID`" => |s| {
        let query = format!("{}?mount=sha256:x&from={OTHER}", uploads(REPO));
        s.send("POST", &query, &[], "").await.refused(400, "DIGEST_INVALID");
    }
    mount_from_no_name: "a mount from what is no repository name: 202, a session" => |s| {
        let digest = s.push_blob(OTHER, b"x").await;
        let query = format!("{}?mount={digest}&from=UPPER", uploads(REPO));
        s.send("POST", &query, &[], "").await.expect(202);
    }
    mount_from_elsewhere: "a mount from a repository without the blob: 202, although another one has it" => |s| {
        let digest = s.push_blob("third", b"x").await;
        let query = format!("{}?mount={digest}&from={OTHER}", uploads(REPO));
        s.send("POST", &query, &[], "").await.expect(202);
        s.get(&blob(REPO, &digest)).await.expect(404);
    }
    mount_from_itself: "a mount from the repository itself: 201" => |s| {
        let digest = push(s, REPO, Algorithm::Sha256, b"x").await;
        let query = format!("{}?mount={digest}&from={REPO}", uploads(REPO));
        s.send("POST", &query, &[], "").await.expect(201);
    }
    get_of_uploads: "another method on `…/uploads/`: 405 with `Allow`" => |s| {
        let reply = s.get(&uploads(REPO)).await.refused(405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), "POST");
    }
}
