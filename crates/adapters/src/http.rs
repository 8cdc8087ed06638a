//! One bounded HTTP/1.1 exchange with a role's unix socket or a loopback address. A connection for each call: calls are rare and small.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

/// Largest answer that is read: a status of thousands of instances or a page of blocks is far smaller.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Who is asked.
#[derive(Debug, Clone)]
pub enum Peer {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// What is asked: a request with its whole body.
pub type Ask = Request<Full<Bytes>>;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body for a person, cut to a line.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.trim().chars().take(500).collect()
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no connection to {peer}")]
    Connect { peer: String, source: std::io::Error },
    #[error("no answer within {ms} ms")]
    Timeout { ms: u128 },
    #[error("the exchange broke off")]
    Broken(#[source] hyper::Error),
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes or broke off")]
    Body,
}

/// Sends one request and reads the whole answer within `limit`.
pub async fn exchange(
    peer: &Peer,
    request: Request<Full<Bytes>>,
    limit: Duration,
) -> Result<Answer, HttpError> {
    match tokio::time::timeout(limit, dialogue(peer, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(HttpError::Timeout { ms: limit.as_millis() }),
    }
}

async fn dialogue(peer: &Peer, request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
    match peer {
        Peer::Unix(path) => {
            let connect = UnixStream::connect(path).await;
            let stream = connect.map_err(|source| HttpError::Connect {
                peer: path.display().to_string(),
                source,
            })?;
            speak(TokioIo::new(stream), request).await
        }
        Peer::Tcp(addr) => {
            let connect = TcpStream::connect(addr).await;
            let stream =
                connect.map_err(|source| HttpError::Connect { peer: addr.to_string(), source })?;
            speak(TokioIo::new(stream), request).await
        }
    }
}

async fn speak<T>(io: T, request: Request<Full<Bytes>>) -> Result<Answer, HttpError>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(io).await.map_err(HttpError::Broken)?;
    let exchange = async move {
        let answer = sender.send_request(request).await.map_err(HttpError::Broken)?;
        let (head, body) = answer.into_parts();
        let body =
            Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| HttpError::Body)?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    };
    // The connection is driven beside the exchange and dropped with it, so nothing is left running.
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(HttpError::Broken(error)),
        },
    }
}

/// A request with a JSON body, or without one.
pub fn request(
    method: &str,
    path: &str,
    json: Option<&impl serde::Serialize>,
) -> Request<Full<Bytes>> {
    let builder = Request::builder().method(method).uri(path).header("host", "localhost");
    let body = match json {
        Some(json) => Bytes::from(serde_json::to_vec(json).expect("plain data always serialises")),
        None => Bytes::new(),
    };
    builder
        .header("content-type", "application/json")
        .body(Full::new(body))
        .expect("methods and paths are our own")
}
