//! The loop: load, decide, append, act, observe. Nothing here makes a choice about a release: `model` decides, this carries it out durably.

use std::future::Future;
use std::pin::Pin;

pub mod advisories;
pub mod allocate;
pub mod artifacts;
pub mod chores;
pub mod clock;
pub mod crash;
pub mod deploy;
pub mod engine;
pub mod facts;
pub mod in_use;
pub mod journal;
mod probe;
pub mod scans;
pub mod trial;
pub mod view;
pub mod watch;
pub mod workshop;
pub mod world;

/// A future behind a port.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

// The floors above speak of the same things and may import only this crate.
pub use humdrum_adapters as adapters;
pub use humdrum_evidence::verify as evidence;
pub use humdrum_policy as policy;
pub use humdrum_store as store;
