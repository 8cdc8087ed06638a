//! How bad an advisory is: CVSS vectors and the words of databases, as one of our severities.

use humdrum_model::finding::Severity;
use serde::{Deserialize, Serialize};

/// Severity, and the score it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rating {
    pub severity: Severity,
    /// CVSS base score, 0–10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// An entry of an OSV record's `severity`.
#[derive(Debug, Clone, Deserialize)]
pub struct Vector {
    /// `CVSS_V2`, `CVSS_V3`, `CVSS_V4`, or a distribution's own word, as `Ubuntu`.
    #[serde(rename = "type")]
    pub kind: String,
    pub score: String,
}

impl Rating {
    /// The one to act on of two about the same thing.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let known = |rating: &Self| rating.severity != Severity::Unknown;
        match (known(&self), known(&other)) {
            (true, false) => self,
            (false, true) => other,
            _ if (other.severity, other.score) > (self.severity, self.score) => other,
            _ => self,
        }
    }
}

/// The worst of the vectors of the newest CVSS version given; `None` when none can be read.
pub fn of_vectors(vectors: &[Vector]) -> Option<Rating> {
    for kind in ["CVSS_V4", "CVSS_V3", "CVSS_V2"] {
        let scores = vectors.iter().filter(|vector| vector.kind == kind).filter_map(|vector| {
            vector.score.parse::<cvss::Cvss>().ok().map(|vector| vector.score())
        });
        if let Some(score) = scores.max_by(f64::total_cmp) {
            return Some(Rating { severity: of_score(score), score: Some(score) });
        }
    }
    let words = vectors.iter().filter(|vector| !vector.kind.starts_with("CVSS"));
    words.filter_map(|vector| of_word(&vector.score)).reduce(Rating::worse)
}

/// The qualitative scale of CVSS 3.1, section 5, and 4.0, section 6.
pub fn of_score(score: f64) -> Severity {
    match score {
        score if score >= 9.0 => Severity::Critical,
        score if score >= 7.0 => Severity::High,
        score if score >= 4.0 => Severity::Medium,
        score if score > 0.0 => Severity::Low,
        _ => Severity::Info,
    }
}

/// GitHub's and the distributions' words.
pub fn of_word(word: &str) -> Option<Rating> {
    let severity = match word.to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" | "important" => Severity::High,
        "moderate" | "medium" => Severity::Medium,
        "low" | "negligible" => Severity::Low,
        _ => return None,
    };
    Some(Rating { severity, score: None })
}

/// RustSec's records about crates that nobody looks after are worth reading and mend nothing; `unsound` stays unknown.
pub fn of_information(word: &str) -> Option<Rating> {
    matches!(word, "unmaintained" | "notice")
        .then_some(Rating { severity: Severity::Info, score: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_readable_vector_counts() {
        let v2 = ("CVSS_V2", "AV:N/AC:L/Au:N/C:C/I:C/A:C");
        let v31 = ("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H");
        let v30 = ("CVSS_V3", "CVSS:3.0/AV:L/AC:H/PR:L/UI:R/S:U/C:L/I:N/A:N");
        let v4 = ("CVSS_V4", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N");
        let cases = [
            (vec![v31], Some((Severity::Critical, Some(9.8)))),
            (vec![v30], Some((Severity::Low, Some(2.2)))),
            (vec![v30, v31], Some((Severity::Critical, Some(9.8)))),
            (vec![v31, v4], Some((Severity::Medium, Some(6.9)))),
            (vec![v2], Some((Severity::Critical, Some(10.0)))),
            (vec![("CVSS_V4", "CVSS:9"), v31], Some((Severity::Critical, Some(9.8)))),
            (vec![("Ubuntu", "medium")], Some((Severity::Medium, None))),
            (vec![("CVSS_V3", "nonsense")], None),
            (vec![], None),
        ];
        for (vectors, expected) in cases {
            let vectors: Vec<_> = vectors
                .iter()
                .map(|(kind, score)| Vector { kind: (*kind).into(), score: (*score).into() })
                .collect();
            let found = of_vectors(&vectors).map(|rating| (rating.severity, rating.score));
            assert_eq!(found, expected, "{vectors:?}");
        }
    }
}
