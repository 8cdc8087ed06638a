//! Humdrum's own edge, asked over its unix socket.

use std::path::PathBuf;
use std::time::Duration;

use humdrum_model::block::Block;
use humdrum_model::route::{RouteStatus, RouteTable};
use serde::de::DeserializeOwned;

use super::Router;
use crate::http::{Answer, Peer, exchange, request};
use crate::{AdapterError, Fault, Pending, Retry};

/// A call that only changes memory and a small file.
const CALL: Duration = Duration::from_secs(5);
/// Blocks asked for at once.
const BLOCKS_MAX: u32 = 2_000;

/// The edge of this machine.
#[derive(Debug, Clone)]
pub struct Edge {
    peer: Peer,
}

impl Edge {
    /// `socket`: the edge's admin socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { peer: Peer::Unix(socket) }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&RouteTable>,
        limit: Duration,
    ) -> Result<Answer, AdapterError> {
        let answer = exchange(&self.peer, request(method, path, body), limit).await;
        answer.map_err(|error| AdapterError::unreachable("the edge", &error))
    }
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, answer: &Answer) -> Result<T, AdapterError> {
    if !answer.is_success() {
        return Err(AdapterError::refused(what, answer));
    }
    serde_json::from_slice(&answer.body).map_err(|error| AdapterError {
        message: format!("{what} answered what cannot be read: {error}"),
        retry: Retry::Later,
        at_fault: Fault::Them,
    })
}

impl Router for Edge {
    fn observe<'a>(
        &'a self,
        route: &'a str,
    ) -> Pending<'a, Result<Option<RouteStatus>, AdapterError>> {
        Box::pin(async move {
            let answer = self.ask("GET", &format!("/routes/{route}"), None, CALL).await?;
            if answer.status == 404 { Ok(None) } else { parse("the edge", &answer).map(Some) }
        })
    }

    fn ensure<'a>(
        &'a self,
        table: &'a RouteTable,
    ) -> Pending<'a, Result<RouteStatus, AdapterError>> {
        Box::pin(async move {
            let answer =
                self.ask("PUT", &format!("/routes/{}", table.route), Some(table), CALL).await?;
            parse("the edge", &answer)
        })
    }

    fn blocks<'a>(
        &'a self,
        route: &'a str,
        after: u64,
        wait_ms: u64,
    ) -> Pending<'a, Result<Vec<Block>, AdapterError>> {
        Box::pin(async move {
            let path = format!(
                "/routes/{route}/blocks?after={after}&limit={BLOCKS_MAX}&wait_ms={wait_ms}"
            );
            let answer =
                self.ask("GET", &path, None, CALL + Duration::from_millis(wait_ms)).await?;
            parse("the edge", &answer)
        })
    }

    fn metrics(&self) -> Pending<'_, Result<String, AdapterError>> {
        Box::pin(async move {
            let answer = self.ask("GET", "/metrics", None, CALL).await?;
            Ok(String::from_utf8_lossy(&answer.body).into_owned())
        })
    }
}
