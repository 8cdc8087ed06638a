//! The client of control's API: loopback HTTP with the token of the data folder.

use std::net::SocketAddr;
use std::time::Duration;

use humdrum_adapters::http::{Answer, HttpError, Peer, exchange, request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::places::Places;

/// Longest wait for an answer; waiting for a rollout is done by asking again.
const ANSWER: Duration = Duration::from_secs(40);

/// Control, as this data folder knows it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    peer: Peer,
    pub(crate) addr: SocketAddr,
    token: String,
}

impl Client {
    /// Reads address and token from the data folder.
    pub(crate) fn of(places: &Places) -> Result<Self, Failure> {
        let read = |path: std::path::PathBuf| {
            std::fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(|error| {
                let what =
                    format!("no Humdrum runs on the data folder `{}`", places.data.display());
                Failure::new(Exit::Unreachable, "not-running", what)
                    .cause(&error)
                    .at(path.display().to_string())
                    .next("humdrum up")
            })
        };
        let text = read(places.address())?;
        let addr = text.parse().map_err(|_| {
            Failure::new(Exit::Failed, "data-folder", format!("`{text}` is not an address"))
                .at(places.address().display().to_string())
                .next("humdrum up")
        })?;
        Ok(Self { peer: Peer::Tcp(addr), addr, token: read(places.token())? })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.json(self.call("GET", path, None::<&Value>).await?)
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.json(self.call("POST", path, Some(body)).await?)
    }

    /// As `post`, for what may take long.
    pub(crate) async fn post_within<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        longest: Duration,
    ) -> Result<T, Failure> {
        self.json(self.call_within("POST", path, Some(body), longest).await?)
    }

    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.call("GET", path, None::<&Value>).await?;
        if answer.is_success() {
            Ok(String::from_utf8_lossy(&answer.body).into_owned())
        } else {
            Err(problem(&answer))
        }
    }

    fn json<T: DeserializeOwned>(&self, answer: Answer) -> Result<T, Failure> {
        if !answer.is_success() {
            return Err(problem(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::new(Exit::Failed, "answer", "control answered what this humdrum cannot read")
                .cause(&error)
                .next("humdrum version")
        })
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, Failure> {
        self.call_within(method, path, body, ANSWER).await
    }

    async fn call_within(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
        longest: Duration,
    ) -> Result<Answer, Failure> {
        let mut request = request(method, path, body);
        let bearer = format!("Bearer {}", self.token).parse().map_err(|_| {
            Failure::new(Exit::Failed, "token", "the token file holds no token").next("humdrum up")
        })?;
        request.headers_mut().insert("authorization", bearer);
        exchange(&self.peer, request, longest).await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &HttpError) -> Failure {
        let what = format!("control at {} does not answer", self.addr);
        Failure::new(Exit::Unreachable, "unreachable", what).cause(error).next("humdrum up")
    }
}

/// A problem document as a failure. What was refused has its own exit code.
fn problem(answer: &Answer) -> Failure {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let exit = match answer.status {
        401 | 403 => Exit::Refused,
        400 | 404 | 405 | 413 | 415 | 422 => Exit::BadInput,
        409 => Exit::Refused,
        503 => Exit::Unreachable,
        _ => Exit::Failed,
    };
    let mut failure = Failure::new(
        exit,
        &text("code").unwrap_or_else(|| format!("http-{}", answer.status)),
        text("what").unwrap_or_else(|| answer.text()),
    );
    let causes = body.get("why").and_then(Value::as_array);
    failure.why =
        causes.into_iter().flatten().filter_map(|w| w.as_str().map(str::to_owned)).collect();
    failure.next = text("next");
    failure
}
