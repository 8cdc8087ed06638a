//! What is wrong with a manifest or the settings, where, and what to do: the form for people and for programs.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::yaml::{Document, Place};

/// Whether the file may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One finding in a manifest or the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// Stable: `HUM-010`. Listed in `docs/manifest.md` and `docs/settings.md`.
    pub code: &'static str,
    pub severity: Severity,
    /// What is wrong, naming the thing and its value; lower case, no period.
    pub message: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters that the marker covers.
    pub width: usize,
    /// Where in the document: `environments.production.rollout.canary.steps`.
    pub path: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// Every code with its meaning; the reference page prints it and the tests hold each code to it.
pub const CODES: &[(&str, &str)] = &[
    ("HUM-001", "the file is not YAML"),
    ("HUM-002", "the file is larger or deeper than the limits"),
    ("HUM-003", "a feature of YAML that is not used here"),
    ("HUM-004", "a key is written twice"),
    ("HUM-010", "a key is unknown"),
    ("HUM-011", "a key is missing"),
    ("HUM-012", "a value has the wrong kind"),
    ("HUM-013", "a value is not one of those allowed"),
    ("HUM-014", "a number is out of range"),
    ("HUM-015", "a text, list or map is too short or too long"),
    ("HUM-016", "a text has the wrong form (duration, size, name, path …)"),
    ("HUM-017", "exactly one of several keys must be given"),
    ("HUM-019", "a value does not fit, for a reason that the message tells"),
    ("HUM-020", "`after` names an environment that does not exist"),
    ("HUM-021", "there is not exactly one first environment"),
    ("HUM-022", "`after` goes in a circle"),
    ("HUM-023", "two environments come after the same one"),
    ("HUM-024", "two environments listen at the same place"),
    ("HUM-025", "the last environment has two ports"),
    ("HUM-030", "a source path leaves the checkout"),
    ("HUM-031", "a path in the image is not absolute and plain"),
    ("HUM-032", "the base image is not named by digest"),
    ("HUM-033", "the program cannot be found in the image"),
    ("HUM-040", "the steps of a canary do not grow to 100"),
    ("HUM-041", "`rule_out` has the wrong number of values"),
    ("HUM-042", "a value of `rule_out` is not above the margin"),
    ("HUM-043", "the counting block is too short or too long"),
    ("HUM-044", "a step cannot end before its deadline"),
    ("HUM-050", "a value is used before a step captures it"),
    ("HUM-060", "a value looks like a secret (warning)"),
    ("HUM-061", "the environment variable is set by Humdrum itself"),
];

fn is_listed(code: &str) -> bool {
    CODES.iter().chain(crate::settings::CODES).any(|(known, _)| *known == code)
}

impl Problem {
    /// An error at a place of the file.
    pub(crate) fn new(
        code: &'static str,
        place: Place,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        debug_assert!(is_listed(code), "{code} is not listed");
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            line: place.line,
            column: place.column,
            width: place.width.max(1),
            path: path.into(),
            hint: None,
        }
    }

    /// An error at the value that `keys` lead to, or at the nearest thing above it that exists.
    pub(crate) fn at(
        code: &'static str,
        document: &Document,
        keys: &[&str],
        message: impl Into<String>,
    ) -> Self {
        Self::new(code, document.place(keys), super::yaml::path_of(keys), message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// The finding with its line of the file and a marker below it, as a terminal shows it. Ends with a line break.
    pub fn render(&self, file_name: &str, text: &str) -> String {
        // Longer lines are cut: a marker that wraps points nowhere.
        const SHOWN_MAX: usize = 160;
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let mut out = format!("{severity}[{}]: {}\n", self.code, self.message);
        let _ = write!(out, "{gutter}--> {file_name}:{}:{}", self.line, self.column);
        let _ = writeln!(
            out,
            "{}",
            if self.path.is_empty() { String::new() } else { format!(" ({})", self.path) }
        );
        if let Some(line) = text.lines().nth(self.line - 1) {
            let shown: String = line
                .chars()
                .take(SHOWN_MAX)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            let length = shown.chars().count();
            let start = (self.column - 1).min(length);
            let width = self.width.min((length - start).max(1));
            let _ = writeln!(out, "{gutter} |\n{number} | {shown}");
            let _ = writeln!(out, "{gutter} | {}{}", " ".repeat(start), "^".repeat(width));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "{gutter} = help: {hint}");
        }
        out
    }
}
