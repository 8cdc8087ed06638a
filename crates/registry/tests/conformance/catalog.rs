//! `/v2/_catalog` and `/v2/_oci/ext/discover`.

use std::sync::Arc;

use humdrum_registry::{Action, Authenticator, Credential, Limits, Registry};

use crate::server::{self, Server, policy};
use crate::wire::{NOBODY, next, strings, well_formed};

/// May pull what begins with `open/`.
struct Guest;

impl Authenticator for Guest {
    fn check(&self, _: Credential<'_>) -> Option<String> {
        Some("guest".to_owned())
    }

    fn allows(&self, _: &str, repository: &str, action: Action) -> bool {
        repository.starts_with("open/") && action == Action::Pull
    }
}

async fn three(server: &Server) {
    for name in ["b", "a/z", "c"] {
        server.registry.put_blob(name, "x".into()).await.unwrap();
    }
}

rows! { ROWS:
    all: "`GET /v2/_catalog`: 200 with `repositories`, in order" => |s| {
        three(s).await;
        let reply = s.get("/v2/_catalog").await.expect(200);
        assert_eq!(reply.json(), serde_json::json!({ "repositories": ["a/z", "b", "c"] }));
        assert_eq!(next(&reply), None);
    }
    nothing: "of an empty registry: an empty list" => |s| {
        assert_eq!(s.get("/v2/_catalog").await.expect(200).json()["repositories"], serde_json::json!([]));
    }
    n_and_last: "`n` and `last` page it, `Link` leads on" => |s| {
        three(s).await;
        let reply = s.get("/v2/_catalog?n=2").await.expect(200);
        assert_eq!(reply.header("link"), "</v2/_catalog?n=2&last=b>; rel=\"next\"");
        let rest = s.get(&next(&reply).unwrap()).await.expect(200);
        assert_eq!((strings(&rest.json()["repositories"]), next(&rest)), (vec!["c".to_owned()], None));
    }
    n_zero: "`n=0`: an empty list without `Link`" => |s| {
        three(s).await;
        let reply = s.get("/v2/_catalog?n=0").await.expect(200);
        assert_eq!((strings(&reply.json()["repositories"]).len(), next(&reply)), (0, None));
    }
    malformed_n: "`n` that is no number: 400 `UNSUPPORTED`" => |s| {
        s.get("/v2/_catalog?n=x").await.refused(400, "UNSUPPORTED");
    }
    page_limit: "without `n` a page ends at the server's limit" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start_with(folder.path(), Limits { catalog_page: 2, ..Limits::default() }).await;
        three(&s).await;
        let reply = s.get("/v2/_catalog").await.expect(200);
        assert_eq!(strings(&reply.json()["repositories"]), ["a/z", "b"]);
        assert!(next(&reply).is_some());
    }
    only_what_may_be_pulled: "it names only what its reader may pull" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path(), policy()).unwrap();
        let s = Server::start_changed(folder.path(), registry, |state| {
            state.auth = Arc::new(server::auth(folder.path(), Guest));
        }).await;
        for name in ["a", "open/b", "m", "open/c", "z"] {
            s.registry.put_blob(name, "x".into()).await.unwrap();
        }
        let reply = s.get("/v2/_catalog").await.expect(200);
        assert_eq!(strings(&reply.json()["repositories"]), ["open/b", "open/c"]);
        let reply = s.get("/v2/_catalog?n=1").await.expect(200);
        let rest = s.get(&next(&reply).unwrap()).await.expect(200);
        assert_eq!((strings(&rest.json()["repositories"]), next(&rest)), (vec!["open/c".to_owned()], None));
    }
    scope: "401 asks for `registry:catalog:*`, and a token with that scope opens it" => |s| {
        let reply = s.send("GET", "/v2/_catalog", &[NOBODY], "").await.refused(401, "UNAUTHORIZED");
        assert!(reply.header("www-authenticate").ends_with("scope=\"registry:catalog:*\""));
        for (scope, status) in [("registry:catalog:*", 200), ("repository:a:pull", 401)] {
            let token = s.get(&format!("/v2/token?scope={scope}")).await.expect(200).json()["token"].clone();
            let bearer = format!("Bearer {}", token.as_str().unwrap());
            s.send("GET", "/v2/_catalog", &[("authorization", &bearer)], "").await.expect(status);
        }
    }
    other_method: "another method: 405 with `Allow`" => |s| {
        let reply = s.send("POST", "/v2/_catalog", &[], "").await.refused(405, "UNSUPPORTED");
        well_formed(&reply);
        assert_eq!(reply.header("allow"), "GET, HEAD");
    }
    extensions: "`GET /v2/_oci/ext/discover`: 200 with `extensions`" => |s| {
        let body = s.get("/v2/_oci/ext/discover").await.expect(200).json();
        assert_eq!(body["extensions"][0]["name"], "_oci");
        assert_eq!(body["extensions"][0]["endpoints"], serde_json::json!(["/v2/_oci/ext/discover"]));
    }
    extensions_of_a_repository: "the same below a repository" => |s| {
        let body = s.get("/v2/team/shop/_oci/ext/discover").await.expect(200).json();
        assert_eq!(body["extensions"][0]["endpoints"], serde_json::json!(["/v2/team/shop/_oci/ext/discover"]));
    }
}
