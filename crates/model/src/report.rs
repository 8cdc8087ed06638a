//! Why: what a decision tells people. A refusal is an answer, not an error.

use serde::{Deserialize, Serialize};

/// Why something waits, was refused, or happened: a cause, numbers, and what to do next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// At most three sentences, with numbers.
    pub sentences: Vec<String>,
    /// A command that is valid to paste.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Report {
    pub fn new(sentences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { sentences: sentences.into_iter().map(Into::into).collect(), next: None }
    }

    #[must_use]
    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.next = Some(command.into());
        self
    }

    pub fn text(&self) -> String {
        self.sentences.join(" ")
    }
}

/// A command was understood and not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable, for machines: `held`, `not-waiting`, `no-way-back`.
    pub code: String,
    pub report: Report,
}

impl Refusal {
    pub fn new(code: &str, sentence: impl Into<String>) -> Self {
        Self { code: code.into(), report: Report::new([sentence.into()]) }
    }

    #[must_use]
    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.report.next = Some(command.into());
        self
    }
}

/// A length of time as people say it: `850 ms`, `12 s`, `3 min 5 s`, `2 h 10 min`.
pub fn spoken(ms: i64) -> String {
    let ms = ms.max(0);
    let (s, rest) = (ms / 1000, ms % 1000);
    match s {
        0 => format!("{ms} ms"),
        1..10 if rest >= 100 => format!("{s}.{} s", rest / 100),
        1..60 => format!("{s} s"),
        60..3600 if s % 60 == 0 => format!("{} min", s / 60),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ if (s / 60) % 60 == 0 => format!("{} h", s / 3600),
        _ => format!("{} h {} min", s / 3600, (s / 60) % 60),
    }
}

/// A number with what is counted: `1 block`, `2 blocks`.
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Parts of [`crate::route::WEIGHT_TOTAL`] as percent: `5 %`, `0.5 %`.
pub fn percent(weight: u32) -> String {
    let text = format!("{:.2}", f64::from(weight) / 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares_are_spoken() {
        let cases = [
            (850, "850 ms"),
            (1500, "1.5 s"),
            (12_300, "12 s"),
            (60_000, "1 min"),
            (185_000, "3 min 5 s"),
            (7_800_000, "2 h 10 min"),
            (-5, "0 ms"),
        ];
        for (ms, text) in cases {
            assert_eq!(spoken(ms), text);
        }
        assert_eq!([0, 1, 2].map(|n| counted(n, "block")), ["0 blocks", "1 block", "2 blocks"]);
        assert_eq!(percent(500), "5 %");
        assert_eq!(percent(50), "0.5 %");
        assert_eq!(percent(10_000), "100 %");
        assert_eq!(percent(0), "0 %");
    }
}
