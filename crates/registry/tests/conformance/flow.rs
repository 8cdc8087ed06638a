//! The suite's flow for each of its data sets: push, list the tags, `HEAD`, `GET`, referrers with and without filter, delete.

use std::collections::BTreeSet;

use humdrum_registry::Registry;
use humdrum_store::blobs::Algorithm;
use serde_json::{Value, json};

use crate::data::{Data, EXAMPLE, EXAMPLE_2, Piece, Shape, annotated};
use crate::server::{INDEX, Server, policy};
use crate::wire::{REPO, arrived, blob, digest, manifest, session, strings, uploads};

/// How tags are set: by a push of their own, or with the push by digest. Digests other than sha256 need the second.
#[derive(Clone, Copy, PartialEq)]
enum Tags {
    Pushed,
    AsParameters,
}

fn usual(algorithm: Algorithm) -> Tags {
    if algorithm == Algorithm::Sha256 { Tags::Pushed } else { Tags::AsParameters }
}

async fn run(s: &Server, data: &Data) {
    run_with(s, data, usual(data.algorithm)).await;
}

async fn run_with(s: &Server, data: &Data, tags: Tags) {
    for (at, (digest, bytes)) in data.blobs.iter().enumerate() {
        push_blob(s, at, digest, bytes).await;
    }
    for piece in &data.manifests {
        push(s, piece, tags).await;
    }
    list(s, data).await;
    for method in ["HEAD", "GET"] {
        pull(s, data, method).await;
    }
    referrers(s, data).await;
    delete(s, data).await;
}

/// Each of the four ways in turn.
async fn push_blob(s: &Server, way: usize, digest: &str, bytes: &[u8]) {
    let way = way % 4;
    let reply = if way == 0 {
        s.send("POST", &format!("{}?digest={digest}", uploads(REPO)), &[], bytes.to_vec()).await
    } else {
        let place = session(s, REPO).await;
        let last = format!("{place}?digest={digest}");
        match way {
            1 => s.send("PUT", &last, &[], bytes.to_vec()).await,
            2 => {
                s.send("PATCH", &place, &[], bytes.to_vec()).await.expect(202);
                s.send("PUT", &last, &[], "").await
            }
            _ => {
                let half = bytes.len() / 2;
                let (one, two) = (format!("0-{}", half - 1), format!("{half}-{}", bytes.len() - 1));
                s.send("PATCH", &place, &[("content-range", &one)], bytes[..half].to_vec())
                    .await
                    .expect(202);
                s.send("PUT", &last, &[("content-range", &two)], bytes[half..].to_vec()).await
            }
        }
    };
    arrived(s, &reply.expect(201), digest, bytes).await;
}

async fn push(s: &Server, piece: &Piece, tags: Tags) {
    let mut references = vec![piece.digest.clone()];
    match tags {
        Tags::Pushed => references.extend(piece.tags.iter().cloned()),
        Tags::AsParameters if piece.tags.is_empty() => {}
        Tags::AsParameters => references[0].push_str(&format!("?tag={}", piece.tags.join("&tag="))),
    }
    for reference in references {
        let reply =
            s.put_manifest(REPO, &reference, piece.media_type, &piece.body).await.expect(201);
        assert_eq!(reply.header("docker-content-digest"), piece.digest);
        assert_eq!(reply.header("oci-subject"), piece.subject.as_deref().unwrap_or_default());
        is_whole(&s.get(reply.header("location")).await.expect(200), piece);
        if tags == Tags::AsParameters {
            let told: Vec<_> =
                reply.headers.get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
            assert_eq!(told, piece.tags);
        }
    }
}

fn is_whole(reply: &crate::server::Reply, piece: &Piece) {
    assert_eq!(reply.body, piece.body);
    has_headers(reply, piece);
}

fn has_headers(reply: &crate::server::Reply, piece: &Piece) {
    assert_eq!(reply.header("content-type"), piece.media_type);
    assert_eq!(reply.header("content-length"), piece.body.len().to_string());
    assert_eq!(reply.header("docker-content-digest"), piece.digest);
}

/// All tags, and from the middle on.
async fn list(s: &Server, data: &Data) {
    let path = format!("/v2/{REPO}/tags/list");
    let listed = strings(&s.get(&path).await.expect(200).json()["tags"]);
    let mut wanted: Vec<String> =
        data.manifests.iter().flat_map(|piece| piece.tags.clone()).collect();
    wanted.sort();
    assert_eq!(listed, wanted);
    if wanted.len() >= 2 {
        let half = wanted.len() / 2;
        let rest = s.get(&format!("{path}?last={}", wanted[half - 1])).await.expect(200);
        assert_eq!(strings(&rest.json()["tags"]), wanted[half..]);
    }
}

async fn pull(s: &Server, data: &Data, method: &str) {
    for piece in &data.manifests {
        for reference in piece.tags.iter().chain([&piece.digest]) {
            let reply = s.send(method, &manifest(REPO, reference), &[], "").await.expect(200);
            has_headers(&reply, piece);
            assert_eq!(reply.body, if method == "GET" { piece.body.as_str() } else { "" });
        }
    }
    for (digest, bytes) in &data.blobs {
        let reply = s.send(method, &blob(REPO, digest), &[], "").await.expect(200);
        assert_eq!(reply.header("content-length"), bytes.len().to_string());
        assert_eq!(reply.header("docker-content-digest"), digest);
        assert_eq!(reply.body, if method == "GET" { bytes.as_slice() } else { &[] });
    }
}

fn entry(piece: &Piece) -> Value {
    let mut value =
        json!({ "mediaType": piece.media_type, "digest": piece.digest, "size": piece.body.len() });
    if let Some(kind) = &piece.artifact_type {
        value["artifactType"] = json!(kind);
    }
    if piece.annotations.as_object().is_some_and(|annotations| !annotations.is_empty()) {
        value["annotations"] = piece.annotations.clone();
    }
    value
}

async fn referrers(s: &Server, data: &Data) {
    let subjects: BTreeSet<&String> =
        data.manifests.iter().filter_map(|piece| piece.subject.as_ref()).collect();
    for subject in subjects {
        let mut wanted: Vec<&Piece> =
            data.manifests.iter().filter(|piece| piece.subject.as_ref() == Some(subject)).collect();
        wanted.sort_by(|a, b| a.digest.cmp(&b.digest));
        let path = format!("/v2/{REPO}/referrers/{subject}");
        let reply = s.get(&path).await.expect(200);
        assert_eq!(
            (reply.header("content-type"), &reply.json()["mediaType"]),
            (INDEX, &json!(INDEX))
        );
        assert_eq!(
            reply.json()["manifests"],
            json!(wanted.iter().map(|piece| entry(piece)).collect::<Vec<_>>())
        );
        let kinds: BTreeSet<&String> =
            wanted.iter().filter_map(|piece| piece.artifact_type.as_ref()).collect();
        for kind in kinds {
            let query: String = form_urlencoded::byte_serialize(kind.as_bytes()).collect();
            let reply = s.get(&format!("{path}?artifactType={query}")).await.expect(200);
            assert_eq!(reply.header("oci-filters-applied"), "artifactType");
            let of_kind = wanted.iter().filter(|piece| piece.artifact_type.as_ref() == Some(kind));
            assert_eq!(
                reply.json()["manifests"],
                json!(of_kind.map(|piece| entry(piece)).collect::<Vec<_>>())
            );
        }
    }
}

/// Tags, then manifests from the last to the first, then blobs; each is gone at once.
async fn delete(s: &Server, data: &Data) {
    let tags =
        data.manifests.iter().flat_map(|piece| piece.tags.iter()).map(|tag| manifest(REPO, tag));
    let manifests = data.manifests.iter().rev().map(|piece| manifest(REPO, &piece.digest));
    let blobs = data.blobs.iter().map(|(digest, _)| blob(REPO, digest));
    for path in tags.chain(manifests).chain(blobs) {
        s.send("DELETE", &path, &[], "").await.expect(202);
        s.send("HEAD", &path, &[], "").await.expect(404);
    }
    let left = s.get(&format!("/v2/{REPO}/tags/list")).await.expect(200);
    assert_eq!(left.json()["tags"], json!([]));
}

fn tagged(tag: &'static str) -> Shape {
    Shape { tag, ..Shape::default() }
}

both! { BOTH:
    image: "an image" => |s, a| {
        let mut data = Data::new(a);
        data.image(tagged("image"), 2);
        run(s, &data).await;
    }
    image_uncompressed: "an image of uncompressed layers" => |s, a| {
        let mut data = Data::new(a);
        data.image(Shape { uncompressed: true, ..tagged("image-uncompressed") }, 2);
        run(s, &data).await;
    }
    large_manifest: "an image whose manifest has 390 annotations of 10,000 bytes" => |s, a| {
        let mut data = Data::new(a);
        let annotations = (0..390).map(|n| (format!("large-annotation-{n}"), "A".repeat(10_000))).collect();
        data.image(Shape { annotations, ..tagged("large-manifest") }, 2);
        assert!(data.manifests[0].body.len() > 3_900_000);
        run(s, &data).await;
    }
    index: "an index of two platforms" => |s, a| {
        let mut data = Data::new(a);
        data.platforms(tagged("index"));
        run(s, &data).await;
    }
    nested_index: "an index of indexes" => |s, a| {
        let mut data = Data::new(a);
        let children = [data.platforms(Shape::default()), data.platforms(Shape::default())];
        data.index(&children, tagged("index-of-index"));
        run(s, &data).await;
    }
    empty_index: "an index of nothing" => |s, a| {
        let mut data = Data::new(a);
        data.index(&[], tagged("index"));
        run(s, &data).await;
    }
    artifact: "an artifact with one layer" => |s, a| {
        let mut data = Data::new(a);
        let layers = vec![data.noise(2048)];
        data.artifact(Shape { artifact_type: Some(EXAMPLE), layers, ..tagged("artifact") }, EXAMPLE);
        run(s, &data).await;
    }
    artifact_index: "an index of artifacts" => |s, a| {
        let mut data = Data::new(a);
        data.platforms(Shape { artifact_type: Some(EXAMPLE), ..tagged("artifact-index") });
        run(s, &data).await;
    }
    artifact_without_layers: "an artifact whose only layer is the empty config" => |s, a| {
        let mut data = Data::new(a);
        let shape = Shape { artifact_type: Some(EXAMPLE), layers: vec![b"{}".to_vec()], ..tagged("artifact-without-layers") };
        data.artifact(shape, "application/vnd.oci.empty.v1+json");
        run(s, &data).await;
    }
    artifacts_with_subject: "an image, and three referrers of it" => |s, a| {
        let mut data = Data::new(a);
        let subject = data.image(tagged("image"), 2);
        data.image(Shape { subject: Some(subject.clone()), ..Shape::default() }, 2);
        for (tag, kind) in [("tagged-artifact1", EXAMPLE), ("tagged-artifact2", EXAMPLE_2)] {
            let layers = vec![data.noise(2048)];
            let shape = Shape {
                artifact_type: Some(kind), annotations: annotated(tag), subject: Some(subject.clone()), layers, ..tagged(tag)
            };
            data.artifact(shape, "application/octet-stream");
        }
        run(s, &data).await;
    }
    index_with_subject: "an index, and an index of artifacts that refers to it" => |s, a| {
        let mut data = Data::new(a);
        let subject = data.platforms(tagged("index"));
        data.platforms(Shape {
            artifact_type: Some(EXAMPLE), annotations: annotated("index"), subject: Some(subject), ..tagged("tagged-artifact")
        });
        run(s, &data).await;
    }
    missing_subject: "an artifact whose subject is not here" => |s, a| {
        let mut data = Data::new(a);
        let subject = json!({ "mediaType": INDEX, "digest": digest(a, b"missing content"), "size": 123 });
        let layers = vec![data.noise(2048)];
        let shape = Shape {
            artifact_type: Some(EXAMPLE), annotations: annotated("one"), subject: Some(subject), layers, ..tagged("tagged-artifact")
        };
        data.artifact(shape, EXAMPLE);
        run(s, &data).await;
    }
    data_field: "an image whose descriptors hold their content in `data`" => |s, a| {
        let mut data = Data::new(a);
        data.image(Shape { with_data: true, ..tagged("data-field") }, 2);
        assert!(data.manifests[0].body.contains("\"data\":"));
        run(s, &data).await;
    }
    non_distributable_layers: "an image with a layer that lives elsewhere" => |s, a| {
        let mut data = Data::new(a);
        data.with_layers_elsewhere("non-distributable-image");
        run(s, &data).await;
    }
    custom_fields: "an index whose documents have fields that nobody knows" => |s, a| {
        let mut data = Data::new(a);
        data.platforms(Shape { custom: true, ..tagged("custom-fields") });
        assert!(data.manifests.iter().all(|piece| piece.body.contains("org.example.unknown")));
        run(s, &data).await;
    }
    no_layers: "an image without layers" => |s, a| {
        let mut data = Data::new(a);
        data.image(tagged("no-layers"), 0);
        run(s, &data).await;
    }
    sparse: "an image without one of its layers and an index without a child, in a registry told to be sparse" => |s, a| {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path(), policy()).unwrap().with_sparse(true);
        let other = Server::start_changed(folder.path(), registry, |_| {}).await;
        let mut data = Data::new(a);
        let present = data.image(tagged("sparse-image"), 2);
        data.blobs.remove(1);
        let absent = json!({ "mediaType": crate::server::IMAGE, "digest": digest(a, b"absent"), "size": 1024 });
        data.index(&[present, absent], tagged("sparse-index"));
        run(&other, &data).await;
        // Only there: here the layer is asked for.
        for (at, (digest, bytes)) in data.blobs.iter().enumerate() {
            push_blob(s, at, digest, bytes).await;
        }
        let image = &data.manifests[0];
        s.put_manifest(REPO, &image.digest, image.media_type, &image.body).await.refused(404, "MANIFEST_BLOB_UNKNOWN");
    }
    tag_parameters: "an index and its children, each pushed by digest with its tags as parameters" => |s, a| {
        let mut data = Data::new(a);
        data.platforms(tagged("tag-param"));
        for (at, piece) in data.manifests.iter_mut().enumerate() {
            piece.tags.push(format!("tag-param-{at}"));
        }
        run_with(s, &data, Tags::AsParameters).await;
    }
    bad_digest_image: "an image pushed under a digest of other bytes: 400, and nothing can be deleted but its blobs" => |s, a| {
        let mut data = Data::new(a);
        data.image(Shape::default(), 2);
        for (at, (digest, bytes)) in data.blobs.iter().enumerate() {
            push_blob(s, at, digest, bytes).await;
        }
        let piece = &data.manifests[0];
        let reply = s.put_manifest(REPO, &piece.digest, piece.media_type, &format!("{}  ", piece.body)).await;
        reply.refused(400, "DIGEST_INVALID");
        s.get(&manifest(REPO, &piece.digest)).await.refused(404, "MANIFEST_UNKNOWN");
        s.send("DELETE", &manifest(REPO, &piece.digest), &[], "").await.refused(404, "MANIFEST_UNKNOWN");
        for (digest, _) in &data.blobs {
            s.send("DELETE", &blob(REPO, digest), &[], "").await.expect(202);
        }
    }
}
