//! `GET /v2/NAME/tags/list`, end-8.

use humdrum_registry::Limits;

use crate::server::{INDEX, Server};
use crate::wire::{REPO, next, strings, well_formed};

async fn tagged(server: &Server, tags: &[&str]) {
    for tag in tags {
        let body = r#"{"schemaVersion":2,"manifests":[]}"#;
        server.put_manifest(REPO, tag, INDEX, body).await.expect(201);
    }
}

async fn list(server: &Server, query: &str) -> Vec<String> {
    let reply = server.get(&format!("/v2/{REPO}/tags/list{query}")).await.expect(200);
    strings(&reply.json()["tags"])
}

rows! { ROWS:
    all: "200 with `name` and `tags`" => |s| {
        tagged(s, &["v2", "v1"]).await;
        let reply = s.get(&format!("/v2/{REPO}/tags/list")).await.expect(200);
        assert_eq!(reply.json(), serde_json::json!({ "name": REPO, "tags": ["v1", "v2"] }));
        assert_eq!((reply.header("content-type"), reply.header("link")), ("application/json", ""));
    }
    unknown_repository: "of a repository that was never pushed to: 404 `NAME_UNKNOWN`" => |s| {
        well_formed(&s.get("/v2/nobody/tags/list").await.refused(404, "NAME_UNKNOWN"));
    }
    no_tags: "of a repository without tags: 200 and an empty list" => |s| {
        s.push_blob(REPO, b"x").await;
        assert!(list(s, "").await.is_empty());
    }
    order: "tags are in lexical order, whatever their case" => |s| {
        tagged(s, &["v2", "B", "a", "v10", "b", "C", "_x", "1.0"]).await;
        assert_eq!(list(s, "").await, ["1.0", "_x", "a", "B", "b", "C", "v10", "v2"]);
    }
    n: "`n` bounds the list, and `Link` goes on" => |s| {
        tagged(s, &["a", "b", "c"]).await;
        let reply = s.get(&format!("/v2/{REPO}/tags/list?n=2")).await.expect(200);
        assert_eq!(strings(&reply.json()["tags"]), ["a", "b"]);
        assert_eq!(reply.header("link"), format!("</v2/{REPO}/tags/list?n=2&last=b>; rel=\"next\""));
    }
    n_zero: "`n=0`: an empty list without `Link`" => |s| {
        tagged(s, &["a"]).await;
        let reply = s.get(&format!("/v2/{REPO}/tags/list?n=0")).await.expect(200);
        assert_eq!((strings(&reply.json()["tags"]).len(), reply.header("link")), (0, ""));
    }
    n_exact: "`n` of just as many: no `Link`" => |s| {
        tagged(s, &["a", "b"]).await;
        let reply = s.get(&format!("/v2/{REPO}/tags/list?n=2")).await.expect(200);
        assert_eq!((strings(&reply.json()["tags"]).len(), next(&reply)), (2, None));
    }
    last: "`last` begins after that tag, which need not exist" => |s| {
        tagged(s, &["a", "b", "d"]).await;
        assert_eq!(list(s, "?last=a").await, ["b", "d"]);
        assert_eq!(list(s, "?last=c").await, ["d"]);
        assert!(list(s, "?last=d").await.is_empty());
    }
    n_and_last: "`n` and `last` together" => |s| {
        tagged(s, &["a", "b", "c", "d"]).await;
        assert_eq!(list(s, "?n=2&last=a").await, ["b", "c"]);
    }
    pages: "the links lead through all tags once" => |s| {
        let tags: Vec<String> = (0..7).map(|n| format!("t{n}")).collect();
        tagged(s, &tags.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let (mut place, mut seen) = (Some(format!("/v2/{REPO}/tags/list?n=3")), vec![]);
        while let Some(path) = place {
            let reply = s.get(&path).await.expect(200);
            seen.extend(strings(&reply.json()["tags"]));
            place = next(&reply);
        }
        assert_eq!(seen, tags);
    }
    page_limit: "without `n`, or with a large one, a page ends at the server's limit and `Link` goes on" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start_with(folder.path(), Limits { tags_page: 2, ..Limits::default() }).await;
        tagged(&s, &["a", "b", "c"]).await;
        for query in ["", "?n=1000", "?n=99999999999999999999"] {
            let reply = s.get(&format!("/v2/{REPO}/tags/list{query}")).await.expect(200);
            assert_eq!(strings(&reply.json()["tags"]), ["a", "b"]);
            let rest = s.get(&next(&reply).unwrap()).await.expect(200);
            assert_eq!((strings(&rest.json()["tags"]), next(&rest)), (vec!["c".to_owned()], None));
        }
    }
    malformed_n: "`n` that is no number: 400 `UNSUPPORTED`" => |s| {
        tagged(s, &["a"]).await;
        for bad in ["x", "-1", "1.5", "+1", ""] {
            s.get(&format!("/v2/{REPO}/tags/list?n={bad}")).await.refused(400, "UNSUPPORTED");
        }
    }
    deleted: "a tag that was deleted is gone from the list at once" => |s| {
        tagged(s, &["a", "b"]).await;
        s.send("DELETE", &crate::wire::manifest(REPO, "a"), &[], "").await.expect(202);
        assert_eq!(list(s, "").await, ["b"]);
    }
    other_method: "another method: 405 with `Allow`" => |s| {
        let reply = s.send("DELETE", &format!("/v2/{REPO}/tags/list"), &[], "").await.refused(405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), "GET, HEAD");
    }
}
