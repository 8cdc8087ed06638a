//! Lifecycle policies: the documented outcomes, every rule of validation, and what holds for any policy over any images.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "lifecycle/documents.rs"]
mod documents;
#[path = "lifecycle/properties.rs"]
mod properties;
#[path = "lifecycle/vectors.rs"]
mod vectors;
#[path = "lifecycle/year.rs"]
mod year;

use humdrum_registry::lifecycle::{Image, Policy};
use serde_json::{Value, json};

const DAY_MS: i64 = 24 * 3_600_000;
/// 2026-01-01, Unix ms.
const NOW_MS: i64 = 1_767_225_600_000;

fn image(name: &str, tags: &[&str], age_days: i64) -> Image {
    Image {
        digest: name.into(),
        tags: tags.iter().map(ToString::to_string).collect(),
        pushed_ms: NOW_MS - age_days * DAY_MS,
        ..Image::default()
    }
}

fn rule(priority: i64, selection: Value) -> Value {
    json!({ "rulePriority": priority, "selection": selection, "action": { "type": "expire" } })
}

fn prefixes(list: &[&str], count: Value) -> Value {
    let mut selection = json!({ "tagStatus": "tagged", "tagPrefixList": list });
    selection.as_object_mut().unwrap().extend(count.as_object().unwrap().clone());
    selection
}

fn more_than(number: i64) -> Value {
    json!({ "countType": "imageCountMoreThan", "countNumber": number })
}

fn days(kind: &str, number: i64) -> Value {
    json!({ "countType": kind, "countUnit": "days", "countNumber": number })
}

fn policy(rules: &[Value]) -> Policy {
    let text = json!({ "rules": rules }).to_string();
    Policy::parse(&text).unwrap_or_else(|error| panic!("{error} at {}: {text}", error.at))
}
