//! Whether an image has the tags that a rule asks for.

use super::image::Image;
use super::policy::{Rule, Selection, TagStatus};

/// The tag requirement alone: this is what claims an image for a rule.
pub(super) fn tags_match(selection: &Selection, image: &Image) -> bool {
    match &selection.tags {
        TagStatus::Any => true,
        TagStatus::Untagged => image.tags.is_empty(),
        // Every entry must be met, each by any of the tags.
        TagStatus::Prefixes(prefixes) => prefixes
            .iter()
            .all(|prefix| image.tags.iter().any(|tag| tag.starts_with(prefix.as_str()))),
        TagStatus::Patterns(patterns) => {
            patterns.iter().all(|pattern| image.tags.iter().any(|tag| wildcard(pattern, tag)))
        }
    }
}

/// The tag requirement as a person would say it.
pub(super) fn in_words(rule: &Rule) -> String {
    let quoted = |list: &[String]| {
        list.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(" and ")
    };
    match &rule.selection.tags {
        TagStatus::Any => "images".into(),
        TagStatus::Untagged => "untagged images".into(),
        TagStatus::Prefixes(prefixes) => format!("images tagged {}…", quoted(prefixes)),
        TagStatus::Patterns(patterns) => format!("images tagged {}", quoted(patterns)),
    }
}

/// `*` stands for any text, also none; everything else for itself. Linear in the tag for each of the at most four wildcards.
fn wildcard(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        // The leftmost place leaves most for what follows.
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn wildcards_stand_for_any_text() {
        for (pattern, text, matches) in [
            ("prod*", "prod", true),
            ("prod*", "prod1", true),
            ("prod*", "production-team1", true),
            ("prod*", "my-prod", false),
            ("*prod", "my-prod", true),
            ("*prod*", "my-prod-1", true),
            ("a*b", "ab", true),
            ("a*a", "a", false),
            ("*test*1*2*3", "my-test-1-2-3", true),
            ("*test*1*2*3", "my-test-3-2-1", false),
            ("*test*1*2*3", "test123123", true),
            ("prod", "prod", true),
            ("prod", "prod1", false),
            ("*", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(wildcard(pattern, text), matches, "{pattern} {text}");
        }
    }
}
