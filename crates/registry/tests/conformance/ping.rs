//! `GET /v2/`, end-1.

use crate::server::BASIC;
use crate::wire::{NOBODY, well_formed};

rows! { ROWS:
    get: "`GET /v2/` with a credential answers 200" => |s| { s.get("/v2/").await.expect(200); }
    head: "`HEAD /v2/` answers 200 without a body" => |s| {
        assert!(s.send("HEAD", "/v2/", &[], "").await.expect(200).body.is_empty());
    }
    without_slash: "`GET /v2` is the same" => |s| { s.get("/v2").await.expect(200); }
    api_version: "the answer carries `Docker-Distribution-Api-Version: registry/2.0`" => |s| {
        assert_eq!(s.get("/v2/").await.header("docker-distribution-api-version"), "registry/2.0");
    }
    json: "the body is JSON" => |s| {
        let reply = s.get("/v2/").await;
        assert_eq!((reply.header("content-type"), reply.json()), ("application/json", serde_json::json!({})));
    }
    nobody: "without a credential: 401 `UNAUTHORIZED` and a `WWW-Authenticate` that names realm and service" => |s| {
        let reply = s.send("GET", "/v2/", &[NOBODY], "").await.refused(401, "UNAUTHORIZED");
        well_formed(&reply);
        let wanted = format!("Bearer realm=\"http://{}/v2/token\",service=\"humdrum\"", s.addr);
        assert_eq!(reply.header("www-authenticate"), wanted);
    }
    wrong_credential: "with a wrong credential: 401, `error=\"invalid_token\"`" => |s| {
        let reply = s.send("GET", "/v2/", &[("authorization", "Basic aHVtZHJ1bTp3cm9uZw==")], "").await.expect(401);
        assert!(reply.header("www-authenticate").ends_with("error=\"invalid_token\""));
    }
    scheme_in_any_case: "the scheme of `Authorization` is read in any case" => |s| {
        let lower = BASIC.replace("Basic", "basic");
        s.send("GET", "/v2/", &[("authorization", &lower)], "").await.expect(200);
    }
    other_method: "another method: 405 `UNSUPPORTED` with `Allow`" => |s| {
        let reply = s.send("POST", "/v2/", &[], "").await.refused(405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), "GET, HEAD");
    }
    no_such_endpoint: "a path that is no endpoint: 404 `UNSUPPORTED`" => |s| {
        well_formed(&s.get("/v2/team/shop/nonsense").await.refused(404, "UNSUPPORTED"));
    }
    namespace_parameter: "the `ns` parameter that mirrors add changes nothing" => |s| {
        s.get("/v2/?ns=registry.example").await.expect(200);
    }
}
