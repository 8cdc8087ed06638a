//! One secret that was found. The secret itself stays in memory for as long as leaks are compared, and is never shown or stored.

use humdrum_model::finding::{Finding, FindingKind, Place, Severity};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::rule::{Origin, Rule};

/// Bits of a secret's digest that go into a fingerprint. Few, on purpose: who has the report learns too little to confirm a
/// guess of a weak password, while another secret at the same place is taken for the same once in 4,096 times only.
const DIGEST_BITS: u32 = 12;

/// A secret; shows as its length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Hidden(Vec<u8>);

impl Hidden {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(secret.to_vec())
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        memchr::memmem::find(&self.0, &other.0).is_some()
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} characters]", String::from_utf8_lossy(&self.0).chars().count())
    }
}

impl Serialize for Hidden {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// A secret and where it stands. Lines count from 1, columns from 1 in bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leak {
    pub rule: String,
    pub description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Bits a character.
    pub entropy: f64,
    pub path: String,
    /// The commit that brought it, where history was scanned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// 0 where the path alone is the finding.
    pub start_line: usize,
    pub end_line: usize,
    pub start_column: usize,
    pub end_column: usize,
    pub(super) secret: Hidden,
}

impl Leak {
    pub(super) fn of_path(rule: &Rule, origin: Origin) -> Self {
        Self {
            rule: rule.id.clone(),
            description: rule.description.clone(),
            tags: rule.tags.clone(),
            entropy: 0.0,
            path: origin.path.into(),
            commit: (!origin.commit.is_empty()).then(|| origin.commit.into()),
            start_line: 0,
            end_line: 0,
            start_column: 0,
            end_column: 0,
            secret: Hidden(Vec::new()),
        }
    }

    /// gitleaks' name of the finding, as `.gitleaksignore` has it.
    pub fn gitleaks_fingerprint(&self) -> String {
        let place = format!("{}:{}:{}", self.path, self.rule, self.start_line);
        self.commit.as_ref().map_or(place.clone(), |commit| format!("{commit}:{place}"))
    }

    /// Equal for the same secret in the same file, whatever line it moved to; see [`DIGEST_BITS`] for what it tells.
    pub fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for part in [b"secret", self.rule.as_bytes(), self.path.as_bytes(), &self.secret.0[..]] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        let bits =
            u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> (32 - DIGEST_BITS);
        format!("{}:{}:{bits:03x}", self.rule, self.path)
    }

    /// How the secret may be shown.
    pub fn redacted(&self) -> String {
        format!("{:?}", self.secret)
    }

    /// The finding, for gates and waivers.
    pub fn finding(&self) -> Finding {
        let what = if self.description.is_empty() { &self.rule } else { &self.description };
        let at = |number: usize| u32::try_from(number).ok().filter(|number| *number > 0);
        Finding {
            kind: FindingKind::Secret,
            rule: self.rule.clone(),
            aliases: Vec::new(),
            severity: Severity::High,
            score: None,
            title: what.trim_end_matches('.').into(),
            fingerprint: self.fingerprint(),
            package: None,
            fixed_in: None,
            place: Some(Place {
                path: self.path.clone(),
                line: at(self.start_line),
                column: at(self.start_column),
                commit: self.commit.clone(),
            }),
            link: None,
        }
    }

    /// By place, then by rule: the order of every report.
    pub fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let numbers = |leak: &Self| (leak.start_line, leak.start_column);
        let names = |leak: &Self| (leak.rule.clone(), leak.commit.clone(), leak.secret.clone());
        (self.path.cmp(&other.path))
            .then_with(|| numbers(self).cmp(&numbers(other)))
            .then_with(|| names(self).cmp(&names(other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_leaves_the_program_has_the_secret() {
        let leak = Leak {
            rule: "token".into(),
            description: "A token.".into(),
            tags: vec![],
            entropy: 3.5,
            path: "a.txt".into(),
            commit: None,
            start_line: 3,
            end_line: 3,
            start_column: 7,
            end_column: 20,
            secret: Hidden::new(b"hunter2hunter2"),
        };
        let moved = Leak { start_line: 9, ..leak.clone() };
        let other = Leak { secret: Hidden::new(b"another"), ..leak.clone() };
        assert_eq!(leak.fingerprint(), moved.fingerprint());
        assert_ne!(leak.fingerprint(), other.fingerprint());
        assert_eq!(leak.redacted(), "[14 characters]");
        assert_eq!(leak.gitleaks_fingerprint(), "a.txt:token:3");
        let shown = format!(
            "{leak:?} {} {}",
            serde_json::to_string(&leak).unwrap(),
            serde_json::to_string(&leak.finding()).unwrap()
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
