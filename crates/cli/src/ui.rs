//! The one module that prints: text for people on a terminal, plain lines otherwise, JSON when asked.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::exit::Failure;

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    pub(crate) json: bool,
    /// Standard output is a terminal and colour is welcome.
    pub(crate) terminal: bool,
}

/// Colours by meaning, never alone: the words say the same.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tone {
    Good,
    Bad,
    Quiet,
    Strong,
}

impl Ui {
    pub(crate) fn new(json: bool) -> Self {
        let terminal =
            !json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, terminal }
    }

    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        if !self.terminal {
            return text.into();
        }
        let code = match tone {
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Quiet => 90,
            Tone::Strong => 1,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A line for people; nothing when JSON was asked for.
    pub(crate) fn line(self, text: impl AsRef<str>) {
        if !self.json {
            self.raw(text.as_ref());
        }
    }

    /// A line on standard output whatever the mode. A reader that went away is no failure of ours.
    pub(crate) fn raw(self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }

    /// One JSON document on one line; nothing in text mode.
    pub(crate) fn document(self, value: &impl Serialize) {
        if self.json {
            self.raw(&serde_json::to_string(value).unwrap_or_default());
        }
    }

    /// Progress and remarks: on standard error, so that output can be piped.
    pub(crate) fn remark(self, text: impl AsRef<str>) {
        let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
    }

    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            let text = serde_json::json!({ "error": failure, "exit": failure.exit as u8 });
            self.raw(&text.to_string());
            return;
        }
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "error[{}]: {}", failure.code, failure.what);
        for why in &failure.why {
            let _ = writeln!(err, "  because: {why}");
        }
        if let Some(place) = &failure.place {
            let _ = writeln!(err, "  where: {place}");
        }
        if let Some(next) = &failure.next {
            let _ = writeln!(err, "  next: {next}");
        }
    }
}
