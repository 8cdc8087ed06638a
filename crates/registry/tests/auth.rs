//! The door: challenges, tokens and their scopes, as docker, podman, skopeo and containerd walk through it.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/server.rs"]
mod server;

use server::{BASIC, Server};

const NOBODY: (&str, &str) = ("authorization", "");

#[tokio::test]
async fn nothing_is_anonymous() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let realm = format!("Bearer realm=\"http://{}/v2/token\",service=\"humdrum\"", server.addr);
    for path in ["/v2", "/v2/", "/v2/_oci/ext/discover", "/v2/nonsense"] {
        let reply = server.send("GET", path, &[NOBODY], "").await.refused(401, "UNAUTHORIZED");
        assert_eq!(reply.header("www-authenticate"), realm, "{path}");
        assert_eq!(reply.header("docker-distribution-api-version"), "registry/2.0");
    }
    let cases = [
        ("GET", "/v2/a/b/tags/list", "repository:a/b:pull"),
        ("HEAD", "/v2/a/manifests/x", "repository:a:pull"),
        ("PUT", "/v2/a/manifests/x", "repository:a:pull,push"),
        ("POST", "/v2/a/blobs/uploads/", "repository:a:pull,push"),
        ("DELETE", "/v2/a/manifests/x", "repository:a:delete"),
        ("GET", "/v2/a/referrers/x", "repository:a:pull"),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
    ];
    for (method, path, scope) in cases {
        let reply = server.send(method, path, &[NOBODY], vec![1; 100_000]).await.expect(401);
        assert_eq!(reply.header("www-authenticate"), format!("{realm},scope=\"{scope}\""));
        let wrong = server
            .send(method, path, &[("authorization", "Basic aHVtZHJ1bTp3cm9uZw==")], "")
            .await
            .expect(401);
        assert!(wrong.header("www-authenticate").ends_with("error=\"invalid_token\""));
    }
    server.send("GET", "/v2/token", &[NOBODY], "").await.expect(401);
    assert_eq!(
        server.send("GET", "/v2/token", &[NOBODY], "").await.header("www-authenticate"),
        "Basic realm=\"humdrum\""
    );
}

#[tokio::test]
async fn a_token_reaches_as_far_as_its_scope() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    server.push_image("a", "v1", b"layer").await;
    let path = "/v2/token?account=humdrum&service=humdrum&scope=repository:a:pull&scope=repository:b:pull,push";
    let reply = server.get(path).await.expect(200);
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(reply.json()["access_token"], token.as_str());
    assert!(reply.json()["expires_in"].as_i64().unwrap() >= 60);
    assert!(reply.json()["issued_at"].as_str().unwrap().ends_with('Z'));
    let bearer = format!("Bearer {token}");
    let with = [("authorization", bearer.as_str())];
    server.send("GET", "/v2/", &with, "").await.expect(200);
    server.send("GET", "/v2/a/manifests/v1", &with, "").await.expect(200);
    let reply =
        server.send("DELETE", "/v2/a/manifests/v1", &with, "").await.refused(401, "UNAUTHORIZED");
    assert!(
        reply
            .header("www-authenticate")
            .contains("scope=\"repository:a:delete\",error=\"insufficient_scope\"")
    );
    server.send("POST", "/v2/a/blobs/uploads/", &with, "").await.expect(401);
    server.send("GET", "/v2/c/tags/list", &with, "").await.expect(401);
    // A mount needs pull at its source: covered for `a`, not for `c`.
    let digest = server.push_blob("c", b"secret of c").await;
    let mount =
        |from: &str, digest: &str| format!("/v2/b/blobs/uploads/?mount={digest}&from={from}");
    let reply = server.send("POST", &mount("c", &digest), &with, "").await.expect(401);
    assert!(
        reply.header("www-authenticate").contains(
            "scope=\"repository:b:pull,push repository:c:pull\",error=\"insufficient_scope\""
        ),
        "one challenge for both"
    );
    server.get(&format!("/v2/b/blobs/{digest}")).await.expect(404);
    server.send("POST", &mount("a", &server::sha256(b"layer")), &with, "").await.expect(201);
    // The API token itself is a bearer too; a token of somebody else's making is not.
    let api = format!("Bearer {}", server::PASSWORD);
    server
        .send("DELETE", "/v2/a/manifests/v1", &[("authorization", api.as_str())], "")
        .await
        .expect(202);
    let forged = format!(
        "Bearer {}x.{}",
        token.split('.').next().unwrap(),
        token.split('.').nth(1).unwrap()
    );
    server.send("GET", "/v2/", &[("authorization", &forged)], "").await.expect(401);
    server.kill();
    let server = Server::start(folder.path()).await;
    server.send("GET", "/v2/b/tags/list", &with, "").await.expect(200);
}

#[tokio::test]
async fn the_oauth_form_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let form = |text: &'static str| {
        server.send(
            "POST",
            "/v2/token",
            &[NOBODY, ("content-type", "application/x-www-form-urlencoded")],
            text,
        )
    };
    let good = "grant_type=password&username=humdrum&password=open-sesame&service=humdrum&scope=repository%3Aa%3Apull%20repository%3Ab%3Apull&client_id=x";
    let token = form(good).await.expect(200).json()["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    server
        .send("GET", "/v2/b/manifests/x", &[("authorization", &bearer)], "")
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    form("grant_type=password&username=humdrum&password=wrong").await.expect(401);
    for (bad, error) in [
        ("grant_type=refresh_token&refresh_token=x", "unsupported_grant_type"),
        ("grant_type=password&username=humdrum", "invalid_request"),
        ("nonsense", "invalid_request"),
        (
            "grant_type=password&username=humdrum&password=open-sesame&service=other",
            "invalid_request",
        ),
    ] {
        assert_eq!(form(bad).await.expect(400).json()["error"], error, "{bad}");
    }
    let many = format!("/v2/token?{}", vec!["scope=repository:a:pull"; 40].join("&"));
    assert_eq!(server.get(&many).await.expect(400).json()["error"], "invalid_scope");
    // A scope this registry does not have is granted as nothing.
    for (scope, status) in [("registry:catalog:*", 200), ("registry:other:*", 401)] {
        let path = format!("/v2/token?scope={scope}");
        let token = server.send("GET", &path, &[("authorization", BASIC)], "").await.expect(200);
        let bearer = format!("Bearer {}", token.json()["token"].as_str().unwrap());
        server.send("GET", "/v2/_catalog", &[("authorization", &bearer)], "").await.expect(status);
    }
    server.send("POST", "/v2/", &[], "").await.refused(405, "UNSUPPORTED");
}
