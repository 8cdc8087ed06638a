//! The policy document: JSON in ECR's form, checked as ECR checks it, with its words where they are known.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

mod read;

/// Longest document, characters; ECR's limit.
pub const DOCUMENT_MAX: usize = 30_720;
/// Most rules; ECR's limit.
pub const RULES_MAX: usize = 50;
/// Most wildcards in one pattern.
pub const WILDCARDS_MAX: usize = 4;
/// Fewest days that an archived image stays: the archive's minimum.
pub const ARCHIVE_DAYS_MIN: i64 = 90;

/// A checked document. Rules are in the order in which they are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub priority: i64,
    pub description: Option<String>,
    pub selection: Selection,
    pub action: RuleAction,
}

/// Which images a rule is about, and from when on it acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub tags: TagStatus,
    pub class: StorageClass,
    pub count: Count,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagStatus {
    /// Every prefix is met by some tag.
    Prefixes(Vec<String>),
    /// Every pattern is met by some tag; `*` stands for any text.
    Patterns(Vec<String>),
    Untagged,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageClass {
    Standard,
    Archive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Those beyond the newest so many.
    MoreThan(i64),
    /// Days since the push.
    Pushed(i64),
    /// Days since the last pull, or the push.
    Pulled(i64),
    /// Days in the archive.
    Transitioned(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAction {
    Expire,
    /// To the archive.
    Transition,
}

/// Why a document is refused. The message is ECR's where it is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: {why}'"
)]
pub struct PolicyError {
    pub why: String,
    /// JSON pointer to the value: `/rules/0/selection`; or `line 3, column 7` of a text that is no JSON.
    pub at: String,
    /// What to do, where the message does not say it.
    pub hint: Option<&'static str>,
}

impl PolicyError {
    fn new(at: impl Into<String>, why: impl Into<String>) -> Self {
        Self { why: why.into(), at: at.into(), hint: None }
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl Policy {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// [`PolicyError`], the first in the order of the document.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let length = text.chars().count();
        if length > DOCUMENT_MAX {
            let why = format!(
                "string \"lifecyclePolicyText\" is too long (length: {length}, maximum allowed: {DOCUMENT_MAX})"
            );
            return Err(PolicyError::new("", why));
        }
        const UNREADABLE: &str = "Could not map policyString into LifecyclePolicy.";
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let at = format!("line {}, column {}", error.line(), error.column());
            PolicyError::new(at, UNREADABLE).hint("the document is not JSON there")
        })?;
        let Value::Object(document) = value else {
            let hint = "the document is an object with `rules`";
            return Err(PolicyError::new("", UNREADABLE).hint(hint));
        };
        let mut policy = read::document(&document)?;
        check_together(&policy.rules)?;
        policy.rules.sort_by_key(|rule| rule.priority);
        Ok(policy)
    }
}

/// What only the rules of a document together can break. `rules` are in the document's order, so places are theirs.
fn check_together(rules: &[Rule]) -> Result<(), PolicyError> {
    let mut priorities = BTreeSet::new();
    let mut selections = BTreeSet::new();
    for (index, rule) in rules.iter().enumerate() {
        if !priorities.insert(rule.priority) {
            let why = format!("rulePriority must be unique (found {} twice)", rule.priority);
            return Err(PolicyError::new(format!("/rules/{index}/rulePriority"), why));
        }
        let class = rule.selection.class;
        let (kind, mut entries) = match &rule.selection.tags {
            TagStatus::Prefixes(prefixes) => ("tagPrefixList", prefixes.clone()),
            TagStatus::Patterns(patterns) => ("tagPatternList", patterns.clone()),
            TagStatus::Untagged => ("untagged", vec![]),
            TagStatus::Any => ("any", vec![]),
        };
        entries.sort();
        entries.dedup();
        if !selections.insert((class, kind, entries)) {
            let why = match &rule.selection.tags {
                TagStatus::Untagged => "only one rule can select untagged images".to_owned(),
                TagStatus::Any => "only one rule can have tagStatus any".to_owned(),
                _ => format!("{kind} must be unique across rules"),
            };
            return Err(PolicyError::new(format!("/rules/{index}/selection"), why)
                .hint("this holds for each storage class"));
        }
        let later =
            |other: &&Rule| other.selection.class == class && other.priority > rule.priority;
        if rule.selection.tags == TagStatus::Any && rules.iter().any(|other| later(&other)) {
            let why = "a rule with tagStatus any must have the highest rulePriority and be evaluated last";
            return Err(PolicyError::new(format!("/rules/{index}/rulePriority"), why)
                .hint("give it a higher number than every other rule of its storage class"));
        }
    }
    Ok(())
}

/// An object with exactly known keys.
fn keys(
    object: &Map<String, Value>,
    at: &str,
    required: &[&str],
    optional: &[&str],
) -> Result<(), PolicyError> {
    let mut missing: Vec<&str> =
        required.iter().copied().filter(|key| !object.contains_key(*key)).collect();
    missing.sort_unstable();
    if !missing.is_empty() {
        let why = format!("object has missing required properties ({})", listed(&missing));
        return Err(PolicyError::new(at, why));
    }
    let known = |key: &str| required.contains(&key) || optional.contains(&key);
    let mut unknown: Vec<&str> =
        object.keys().map(String::as_str).filter(|key| !known(key)).collect();
    unknown.sort_unstable();
    if !unknown.is_empty() {
        let why = format!(
            "object instance has properties which are not allowed by the schema: ({})",
            listed(&unknown)
        );
        return Err(PolicyError::new(at, why));
    }
    Ok(())
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("[{}]", quoted.join(", "))
}
