//! From a request to an endpoint: path, permission, handler.

mod artifacts;
mod blobs;
mod catalog;
mod manifests;
mod query;
mod tags;
mod token;
mod turns;
mod uploads;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures::StreamExt as _;
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

use crate::RegistryState;
use crate::answer::Refused;
use crate::artifact::{self, Place};
use crate::auth::{Action, Grant, Principal, Scope};
use crate::name::is_repository;
use crate::registry::Registry;
use crate::rights;
use crate::target::{self, Kind, Target};

/// Bytes of a refused body that are still read, so that a client that is sending sees the answer and not a reset.
const DRAIN_BYTES: usize = 1 << 20;

pub(crate) fn router(state: RegistryState) -> Router {
    let turns = turns::Turns::new(&state.limits);
    Router::new()
        .route("/v2", any(base))
        .route("/v2/", any(base))
        .route("/v2/token", get(token::get).post(token::post))
        .route("/v2/{*rest}", any(dispatch))
        .route("/artifacts/{*rest}", any(dispatch))
        .layer(axum::middleware::from_fn_with_state(turns, turns::take))
        .with_state(state)
}

/// A request that has passed the door.
pub(crate) struct Call<'a> {
    pub(crate) state: &'a RegistryState,
    pub(crate) registry: Registry,
    pub(crate) who: Principal,
    pub(crate) repository: String,
    pub(crate) parts: &'a Parts,
}

impl Call<'_> {
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn query(&self) -> query::Query {
        query::Query::read(self.parts.uri.query())
    }

    /// The shown token does not reach: a challenge for what this method needs here, and for `more`.
    pub(crate) fn beyond(&self, more: &[Scope]) -> Refused {
        let mut scopes = vec![Scope::new(&self.repository, needed(&self.parts.method))];
        scopes.extend_from_slice(more);
        unauthorized(self.state, self.parts, &scopes, Some("insufficient_scope"))
    }
}

pub(crate) type Answer = Result<Response, Refused>;

async fn base(State(state): State<RegistryState>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let answer = match principal(&state, &parts, &[]) {
        Err(refused) => Err(refused),
        Ok(_) if parts.method == Method::GET || parts.method == Method::HEAD => {
            Ok(json("{}".to_owned()))
        }
        Ok(_) => Err(Refused::unsupported("only GET and HEAD").header(header::ALLOW, "GET, HEAD")),
    };
    finish(answer)
}

async fn dispatch(State(state): State<RegistryState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    let answer = serve(&state, &parts, &mut body).await;
    if answer.is_err()
        && let Some(body) = body
    {
        drain(body, state.limits.body_idle).await;
    }
    finish(answer)
}

async fn drain(body: Body, idle: std::time::Duration) {
    let (mut stream, mut seen) = (body.into_data_stream(), 0);
    while seen < DRAIN_BYTES {
        match tokio::time::timeout(idle, stream.next()).await {
            Ok(Some(Ok(chunk))) => seen += chunk.len(),
            _ => return,
        }
    }
}

fn finish(answer: Answer) -> Response {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    let name = HeaderName::from_static("docker-distribution-api-version");
    response.headers_mut().insert(name, HeaderValue::from_static("registry/2.0"));
    response
}

async fn serve(state: &RegistryState, parts: &Parts, body: &mut Option<Body>) -> Answer {
    if let Some(rest) = parts.uri.path().strip_prefix("/artifacts/") {
        return file(state, parts, rest, body).await;
    }
    let rest = parts.uri.path().strip_prefix("/v2/").unwrap_or_default();
    let Some(Target { repository, kind }) = target::parse(rest) else {
        principal(state, parts, &[])?;
        return Err(Refused::new(
            StatusCode::NOT_FOUND,
            "UNSUPPORTED",
            "there is no such endpoint",
        ));
    };
    if repository.is_empty() && kind.is_global() {
        return global(state, parts, kind).await;
    }
    let scopes = [Scope::new(&repository, needed(&parts.method))];
    let named = is_repository(&repository);
    let who = principal(state, parts, if named { &scopes } else { &[] })?;
    if !named {
        return Err(Refused::name(&repository));
    }
    let call = enter(state, parts, who, repository, &kind).await?;
    route(&call, kind, body).await
}

/// What is below `/artifacts/`; the same door as for the repository that holds it.
async fn file(state: &RegistryState, parts: &Parts, rest: &str, body: &mut Option<Body>) -> Answer {
    let place = Place::parse(rest);
    let scopes = place.iter().map(|place| Scope::new(&place.repository(), needed(&parts.method)));
    let who = principal(state, parts, &scopes.collect::<Vec<_>>())?;
    let place = place?;
    let kind = match &place {
        Place::File { version, file, .. } => Kind::Manifest(artifact::tag(version, file)?),
        Place::Files { .. } | Place::Versions { .. } => Kind::Tags,
    };
    let call = enter(state, parts, who, place.repository(), &kind).await?;
    artifacts::route(&call, &place, body).await
}

/// Lets a principal in for what the method needs.
async fn enter<'a>(
    state: &'a RegistryState,
    parts: &'a Parts,
    who: Principal,
    repository: String,
    kind: &Kind,
) -> Result<Call<'a>, Refused> {
    let registry = state.registry.acting_for(&who.name);
    let call = Call { state, registry, who, repository, parts };
    for action in rights::needed(&parts.method) {
        let admitted = admit(&call, *action, kind);
        // Who may push may look at the upload that they began, and give it up.
        let own = matches!(kind, Kind::Upload(_)) && admit(&call, Action::Push, kind).is_ok();
        if !own {
            admitted?;
        }
    }
    rights::check(&call, kind).await?;
    Ok(call)
}

/// What belongs to the registry and to no repository.
async fn global(state: &RegistryState, parts: &Parts, kind: Kind) -> Answer {
    let scopes = [Scope::catalog()];
    let asked: &[Scope] = if kind == Kind::Catalog { &scopes } else { &[] };
    let who = principal(state, parts, asked)?;
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(means_nothing(parts, &kind));
    }
    if kind == Kind::Catalog && state.auth.grant_catalog(&who) == Grant::OutOfScope {
        return Err(unauthorized(state, parts, asked, Some("insufficient_scope")));
    }
    let registry = state.registry.acting_for(&who.name);
    let call = Call { state, registry, who, repository: String::new(), parts };
    match kind {
        Kind::Catalog => catalog::list(&call).await,
        _ => Ok(catalog::extensions(&call)),
    }
}

async fn route(call: &Call<'_>, kind: Kind, body: &mut Option<Body>) -> Answer {
    let mut whole = || body.take().unwrap_or_default();
    match (call.parts.method.as_str(), kind) {
        ("GET" | "HEAD", Kind::Manifest(reference)) => manifests::get(call, &reference).await,
        ("PUT", Kind::Manifest(reference)) => manifests::put(call, &reference, whole()).await,
        ("DELETE", Kind::Manifest(reference)) => manifests::delete(call, &reference).await,
        ("GET" | "HEAD", Kind::Blob(digest)) => blobs::get(call, &digest).await,
        ("DELETE", Kind::Blob(digest)) => blobs::delete(call, &digest).await,
        ("POST", Kind::Uploads) => uploads::post(call, body).await,
        ("GET" | "HEAD", Kind::Upload(id)) => uploads::status(call, &id).await,
        ("PATCH", Kind::Upload(id)) => uploads::patch(call, &id, whole()).await,
        ("PUT", Kind::Upload(id)) => uploads::put(call, &id, whole()).await,
        ("DELETE", Kind::Upload(id)) => uploads::cancel(call, &id).await,
        ("GET" | "HEAD", Kind::Tags) => tags::list(call).await,
        ("GET" | "HEAD", Kind::Referrers(digest)) => tags::referrers(call, &digest).await,
        ("GET" | "HEAD", Kind::Extensions) => Ok(catalog::extensions(call)),
        (_, kind) => Err(means_nothing(call.parts, &kind)),
    }
}

fn means_nothing(parts: &Parts, kind: &Kind) -> Refused {
    let text = format!("{} means nothing here", parts.method);
    Refused::unsupported(text).header(header::ALLOW, kind.methods())
}

/// The actions a method needs; a challenge asks for all of them, so that one token carries a whole push.
fn needed(method: &Method) -> &'static [Action] {
    match *method {
        Method::GET | Method::HEAD => &[Action::Pull],
        Method::DELETE => &[Action::Delete],
        _ => &[Action::Pull, Action::Push],
    }
}

fn principal(state: &RegistryState, parts: &Parts, scopes: &[Scope]) -> Result<Principal, Refused> {
    let shown = parts.headers.get(header::AUTHORIZATION);
    // A header that is no text is a wrong credential, not a missing one.
    let shown = shown.map(|value| value.to_str().unwrap_or_default());
    match shown.map(|value| state.auth.principal(value, state.registry.now_ms())) {
        Some(Some(who)) => Ok(who),
        Some(None) => Err(unauthorized(state, parts, scopes, Some("invalid_token"))),
        None => Err(unauthorized(state, parts, scopes, None)),
    }
}

fn admit(call: &Call<'_>, action: Action, kind: &Kind) -> Result<(), Refused> {
    match call.state.auth.grant(&call.who, &call.repository, action) {
        Grant::Allowed => Ok(()),
        Grant::OutOfScope => Err(call.beyond(&[])),
        Grant::Denied => {
            let text =
                format!("`{}` may not {} in `{}`", call.who.name, action.name(), call.repository);
            Err(rights::refusal(call, kind, text))
        }
    }
}

fn unauthorized(
    state: &RegistryState,
    parts: &Parts,
    scopes: &[Scope],
    error: Option<&str>,
) -> Refused {
    // HTTP/2 has the host in the address, HTTP/1.1 in a header.
    let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = parts.uri.authority().map(|authority| authority.as_str()).or(host);
    let message = match error {
        None => "a credential is needed",
        Some("insufficient_scope") => "the token does not cover this",
        Some(_) => "the credential is wrong or has expired",
    };
    Refused::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
        .header(header::WWW_AUTHENTICATE, &state.auth.challenge(host, scopes, error))
}

pub(crate) fn json(body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A response without a body; the values come from checked names and digests.
pub(crate) fn empty(status: StatusCode, headers: &[(HeaderName, String)]) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in headers {
        let value =
            HeaderValue::from_str(value).expect("checked names and digests are header text");
        response.headers_mut().append(name, value);
    }
    response
}

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
