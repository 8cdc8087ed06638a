//! The token protocol, Basic, the OAuth2 form, and what a scope reaches.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use humdrum_registry::{Action, Authenticator, Credential, Registry};

use crate::server::{self, BASIC, PASSWORD, Reply, Server, policy};
use crate::wire::{NOBODY, OTHER, REPO, uploads, well_formed};

/// `ann` may do all in `team/…`; `bob` may pull there; nobody may do anything elsewhere.
struct Team;

impl Authenticator for Team {
    fn check(&self, credential: Credential<'_>) -> Option<String> {
        match credential {
            Credential::Basic { user, password }
                if matches!(user, "ann" | "bob") && password == PASSWORD =>
            {
                Some(user.to_owned())
            }
            _ => None,
        }
    }

    fn allows(&self, who: &str, repository: &str, action: Action) -> bool {
        repository.starts_with("team/") && (who == "ann" || action == Action::Pull)
    }
}

/// `ann:open-sesame`, `bob:open-sesame`
const ANN: &str = "Basic YW5uOm9wZW4tc2VzYW1l";
const BOB: &str = "Basic Ym9iOm9wZW4tc2VzYW1l";

async fn team(folder: &std::path::Path) -> Server {
    let registry = Registry::open(folder, policy()).unwrap();
    Server::start_changed(folder, registry, |state| {
        state.auth = Arc::new(server::auth(folder, Team))
    })
    .await
}

/// Fetches a token for scopes and answers the header that shows it.
async fn token(server: &Server, who: &str, scopes: &[&str]) -> String {
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("&scope={scope}")).collect();
    let path = format!("/v2/token?service=humdrum{}", scopes.concat());
    let reply = server.send("GET", &path, &[("authorization", who)], "").await.expect(200);
    format!("Bearer {}", reply.json()["token"].as_str().unwrap())
}

async fn form(server: &Server, text: &str) -> Reply {
    let headers = [NOBODY, ("content-type", "application/x-www-form-urlencoded")];
    server.send("POST", "/v2/token", &headers, text.to_owned()).await
}

async fn shown(server: &Server, bearer: &str, method: &str, path: &str) -> Reply {
    server.send(method, path, &[("authorization", bearer)], "").await
}

fn tags(repository: &str) -> String {
    format!("/v2/{repository}/tags/list")
}

rows! { ROWS:
    challenge: "401 carries `Bearer realm=\\\"…/v2/token\\\",service=\\\"…\\\",scope=\\\"repository:NAME:pull\\\"`" => |s| {
        let reply = s.send("GET", &tags(REPO), &[NOBODY], "").await.refused(401, "UNAUTHORIZED");
        let wanted =
            format!("Bearer realm=\"http://{}/v2/token\",service=\"humdrum\",scope=\"repository:{REPO}:pull\"", s.addr);
        assert_eq!(reply.header("www-authenticate"), wanted);
    }
    challenge_of_a_push: "a push asks for `pull,push`, so that one token carries all of it" => |s| {
        for (method, path) in [("POST", uploads(REPO)), ("PUT", format!("/v2/{REPO}/manifests/v1"))] {
            let reply = s.send(method, &path, &[NOBODY], "").await.expect(401);
            assert!(reply.header("www-authenticate").ends_with(&format!("scope=\"repository:{REPO}:pull,push\"")));
        }
    }
    challenge_of_a_delete: "a delete asks for `delete`" => |s| {
        let reply = s.send("DELETE", &format!("/v2/{REPO}/manifests/v1"), &[NOBODY], "").await.expect(401);
        assert!(reply.header("www-authenticate").ends_with(&format!("scope=\"repository:{REPO}:delete\"")));
    }
    public_url: "behind a proxy the realm is the public address" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path(), policy()).unwrap();
        let s = Server::start_changed(folder.path(), registry, |state| {
            state.auth = Arc::new(server::auth(folder.path(), Team).with_public_url("https://registry.example/"));
        }).await;
        let reply = s.send("GET", "/v2/", &[NOBODY], "").await.expect(401);
        assert!(reply.header("www-authenticate").starts_with("Bearer realm=\"https://registry.example/v2/token\""));
    }
    answer: "`GET /v2/token` with Basic: 200, `token` and `access_token`, `expires_in` of at least 60, `issued_at`" => |s| {
        let path = format!("/v2/token?service=humdrum&scope=repository:{REPO}:pull&account=humdrum&client_id=x");
        let reply = s.get(&path).await.expect(200);
        let body = reply.json();
        assert_eq!((&body["token"], &body["token_type"]), (&body["access_token"], &"Bearer".into()));
        assert!(body["expires_in"].as_i64().unwrap() >= 60);
        assert!(body["issued_at"].as_str().unwrap().ends_with('Z'));
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    no_refresh_token: "no `refresh_token` is given, also not with `offline_token=true`" => |s| {
        let reply = s.get("/v2/token?service=humdrum&offline_token=true").await.expect(200);
        assert!(reply.json().get("refresh_token").is_none());
    }
    not_anonymous: "`GET /v2/token` without a credential: 401" => |s| {
        well_formed(&s.send("GET", "/v2/token", &[NOBODY], "").await.refused(401, "UNAUTHORIZED"));
    }
    wrong_password: "`GET /v2/token` with a wrong password: 401" => |s| {
        let reply = s.send("GET", "/v2/token", &[("authorization", "Basic aHVtZHJ1bTp3cm9uZw==")], "").await;
        reply.refused(401, "UNAUTHORIZED");
    }
    retried: "the request with the token of its challenge succeeds" => |s| {
        s.push_blob(REPO, b"x").await;
        let bearer = token(s, BASIC, &[&format!("repository:{REPO}:pull")]).await;
        shown(s, &bearer, "GET", &tags(REPO)).await.expect(200);
    }
    no_scope: "a token without scope opens `/v2/`, and no repository" => |s| {
        s.push_blob(REPO, b"x").await;
        let bearer = token(s, BASIC, &[]).await;
        shown(s, &bearer, "GET", "/v2/").await.expect(200);
        shown(s, &bearer, "GET", &tags(REPO)).await.expect(401);
    }
    scopes_repeat: "`scope` may be repeated, and may hold several with blanks between" => |s| {
        s.push_blob(REPO, b"x").await;
        s.push_blob(OTHER, b"x").await;
        let (one, two) = (format!("repository:{REPO}:pull"), format!("repository:{OTHER}:pull"));
        for scopes in [vec![one.as_str(), two.as_str()], vec![&*format!("{one}%20{two}")]] {
            let bearer = token(s, BASIC, &scopes).await;
            shown(s, &bearer, "GET", &tags(REPO)).await.expect(200);
            shown(s, &bearer, "GET", &tags(OTHER)).await.expect(200);
        }
    }
    other_repository: "a token for one repository does not reach another: 401 `insufficient_scope`" => |s| {
        let bearer = token(s, BASIC, &[&format!("repository:{REPO}:pull")]).await;
        let reply = shown(s, &bearer, "GET", &tags(OTHER)).await.refused(401, "UNAUTHORIZED");
        assert!(reply.header("www-authenticate").ends_with(&format!(
            "scope=\"repository:{OTHER}:pull\",error=\"insufficient_scope\""
        )));
    }
    other_action: "a token to pull does not push or delete: 401 `insufficient_scope`" => |s| {
        let bearer = token(s, BASIC, &[&format!("repository:{REPO}:pull")]).await;
        shown(s, &bearer, "POST", &uploads(REPO)).await.expect(401);
        shown(s, &bearer, "DELETE", &format!("/v2/{REPO}/manifests/v1")).await.expect(401);
    }
    fewer_is_no_error: "who may less than was asked for gets a token for what is left: 200" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = team(folder.path()).await;
        s.send("POST", &uploads(REPO), &[("authorization", ANN)], "").await.expect(202);
        let bearer = token(&s, BOB, &[&format!("repository:{REPO}:pull,push,delete")]).await;
        shown(&s, &bearer, "GET", &format!("/v2/{REPO}/manifests/v1")).await.refused(404, "MANIFEST_UNKNOWN");
        shown(&s, &bearer, "POST", &uploads(REPO)).await.refused(403, "DENIED");
        let nothing = token(&s, BOB, &["repository:secret:pull"]).await;
        shown(&s, &nothing, "GET", &tags("secret")).await.refused(403, "DENIED");
    }
    denied: "who may not: 403 `DENIED`, which no other token would change" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = team(folder.path()).await;
        let reply = s.send("POST", &uploads(REPO), &[("authorization", BOB)], "").await.refused(403, "DENIED");
        well_formed(&reply);
        s.send("GET", &tags("secret"), &[("authorization", ANN)], "").await.refused(403, "DENIED");
    }
    basic: "Basic works without a token" => |s| {
        s.push_blob(REPO, b"x").await;
        s.send("GET", &tags(REPO), &[("authorization", BASIC)], "").await.expect(200);
    }
    api_token: "an API token sent as Bearer works without a token of ours" => |s| {
        s.push_blob(REPO, b"x").await;
        shown(s, &format!("Bearer {PASSWORD}"), "GET", &tags(REPO)).await.expect(200);
    }
    mount_needs_two_scopes: "a mount whose token covers push here, but not pull there: 401, one challenge for both" => |s| {
        let digest = s.push_blob(OTHER, b"x").await;
        let mount = format!("{}?mount={digest}&from={OTHER}", uploads(REPO));
        let bearer = token(s, BASIC, &[&format!("repository:{REPO}:pull,push")]).await;
        let reply = shown(s, &bearer, "POST", &mount).await.refused(401, "UNAUTHORIZED");
        let both = format!("repository:{REPO}:pull,push repository:{OTHER}:pull");
        assert!(reply.header("www-authenticate").contains(&format!("scope=\"{both}\"")));
        let bearer = token(s, BASIC, &[&both.replace(' ', "%20")]).await;
        shown(s, &bearer, "POST", &mount).await.expect(201);
    }
    mount_of_what_may_not_be_pulled: "a mount from what its name may not pull: 202, as if it were not there" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = team(folder.path()).await;
        let digest = s.registry.put_blob("secret", "x".into()).await.unwrap();
        for query in [format!("mount={digest}&from=secret"), format!("mount={digest}")] {
            let path = format!("{}?{query}", uploads(REPO));
            s.send("POST", &path, &[("authorization", ANN)], "").await.expect(202);
        }
    }
    anonymous_mount_with_a_token: "a mount without `from` looks where the name may pull, whatever the token covers" => |s| {
        let digest = s.push_blob(OTHER, b"x").await;
        let bearer = token(s, BASIC, &[&format!("repository:{REPO}:pull,push")]).await;
        shown(s, &bearer, "POST", &format!("{}?mount={digest}", uploads(REPO))).await.expect(201);
    }
    oauth_form: "the OAuth2 form by `POST`: 200 with `access_token`" => |s| {
        s.push_blob(REPO, b"x").await;
        let text = format!(
            "grant_type=password&username=humdrum&password={PASSWORD}&service=humdrum&client_id=x&scope=repository%3A{}%3Apull",
            REPO.replace('/', "%2F")
        );
        let reply = form(s, &text).await.expect(200);
        let bearer = format!("Bearer {}", reply.json()["access_token"].as_str().unwrap());
        shown(s, &bearer, "GET", &tags(REPO)).await.expect(200);
    }
    oauth_wrong_password: "the OAuth2 form with a wrong password: 401" => |s| {
        form(s, "grant_type=password&username=humdrum&password=wrong").await.expect(401);
    }
    oauth_other_grant: "another `grant_type`: 400 `unsupported_grant_type`" => |s| {
        let reply = form(s, "grant_type=refresh_token&refresh_token=x").await.expect(400);
        assert_eq!(reply.json()["error"], "unsupported_grant_type");
    }
    oauth_malformed: "a form that lacks a field, or is no text: 400 `invalid_request`" => |s| {
        for bad in ["", "nonsense", "grant_type=password", "grant_type=password&username=humdrum"] {
            assert_eq!(form(s, bad).await.expect(400).json()["error"], "invalid_request", "{bad}");
        }
        let reply = s.send("POST", "/v2/token", &[NOBODY], vec![0xff, 0xfe]).await.expect(400);
        assert_eq!(reply.json()["error"], "invalid_request");
    }
    other_service: "a token for another `service`: 400 `invalid_request`" => |s| {
        assert_eq!(s.get("/v2/token?service=other").await.expect(400).json()["error"], "invalid_request");
    }
    too_many_scopes: "more than 32 scopes: 400 `invalid_scope`" => |s| {
        let path = format!("/v2/token?{}", vec!["scope=repository:a:pull"; 33].join("&"));
        assert_eq!(s.get(&path).await.expect(400).json()["error"], "invalid_scope");
    }
    unknown_scope: "a scope that is not known is granted as nothing: 200" => |s| {
        let bearer = token(s, BASIC, &["registry:other:*", "nonsense", "repository:UPPER:pull"]).await;
        shown(s, &bearer, "GET", &tags(REPO)).await.expect(401);
    }
    star: "the action `*` asks for all" => |s| {
        let bearer = token(s, BASIC, &[&format!("repository:{REPO}:*")]).await;
        shown(s, &bearer, "POST", &uploads(REPO)).await.expect(202);
        shown(s, &bearer, "DELETE", &format!("/v2/{REPO}/manifests/v1")).await.expect(404);
    }
    narrow_for_wide: "a token cannot be traded for a wider one" => |s| {
        let narrow = token(s, BASIC, &[&format!("repository:{REPO}:pull")]).await;
        let wide = token(s, &narrow, &[&format!("repository:{REPO}:pull,push")]).await;
        shown(s, &wide, "POST", &uploads(REPO)).await.expect(401);
    }
    forged: "a token that was changed: 401 `invalid_token`" => |s| {
        let bearer = token(s, BASIC, &[&format!("repository:{REPO}:pull")]).await;
        let (body, mac) = bearer.split_once('.').unwrap();
        for forged in [format!("{body}x.{mac}"), format!("{body}.{mac}x"), format!("{body}."), body.to_owned()] {
            let reply = shown(s, &forged, "GET", "/v2/").await.expect(401);
            assert!(reply.header("www-authenticate").ends_with("error=\"invalid_token\""));
        }
    }
    expired: "a token after its time: 401 `invalid_token`; before, it is good" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(1_000_000));
        let clock = now.clone();
        let registry = Registry::open(folder.path(), policy()).unwrap();
        let registry = registry.with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
        let s = Server::start_changed(folder.path(), registry, |_| {}).await;
        let bearer = token(&s, BASIC, &[]).await;
        now.fetch_add(899_999, Ordering::Relaxed);
        shown(&s, &bearer, "GET", "/v2/").await.expect(200);
        now.fetch_add(1, Ordering::Relaxed);
        let reply = shown(&s, &bearer, "GET", "/v2/").await.expect(401);
        assert!(reply.header("www-authenticate").ends_with("error=\"invalid_token\""));
    }
    survives_a_restart: "a token is good over a restart of the server" => |_s| {
        let folder = tempfile::tempdir().unwrap();
        let s = Server::start(folder.path()).await;
        let bearer = token(&s, BASIC, &[]).await;
        s.kill();
        let s = Server::start(folder.path()).await;
        shown(&s, &bearer, "GET", "/v2/").await.expect(200);
    }
    malformed_header: "an `Authorization` that is none: 401" => |s| {
        for bad in ["Basic", "Basic !!", "Basic aHVtZHJ1bQ==", "Bearer", "Bearer  ", "Digest x", "x"] {
            s.send("GET", "/v2/", &[("authorization", bad)], "").await.expect(401);
        }
        let long = format!("Bearer {}", "x".repeat(20_000));
        s.send("GET", "/v2/", &[("authorization", &long)], "").await.expect(401);
    }
}
