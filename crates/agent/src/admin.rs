//! The agent's HTTP interface on a unix socket. Who may open the socket may do everything.

mod stream;

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use humdrum_model::unit::UnitSpec;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::agent::{Agent, PutError};
use crate::{AgentError, check, logs};

/// A wish with its environment; the check of the spec allows half of it for words.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Connections at once: control, a few people with `humdrum log`, and room.
const CONNECTIONS_MAX: usize = 256;
/// The longest single wait for a change; the caller asks again.
const WATCH_MAX: Duration = Duration::from_secs(60);
/// A caller that sends no request head for this long is cut.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Log lines of one answer.
const LINES_MAX: usize = 10_000;
const LINES_DEFAULT: usize = 200;

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Opens the socket with mode 0600 and puts it in the place of a former agent's.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, AgentError> {
    let failed = |source| AgentError::Socket { path: path.to_owned(), source };
    // The mode is set under another name, so that nobody can connect before.
    let mut beside = path.as_os_str().to_owned();
    beside.push("~");
    let beside = PathBuf::from(beside);
    crate::durable::remove(&beside).map_err(failed)?;
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    Ok(listener)
}

/// Accepts connections for ever.
pub(crate) async fn serve(listener: UnixListener, agent: Arc<Agent>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = room.clone().acquire_owned().await.expect("it is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                // Out of descriptors, usually: others must end first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let agent = agent.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(agent.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WAIT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
}

async fn answer(agent: Arc<Agent>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let query = Query::of(&request);
    let get = request.method() == Method::GET;
    Ok(match parts[..] {
        ["healthz"] if get => health(&agent),
        ["halt"] if request.method() == Method::POST => {
            json_answer(StatusCode::OK, &json!({ "stopped": agent.halt().await }))
        }
        ["watch"] if get => watch(&agent, &query).await,
        ["units"] if get => all(&agent),
        ["units", unit] if get => match agent.host.board.one(unit) {
            Some(status) => json_answer(StatusCode::OK, &status),
            None => no_unit(unit),
        },
        ["units", unit] if request.method() == Method::PUT => {
            let unit = unit.to_owned();
            put(&agent, &unit, request).await
        }
        ["units", unit, "logs"] if get => log(&agent, unit, &query).await,
        _ => problem(StatusCode::NOT_FOUND, "not_found", format!("nothing answers at {path}")),
    })
}

fn health(agent: &Agent) -> Answer {
    let body = json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "boot": agent.boot,
    });
    json_answer(StatusCode::OK, &body)
}

fn all(agent: &Agent) -> Answer {
    let (version, units) = agent.host.board.all();
    json_answer(StatusCode::OK, &json!({ "version": version, "units": units }))
}

/// Answers as soon as the number differs from the caller's, or when the caller's time is over.
async fn watch(agent: &Agent, query: &Query) -> Answer {
    let after: u64 = query.number("after").unwrap_or(0);
    let wait = Duration::from_millis(query.number("wait_ms").unwrap_or(0)).min(WATCH_MAX);
    let mut version = agent.host.board.subscribe();
    drop(tokio::time::timeout(wait, version.wait_for(|version| *version != after)).await);
    all(agent)
}

async fn put(agent: &Agent, unit: &str, request: Request<Incoming>) -> Answer {
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("a wish has at most {BODY_BYTES_MAX} bytes");
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text);
        }
        Err(error) => return problem(StatusCode::BAD_REQUEST, "broken_body", error.to_string()),
    };
    let spec: UnitSpec = match serde_json::from_slice(&body) {
        Ok(spec) => spec,
        Err(error) => return refused(&[format!("it is not a unit: {error}")]),
    };
    if spec.unit != unit {
        return refused(&[format!("the path names `{unit}`, the body `{}`", spec.unit)]);
    }
    match agent.put(spec).await {
        Ok(status) => json_answer(StatusCode::OK, &status),
        Err(error) => put_refused(&error),
    }
}

fn put_refused(error: &PutError) -> Answer {
    match error {
        PutError::Invalid { problems } => refused(problems),
        PutError::Stale { fence, generation, .. } => {
            let body = json!({
                "code": "stale",
                "message": error.to_string(),
                "fence": fence,
                "generation": generation,
            });
            json_answer(StatusCode::CONFLICT, &body)
        }
        PutError::TooMany => problem(StatusCode::INSUFFICIENT_STORAGE, "full", error.to_string()),
        PutError::Unstored { .. } => {
            problem(StatusCode::INSUFFICIENT_STORAGE, "unstored", crate::chain(error))
        }
    }
}

fn refused(problems: &[String]) -> Answer {
    let body = json!({
        "code": "invalid",
        "message": format!("the wish is not accepted: {}", problems.join("; ")),
        "problems": problems,
    });
    json_answer(StatusCode::UNPROCESSABLE_ENTITY, &body)
}

/// Records as JSON lines, oldest first; with `follow=1` the answer goes on with what is written until the caller leaves.
async fn log(agent: &Agent, unit: &str, query: &Query) -> Answer {
    if !check::is_unit(unit) || agent.host.board.one(unit).is_none() {
        return no_unit(unit);
    }
    let lines = query.number("lines").unwrap_or(LINES_DEFAULT).min(LINES_MAX);
    let instance = query.text("instance").filter(|name| !name.is_empty());
    let folder = agent.host.units.join(unit);
    if query.text("follow").is_some_and(|follow| follow == "1" || follow == "true") {
        return stream::follow(folder, instance, lines);
    }
    let read = move || logs::last(&stream::log_folders(&folder), instance.as_deref(), lines);
    let records = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    let mut text = records.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    typed(StatusCode::OK, "application/x-ndjson", Full::from(text).boxed())
}

fn no_unit(unit: &str) -> Answer {
    problem(StatusCode::NOT_FOUND, "no_unit", format!("unit `{unit}` was never wished for"))
}

fn problem(status: StatusCode, code: &str, message: String) -> Answer {
    json_answer(status, &json!({ "code": code, "message": message }))
}

fn json_answer(status: StatusCode, body: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(body).expect("our own values are JSON");
    typed(status, "application/json", Full::from(bytes).boxed())
}

fn typed(status: StatusCode, kind: &'static str, body: BoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}

/// The query of a request, decoded.
struct Query(Vec<(String, String)>);

impl Query {
    fn of<B>(request: &Request<B>) -> Query {
        let query = request.uri().query().unwrap_or_default();
        Query(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }
}
