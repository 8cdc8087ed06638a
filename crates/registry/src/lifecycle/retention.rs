//! Retention of the settings: how long an environment keeps what is not in use any more.
//!
//! It speaks about images about which no rule of the repository's policy speaks, so a policy that says "keep" is heard.

use std::collections::BTreeSet;

use humdrum_model::name::EnvName;
use humdrum_model::settings::Settings;

use super::image::Image;

const DAY_MS: i64 = 24 * 3_600_000;

/// Whether the retention of every environment of an image is over, and in words; `None` when no environment limits it.
///
/// Each of `homes` is the environment of a tag that names none itself. The clock starts at the last push, promotion or pull.
pub(super) fn over(
    settings: &Settings,
    image: &Image,
    homes: impl Fn(&str) -> Option<EnvName>,
    now_ms: i64,
) -> Option<(bool, String)> {
    let mut environments = BTreeSet::new();
    // `commit-…` names what was built, and wants nothing kept.
    for tag in image.tags.iter().filter(|tag| !tag.starts_with("commit-")) {
        // A tag of no environment keeps its image.
        environments.insert(settings.environment_of_tag(tag).cloned().or_else(|| homes(tag))?);
    }
    let limits = environments.iter().map(|name| {
        let retention = settings.environments.get(name)?.retention?;
        Some((retention, name))
    });
    // An environment without a retention keeps its images for ever.
    let limits: Vec<_> = limits.collect::<Option<_>>()?;
    let (longest, name) = limits.into_iter().max()?;
    let age_ms = now_ms.saturating_sub(image.last_ms());
    let days = age_ms.div_euclid(DAY_MS);
    let is_over = age_ms > longest.ms();
    let than = if is_over { "more than" } else { "not more than" };
    let why = format!(
        "last pushed, promoted or pulled {days} days ago, {than} the retention of {name}, {longest}"
    );
    Some((is_over, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_retention_of_its_environments_decides() {
        let text = "environments:\n  dev: { retention: 7 days }\n  staging: { retention: 30 days }\n  production: {}\n";
        let settings = Settings::parse(text).unwrap().settings;
        let over_at = |tags: &[&str], days: i64| {
            let tags = tags.iter().map(ToString::to_string).collect();
            let image = Image { tags, ..Image::default() };
            let home = |tag: &str| (tag == "1.0").then(|| EnvName::new("dev").unwrap());
            over(&settings, &image, home, days * DAY_MS + 1).map(|(over, _)| over)
        };
        assert_eq!(over_at(&["dev-1"], 7), Some(true));
        assert_eq!(over_at(&["dev-1"], 6), Some(false));
        assert_eq!(over_at(&["dev-1", "commit-1"], 8), Some(true));
        assert_eq!(over_at(&["dev-1", "staging-1"], 8), Some(false));
        assert_eq!(over_at(&["dev-1", "staging-1"], 31), Some(true));
        assert_eq!(over_at(&["dev-1", "production-1"], 999), None);
        assert_eq!(over_at(&["1.0"], 8), Some(true));
        for tags in [&["2.0"][..], &["dev-1", "2.0"], &["commit-1"], &[]] {
            assert_eq!(over_at(tags, 999), None, "{tags:?}");
        }
    }
}
