//! `GET`, `HEAD` and `PUT /v2/NAME/manifests/REFERENCE`: end-3 and end-7.

use humdrum_registry::manifest::{DOCKER_IMAGE, DOCKER_LIST, OCI_ARTIFACT};
use humdrum_registry::{Limits, Registry};

use crate::server::{IMAGE, INDEX, Server, image, policy, sha256};
use crate::wire::{REPO, digest, manifest, noise, push, well_formed};

const EMPTY_INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

/// An image without layers, padded to this many bytes.
async fn padded(server: &Server, bytes: usize) -> String {
    let config = server.push_blob(REPO, b"{}").await;
    let padding = |n| format!(r#","annotations":{{"a":"{}"}}"#, "x".repeat(n));
    let base = image(&config, &[], &padding(0)).len();
    image(&config, &[], &padding(bytes - base))
}

async fn refused(server: &Server, media_type: &str, body: &str) {
    let reply =
        server.put_manifest(REPO, "v1", media_type, body).await.refused(400, "MANIFEST_INVALID");
    well_formed(&reply);
    server.get(&manifest(REPO, "v1")).await.expect(404);
}

fn subject(digest: &str) -> String {
    format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{digest}","size":123}}"#)
}

both! { BOTH:
    put_by_digest: "`PUT` by digest: 201, `Location` and `Docker-Content-Digest`, and it can be pulled there" => |s, a| {
        let digest = digest(a, EMPTY_INDEX.as_bytes());
        let put = s.put_manifest(REPO, &digest, INDEX, EMPTY_INDEX).await.expect(201);
        assert_eq!((put.header("location"), put.header("docker-content-digest")), (&*manifest(REPO, &digest), &*digest));
        let got = s.get(put.header("location")).await.expect(200);
        assert_eq!((&got.body[..], got.header("content-type")), (EMPTY_INDEX.as_bytes(), INDEX));
        assert_eq!(got.header("docker-content-digest"), digest);
    }
    head_by_digest: "`HEAD` by digest: 200, `Content-Type`, `Content-Length`, `Docker-Content-Digest`, no body" => |s, a| {
        let digest = digest(a, EMPTY_INDEX.as_bytes());
        s.put_manifest(REPO, &digest, INDEX, EMPTY_INDEX).await.expect(201);
        let got = s.send("HEAD", &manifest(REPO, &digest), &[], "").await.expect(200);
        assert_eq!((got.header("content-type"), got.header("docker-content-digest")), (INDEX, &*digest));
        assert_eq!((got.header("content-length"), got.body.len()), (&*EMPTY_INDEX.len().to_string(), 0));
    }
    missing_by_digest: "`GET` by a digest that is not there: 404 `MANIFEST_UNKNOWN`" => |s, a| {
        let reply = s.get(&manifest(REPO, &digest(a, b"never"))).await.refused(404, "MANIFEST_UNKNOWN");
        well_formed(&reply);
    }
    bad_digest: "`PUT` by a digest of other bytes: 400 `DIGEST_INVALID`" => |s, a| {
        let digest = digest(a, EMPTY_INDEX.as_bytes());
        let reply = s.put_manifest(REPO, &digest, INDEX, &format!("{EMPTY_INDEX}  ")).await;
        reply.refused(400, "DIGEST_INVALID");
        s.get(&manifest(REPO, &digest)).await.expect(404);
    }
    with_such_blobs: "an image whose config and layers have such digests is taken" => |s, a| {
        let layer = noise(1, 300);
        let (config, layer) = (push(s, REPO, a, b"{}").await, push(s, REPO, a, &layer).await);
        let body = image(&config, &[(&layer, 300)], "");
        s.put_manifest(REPO, &digest(a, body.as_bytes()), IMAGE, &body).await.expect(201);
    }
    mixed_blobs: "an image may name blobs by digests of the other kind" => |s, a| {
        use humdrum_store::blobs::Algorithm;
        let other = if a == Algorithm::Sha256 { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let (config, layer) = (push(s, REPO, other, b"{}").await, push(s, REPO, a, b"layer").await);
        let body = image(&config, &[(&layer, 5)], "");
        s.put_manifest(REPO, &digest(a, body.as_bytes()), IMAGE, &body).await.expect(201);
    }
    tag_parameters: "`PUT` by digest with `?tag=` twice: 201, `OCI-Tag` for each, and both are there" => |s, a| {
        let digest = digest(a, EMPTY_INDEX.as_bytes());
        let put = s.put_manifest(REPO, &format!("{digest}?tag=one&tag=two"), INDEX, EMPTY_INDEX).await.expect(201);
        let told: Vec<_> = put.headers.get_all("oci-tag").iter().collect();
        assert_eq!(told, ["one", "two"]);
        for tag in ["one", "two"] {
            assert_eq!(s.get(&manifest(REPO, tag)).await.expect(200).header("docker-content-digest"), digest);
        }
    }
    ten_tag_parameters: "ten tags in one push, and more: 201" => |s, a| {
        let tags: Vec<String> = (0..12).map(|n| format!("tag=t{n}")).collect();
        let reference = format!("{}?{}", digest(a, EMPTY_INDEX.as_bytes()), tags.join("&"));
        let put = s.put_manifest(REPO, &reference, INDEX, EMPTY_INDEX).await.expect(201);
        assert_eq!(put.headers.get_all("oci-tag").iter().count(), 12);
    }
}

rows! { ROWS:
    put_by_tag: "`PUT` by tag: 201, `Location` by digest, `Docker-Content-Digest`" => |s| {
        let put = s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        let digest = sha256(EMPTY_INDEX.as_bytes());
        assert_eq!((put.header("location"), put.header("docker-content-digest")), (&*manifest(REPO, &digest), &*digest));
        s.get(put.header("location")).await.expect(200);
    }
    get_by_tag: "`GET` by tag: 200, byte for byte, `Content-Type` as pushed, `Content-Length`, digest" => |s| {
        let body = EMPTY_INDEX.replace(',', ",\n\t ");
        s.put_manifest(REPO, "v1", INDEX, &body).await.expect(201);
        let got = s.get(&manifest(REPO, "v1")).await.expect(200);
        assert_eq!((&got.body[..], got.header("content-type")), (body.as_bytes(), INDEX));
        assert_eq!(got.header("content-length"), body.len().to_string());
        assert_eq!(got.header("docker-content-digest"), sha256(body.as_bytes()));
    }
    head_by_tag: "`HEAD` by tag: the same headers without a body" => |s| {
        s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        let got = s.send("HEAD", &manifest(REPO, "v1"), &[], "").await.expect(200);
        assert_eq!((got.header("content-type"), got.body.len()), (INDEX, 0));
        assert_eq!(got.header("content-length"), EMPTY_INDEX.len().to_string());
        assert_eq!(got.header("docker-content-digest"), sha256(EMPTY_INDEX.as_bytes()));
    }
    missing_by_tag: "`GET` by a tag that is not there: 404 `MANIFEST_UNKNOWN`" => |s| {
        s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        well_formed(&s.get(&manifest(REPO, "missing")).await.refused(404, "MANIFEST_UNKNOWN"));
    }
    head_missing: "`HEAD` of what is not there: 404 without a body" => |s| {
        assert!(s.send("HEAD", &manifest(REPO, "missing"), &[], "").await.expect(404).body.is_empty());
    }
    of_no_repository: "`GET` in an unknown repository: 404 `MANIFEST_UNKNOWN`" => |s| {
        s.get(&manifest("nobody", "v1")).await.refused(404, "MANIFEST_UNKNOWN");
    }
    get_malformed_digest: "`GET sha256:baddigeststring`: 400 `DIGEST_INVALID`" => |s| {
        s.get(&manifest(REPO, "sha256:baddigeststring")).await.refused(400, "DIGEST_INVALID");
    }
    put_malformed_digest: "`PUT sha256:baddigeststring`: 400 `DIGEST_INVALID`" => |s| {
        let reply = s.put_manifest(REPO, "sha256:baddigeststring", INDEX, EMPTY_INDEX).await;
        reply.refused(400, "DIGEST_INVALID");
    }
    tag_moves: "a tag that is pushed again names the new manifest; the old one stays by digest" => |s| {
        s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        let other = EMPTY_INDEX.replace(',', ", ");
        s.put_manifest(REPO, "v1", INDEX, &other).await.expect(201);
        assert_eq!(s.get(&manifest(REPO, "v1")).await.expect(200).body, other);
        s.get(&manifest(REPO, &sha256(EMPTY_INDEX.as_bytes()))).await.expect(200);
    }
    again: "the same manifest again: 201" => |s| {
        for _ in 0..2 {
            s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        }
    }
    unchanged: "`If-None-Match` with the manifest's `ETag`: 304" => |s| {
        s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        let etag = s.get(&manifest(REPO, "v1")).await.header("etag").to_owned();
        s.send("GET", &manifest(REPO, "v1"), &[("if-none-match", &etag)], "").await.expect(304);
    }
    four_mebibytes: "a manifest of 4 MiB is taken and given" => |s| {
        let body = padded(s, 4 << 20).await;
        s.put_manifest(REPO, "large", IMAGE, &body).await.expect(201);
        assert_eq!(s.get(&manifest(REPO, "large")).await.expect(200).body.len(), 4 << 20);
    }
    too_large: "a manifest beyond the limit: 413 `SIZE_INVALID`" => |s| {
        let body = padded(s, (4 << 20) + 1).await;
        well_formed(&s.put_manifest(REPO, "large", IMAGE, &body).await.refused(413, "SIZE_INVALID"));
    }
    limit_is_ours: "the limit is the one of the configuration" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start_with(folder.path(), Limits { manifest_bytes: 100, ..Limits::default() }).await;
        s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        s.put_manifest(REPO, "v2", INDEX, &format!("{EMPTY_INDEX}{}", " ".repeat(100))).await.refused(413, "SIZE_INVALID");
    }
    docker_image: "docker's schema 2 image is taken and given with its media type" => |s| {
        let config = s.push_blob(REPO, b"{}").await;
        let body = image(&config, &[], "").replace(IMAGE, DOCKER_IMAGE);
        s.put_manifest(REPO, "v1", DOCKER_IMAGE, &body).await.expect(201);
        assert_eq!(s.get(&manifest(REPO, "v1")).await.expect(200).header("content-type"), DOCKER_IMAGE);
    }
    docker_list: "docker's schema 2 list is taken and given with its media type" => |s| {
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER_LIST}","manifests":[]}}"#);
        s.put_manifest(REPO, "v1", DOCKER_LIST, &body).await.expect(201);
        assert_eq!(s.get(&manifest(REPO, "v1")).await.expect(200).header("content-type"), DOCKER_LIST);
    }
    docker_schema_1: "docker's schema 1 is refused: 400 `MANIFEST_INVALID`" => |s| {
        refused(s, "application/vnd.docker.distribution.manifest.v1+json", r#"{"schemaVersion":1}"#).await;
    }
    artifact_manifest: "the withdrawn artifact manifest is taken, with a `Warning`" => |s| {
        let body = format!(r#"{{"mediaType":"{OCI_ARTIFACT}","artifactType":"x/y","blobs":[]}}"#);
        let put = s.put_manifest(REPO, "v1", OCI_ARTIFACT, &body).await.expect(201);
        assert!(put.header("warning").starts_with("299 - \"this media type was withdrawn"));
    }
    no_content_type: "without `Content-Type` the document's `mediaType` counts" => |s| {
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
        s.put_manifest(REPO, "v1", "", &body).await.expect(201);
        assert_eq!(s.get(&manifest(REPO, "v1")).await.header("content-type"), INDEX);
    }
    no_media_type: "without both: 400 `MANIFEST_INVALID`" => |s| { refused(s, "", EMPTY_INDEX).await; }
    no_json: "a body that is no JSON: 400 `MANIFEST_INVALID`" => |s| { refused(s, IMAGE, "no json").await; }
    no_object: "JSON that is no object: 400 `MANIFEST_INVALID`" => |s| { refused(s, IMAGE, "[1]").await; }
    nothing: "an empty body: 400 `MANIFEST_INVALID`" => |s| { refused(s, IMAGE, "").await; }
    not_text: "a body that is no UTF-8: 400 `MANIFEST_INVALID`" => |s| {
        let body = b"{\"schemaVersion\":2,\"manifests\":[],\"x\":\"\xff\"}".to_vec();
        let reply = s.send("PUT", &manifest(REPO, "v1"), &[("content-type", INDEX)], body).await;
        reply.refused(400, "MANIFEST_INVALID");
    }
    deep_json: "JSON nested without end: 400 `MANIFEST_INVALID`" => |s| {
        refused(s, INDEX, &format!(r#"{{"schemaVersion":2,"manifests":[],"x":{}"#, "[".repeat(100_000))).await;
    }
    unknown_media_type: "a media type that is no manifest: 400 `MANIFEST_INVALID`" => |s| {
        refused(s, "application/json", EMPTY_INDEX).await;
    }
    two_media_types: "`Content-Type` and `mediaType` that differ: 400 `MANIFEST_INVALID`" => |s| {
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
        refused(s, DOCKER_LIST, &body).await;
    }
    two_meanings: "an index with layers, or an image with manifests (CVE-2021-41190): 400" => |s| {
        refused(s, INDEX, r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#).await;
        let config = s.push_blob(REPO, b"{}").await;
        refused(s, IMAGE, &image(&config, &[], r#","manifests":[]"#)).await;
    }
    other_schema: "another `schemaVersion`: 400 `MANIFEST_INVALID`" => |s| {
        refused(s, INDEX, r#"{"schemaVersion":3,"manifests":[]}"#).await;
    }
    no_config: "an image without config: 400 `MANIFEST_INVALID`" => |s| {
        refused(s, IMAGE, r#"{"schemaVersion":2,"layers":[]}"#).await;
    }
    bad_descriptor: "a descriptor with what is no digest: 400 `MANIFEST_INVALID`" => |s| {
        refused(s, INDEX, r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:x","size":1}]}"#).await;
    }
    negative_size: "a descriptor with a size below zero: 400 `MANIFEST_INVALID`" => |s| {
        let digest = sha256(b"x");
        refused(s, INDEX, &format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{digest}","size":-1}}]}}"#)).await;
    }
    bad_subject: "a subject with what is no digest: 400 `MANIFEST_INVALID`" => |s| {
        refused(s, INDEX, r#"{"schemaVersion":2,"manifests":[],"subject":{"digest":"x","size":1}}"#).await;
    }
    missing_blobs: "blobs that are not here: 404 `MANIFEST_BLOB_UNKNOWN`, one error for each" => |s| {
        let config = s.push_blob(REPO, b"{}").await;
        let (a, b) = (sha256(b"ghost"), sha256(b"ghost 2"));
        let body = image(&config, &[(&a, 5), (&b, 7), (&a, 5)], "");
        let reply = s.put_manifest(REPO, "v1", IMAGE, &body).await.refused(404, "MANIFEST_BLOB_UNKNOWN");
        let errors = reply.json()["errors"].as_array().unwrap().clone();
        let mut named: Vec<_> = errors.iter().map(|e| e["detail"]["digest"].as_str().unwrap()).collect();
        named.sort_unstable();
        let mut wanted = [a.as_str(), b.as_str()];
        wanted.sort_unstable();
        assert_eq!(named, wanted);
    }
    blob_of_another_repository: "a blob that only another repository has counts as missing" => |s| {
        let config = s.push_blob("third", b"{}").await;
        s.put_manifest(REPO, "v1", IMAGE, &image(&config, &[], "")).await.refused(404, "MANIFEST_BLOB_UNKNOWN");
    }
    wrong_size: "a blob of another size than the manifest says: 400 `SIZE_INVALID`" => |s| {
        let config = s.push_blob(REPO, b"{}").await;
        let body = image(&config, &[], "").replace(r#""size":2"#, r#""size":3"#);
        s.put_manifest(REPO, "v1", IMAGE, &body).await.refused(400, "SIZE_INVALID");
    }
    sparse: "a registry told to be sparse takes a manifest whose blobs are missing" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path(), policy()).unwrap().with_sparse(true);
        let s = Server::start_changed(folder.path(), registry, |_| {}).await;
        let config = s.push_blob(REPO, b"{}").await;
        let body = image(&config, &[(&sha256(b"ghost"), 5)], "");
        s.put_manifest(REPO, "v1", IMAGE, &body).await.expect(201);
        assert_eq!(s.get(&manifest(REPO, "v1")).await.expect(200).body, body);
        // What is here is still checked.
        let wrong = body.replace(r#""size":2"#, r#""size":3"#);
        s.put_manifest(REPO, "v2", IMAGE, &wrong).await.refused(400, "SIZE_INVALID");
    }
    sparse_index: "an index is taken before its children are there" => |s| {
        let child = sha256(b"later");
        let body = format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{IMAGE}","digest":"{child}","size":5}}]}}"#);
        s.put_manifest(REPO, "v1", INDEX, &body).await.expect(201);
    }
    elsewhere: "non-distributable layers, and layers with `urls`, need not be here" => |s| {
        let config = s.push_blob(REPO, b"{}").await;
        let ghost = sha256(b"ghost");
        let layers = format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip","digest":"{ghost}","size":5}},
               {{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"{ghost}","size":5,
                 "urls":["https://store.example.com/x"]}}"#
        );
        let body = image(&config, &[], "").replace(r#""layers":[]"#, &format!(r#""layers":[{layers}]"#));
        s.put_manifest(REPO, "v1", IMAGE, &body).await.expect(201);
    }
    subject_told: "a push with a subject: `OCI-Subject` with its digest" => |s| {
        let config = s.push_blob(REPO, b"{}").await;
        s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        let wanted = sha256(EMPTY_INDEX.as_bytes());
        let put = s.put_manifest(REPO, "sig", IMAGE, &image(&config, &[], &subject(&wanted))).await.expect(201);
        assert_eq!(put.header("oci-subject"), wanted);
    }
    subject_missing: "a push whose subject is not here: 201, with `OCI-Subject`" => |s| {
        let config = s.push_blob(REPO, b"{}").await;
        let wanted = sha256(b"missing content");
        let put = s.put_manifest(REPO, "sig", IMAGE, &image(&config, &[], &subject(&wanted))).await.expect(201);
        assert_eq!(put.header("oci-subject"), wanted);
    }
    no_subject_told: "a push without a subject: no `OCI-Subject`" => |s| {
        let put = s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        assert_eq!(put.header("oci-subject"), "");
    }
    no_tag_told: "a push without `?tag=`: no `OCI-Tag`" => |s| {
        let put = s.put_manifest(REPO, "v1", INDEX, EMPTY_INDEX).await.expect(201);
        assert_eq!(put.header("oci-tag"), "");
    }
    too_many_tags: "more tags than the limit of 100: 414 `UNSUPPORTED`, none is set" => |s| {
        let many: Vec<String> = (0..101).map(|n| format!("tag=t{n}")).collect();
        let reference = format!("{}?{}", sha256(EMPTY_INDEX.as_bytes()), many.join("&"));
        s.put_manifest(REPO, &reference, INDEX, EMPTY_INDEX).await.refused(414, "UNSUPPORTED");
        s.get(&manifest(REPO, "t0")).await.expect(404);
    }
    bad_tag_parameter: "`?tag=` of what is no tag: 400 `MANIFEST_INVALID`, none is set" => |s| {
        let reference = format!("{}?tag=good&tag=.bad", sha256(EMPTY_INDEX.as_bytes()));
        s.put_manifest(REPO, &reference, INDEX, EMPTY_INDEX).await.refused(400, "MANIFEST_INVALID");
        s.get(&manifest(REPO, "good")).await.expect(404);
    }
    all_tags_or_none: "one of several tags is immutable: 403 `DENIED`, none moves" => |s| {
        s.put_manifest(REPO, "production", INDEX, EMPTY_INDEX).await.expect(201);
        let other = EMPTY_INDEX.replace(',', ", ");
        let reference = format!("{}?tag=free&tag=production", sha256(other.as_bytes()));
        s.put_manifest(REPO, &reference, INDEX, &other).await.refused(403, "DENIED");
        s.get(&manifest(REPO, "free")).await.expect(404);
    }
    immutable: "a push that would move an immutable tag: 403 `DENIED`, with the reason" => |s| {
        s.put_manifest(REPO, "production", INDEX, EMPTY_INDEX).await.expect(201);
        let reply = s.put_manifest(REPO, "production", INDEX, &EMPTY_INDEX.replace(',', ", ")).await;
        let reply = reply.refused(403, "DENIED");
        assert!(reply.json()["errors"][0]["message"].as_str().unwrap().contains("production tags never move"));
        s.put_manifest(REPO, "production", INDEX, EMPTY_INDEX).await.expect(201);
    }
    bad_tag: "`PUT` by what is no tag: 400 `MANIFEST_INVALID`" => |s| {
        s.put_manifest(REPO, ".bad", INDEX, EMPTY_INDEX).await.refused(400, "MANIFEST_INVALID");
    }
    other_method: "another method on a manifest: 405 with `Allow`" => |s| {
        let reply = s.send("POST", &manifest(REPO, "v1"), &[], "").await.refused(405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), "GET, HEAD, PUT, DELETE");
    }
}
