//! Why policies cannot be used: what, where (file, line, column), and what to do.

use humdrum_model::verdict::PolicyVerdict;
use jiff::Timestamp;

/// A place in a policy file; lines and columns count from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spot {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// Policies cannot be loaded or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("{file} cannot be read: {why}")]
    Unreadable { file: String, why: String },
    #[error("{what} is larger than {max} allows")]
    TooLarge { what: String, max: String },
    #[error("{}:{}:{}: {why}", at.file, at.line, at.column)]
    Syntax { at: Spot, why: String },
    #[error("{}:{}:{}: built-in `{name}` is not available here: {why}", at.file, at.line, at.column)]
    Builtin { at: Spot, name: String, why: &'static str },
    #[error("{}:{}:{}: no function `{name}` is defined", at.file, at.line, at.column)]
    Function { at: Spot, name: String },
    #[error("{file}: {why}")]
    Settings { file: String, why: String },
    #[error("test `{test}` does not pass: {why}")]
    Test { test: String, why: String },
    #[error(
        "`{rule}` says {found}: a rule of this name gives a set of texts, or of objects with `msg`"
    )]
    Shape { rule: String, found: String },
    #[error("the evaluation failed: {why}")]
    Evaluation { why: String },
    #[error(
        "the policies were stopped after {seconds} s of processor time: a rule loops or multiplies its input"
    )]
    Time { seconds: u64 },
    #[error("the policies were stopped at {mib} MiB of memory")]
    Memory { mib: u64 },
    #[error("the evaluation of the policies ended unexpectedly: {why}")]
    Crashed { why: String },
}

impl PolicyError {
    /// Stable, for machines; the code of the denial that follows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "policy-unreadable",
            Self::TooLarge { .. } => "policy-too-large",
            Self::Syntax { .. } | Self::Function { .. } => "policy-broken",
            Self::Builtin { .. } => "policy-builtin",
            Self::Settings { .. } => "policy-settings",
            Self::Test { .. } => "policy-test-failed",
            Self::Shape { .. } => "policy-shape",
            Self::Evaluation { .. } => "policy-error",
            Self::Time { .. } => "policy-timeout",
            Self::Memory { .. } => "policy-memory",
            Self::Crashed { .. } => "policy-crashed",
        }
    }

    /// What a person can do next.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } | Self::TooLarge { .. } => {
                "mend the policies folder, then try it: `humdrum gate policies`"
            }
            Self::Builtin { .. } => {
                "take what it asked for from the facts instead, then try it: `humdrum gate policies`"
            }
            Self::Time { .. } | Self::Memory { .. } => {
                "bound the rule's loops, then try it: `humdrum gate policies`"
            }
            Self::Crashed { .. } => "see what this machine lacks: `humdrum doctor`",
            _ => "mend the policy, then try it: `humdrum gate policies`",
        }
    }

    /// The verdict that this makes: nothing is admitted.
    pub fn verdict(&self, at: Timestamp) -> PolicyVerdict {
        PolicyVerdict::failure(at, self.code(), self.to_string(), self.fix())
    }

    /// An error as the engine words it: the place is inside of its text.
    pub(crate) fn of_engine(text: &str) -> Self {
        let why = text
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix("error: "))
            .unwrap_or_else(|| text.lines().next().unwrap_or("no reason given"))
            .to_owned();
        let place = text.lines().find_map(|line| line.trim().strip_prefix("--> "));
        let mut parts = place.unwrap_or_default().rsplitn(3, ':');
        let (column, line, file) = (parts.next(), parts.next(), parts.next());
        let number = |part: Option<&str>| part.and_then(|part| part.trim().parse().ok());
        match (file, number(line), number(column)) {
            (Some(file), Some(line), Some(column)) => {
                Self::Syntax { at: Spot { file: file.into(), line, column }, why }
            }
            _ => Self::Evaluation { why },
        }
    }
}
