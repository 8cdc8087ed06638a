//! The outside world, one file per vendor: where releases run (`targets`), who splits traffic (`routers`), and checks of what was deployed (`smoke`).

use std::future::Future;
use std::pin::Pin;

pub mod http;
pub mod routers;
pub mod smoke;
pub mod targets;

/// A future behind a port.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why another system could not be asked or did not obey. The loop reads the fields, never the text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct AdapterError {
    pub message: String,
    pub retry: Retry,
    pub at_fault: Fault,
}

/// Whether the same call may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    Never,
    Later,
    /// The other side has seen a newer fence: this process is late and must drop the run.
    Stale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Us,
    Them,
    Config,
}

impl AdapterError {
    fn unreachable(what: &str, source: &http::HttpError) -> Self {
        Self {
            message: format!("{what} cannot be reached: {source}"),
            retry: Retry::Later,
            at_fault: Fault::Them,
        }
    }

    /// What a role's refusal means.
    fn refused(what: &str, answer: &http::Answer) -> Self {
        let text = answer.text();
        match answer.status {
            409 => Self {
                message: format!("{what} follows a newer fence: {text}"),
                retry: Retry::Stale,
                at_fault: Fault::Us,
            },
            400..500 => Self {
                message: format!("{what} refused: {text}"),
                retry: Retry::Never,
                at_fault: Fault::Config,
            },
            status => Self {
                message: format!("{what} answered {status}: {text}"),
                retry: Retry::Later,
                at_fault: Fault::Them,
            },
        }
    }
}
