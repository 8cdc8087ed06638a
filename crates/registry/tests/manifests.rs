//! `/v2/NAME/manifests/…`, tags, referrers, and what immutable tags refuse.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/server.rs"]
mod server;

use humdrum_registry::Deed;
use humdrum_registry::manifest::{DOCKER_IMAGE, DOCKER_LIST};
use server::{IMAGE, INDEX, Server, image, sha256};

#[tokio::test]
async fn a_manifest_comes_back_as_it_was_pushed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let config = server.push_blob("a/b", b"{}").await;
    let oci = image(&config, &[], "").replace(',', ", \n");
    let docker = image(&config, &[], "").replace(IMAGE, DOCKER_IMAGE);
    let list = format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER_LIST}","manifests":[]}}"#);
    let index = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
    for (tag, kind, body) in [
        ("oci", IMAGE, oci),
        ("docker", DOCKER_IMAGE, docker),
        ("list", DOCKER_LIST, list),
        ("index", INDEX, index),
    ] {
        let digest = sha256(body.as_bytes());
        let put = server.put_manifest("a/b", tag, kind, &body).await.expect(201);
        assert_eq!(put.header("docker-content-digest"), digest);
        assert_eq!(put.header("location"), format!("/v2/a/b/manifests/{digest}"));
        for path in [
            format!("/v2/a/b/manifests/{tag}"),
            put.header("location").to_owned(),
            format!("/v2/a/b/manifests/{}", digest.replace(':', "%3A")),
        ] {
            let got = server.get(&path).await.expect(200);
            assert_eq!((&got.body[..], got.header("content-type")), (body.as_bytes(), kind));
            let head = server.send("HEAD", &path, &[], "").await.expect(200);
            assert_eq!(
                (head.header("content-length"), head.header("docker-content-digest")),
                (&*body.len().to_string(), &*digest)
            );
            assert!(head.body.is_empty());
        }
    }
    // Without a header the document says what it is; the same push again is fine.
    server.put_manifest("a/b", "oci", "", &image(&config, &[], "")).await.expect(201);
    server.put_manifest("a/b", "oci", "", &image(&config, &[], "")).await.expect(201);
}

#[tokio::test]
async fn digests_of_both_kinds_and_tags_by_parameter() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let config = server.push_blob("shop", b"{}").await;
    let body = image(&config, &[], "");
    let long = humdrum_store::blobs::BlobDigest::of(
        humdrum_store::blobs::Algorithm::Sha512,
        body.as_bytes(),
    );
    for digest in [sha256(body.as_bytes()), long.to_string()] {
        let name = &digest[..6];
        let tags: Vec<String> = (0..12).map(|i| format!("{name}-{i}")).collect();
        let query = tags.join("&tag=");
        let put = server
            .put_manifest("shop", &format!("{digest}?tag={query}"), IMAGE, &body)
            .await
            .expect(201);
        let answered: Vec<_> =
            put.headers.get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
        assert_eq!(answered, tags);
        let got = server.get(&format!("/v2/shop/manifests/{}", tags[11])).await.expect(200);
        assert_eq!(got.header("docker-content-digest"), digest);
        server.get(&format!("/v2/shop/manifests/{digest}")).await.expect(200);
    }
    let many = vec!["tag=x"; 101].join("&");
    server
        .put_manifest("shop", &format!("{long}?{many}"), IMAGE, &body)
        .await
        .refused(414, "UNSUPPORTED");
    server
        .put_manifest("shop", &format!("{long}?tag=.bad"), IMAGE, &body)
        .await
        .refused(400, "MANIFEST_INVALID");
}

#[tokio::test]
async fn what_a_manifest_push_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let config = server.push_blob("shop", b"{}").await;
    let good = image(&config, &[], "");
    let (ghost, ghost2) = (sha256(b"ghost"), sha256(b"ghost2"));
    let missing = image(&config, &[(&ghost, 5), (&ghost2, 6), (&ghost, 5)], "");
    let reply = server
        .put_manifest("shop", "v1", IMAGE, &missing)
        .await
        .refused(404, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(reply.json()["errors"].as_array().unwrap().len(), 2, "one error for each blob");
    let wrong_size = good.replace(r#""size":2"#, r#""size":3"#);
    server.put_manifest("shop", "v1", IMAGE, &wrong_size).await.refused(400, "SIZE_INVALID");
    let cases: [(&str, &str, &str); 6] = [
        (IMAGE, "no json", "MANIFEST_INVALID"),
        (INDEX, &good, "MANIFEST_INVALID"),
        ("application/json", r#"{"schemaVersion":2}"#, "MANIFEST_INVALID"),
        (
            "application/vnd.docker.distribution.manifest.v1+json",
            r#"{"schemaVersion":1}"#,
            "MANIFEST_INVALID",
        ),
        (
            IMAGE,
            r#"{"schemaVersion":2,"config":{"digest":"sha256:x","size":1}}"#,
            "MANIFEST_INVALID",
        ),
        (IMAGE, "", "MANIFEST_INVALID"),
    ];
    for (kind, body, code) in cases {
        server.put_manifest("shop", "v1", kind, body).await.refused(400, code);
    }
    server
        .put_manifest("shop", "sha256:baddigeststring", IMAGE, &good)
        .await
        .refused(400, "DIGEST_INVALID");
    server.put_manifest("shop", &ghost, IMAGE, &good).await.refused(400, "DIGEST_INVALID");
    server
        .put_manifest("shop", &format!("v1?digest={ghost}"), IMAGE, &good)
        .await
        .refused(400, "DIGEST_INVALID");
    server.put_manifest("shop", ".INVALID", IMAGE, &good).await.refused(400, "MANIFEST_INVALID");
    server.put_manifest("-shop", "v1", IMAGE, &good).await.refused(400, "NAME_INVALID");
    let pad = |bytes: usize| {
        let extra = |n| format!(r#","annotations":{{"a":"{}"}}"#, "x".repeat(n));
        let base = image(&config, &[], &extra(0)).len();
        image(&config, &[], &extra(bytes - base))
    };
    server
        .put_manifest("shop", "huge", IMAGE, &pad((4 << 20) + 1))
        .await
        .refused(413, "SIZE_INVALID");
    server.put_manifest("shop", "large", IMAGE, &pad(4 << 20)).await.expect(201);
    assert_eq!(server.get("/v2/shop/manifests/large").await.expect(200).body.len(), 4 << 20);
    for (path, status, code) in [
        ("/v2/shop/manifests/v1".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/shop/manifests/{ghost}"), 404, "MANIFEST_UNKNOWN"),
        ("/v2/shop/manifests/.INVALID".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("/v2/shop/manifests/sha256:bad".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/nobody/manifests/v1".to_owned(), 404, "MANIFEST_UNKNOWN"),
    ] {
        server.get(&path).await.refused(status, code);
        server.send("HEAD", &path, &[], "").await.expect(status);
    }
    server.send("POST", "/v2/shop/manifests/v1", &[], "").await.refused(405, "UNSUPPORTED");
}

#[tokio::test]
async fn tags_are_listed_in_order_and_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    server.get("/v2/shop/tags/list").await.refused(404, "NAME_UNKNOWN");
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    for tag in ["v2", "B", "a", "v10", "b", "C"] {
        server.put_manifest("shop", tag, INDEX, index).await.expect(201);
    }
    let all = ["a", "B", "b", "C", "v10", "v2"];
    let whole = server.get("/v2/shop/tags/list").await.expect(200);
    assert_eq!(whole.json(), serde_json::json!({ "name": "shop", "tags": all }));
    assert!(whole.header("link").is_empty());
    let (mut path, mut seen) = ("/v2/shop/tags/list?n=2".to_owned(), vec![]);
    while !path.is_empty() {
        let page = server.get(&path).await.expect(200);
        seen.extend(page.json()["tags"].as_array().unwrap().clone());
        assert_eq!(seen.len() % 2, 0);
        path = page.header("link").split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    }
    assert_eq!(seen, all);
    let none = server.get("/v2/shop/tags/list?n=0").await.expect(200);
    assert_eq!((none.json()["tags"].clone(), none.header("link")), (serde_json::json!([]), ""));
    let after = server.get("/v2/shop/tags/list?last=bb").await.expect(200);
    assert_eq!(after.json()["tags"], serde_json::json!(["C", "v10", "v2"]));
    server.get("/v2/shop/tags/list?n=x").await.refused(400, "UNSUPPORTED");
    server.send("DELETE", "/v2/shop/manifests/v2", &[], "").await.expect(202);
    assert_eq!(server.get("/v2/shop/tags/list").await.json()["tags"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn referrers_are_found_filtered_and_paged() {
    let folder = tempfile::tempdir().unwrap();
    let limits = humdrum_registry::Limits { referrers_page: 2, ..Default::default() };
    let server = Server::start_with(folder.path(), limits).await;
    let config = server.push_blob("shop", b"{}").await;
    let subject = sha256(b"pushed later or never");
    let list = format!("/v2/shop/referrers/{subject}");
    let empty = server.get(&list).await.expect(200);
    assert_eq!(
        (empty.json()["manifests"].clone(), empty.header("content-type")),
        (serde_json::json!([]), INDEX)
    );
    let link = format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":9}}"#);
    let mut pushed = vec![];
    for kind in ["sbom/x", "sig/y", "sig/y"] {
        let extra =
            format!(r#"{link},"artifactType":"{kind}","annotations":{{"n":"{}"}}"#, pushed.len());
        let body = image(&config, &[], &extra);
        let digest = sha256(body.as_bytes());
        let put = server.put_manifest("shop", &digest, IMAGE, &body).await.expect(201);
        assert_eq!(put.header("oci-subject"), subject);
        pushed.push((digest, kind, body.len()));
    }
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]{link}}}"#);
    server.put_manifest("shop", "an-index", INDEX, &index).await.expect(201);
    let (mut path, mut seen) = (list.clone(), vec![]);
    while !path.is_empty() {
        let page = server.get(&path).await.expect(200);
        assert!(page.header("oci-filters-applied").is_empty());
        seen.extend(page.json()["manifests"].as_array().unwrap().clone());
        path = page.header("link").split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    }
    assert_eq!(seen.len(), 4);
    for (at, (digest, kind, size)) in pushed.iter().enumerate() {
        let found = seen.iter().find(|d| d["digest"] == **digest).unwrap();
        assert_eq!(
            (&found["artifactType"], &found["size"], &found["mediaType"]),
            (&(*kind).into(), &(*size).into(), &IMAGE.into())
        );
        assert_eq!(found["annotations"]["n"], at.to_string());
    }
    let bare = seen.iter().find(|d| d["mediaType"] == INDEX).unwrap();
    assert!(bare.get("artifactType").is_none());
    let filtered = server.get(&format!("{list}?artifactType=sig%2Fy")).await.expect(200);
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(filtered.json()["manifests"].as_array().unwrap().len(), 2);
    server
        .send("DELETE", &format!("/v2/shop/manifests/{}", pushed[0].0), &[], "")
        .await
        .expect(202);
    let sboms = server.get(&format!("{list}?artifactType=sbom%2Fx")).await.expect(200);
    assert_eq!(sboms.json()["manifests"], serde_json::json!([]));
    server.get("/v2/shop/referrers/nonsense").await.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn deletes_take_what_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let (digest, _) = server.push_image("shop", "one", b"layer").await;
    server.push_image("shop", "two", b"layer").await;
    server.send("DELETE", "/v2/shop/manifests/one", &[], "").await.expect(202);
    server.get("/v2/shop/manifests/one").await.refused(404, "MANIFEST_UNKNOWN");
    server.get(&format!("/v2/shop/manifests/{digest}")).await.expect(200);
    server.send("DELETE", &format!("/v2/shop/manifests/{digest}"), &[], "").await.expect(202);
    server.get("/v2/shop/manifests/two").await.refused(404, "MANIFEST_UNKNOWN");
    for path in ["one", "two", &digest, ".bad"] {
        server
            .send("DELETE", &format!("/v2/shop/manifests/{path}"), &[], "")
            .await
            .refused(404, "MANIFEST_UNKNOWN");
    }
    server
        .send("DELETE", "/v2/shop/manifests/sha256:x", &[], "")
        .await
        .refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_production_tag_keeps_all_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let (digest, manifest) = server.push_image("shop", "v1", b"layer").await;
    let (other, _) = server.push_image("shop", "v2", b"other").await;
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{IMAGE}","digest":"{digest}","size":{}}}]}}"#,
        manifest.len()
    );
    server.put_manifest("shop", "production-7", INDEX, &index).await.expect(201);
    let config = sha256(b"{}");
    let extra = format!(
        r#","subject":{{"mediaType":"{IMAGE}","digest":"{digest}","size":{}}},"artifactType":"sig/y""#,
        manifest.len()
    );
    let signature = image(&config, &[], &extra);
    let signature_digest = sha256(signature.as_bytes());
    server.put_manifest("shop", &signature_digest, IMAGE, &signature).await.expect(201);
    // The same again is fine; another one is not, by any way.
    server.put_manifest("shop", "production-7", INDEX, &index).await.expect(201);
    let empty = r#"{"schemaVersion":2,"manifests":[]}"#;
    let reply =
        server.put_manifest("shop", "production-7", INDEX, empty).await.refused(403, "DENIED");
    assert!(
        reply.json()["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("production tags never move")
    );
    let by_parameter = format!("{}?tag=free&tag=production-7", sha256(empty.as_bytes()));
    server.put_manifest("shop", &by_parameter, INDEX, empty).await.refused(403, "DENIED");
    server.get("/v2/shop/manifests/free").await.refused(404, "MANIFEST_UNKNOWN");
    let parsed = other.parse().unwrap();
    assert!(server.registry.tag("shop", "production-7", &parsed).await.is_err());
    for path in [
        "manifests/production-7".to_owned(),
        format!("manifests/{}", sha256(index.as_bytes())),
        format!("manifests/{digest}"),
        format!("manifests/{signature_digest}"),
        format!("blobs/{}", sha256(b"layer")),
        format!("blobs/{config}"),
    ] {
        server.send("DELETE", &format!("/v2/shop/{path}"), &[], "").await.refused(403, "DENIED");
    }
    // Its neighbours are free.
    server.send("DELETE", "/v2/shop/manifests/v1", &[], "").await.expect(202);
    server.send("DELETE", &format!("/v2/shop/manifests/{other}"), &[], "").await.expect(202);
    server
        .send("DELETE", &format!("/v2/shop/blobs/{}", sha256(b"other")), &[], "")
        .await
        .expect(202);
    assert_eq!(server.get("/v2/shop/manifests/production-7").await.expect(200).body, index);
}

#[tokio::test]
async fn everything_is_told_and_in_process_is_the_same_registry() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let builder = server.registry.acting_for("build-7");
    let config = builder.put_blob("shop", "{}".into()).await.unwrap();
    let file = folder.path().join("layer");
    std::fs::write(&file, b"layer").unwrap();
    let layer = sha256(b"layer").parse().unwrap();
    assert_eq!(builder.put_blob_file("shop", &file, &layer).await.unwrap(), 5);
    assert!(
        builder.put_blob_file("shop", &file, &config).await.is_ok(),
        "known content is linked, not read"
    );
    let wrong = sha256(b"wrong").parse().unwrap();
    assert!(builder.put_blob_file("shop", &file, &wrong).await.is_err());
    let body = image(config.as_str(), &[(&sha256(b"layer"), 5)], "");
    let tag = "v1".parse().unwrap();
    let put = builder.put_manifest("shop", &tag, Some(IMAGE), body.clone().into()).await.unwrap();
    builder.tag("shop", "v2", &put.digest).await.unwrap();
    assert!(builder.put_blob("Bad", "x".into()).await.is_err());
    assert_eq!(builder.blob_bytes("shop", &layer, 5).await.unwrap(), "layer");
    assert!(builder.blob_bytes("shop", &layer, 4).await.is_err());
    assert_eq!(server.get("/v2/shop/manifests/v2").await.expect(200).body, body);
    server.send("HEAD", "/v2/shop/manifests/v2", &[], "").await.expect(200);
    server.send("DELETE", "/v2/shop/manifests/v2", &[], "").await.expect(202);
    server.send("DELETE", &format!("/v2/shop/manifests/{}", put.digest), &[], "").await.expect(202);
    server.send("DELETE", &format!("/v2/shop/blobs/{layer}"), &[], "").await.expect(202);
    let events = std::mem::take(&mut *server.diary.0.lock().unwrap());
    let deeds: Vec<_> = events.iter().map(|event| (event.actor.as_str(), event.deed)).collect();
    let (b, h) = ("build-7", "humdrum");
    let wanted = [
        (b, Deed::BlobPushed),
        (b, Deed::BlobPushed),
        (b, Deed::BlobMounted),
        (b, Deed::ManifestPushed),
        (b, Deed::Tagged),
        (b, Deed::Tagged),
        (b, Deed::BlobPulled),
        (b, Deed::BlobPulled),
        (h, Deed::ManifestPulled),
        (h, Deed::Untagged),
        (h, Deed::Untagged),
        (h, Deed::ManifestDeleted),
        (h, Deed::BlobDeleted),
    ];
    assert_eq!(deeds, wanted);
    assert!(events.iter().all(|event| event.repository == "shop" && event.at_ms > 0));
}
