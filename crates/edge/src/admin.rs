//! The admin socket: HTTP/1.1 and JSON on a unix socket that only its owner may open.
//!
//! `select!` is used in [`serve`]: a new connection, the end of one, or a change of whether to accept.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use humdrum_model::route::{RouteProblems, RouteTable};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::handover::PROTOCOL;
use crate::keeper::{Ask, Door, PutError};

/// A table with all arms and instances is far smaller.
const TABLE_BYTES_MAX: usize = 1 << 20;
/// Blocks of one answer.
const BLOCKS_MAX: usize = 1_000;
const BLOCKS_DEFAULT: usize = 100;
/// Longest wait for a block.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Connections at once: control's replicas, a scraper and people.
const CONNECTIONS_MAX: usize = 64;

type Answer = Response<Full<Bytes>>;

/// What every handler needs.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) keeper: mpsc::Sender<Ask>,
    pub(crate) boot: u64,
}

/// Makes the socket with mode 0600 before anyone can find it under its name.
pub(crate) fn bind(path: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let temporary = path.with_extension("new");
    if let Err(error) = std::fs::remove_file(&temporary)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = std::os::unix::net::UnixListener::bind(&temporary)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&temporary, path)?;
    Ok(listener)
}

/// Accepts while the door is open; ends with the keeper.
pub(crate) async fn serve(listener: UnixListener, admin: Admin, mut door: watch::Receiver<Door>) {
    let mut connections = JoinSet::new();
    loop {
        let state = *door.borrow_and_update();
        if state == Door::Gone {
            drop(listener);
            while connections.join_next().await.is_some() {}
            return;
        }
        let accepting = state == Door::Open && connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            biased;
            changed = door.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if accepting => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, admin.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the admin socket");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

async fn connection(stream: UnixStream, admin: Admin) {
    let service = service_fn(move |request| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(admin.answer(request).await) }
    });
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.with_upgrades().await {
        tracing::debug!(%error, "admin connection ended early");
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method().clone(), parts.as_slice()) {
            (Method::PUT, ["routes", route]) => self.put(route, request).await,
            (Method::GET, ["routes"]) => match self.ask(|reply| Ask::Routes { reply }).await {
                Some(all) => json(StatusCode::OK, &all),
                None => leaving(),
            },
            (Method::GET, ["routes", route]) => self.route(route).await,
            (Method::DELETE, ["routes", route]) => self.delete(route, &request).await,
            (Method::GET, ["routes", route, "blocks"]) => self.blocks(route, &request).await,
            (Method::GET, ["metrics"]) => match self.ask(|reply| Ask::Metrics { reply }).await {
                Some(page) => text(StatusCode::OK, "text/plain; version=0.0.4", page),
                None => leaving(),
            },
            (Method::GET, ["healthz"]) => json(
                StatusCode::OK,
                &serde_json::json!({ "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"), "boot": self.boot }),
            ),
            (Method::POST, ["handover"]) => self.hand_over(request),
            _ => problem(
                StatusCode::NOT_FOUND,
                &format!("nothing answers {} {path}", request.method()),
            ),
        }
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.keeper.send(question(reply)).await.ok()?;
        answer.await.ok()
    }

    async fn put(&self, route: &str, request: Request<Incoming>) -> Answer {
        let bytes = match Limited::new(request.into_body(), TABLE_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return problem(
                    StatusCode::BAD_REQUEST,
                    &format!("the table cannot be read: {error}"),
                );
            }
        };
        let table: RouteTable = match serde_json::from_slice(&bytes) {
            Ok(table) => table,
            Err(error) => return problems(vec![format!("the body is not a table: {error}")]),
        };
        if table.route != route {
            return problems(vec![format!(
                "the table is for route `{}`, the path for `{route}`",
                table.route
            )]);
        }
        match self.ask(|reply| Ask::Put { table: Box::new(table), reply }).await {
            Some(Ok(status)) => json(StatusCode::OK, &status),
            Some(Err(error)) => refusal(error),
            None => leaving(),
        }
    }

    async fn route(&self, route: &str) -> Answer {
        let Some(all) = self.ask(|reply| Ask::Routes { reply }).await else { return leaving() };
        match all.iter().find(|status| status.route == route) {
            Some(status) => json(StatusCode::OK, status),
            None => unknown(route),
        }
    }

    async fn delete(&self, route: &str, request: &Request<Incoming>) -> Answer {
        let (Some(fence), Some(generation)) =
            (number(request, "fence"), number(request, "generation"))
        else {
            return problem(
                StatusCode::BAD_REQUEST,
                "fence and generation must be given as numbers",
            );
        };
        let route = route.to_owned();
        match self.ask(|reply| Ask::Delete { route, fence, generation, reply }).await {
            Some(Ok(())) => text(StatusCode::NO_CONTENT, "application/json", String::new()),
            Some(Err(error)) => refusal(error),
            None => leaving(),
        }
    }

    async fn blocks(&self, route: &str, request: &Request<Incoming>) -> Answer {
        let after = number(request, "after").unwrap_or(0);
        let limit =
            number(request, "limit").map_or(BLOCKS_DEFAULT, |n| (n as usize).clamp(1, BLOCKS_MAX));
        let wait = Duration::from_millis(number(request, "wait_ms").unwrap_or(0)).min(WAIT_MAX);
        let until = tokio::time::Instant::now() + wait;
        loop {
            let route_name = route.to_owned();
            let page =
                self.ask(|reply| Ask::Blocks { route: route_name, after, limit, reply }).await;
            let (lines, mut bell) = match page {
                None => return leaving(),
                Some(None) => return unknown(route),
                Some(Some(Err(error))) => return failed(&error),
                Some(Some(Ok(page))) => page,
            };
            let rang = lines.is_empty()
                && matches!(
                    tokio::time::timeout_at(until, bell.wait_for(|last| *last > after)).await,
                    Ok(Ok(_))
                );
            if !rang {
                return text(StatusCode::OK, "application/json", format!("[{}]", lines.join(",")));
            }
        }
    }

    /// Switches to the hand-over protocol; see `handover.rs`.
    fn hand_over(&self, mut request: Request<Incoming>) -> Answer {
        let asked = request.headers().get(header::UPGRADE).is_some_and(|v| v == PROTOCOL);
        if !asked {
            return problem(
                StatusCode::UPGRADE_REQUIRED,
                &format!("a hand-over needs `Upgrade: {PROTOCOL}`"),
            );
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let keeper = self.keeper.clone();
        tokio::spawn(async move {
            match upgrade.await.map(|u| u.downcast::<TokioIo<UnixStream>>()) {
                Ok(Ok(parts)) => match parts.io.into_inner().into_std() {
                    Ok(stream) => drop(keeper.send(Ask::HandOver { stream }).await),
                    Err(error) => {
                        tracing::error!(%error, "the hand-over connection cannot be used")
                    }
                },
                _ => tracing::error!("the hand-over connection did not switch"),
            }
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, PROTOCOL)
            .body(Full::default())
            .expect("constant parts make a response")
    }
}

fn number(request: &Request<Incoming>, name: &str) -> Option<u64> {
    let pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name)?.1.parse().ok()
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Answer {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(body.into()))
        .expect("constant parts make a response")
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    text(status, "application/json", serde_json::to_string(body).expect("plain data is JSON"))
}

fn problem(status: StatusCode, message: &str) -> Answer {
    json(status, &serde_json::json!({ "message": message }))
}

fn problems(problems: Vec<String>) -> Answer {
    json(StatusCode::UNPROCESSABLE_ENTITY, &RouteProblems { problems })
}

fn unknown(route: &str) -> Answer {
    problem(StatusCode::NOT_FOUND, &format!("route `{route}` is not known"))
}

fn leaving() -> Answer {
    problem(StatusCode::SERVICE_UNAVAILABLE, "this process is leaving; ask again")
}

fn failed(error: &crate::disk::DiskError) -> Answer {
    use std::error::Error as _;
    let cause = error.source().map(|s| format!(": {s}")).unwrap_or_default();
    problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}{cause}"))
}

fn refusal(error: PutError) -> Answer {
    match error {
        PutError::Older(conflict) => json(StatusCode::CONFLICT, &conflict),
        PutError::Problems(list) => problems(list),
        PutError::Disk(error) => failed(&error),
        PutError::Leaving | PutError::Gone => leaving(),
    }
}
