//! `DELETE` of tags, manifests and blobs: end-9 and end-10.

use crate::server::{IMAGE, INDEX, Server, image, sha256};
use crate::wire::{REPO, blob, digest, manifest, push, well_formed};

const EMPTY_INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

async fn gone(server: &Server, path: &str) {
    server.send("HEAD", path, &[], "").await.expect(404);
    server.get(path).await.expect(404);
}

async fn delete(server: &Server, path: &str) -> crate::server::Reply {
    server.send("DELETE", path, &[], "").await
}

both! { BOTH:
    blob_goes: "`DELETE` of a blob: 202, and it is unknown at once" => |s, a| {
        let digest = push(s, REPO, a, b"x").await;
        delete(s, &blob(REPO, &digest)).await.expect(202);
        gone(s, &blob(REPO, &digest)).await;
    }
    blob_missing: "`DELETE` of an unknown blob: 404 `BLOB_UNKNOWN`" => |s, a| {
        well_formed(&delete(s, &blob(REPO, &digest(a, b"x"))).await.refused(404, "BLOB_UNKNOWN"));
    }
    manifest_goes: "`DELETE` of a manifest by digest: 202, and it and its tags are unknown at once" => |s, a| {
        let digest = digest(a, EMPTY_INDEX.as_bytes());
        s.put_manifest(REPO, &format!("{digest}?tag=one&tag=two"), INDEX, EMPTY_INDEX).await.expect(201);
        delete(s, &manifest(REPO, &digest)).await.expect(202);
        for reference in [digest.as_str(), "one", "two"] {
            gone(s, &manifest(REPO, reference)).await;
        }
    }
    manifest_missing: "`DELETE` of an unknown manifest: 404 `MANIFEST_UNKNOWN`" => |s, a| {
        well_formed(&delete(s, &manifest(REPO, &digest(a, b"x"))).await.refused(404, "MANIFEST_UNKNOWN"));
    }
}

rows! { ROWS:
    tag_goes: "`DELETE` of a tag: 202, the tag is gone, its manifest and other tags stay" => |s| {
        s.put_manifest(REPO, "one", INDEX, EMPTY_INDEX).await.expect(201);
        s.put_manifest(REPO, "two", INDEX, EMPTY_INDEX).await.expect(201);
        delete(s, &manifest(REPO, "one")).await.expect(202);
        gone(s, &manifest(REPO, "one")).await;
        s.get(&manifest(REPO, "two")).await.expect(200);
        s.get(&manifest(REPO, &sha256(EMPTY_INDEX.as_bytes()))).await.expect(200);
    }
    tag_missing: "`DELETE` of an unknown tag: 404 `MANIFEST_UNKNOWN`" => |s| {
        delete(s, &manifest(REPO, "nothing")).await.refused(404, "MANIFEST_UNKNOWN");
    }
    twice: "the second `DELETE` of the same: 404" => |s| {
        let digest = s.push_blob(REPO, b"x").await;
        delete(s, &blob(REPO, &digest)).await.expect(202);
        delete(s, &blob(REPO, &digest)).await.expect(404);
    }
    malformed: "`DELETE` of what is no digest: 400 `DIGEST_INVALID`" => |s| {
        delete(s, &blob(REPO, "sha256:x")).await.refused(400, "DIGEST_INVALID");
        delete(s, &manifest(REPO, "sha256:x")).await.refused(400, "DIGEST_INVALID");
    }
    of_no_repository: "`DELETE` in an unknown repository: 404" => |s| {
        delete(s, &manifest("nobody", "v1")).await.refused(404, "MANIFEST_UNKNOWN");
        delete(s, &blob("nobody", &sha256(b"x"))).await.refused(404, "BLOB_UNKNOWN");
    }
    only_here: "a blob deleted from one repository stays in another" => |s| {
        let digest = s.push_blob(REPO, b"x").await;
        s.push_blob("third", b"x").await;
        delete(s, &blob(REPO, &digest)).await.expect(202);
        s.get(&blob("third", &digest)).await.expect(200);
    }
    child: "the child of an index can be deleted, and the index stays" => |s| {
        let (child, _) = s.push_image(REPO, "child", b"layer").await;
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{IMAGE}","digest":"{child}","size":9}}]}}"#);
        s.put_manifest(REPO, "index", INDEX, &index).await.expect(201);
        delete(s, &manifest(REPO, &child)).await.expect(202);
        s.get(&manifest(REPO, "index")).await.expect(200);
        gone(s, &manifest(REPO, &child)).await;
    }
    index: "an index can be deleted, and its children stay" => |s| {
        let (child, _) = s.push_image(REPO, "child", b"layer").await;
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{IMAGE}","digest":"{child}","size":9}}]}}"#);
        s.put_manifest(REPO, "index", INDEX, &index).await.expect(201);
        delete(s, &manifest(REPO, &sha256(index.as_bytes()))).await.expect(202);
        s.get(&manifest(REPO, &child)).await.expect(200);
    }
    subject: "a subject can be deleted, and its referrers stay listed" => |s| {
        let (subject, _) = s.push_image(REPO, "v1", b"layer").await;
        let fields = format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":9}}"#);
        let body = image(&sha256(b"{}"), &[], &fields);
        s.put_manifest(REPO, "sig", IMAGE, &body).await.expect(201);
        delete(s, &manifest(REPO, &subject)).await.expect(202);
        let reply = s.get(&format!("/v2/{REPO}/referrers/{subject}")).await.expect(200);
        assert_eq!(reply.json()["manifests"].as_array().unwrap().len(), 1);
    }
    pushed_again: "what was deleted can be pushed again" => |s| {
        let digest = s.push_blob(REPO, b"x").await;
        delete(s, &blob(REPO, &digest)).await.expect(202);
        s.push_blob(REPO, b"x").await;
        assert_eq!(s.get(&blob(REPO, &digest)).await.expect(200).body, "x");
    }
    immutable_tag: "`DELETE` of an immutable tag: 403 `DENIED`" => |s| {
        s.put_manifest(REPO, "production", INDEX, EMPTY_INDEX).await.expect(201);
        well_formed(&delete(s, &manifest(REPO, "production")).await.refused(403, "DENIED"));
        s.get(&manifest(REPO, "production")).await.expect(200);
    }
    needed_by_an_immutable_tag: "`DELETE` of a manifest, blob or referrer that an immutable tag needs: 403 `DENIED`" => |s| {
        let (digest, _) = s.push_image(REPO, "production", b"layer").await;
        let fields = format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{digest}","size":9}}"#);
        let body = image(&sha256(b"{}"), &[], &fields);
        s.put_manifest(REPO, "sig", IMAGE, &body).await.expect(201);
        for path in [
            manifest(REPO, &digest),
            manifest(REPO, &sha256(body.as_bytes())),
            blob(REPO, &sha256(b"layer")),
            blob(REPO, &sha256(b"{}")),
        ] {
            delete(s, &path).await.refused(403, "DENIED");
            s.get(&path).await.expect(200);
        }
    }
}
