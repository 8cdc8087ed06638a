//! `GET /v2/NAME/referrers/DIGEST`, end-12, and the fallback tags of registries without it.

use humdrum_registry::Limits;
use serde_json::{Value, json};

use crate::server::{IMAGE, INDEX, Server, image, sha256};
use crate::wire::{REPO, digest, manifest, next, well_formed};

async fn list(server: &Server, subject: &str, query: &str) -> Vec<Value> {
    let reply = server.get(&format!("/v2/{REPO}/referrers/{subject}{query}")).await.expect(200);
    assert_eq!(reply.header("content-type"), INDEX);
    let body = reply.json();
    assert_eq!((&body["schemaVersion"], &body["mediaType"]), (&json!(2), &json!(INDEX)));
    body["manifests"].as_array().unwrap().clone()
}

/// Pushes an image with these fields by digest.
async fn pushed(server: &Server, fields: &str) -> (String, usize) {
    let config = server.push_blob(REPO, b"{}").await;
    let body = image(&config, &[], fields);
    let digest = sha256(body.as_bytes());
    server.put_manifest(REPO, &digest, IMAGE, &body).await.expect(201);
    (digest, body.len())
}

fn about(subject: &str) -> String {
    format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":9}}"#)
}

/// A list as clients keep it under a fallback tag.
async fn fallback(server: &Server, tag: &str, listed: &[&str]) {
    let entries: Vec<String> = listed
        .iter()
        .map(|d| format!(r#"{{"mediaType":"{IMAGE}","digest":"{d}","size":9}}"#))
        .collect();
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        entries.join(",")
    );
    server.put_manifest(REPO, tag, INDEX, &body).await.expect(201);
}

fn digests(list: &[Value]) -> Vec<&str> {
    list.iter().map(|entry| entry["digest"].as_str().unwrap()).collect()
}

both! { BOTH:
    empty: "of a digest that nothing refers to, or that is not here: 200 and an empty image index" => |s, a| {
        assert!(list(s, &digest(a, b"nothing"), "").await.is_empty());
    }
    found: "a pushed referrer is listed with `mediaType`, `digest`, `size`, `artifactType`" => |s, a| {
        let subject = digest(a, b"subject");
        let (digest, size) = pushed(s, &format!(r#"{},"artifactType":"x/y""#, about(&subject))).await;
        let wanted = json!([{ "mediaType": IMAGE, "digest": digest, "size": size, "artifactType": "x/y" }]);
        assert_eq!(json!(list(s, &subject, "").await), wanted);
    }
    fallback_tag: "a manifest that names no subject is found by the list under the subject's fallback tag" => |s, a| {
        let subject = digest(a, b"subject");
        let (listed, size) = pushed(s, r#","artifactType":"x/y","annotations":{"k":"v"}"#).await;
        let (kind, hex) = subject.split_once(':').unwrap();
        fallback(s, &format!("{kind}-{}", &hex[..64]), &[&listed]).await;
        let wanted = json!([{ "mediaType": IMAGE, "digest": listed, "size": size, "artifactType": "x/y",
                              "annotations": { "k": "v" } }]);
        assert_eq!(json!(list(s, &subject, "").await), wanted);
    }
}

rows! { ROWS:
    of_no_repository: "of an unknown repository: 200 and an empty index" => |s| {
        let reply = s.get(&format!("/v2/nobody/referrers/{}", sha256(b"x"))).await.expect(200);
        assert_eq!(reply.json()["manifests"], json!([]));
    }
    malformed: "of what is no digest: 400 `DIGEST_INVALID`" => |s| {
        well_formed(&s.get(&format!("/v2/{REPO}/referrers/nonsense")).await.refused(400, "DIGEST_INVALID"));
        s.get(&format!("/v2/{REPO}/referrers/sha256:baddigeststring")).await.refused(400, "DIGEST_INVALID");
    }
    config_type: "an image without `artifactType` has its config's media type" => |s| {
        let subject = sha256(b"subject");
        pushed(s, &about(&subject)).await;
        let list = list(s, &subject, "").await;
        assert_eq!(list[0]["artifactType"], "application/vnd.oci.image.config.v1+json");
    }
    index: "an index is listed, and has no `artifactType` when it names none" => |s| {
        let subject = sha256(b"subject");
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]{}}}"#, about(&subject));
        s.put_manifest(REPO, "v1", INDEX, &body).await.expect(201);
        let list = list(s, &subject, "").await;
        assert_eq!((&list[0]["mediaType"], list[0].get("artifactType")), (&json!(INDEX), None));
    }
    annotations: "annotations of the manifest are copied" => |s| {
        let subject = sha256(b"subject");
        pushed(s, &format!(r#"{},"annotations":{{"a":"1","b":"2"}}"#, about(&subject))).await;
        assert_eq!(list(s, &subject, "").await[0]["annotations"], json!({ "a": "1", "b": "2" }));
    }
    subject_is_there: "the list is the same whether the subject is pushed before, after or never" => |s| {
        let config = s.push_blob(REPO, b"{}").await;
        let body = image(&config, &[], "");
        let subject = sha256(body.as_bytes());
        let (before, _) = pushed(s, &format!(r#"{},"artifactType":"be/fore""#, about(&subject))).await;
        s.put_manifest(REPO, "v1", IMAGE, &body).await.expect(201);
        let (after, _) = pushed(s, &format!(r#"{},"artifactType":"af/ter""#, about(&subject))).await;
        let mut wanted = [before.as_str(), after.as_str()];
        wanted.sort_unstable();
        assert_eq!(digests(&list(s, &subject, "").await), wanted);
    }
    filter: "`?artifactType=` gives only that type, and says so in `OCI-Filters-Applied`" => |s| {
        let subject = sha256(b"subject");
        let (one, _) = pushed(s, &format!(r#"{},"artifactType":"x/one""#, about(&subject))).await;
        pushed(s, &format!(r#"{},"artifactType":"x/two""#, about(&subject))).await;
        let reply = s.get(&format!("/v2/{REPO}/referrers/{subject}?artifactType=x%2Fone")).await.expect(200);
        assert_eq!(reply.header("oci-filters-applied"), "artifactType");
        assert_eq!(digests(reply.json()["manifests"].as_array().unwrap()), [one]);
    }
    filter_by_config: "the filter finds images by their config's media type" => |s| {
        let subject = sha256(b"subject");
        pushed(s, &about(&subject)).await;
        let query = "?artifactType=application/vnd.oci.image.config.v1%2Bjson";
        assert_eq!(list(s, &subject, query).await.len(), 1);
    }
    filter_of_nothing: "a filter that nothing meets: 200, an empty index, and the header" => |s| {
        let subject = sha256(b"subject");
        pushed(s, &about(&subject)).await;
        let reply = s.get(&format!("/v2/{REPO}/referrers/{subject}?artifactType=none")).await.expect(200);
        assert_eq!((&reply.json()["manifests"], reply.header("oci-filters-applied")), (&json!([]), "artifactType"));
    }
    no_filter: "without a filter there is no `OCI-Filters-Applied`" => |s| {
        let reply = s.get(&format!("/v2/{REPO}/referrers/{}", sha256(b"x"))).await.expect(200);
        assert_eq!(reply.header("oci-filters-applied"), "");
    }
    pages: "a long list comes in pages with `Link`; the filter goes along" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start_with(folder.path(), Limits { referrers_page: 2, ..Limits::default() }).await;
        let subject = sha256(b"subject");
        for n in 0..5 {
            pushed(&s, &format!(r#"{},"artifactType":"x/y","annotations":{{"n":"{n}"}}"#, about(&subject))).await;
        }
        let (mut place, mut seen) = (Some(format!("/v2/{REPO}/referrers/{subject}?artifactType=x%2Fy")), vec![]);
        while let Some(path) = place {
            let reply = s.get(&path).await.expect(200);
            assert_eq!(reply.header("oci-filters-applied"), "artifactType");
            let page = reply.json()["manifests"].as_array().unwrap().clone();
            assert!(page.len() <= 2);
            seen.extend(page);
            place = next(&reply);
        }
        assert_eq!(seen.len(), 5);
    }
    deleted: "a referrer that was deleted is not listed" => |s| {
        let subject = sha256(b"subject");
        let (one, _) = pushed(s, &about(&subject)).await;
        s.send("DELETE", &manifest(REPO, &one), &[], "").await.expect(202);
        assert!(list(s, &subject, "").await.is_empty());
    }
    fallback_filter: "the filter holds for what a fallback tag lists" => |s| {
        let subject = sha256(b"subject");
        let (one, _) = pushed(s, r#","artifactType":"x/one""#).await;
        let (two, _) = pushed(s, r#","artifactType":"x/two""#).await;
        fallback(s, &subject.replace(':', "-"), &[&one, &two]).await;
        assert_eq!(digests(&list(s, &subject, "?artifactType=x/two").await), [two]);
    }
    fallback_merged: "what has a subject and is also listed under its fallback tag is listed once" => |s| {
        let subject = sha256(b"subject");
        let (native, _) = pushed(s, &about(&subject)).await;
        let (listed, _) = pushed(s, r#","artifactType":"x/y""#).await;
        fallback(s, &subject.replace(':', "-"), &[&native, &listed, &native]).await;
        let mut wanted = [native.as_str(), listed.as_str()];
        wanted.sort_unstable();
        assert_eq!(digests(&list(s, &subject, "").await), wanted);
    }
    fallback_of_another: "what names another subject, or is not here, is not listed by a fallback tag" => |s| {
        let subject = sha256(b"subject");
        let (foreign, _) = pushed(s, &about(&sha256(b"another"))).await;
        fallback(s, &subject.replace(':', "-"), &[&foreign, &sha256(b"ghost")]).await;
        assert!(list(s, &subject, "").await.is_empty());
    }
    fallback_pages: "what a fallback tag lists comes in pages, too" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start_with(folder.path(), Limits { referrers_page: 1, ..Limits::default() }).await;
        let subject = sha256(b"subject");
        let (native, _) = pushed(&s, &about(&subject)).await;
        let (one, _) = pushed(&s, r#","artifactType":"x/one""#).await;
        let (two, _) = pushed(&s, r#","artifactType":"x/two""#).await;
        fallback(&s, &subject.replace(':', "-"), &[&two, &one]).await;
        let (mut place, mut seen) = (Some(format!("/v2/{REPO}/referrers/{subject}")), vec![]);
        while let Some(path) = place {
            let reply = s.get(&path).await.expect(200);
            seen.extend(reply.json()["manifests"].as_array().unwrap().clone());
            place = next(&reply);
        }
        let mut wanted = [native.as_str(), one.as_str(), two.as_str()];
        wanted.sort_unstable();
        assert_eq!(digests(&seen), wanted);
    }
    other_method: "another method: 405 with `Allow`" => |s| {
        let path = format!("/v2/{REPO}/referrers/{}", sha256(b"x"));
        let reply = s.send("POST", &path, &[], "").await.refused(405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), "GET, HEAD");
    }
}
