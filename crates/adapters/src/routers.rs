//! Who splits traffic. One implementation per file in `routers/`.

use humdrum_model::block::Block;
use humdrum_model::route::{RouteStatus, RouteTable};

use crate::{AdapterError, Pending};

pub mod edge;

/// The port to a router. Tables are absolute and numbered; a late writer is refused by its fence, so every call may be repeated.
pub trait Router: Send + Sync {
    /// What is in force now; changes nothing. `None` for a route it does not know.
    fn observe<'a>(
        &'a self,
        route: &'a str,
    ) -> Pending<'a, Result<Option<RouteStatus>, AdapterError>>;
    /// Puts a table in force. When this returns, no new request follows an older one.
    fn ensure<'a>(
        &'a self,
        table: &'a RouteTable,
    ) -> Pending<'a, Result<RouteStatus, AdapterError>>;
    /// Sealed counting blocks after a number, waiting up to `wait_ms` for one.
    fn blocks<'a>(
        &'a self,
        route: &'a str,
        after: u64,
        wait_ms: u64,
    ) -> Pending<'a, Result<Vec<Block>, AdapterError>>;
    /// Its metrics in Prometheus text form.
    fn metrics(&self) -> Pending<'_, Result<String, AdapterError>>;
}

/// Every router, by the name that settings use.
pub fn all() -> Vec<&'static str> {
    vec!["edge"]
}
