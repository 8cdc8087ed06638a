//! Exit codes, and failures as people see them: code, what, why, where, next command.

use std::process::ExitCode;

use serde::Serialize;

/// What a script can rely on. `docs/exit-codes.md` says the same in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    Failed = 1,
    BadInput = 2,
    Refused = 3,
    WaitsForPerson = 4,
    Inconclusive = 5,
    Unreachable = 6,
    Unknown = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    #[serde(skip)]
    pub(crate) exit: Exit,
    /// Stable, for scripts.
    pub(crate) code: String,
    /// One line: what.
    pub(crate) what: String,
    /// Causes, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) why: Vec<String>,
    /// File with line and column, or an object.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    /// A command that is valid to paste, or what to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, what: impl Into<String>) -> Self {
        Self { exit, code: code.into(), what: what.into(), why: vec![], place: None, next: None }
    }

    #[must_use]
    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// An error and its causes, each once.
    #[must_use]
    pub(crate) fn cause(mut self, error: &dyn std::error::Error) -> Self {
        self.why.push(error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            if self.why.last() != Some(&text) {
                self.why.push(text);
            }
            source = error.source();
        }
        self
    }

    #[must_use]
    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    #[must_use]
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

pub(crate) type Outcome = Result<Exit, Failure>;
