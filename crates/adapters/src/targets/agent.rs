//! Humdrum's own agent, asked over its unix socket.

use std::path::PathBuf;
use std::time::Duration;

use humdrum_model::unit::{UnitSpec, UnitStatus};

use super::{Seen, Target};
use crate::http::{Answer, Peer, exchange, request};
use crate::routers::edge::parse;
use crate::{AdapterError, Pending};

/// A call that only changes memory and a small file.
const CALL: Duration = Duration::from_secs(5);

/// The agent of this machine.
#[derive(Debug, Clone)]
pub struct Agent {
    peer: Peer,
}

impl Agent {
    /// `socket`: the agent's admin socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { peer: Peer::Unix(socket) }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&UnitSpec>,
        limit: Duration,
    ) -> Result<Answer, AdapterError> {
        let answer = exchange(&self.peer, request(method, path, body), limit).await;
        answer.map_err(|error| AdapterError::unreachable("the agent", &error))
    }
}

impl Target for Agent {
    fn observe<'a>(
        &'a self,
        unit: &'a str,
    ) -> Pending<'a, Result<Option<UnitStatus>, AdapterError>> {
        Box::pin(async move {
            let answer = self.ask("GET", &format!("/units/{unit}"), None, CALL).await?;
            if answer.status == 404 { Ok(None) } else { parse("the agent", &answer).map(Some) }
        })
    }

    fn ensure<'a>(&'a self, spec: &'a UnitSpec) -> Pending<'a, Result<UnitStatus, AdapterError>> {
        Box::pin(async move {
            let answer =
                self.ask("PUT", &format!("/units/{}", spec.unit), Some(spec), CALL).await?;
            parse("the agent", &answer)
        })
    }

    fn watch(&self, after: u64, wait_ms: u64) -> Pending<'_, Result<Seen, AdapterError>> {
        Box::pin(async move {
            let path = format!("/watch?after={after}&wait_ms={wait_ms}");
            let answer =
                self.ask("GET", &path, None, CALL + Duration::from_millis(wait_ms)).await?;
            parse("the agent", &answer)
        })
    }

    fn logs<'a>(&'a self, unit: &'a str, lines: u32) -> Pending<'a, Result<String, AdapterError>> {
        Box::pin(async move {
            let answer =
                self.ask("GET", &format!("/units/{unit}/logs?lines={lines}"), None, CALL).await?;
            if answer.is_success() {
                Ok(String::from_utf8_lossy(&answer.body).into_owned())
            } else {
                Err(AdapterError::refused("the agent", &answer))
            }
        })
    }
}
