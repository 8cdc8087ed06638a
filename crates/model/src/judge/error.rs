//! Why an input of the judge is refused. Each message completes "cannot judge: line N: …".

use super::config::{HISTORY_CELLS_MAX, STAGES_MAX};
use super::input::{
    BUCKETS_MAX, CANARY_CELLS_MAX, CELLS_MAX, INSTANCE_BYTES_MAX, LINE_BYTES_MAX, REQUESTS_MAX,
};
use super::replay::BLOCKS_MAX;

/// What is wrong with one line or one typed block.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    #[error("no `config`: the first line must be {{\"config\":{{…}}}}")]
    NoConfig,
    #[error("{message} (column {column})")]
    Json { message: String, column: usize },
    #[error("{found} bytes, at most {LINE_BYTES_MAX} are read")]
    LineTooLong { found: usize },
    #[error("`{name}` is {found}, it must be {expected}")]
    BadSetting { name: &'static str, found: String, expected: String },
    #[error("{found} stages, there must be 1 to {STAGES_MAX}")]
    BadStages { found: usize },
    #[error("stage {stage}: rule_out {rule_out} must be greater than the margin {margin}")]
    RuleOutWithinMargin { stage: usize, rule_out: f64, margin: f64 },
    #[error("stage {stage}: rule_out times absolute_margin is {rate}, it must be below 1")]
    AbsoluteRate { stage: usize, rate: f64 },
    #[error("`metrics` names `{name}` twice")]
    SameMetric { name: String },
    #[error("`history` has {found} cells, at most {HISTORY_CELLS_MAX} are read")]
    TooMuchHistory { found: usize },
    #[error("history cell {index}: {errors} errors of {requests} requests")]
    BadHistory { index: usize, errors: u64, requests: u64 },
    #[error("{found} cells, at most {CELLS_MAX} are judged together")]
    TooManyCells { found: usize },
    #[error("{found} canary cells, at most {CANARY_CELLS_MAX} are judged together")]
    TooManyCanaryCells { found: usize },
    #[error("the name of an instance has {found} bytes, it must have 1 to {INSTANCE_BYTES_MAX}")]
    BadInstance { found: usize },
    #[error("instance `{instance}` twice in one block")]
    SameInstance { instance: String },
    #[error("{found} requests in one cell, at most {REQUESTS_MAX} are judged")]
    TooManyRequests { found: u64 },
    #[error("instance `{instance}`: {errors} errors of {requests} requests")]
    MoreErrorsThanRequests { instance: String, errors: u64, requests: u64 },
    #[error("instance `{instance}` has no `latency`, which is one of the metrics")]
    NoLatency { instance: String },
    #[error("{found} latency buckets in one cell, at most {BUCKETS_MAX} are judged")]
    TooManyBuckets { found: usize },
    #[error("bucket bound `{bound}` is not a number of ms or `+Inf`")]
    BadBound { bound: String },
    #[error("bucket bound `{bound}` twice in one cell")]
    SameBound { bound: String },
    #[error("stage {stage}, but the config has stages 0 to {last}")]
    NoSuchStage { stage: usize, last: usize },
    #[error("stage {stage} after stage {before}: stages do not go back")]
    StageBack { stage: usize, before: usize },
    #[error("t {t} after t {before}: blocks must be in order of time")]
    TimeBack { t: f64, before: f64 },
    #[error("more than {BLOCKS_MAX} blocks")]
    TooManyBlocks,
}

impl InputError {
    /// The parser's own message without its line number, which is always 1 here.
    pub(super) fn json(error: serde_json::Error) -> Self {
        let text = error.to_string();
        let message = match text.rfind(" at line ") {
            Some(end) => text[..end].to_owned(),
            None => text,
        };
        Self::Json { message, column: error.column() }
    }
}

/// Why recorded blocks cannot be replayed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ReplayError {
    /// Counts from 1; blank lines count.
    pub line: usize,
    pub what: InputError,
}
