//! Ports and users that are given once and kept: documents in the store, so that they survive everything that the runs survive.

use std::collections::BTreeSet;
use std::sync::Arc;

use humdrum_model::name::PlacementId;
use humdrum_store::{Document, Store, StoreError};

/// First port that is given to an environment that names none.
pub const PORT_FIRST: u16 = 20_080;
/// Ports that are given: enough for every environment of hundreds of services.
pub const PORT_LAST: u16 = 20_999;
/// First user id; each service and environment has its own when the agent is root.
pub const UID_FIRST: u32 = 61_000;

/// Why nothing could be given.
#[derive(Debug, thiserror::Error)]
pub enum AllocateError {
    #[error("all ports from {PORT_FIRST} to {PORT_LAST} are given")]
    PortsSpent,
    #[error("what was given cannot be read or kept")]
    Store(#[from] StoreError),
}

/// Gives numbers out; one caller at a time, so that two services never get the same.
pub struct Allocator {
    store: Arc<dyn Store>,
    turn: tokio::sync::Mutex<()>,
}

impl Allocator {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, turn: tokio::sync::Mutex::new(()) }
    }

    /// The edge's port for an environment that names none.
    pub async fn port(&self, id: &PlacementId) -> Result<u16, AllocateError> {
        let given = self.number("port", id, u32::from(PORT_FIRST)).await?;
        match u16::try_from(given) {
            Ok(port) if port <= PORT_LAST => Ok(port),
            _ => Err(AllocateError::PortsSpent),
        }
    }

    /// The user of a service in an environment.
    pub async fn uid(&self, id: &PlacementId) -> Result<u32, AllocateError> {
        self.number("uid", id, UID_FIRST).await
    }

    async fn number(&self, kind: &str, id: &PlacementId, first: u32) -> Result<u32, AllocateError> {
        let _turn = self.turn.lock().await;
        let kind = format!("allocated-{kind}");
        let all = self.store.documents(kind.clone(), String::new()).await?;
        let name = id.to_string();
        if let Some(number) =
            all.iter().find(|(known, _)| *known == name).and_then(|(_, body)| body.parse().ok())
        {
            return Ok(number);
        }
        let taken: BTreeSet<u32> = all.iter().filter_map(|(_, body)| body.parse().ok()).collect();
        let number = (first..).find(|number| !taken.contains(number)).unwrap_or(first);
        self.store.put_document(Document { kind, id: name, body: number.to_string() }).await?;
        Ok(number)
    }
}
