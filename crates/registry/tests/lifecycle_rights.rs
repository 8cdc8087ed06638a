//! Rights and lifecycle at the door of a real registry: who only writes cannot read, immutable means every name, and what is in use stays.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use humdrum_model::settings::{OWNER, Settings};
use humdrum_registry::auth::{Action, Authenticator, Credential};
use humdrum_registry::lifecycle::pulls::{LOOKING, PullTimes};
use humdrum_registry::lifecycle::{Act, Lifecycle, LifecycleError, Outcome, Protected};
use humdrum_registry::manifest::{OCI_IMAGE, OCI_INDEX};
use humdrum_registry::name::Reference;
use humdrum_registry::observer::Silent;
use humdrum_registry::rights::{Governed, InForce, tag_policy};
use humdrum_registry::{Auth, Registry, RegistryState, TokenKey, router};
use humdrum_store::blobs::{Algorithm, BlobDigest, History};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

const SETTINGS: &str = "
repositories:
  production: { read: [sre], write: [release-bot], admin: [platform] }
  staging: { read: [dev], write: [ci, dev], admin: [platform, lead] }
environments:
  staging: { docker_registry: staging.example, retention: 30 days }
  production: { docker_registry: registry.example, immutable: true }
";
const DAY_MS: i64 = 24 * 3_600_000;

/// Everybody's password is their name.
struct Names;

impl Authenticator for Names {
    fn check(&self, credential: Credential<'_>) -> Option<String> {
        match credential {
            Credential::Basic { user, password } if user == password => Some(user.to_owned()),
            _ => None,
        }
    }

    fn allows(&self, _: &str, _: &str, _: Action) -> bool {
        true
    }

    fn principals(&self, who: &str) -> Vec<String> {
        vec![if who == "owner" { OWNER.to_owned() } else { who.to_owned() }]
    }
}

struct Stage {
    addr: SocketAddr,
    registry: Registry,
    history: Arc<History>,
    settings: InForce,
    now_ms: Arc<AtomicI64>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Stage {
    async fn start(folder: &Path) -> Self {
        let settings = InForce::new(Settings::parse(SETTINGS).unwrap().settings);
        let history = Arc::new(History::open(&folder.join("history.db")).unwrap());
        let pulls = PullTimes::start(history.clone(), Arc::new(Silent)).unwrap();
        let now_ms = Arc::new(AtomicI64::new(1000 * DAY_MS));
        let clock = now_ms.clone();
        let registry = Registry::open(folder, tag_policy(settings.clone(), history.clone()))
            .unwrap()
            .with_observer(Arc::new(pulls))
            .with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
        let governed = Governed::new(Arc::new(Names), settings.clone(), history.clone());
        let auth = Auth::new(Arc::new(governed), TokenKey::from_bytes([7; 32]), "humdrum");
        let state = RegistryState::new(registry.clone(), auth);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router(state)).await.unwrap() });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { addr, registry, history, settings, now_ms, client }
    }

    /// Status, the `Location`, and the body. `host` is the name that the client believes to talk to.
    async fn ask(
        &self,
        who: &str,
        host: &str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> (u16, String, Bytes) {
        let basic = format!("Basic {}", STANDARD.encode(format!("{who}:{who}")));
        let media =
            if body.windows(9).any(|part| part == b"manifests") { OCI_INDEX } else { OCI_IMAGE };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.addr))
            .header("authorization", basic)
            .header("content-type", media);
        if !host.is_empty() {
            request = request.header("host", host);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let (parts, body) = self.client.request(request).await.unwrap().into_parts();
        let place = parts.headers.get("location").map_or("", |value| value.to_str().unwrap());
        (parts.status.as_u16(), place.to_owned(), body.collect().await.unwrap().to_bytes())
    }

    async fn status(&self, who: &str, host: &str, method: &str, path: &str) -> u16 {
        self.ask(who, host, method, path, b"").await.0
    }

    /// As a client pushes: looks, uploads, puts. Answers the digest, or the first status that was not good.
    async fn push(&self, who: &str, host: &str, tag: &str, content: &str) -> Result<String, u16> {
        let mut digests = vec![];
        for blob in [b"{}".as_slice(), content.as_bytes()] {
            let digest = BlobDigest::of(Algorithm::Sha256, blob).to_string();
            let seen = self.status(who, host, "HEAD", &format!("/v2/shop/blobs/{digest}")).await;
            if !matches!(seen, 200 | 404) {
                return Err(seen);
            }
            let (status, place, _) =
                self.ask(who, host, "POST", "/v2/shop/blobs/uploads/", b"").await;
            if status != 202 {
                return Err(status);
            }
            let place = format!("{place}?digest={digest}");
            let (status, ..) = self.ask(who, host, "PUT", &place, blob).await;
            if status != 201 {
                return Err(status);
            }
            digests.push(digest);
        }
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_IMAGE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
            digests[0],
            digests[1],
            content.len()
        );
        let path = format!("/v2/shop/manifests/{tag}");
        let seen = self.status(who, host, "HEAD", &path).await;
        if !matches!(seen, 200 | 404) {
            return Err(seen);
        }
        let (status, ..) = self.ask(who, host, "PUT", &path, manifest.as_bytes()).await;
        if status != 201 {
            return Err(status);
        }
        Ok(BlobDigest::of(Algorithm::Sha256, manifest.as_bytes()).to_string())
    }

    fn lifecycle(&self) -> Lifecycle {
        Lifecycle::new(self.registry.clone(), self.history.clone(), self.settings.clone())
    }
}

#[tokio::test]
async fn who_only_writes_pushes_and_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path()).await;
    let digest = stage.push("ci", "", "staging-1", "layer").await.unwrap();
    let layer = BlobDigest::of(Algorithm::Sha256, b"layer");
    let reads = [
        "/v2/shop/manifests/staging-1".to_owned(),
        format!("/v2/shop/manifests/{digest}"),
        format!("/v2/shop/blobs/{layer}"),
        "/v2/shop/tags/list".to_owned(),
        format!("/v2/shop/referrers/{digest}"),
    ];
    for path in &reads {
        for host in ["", "staging.example", "registry.example"] {
            assert_eq!(stage.status("ci", host, "GET", path).await, 403, "{path} at {host}");
        }
        // A look tells nothing, so that clients go on to push.
        assert_eq!(stage.status("ci", "", "HEAD", path).await, 404, "{path}");
        assert_eq!(stage.status("dev", "", "GET", path).await, 200, "{path}");
        assert_eq!(stage.status("nobody", "", "GET", path).await, 403, "{path}");
    }
    // A token that was asked for more carries only the right to write.
    let (status, _, body) =
        stage.ask("ci", "", "GET", "/v2/token?scope=repository:shop:pull,push", b"").await;
    assert_eq!(status, 200);
    let token: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let request = Request::builder()
        .uri(format!("http://{}{}", stage.addr, reads[0]))
        .header("authorization", format!("Bearer {}", token["token"].as_str().unwrap()))
        .body(Full::default())
        .unwrap();
    assert_eq!(stage.client.request(request).await.unwrap().status(), 403);
    // Reading is no writing, and neither deletes.
    assert_eq!(stage.push("sre", "", "production-1", "x").await, Err(403));
    for who in ["ci", "dev", "sre"] {
        assert_eq!(stage.status(who, "", "DELETE", "/v2/shop/manifests/staging-1").await, 403);
    }
    assert_eq!(stage.status("lead", "", "DELETE", "/v2/shop/manifests/staging-1").await, 202);
}

#[tokio::test]
async fn name_tag_and_image_choose_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path()).await;
    let released =
        stage.push("release-bot", "registry.example", "production-1", "a").await.unwrap();
    let staged = stage.push("ci", "staging.example", "staging-1", "b").await.unwrap();
    let both = stage.push("ci", "staging.example", "staging-2", "c").await.unwrap();
    stage.push("release-bot", "registry.example", "production-2", "c").await.unwrap();
    let get = async |who: &str, host: &str, what: &str| {
        stage.status(who, host, "GET", &format!("/v2/shop/manifests/{what}")).await
    };
    // By tag, and by digest: an image belongs to the environments of its tags, whatever name it is asked for under.
    for (who, what, status) in [
        ("dev", "staging-1", 200),
        ("dev", "production-1", 403),
        ("dev", staged.as_str(), 200),
        ("dev", released.as_str(), 403),
        ("dev", both.as_str(), 200),
        ("dev", "production-2", 403),
        ("sre", "production-1", 200),
        ("sre", staged.as_str(), 403),
        ("sre", both.as_str(), 200),
        ("owner", released.as_str(), 200),
    ] {
        assert_eq!(get(who, "", what).await, status, "{who} {what}");
    }
    assert_eq!(get("dev", "staging.example", "staging-1").await, 200);
    assert_eq!(get("dev", "staging.example", &released).await, 403);
    assert_eq!(get("dev", "registry.example", &both).await, 403);
    assert_eq!(get("sre", "registry.example:443", &both).await, 200);
    // Neither name nor tag of another environment lets a writer in.
    assert_eq!(stage.push("ci", "staging.example", "production-9", "d").await, Err(403));
    assert_eq!(stage.push("ci", "registry.example", "staging-9", "d").await, Err(403));
    // Deleting an image takes the right in every environment that has it.
    let path = format!("/v2/shop/manifests/{both}");
    assert_eq!(stage.status("lead", "", "DELETE", &path).await, 403);
}

#[tokio::test]
async fn immutable_holds_under_every_name_and_new_settings_hold_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path()).await;
    stage.push("release-bot", "registry.example", "1.0", "a").await.unwrap();
    // The same again is fine; another image is not, under any name, for anybody.
    stage.push("release-bot", "registry.example", "1.0", "a").await.unwrap();
    for (who, host) in
        [("release-bot", "registry.example"), ("owner", ""), ("owner", "staging.example")]
    {
        assert_eq!(stage.push(who, host, "1.0", "other").await, Err(403), "{who} at {host}");
        assert_eq!(stage.status(who, host, "DELETE", "/v2/shop/manifests/1.0").await, 403);
    }
    let fallback = format!("sha256-{}", "0".repeat(64));
    for content in ["one", "two"] {
        stage.push("release-bot", "registry.example", &fallback, content).await.unwrap();
    }
    // Made in staging, it moves.
    stage.push("ci", "staging.example", "2.0", "a").await.unwrap();
    stage.push("ci", "staging.example", "2.0", "b").await.unwrap();
    let stricter = SETTINGS.replace("retention: 30 days", "immutable: true").replace("dev]", "qa]");
    stage.settings.set(Settings::parse(&stricter).unwrap().settings);
    assert_eq!(stage.push("ci", "staging.example", "2.0", "c").await, Err(403));
    assert_eq!(stage.status("dev", "", "GET", "/v2/shop/tags/list").await, 403);
    assert_eq!(stage.status("qa", "", "GET", "/v2/shop/manifests/2.0").await, 200);
}

#[tokio::test]
async fn a_pull_is_kept_once_an_hour_and_looks_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path()).await;
    let digest = stage.push("ci", "", "staging-1", "a").await.unwrap();
    let start = stage.now_ms.load(Ordering::Relaxed);
    let looking = stage.registry.acting_for(LOOKING);
    looking.get_manifest("shop", &Reference::Tag("staging-1".into())).await.unwrap();
    let kept = || stage.history.past("shop").unwrap().get(&digest).and_then(|past| past.pulled_ms);
    for (minutes, expected) in [(0, 0), (59, 0), (60, 60), (90, 60), (121, 121)] {
        stage.now_ms.store(start + minutes * 60_000, Ordering::Relaxed);
        let path = "/v2/shop/manifests/staging-1";
        assert_eq!(stage.status("dev", "", "GET", path).await, 200);
        let deadline = Instant::now() + Duration::from_secs(20);
        while kept() != Some(start + expected * 60_000) {
            assert!(Instant::now() < deadline, "{minutes} min: {:?}", kept());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_policy_expires_what_it_says_and_nothing_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path()).await;
    let mut images = vec![];
    for number in 0..4 {
        let tag = format!("production-{number}");
        images.push(stage.push("release-bot", "", &tag, &tag).await.unwrap());
        stage.now_ms.fetch_add(DAY_MS, Ordering::Relaxed);
    }
    let lifecycle = stage.lifecycle();
    let document = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"tagged","tagPrefixList":["production-"],"countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}"#;
    assert!(matches!(
        lifecycle.set_policy("shop", Some("{}"), "ann"),
        Err(LifecycleError::Policy(_))
    ));
    lifecycle.set_policy("shop", Some(document), "ann").unwrap();
    assert_eq!(lifecycle.policy("shop").unwrap().unwrap().actor, "ann");
    let protected = Protected::from([(images[0].clone(), vec!["shop/production runs it".into()])]);
    let previewed = lifecycle.preview("shop", None, &protected).await.unwrap();
    let acts: Vec<_> = previewed.iter().map(|image| image.decision.action).collect();
    assert_eq!(acts, [Act::Keep, Act::Expire, Act::Expire, Act::Keep]);
    assert!(
        previewed[0]
            .decision
            .reason
            .starts_with("would expire, protected because shop/production runs it; rule 1:")
    );
    // A person cannot delete what is immutable; its time can still end, and it comes back from the trash.
    let path = format!("/v2/shop/manifests/{}", images[1]);
    assert_eq!(stage.status("owner", "", "DELETE", &path).await, 403);
    let carry = async |place: usize, protected: &Protected| {
        lifecycle.carry_out("shop", &previewed[place], protected).await.unwrap()
    };
    assert_eq!(carry(1, &protected).await, Outcome::Expired);
    assert_eq!(stage.status("owner", "", "GET", &path).await, 404);
    // In use by now, or promoted by now: spared, whatever was decided.
    let in_use = Protected::from([(images[2].clone(), vec!["a ship is under way".into()])]);
    assert_eq!(carry(2, &in_use).await, Outcome::Spared);
    let digest: BlobDigest = images[2].parse().unwrap();
    stage.registry.tag("shop", "staging-again", &digest).await.unwrap();
    assert_eq!(carry(2, &protected).await, Outcome::Spared);
    assert_eq!(carry(0, &protected).await, Outcome::Spared);
    assert_eq!(lifecycle.images("shop").await.unwrap().len(), 3);
    assert!(matches!(lifecycle.images("other").await, Err(LifecycleError::UnknownRepository(_))));
}

#[tokio::test]
async fn retention_of_an_environment_ends_what_no_rule_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path()).await;
    let old = stage.push("ci", "", "staging-1", "a").await.unwrap();
    let released = stage.push("ci", "", "staging-2", "b").await.unwrap();
    stage.push("release-bot", "", "production-2", "b").await.unwrap();
    let pulled = stage.push("ci", "", "staging-3", "c").await.unwrap();
    stage.now_ms.fetch_add(20 * DAY_MS, Ordering::Relaxed);
    assert_eq!(stage.status("dev", "", "GET", "/v2/shop/manifests/staging-3").await, 200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !stage.history.past("shop").unwrap().contains_key(&pulled) {
        assert!(Instant::now() < deadline, "the pull is not kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.now_ms.fetch_add(11 * DAY_MS, Ordering::Relaxed);
    let preview = stage.lifecycle().preview("shop", None, &Protected::new()).await.unwrap();
    let of = |digest: &str| {
        &preview.iter().find(|image| image.decision.image == digest).unwrap().decision
    };
    assert_eq!(of(&old).action, Act::Expire);
    assert_eq!(
        of(&old).reason,
        "retention: last pushed, promoted or pulled 31 days ago, more than the retention of staging, 30 days"
    );
    assert_eq!((of(&released).action, of(&pulled).action), (Act::Keep, Act::Keep));
}
