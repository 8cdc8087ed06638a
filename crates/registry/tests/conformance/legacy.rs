//! The suite of version 1.1.1: its four workflows from beginning to end, in its order.

use serde_json::json;

use crate::server::{BASIC, IMAGE, INDEX, Server, image, sha256};
use crate::wire::{NOBODY, OTHER, REPO, blob, manifest, session, strings, uploads, well_formed};

const CONFIG: &[u8] = b"{}";
const LAYER: &[u8] = b"a layer of the legacy suite";

/// Pushes config, layer and an image with this field; answers digest and body.
async fn populated(s: &Server, tag: &str, fields: &str) -> (String, String) {
    for bytes in [CONFIG, LAYER] {
        s.push_blob(REPO, bytes).await;
    }
    let body = image(&sha256(CONFIG), &[(&sha256(LAYER), LAYER.len())], fields);
    s.put_manifest(REPO, tag, IMAGE, &body).await.expect(201);
    (sha256(body.as_bytes()), body)
}

async fn cleaned(s: &Server, manifests: &[&str], blobs: &[&str]) {
    for path in
        manifests.iter().map(|d| manifest(REPO, d)).chain(blobs.iter().map(|d| blob(REPO, d)))
    {
        s.send("DELETE", &path, &[], "").await.expect(202);
    }
}

rows! { ROWS:
    pull: "workflow 01, pull: blobs and manifests by tag and digest, there and not there, error bodies, teardown" => |s| {
        let (digest, body) = populated(s, "tagtest0", "").await;
        let ghost = sha256(b"hello world");
        s.send("HEAD", &blob(REPO, &ghost), &[], "").await.expect(404);
        let head = s.send("HEAD", &blob(REPO, &sha256(CONFIG)), &[], "").await.expect(200);
        assert_eq!(head.header("docker-content-digest"), sha256(CONFIG));
        s.get(&blob(REPO, &ghost)).await.expect(404);
        s.get(&blob(REPO, &sha256(CONFIG))).await.expect(200);
        s.send("HEAD", &manifest(REPO, ".INVALID_MANIFEST_NAME"), &[], "").await.expect(404);
        for method in ["HEAD", "GET"] {
            for reference in [digest.as_str(), "tagtest0"] {
                let reply = s.send(method, &manifest(REPO, reference), &[("accept", IMAGE)], "").await.expect(200);
                assert_eq!(reply.header("docker-content-digest"), digest);
            }
        }
        assert_eq!(s.get(&manifest(REPO, "tagtest0")).await.body, body);
        s.get(&manifest(REPO, ".INVALID_MANIFEST_NAME")).await.expect(404);
        let reply = s.put_manifest(REPO, "sha256:totallywrong", IMAGE, "blablabla").await.expect(400);
        well_formed(&reply);
        cleaned(s, &[&digest], &[&sha256(CONFIG), &sha256(LAYER)]).await;
    }
    pull_blobs_first: "the same with the blobs deleted before the manifest" => |s| {
        let (digest, _) = populated(s, "tagtest0", "").await;
        for bytes in [CONFIG, LAYER] {
            s.send("DELETE", &blob(REPO, &sha256(bytes)), &[], "").await.expect(202);
        }
        s.send("DELETE", &manifest(REPO, &digest), &[], "").await.expect(202);
    }
    push_streamed: "workflow 02, push: a stream without length, then `PUT`" => |s| {
        let place = session(s, REPO).await;
        let head = [("content-type", "application/octet-stream")];
        let reply = s.send("PATCH", &place, &head, LAYER.to_vec()).await.expect(202);
        let place = format!("{}?digest={}", reply.header("location"), sha256(LAYER));
        let reply = s.send("PUT", &place, &head, "").await.expect(201);
        assert!(!reply.header("location").is_empty());
    }
    push_without_length: "a stream in HTTP chunks, as docker sends it: no `Content-Length`, no `Content-Range`" => |s| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let place = session(s, REPO).await;
        let mut stream = tokio::net::TcpStream::connect(s.addr).await.unwrap();
        let head = format!(
            "PATCH {place} HTTP/1.1\r\nhost: x\r\nauthorization: {BASIC}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
             3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 202") && answer.to_lowercase().contains("range: 0-6"), "{answer}");
        s.send("PUT", &format!("{place}?digest={}", sha256(b"abcdefg")), &[], "").await.expect(201);
    }
    push_monolithic: "workflow 02, push: at once by `POST`, and by `POST` and `PUT`" => |s| {
        s.get(&blob(REPO, &sha256(b"hello world"))).await.expect(404);
        let digest = sha256(CONFIG);
        let reply = s.send("POST", &format!("{}?digest={digest}", uploads(REPO)), &[], CONFIG.to_vec()).await.expect(201);
        s.get(reply.header("location")).await.expect(200);
        let place = session(s, REPO).await;
        s.send("PUT", &format!("{place}?digest={}", sha256(LAYER)), &[], LAYER.to_vec()).await.expect(201);
        s.get(&blob(REPO, &sha256(LAYER))).await.expect(200);
    }
    push_chunked: "workflow 02, push: out of order 416, then two chunks, with the session's status between" => |s| {
        let (one, two) = LAYER.split_at(10);
        let range = format!("10-{}", LAYER.len() - 1);
        let place = session(s, REPO).await;
        s.send("PATCH", &place, &[("content-range", &range)], two.to_vec()).await.expect(416);
        let place = session(s, REPO).await;
        let reply = s.send("PATCH", &place, &[("content-range", "0-9")], one.to_vec()).await.expect(202);
        let place = reply.header("location").to_owned();
        s.send("PATCH", &place, &[("content-range", "0-9")], one.to_vec()).await.expect(416);
        let reply = s.get(&place).await.expect(204);
        assert_eq!(reply.header("range"), "0-9");
        let place = format!("{}?digest={}", reply.header("location"), sha256(LAYER));
        let reply = s.send("PUT", &place, &[("content-range", &range)], two.to_vec()).await.expect(201);
        assert!(!reply.header("location").is_empty());
    }
    push_mounted: "workflow 02, push: mounts of what is missing, of what is there, and without `from`" => |s| {
        let digest = sha256(LAYER);
        let from = |query: &str| format!("/v2/{OTHER}/blobs/uploads/?mount={digest}{query}");
        let reply = s.send("POST", &from(&format!("&from={REPO}")), &[], "").await.expect(202);
        assert!(reply.header("location").starts_with(&uploads(OTHER)));
        s.push_blob(REPO, LAYER).await;
        let reply = s.send("POST", &from(&format!("&from={REPO}")), &[], "").await.expect(201);
        assert_eq!(reply.header("location"), blob(OTHER, &digest));
        s.get(reply.header("location")).await.expect(200);
        s.send("DELETE", &blob(OTHER, &digest), &[], "").await.expect(202);
        // OCI_AUTOMATIC_CROSSMOUNT=1
        s.send("POST", &from(""), &[], "").await.expect(201);
    }
    push_manifests: "workflow 02, push: four tags of one manifest, one without layers, found by digest" => |s| {
        s.get(&manifest(REPO, ".INVALID_MANIFEST_NAME")).await.expect(404);
        let (digest, body) = populated(s, "test0", "").await;
        for tag in ["test1", "test2", "test3"] {
            let reply = s.put_manifest(REPO, tag, IMAGE, &body).await.expect(201);
            assert!(!reply.header("location").is_empty());
        }
        s.put_manifest(REPO, "emptylayer", IMAGE, &image(&sha256(CONFIG), &[], "")).await.expect(201);
        let reply = s.send("GET", &manifest(REPO, &digest), &[("accept", IMAGE)], "").await.expect(200);
        assert_eq!(reply.body, body);
        cleaned(s, &[&digest], &[&sha256(CONFIG), &sha256(LAYER)]).await;
    }
    discovery_of_tags: "workflow 03, discovery: tags, `n`, `last`" => |s| {
        let (_, body) = populated(s, "test0", "").await;
        for tag in ["test1", "test2", "test3"] {
            s.put_manifest(REPO, tag, IMAGE, &body).await.expect(201);
        }
        let list = |query: &'static str| async move {
            strings(&s.get(&format!("/v2/{REPO}/tags/list{query}")).await.expect(200).json()["tags"])
        };
        assert_eq!(list("").await.len(), 4);
        assert_eq!(list("?n=2").await, ["test0", "test1"]);
        assert_eq!(list("?n=2&last=test1").await, ["test2", "test3"]);
    }
    discovery_of_referrers: "workflow 03, discovery: five referrers pushed around their subject, a filter, a missing subject" => |s| {
        for bytes in [CONFIG, LAYER] {
            s.push_blob(REPO, bytes).await;
        }
        let subject_body = image(&sha256(CONFIG), &[(&sha256(LAYER), LAYER.len())], "");
        let subject = sha256(subject_body.as_bytes());
        let fields = |of: &str, kind: &str, n: usize| format!(
            r#","subject":{{"mediaType":"{IMAGE}","digest":"{of}","size":{}}},"artifactType":"{kind}","annotations":{{"n":"{n}"}}"#,
            subject_body.len()
        );
        let refer = |of: String, kind: &'static str, n: usize| async move {
            let body = image(&sha256(CONFIG), &[], &fields(&of, kind, n));
            let reply = s.put_manifest(REPO, &sha256(body.as_bytes()), IMAGE, &body).await.expect(201);
            assert_eq!(reply.header("oci-subject"), of);
        };
        refer(subject.clone(), "a/a", 1).await;
        refer(subject.clone(), "b/b", 2).await;
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]{}}}"#, fields(&subject, "c/c", 3));
        s.put_manifest(REPO, &sha256(index.as_bytes()), INDEX, &index).await.expect(201);
        s.put_manifest(REPO, "tagtest0", IMAGE, &subject_body).await.expect(201);
        refer(subject.clone(), "a/a", 4).await;
        refer(subject.clone(), "b/b", 5).await;
        let missing = sha256(b"not pushed");
        refer(missing.clone(), "a/a", 6).await;
        for (of, query, count) in [
            (sha256(b"hello world"), "", 0), (subject.clone(), "", 5), (subject, "?artifactType=a/a", 2), (missing, "", 1),
        ] {
            let reply = s.get(&format!("/v2/{REPO}/referrers/{of}{query}")).await.expect(200);
            assert_eq!(reply.header("content-type"), INDEX);
            let list = reply.json()["manifests"].as_array().unwrap().clone();
            assert_eq!(list.len(), count, "{of}{query}");
            assert!(list.iter().all(|entry| entry["annotations"].as_object().unwrap().len() == 1));
        }
    }
    management: "workflow 04, management: a tag, its manifest, its blobs are deleted, and the lists show it" => |s| {
        let (digest, _) = populated(s, "tagtest0", "").await;
        let count = strings(&s.get(&format!("/v2/{REPO}/tags/list")).await.expect(200).json()["tags"]).len();
        s.send("DELETE", &manifest(REPO, "tagtest0"), &[], "").await.expect(202);
        s.send("DELETE", &manifest(REPO, &digest), &[], "").await.expect(202);
        s.get(&manifest(REPO, &digest)).await.expect(404);
        let left = s.get(&format!("/v2/{REPO}/tags/list")).await.expect(200).json()["tags"].clone();
        assert!(strings(&left).len() < count);
        assert_eq!(left, json!([]));
        s.send("DELETE", &blob(REPO, &sha256(CONFIG)), &[], "").await.expect(202);
        s.get(&blob(REPO, &sha256(CONFIG))).await.expect(404);
    }
    challenge: "the suite's login: 401, a token for the challenge, the request again" => |s| {
        let reply = s.send("POST", &uploads(REPO), &[NOBODY], "").await.expect(401);
        let challenge = reply.header("www-authenticate").to_owned();
        let part = |key: &str| {
            let start = challenge.find(&format!("{key}=\"")).unwrap() + key.len() + 2;
            challenge[start..].split('"').next().unwrap().to_owned()
        };
        let realm = part("realm");
        let path = realm.strip_prefix(&format!("http://{}", s.addr)).unwrap();
        let token = s.get(&format!("{path}?service={}&scope={}", part("service"), part("scope"))).await.expect(200);
        let bearer = format!("Bearer {}", token.json()["token"].as_str().unwrap());
        s.send("POST", &uploads(REPO), &[("authorization", &bearer)], "").await.expect(202);
    }
}
