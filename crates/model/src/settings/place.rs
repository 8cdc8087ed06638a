//! Which environment a request or a tag belongs to, and what that means for a tag.
//!
//! One repository holds the images of a service for every environment, because a promotion never copies. So an environment is
//! chosen by the name that a request was sent to, and a tag belongs to the environment that it starts with.

use super::Settings;
use crate::name::EnvName;

/// Whether a tag that exists may move or go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagRule {
    Movable,
    /// With the reason, in words for the one who is refused.
    Immutable(String),
}

impl Settings {
    /// The environment whose `docker_registry` is this `Host` header. A name without a port stands for every port.
    pub fn environment_of_host(&self, host: &str) -> Option<&EnvName> {
        let host = host.trim_end_matches('.');
        let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let named = |wanted: &str| {
            let mut all = self.environments.iter();
            let found = all.find(|(_, environment)| {
                let known = environment.docker_registry.as_deref();
                known.is_some_and(|known| known.eq_ignore_ascii_case(wanted))
            });
            found.map(|(name, _)| name)
        };
        named(host).or_else(|| named(without_port))
    }

    /// The environment that a tag names: `production` and `production-…` belong to `production`. The longest name wins.
    pub fn environment_of_tag(&self, tag: &str) -> Option<&EnvName> {
        let names = self.environments.keys().chain(self.repositories.keys());
        names.filter(|name| starts_with(tag, name.as_str())).max_by_key(|name| name.as_str().len())
    }

    /// Whether the tags of an environment are immutable.
    pub fn is_immutable(&self, environment: &EnvName) -> bool {
        let said = self.environments.get(environment).and_then(|settings| settings.immutable);
        said.unwrap_or(environment.as_str() == PRODUCTION)
    }

    /// What holds for a tag. `made_in` is the environment under whose registry name the tag was made, when it was under one.
    ///
    /// Tags `commit-…` are Humdrum's own and name what was built, so they never move either.
    pub fn tag_rule(&self, tag: &str, made_in: Option<&EnvName>) -> TagRule {
        if is_fallback_tag(tag) {
            return TagRule::Movable;
        }
        if tag.starts_with("commit-") {
            let why = format!("`{tag}` names what was built; such tags are never moved");
            return TagRule::Immutable(why);
        }
        let by_name = self.environment_of_tag(tag);
        let mut homes = by_name.into_iter().chain(made_in);
        if let Some(environment) = homes.find(|environment| self.is_immutable(environment)) {
            let why = format!("it belongs to {environment}, whose tags are immutable");
            return TagRule::Immutable(why);
        }
        // An installation whose settings do not speak of production is protected all the same.
        if by_name.is_none() && starts_with(tag, PRODUCTION) {
            let why = format!("`{tag}` names what was released; such tags are never moved");
            return TagRule::Immutable(why);
        }
        TagRule::Movable
    }
}

/// The environment whose tags are immutable unless the settings say otherwise.
const PRODUCTION: &str = "production";

fn starts_with(tag: &str, name: &str) -> bool {
    tag.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// A tag that clients write where a registry has no referrers endpoint: `sha256-` and 64 hex digits, with cosign's `.sig`,
/// `.att` or `.sbom` behind it or nothing. It is read, changed and written back, so it must stay movable.
/// Source: OCI distribution specification 1.1, "Referrers Tag Schema"; cosign's signature specification.
pub fn is_fallback_tag(tag: &str) -> bool {
    let Some((hex, end)) = tag.strip_prefix("sha256-").and_then(|rest| rest.split_at_checked(64))
    else {
        return false;
    };
    hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && matches!(end, "" | ".sig" | ".att" | ".sbom")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let text = "environments:\n  dev: { docker_registry: registry-dev.example }\n  dev-eu: { immutable: true }\n  staging: { docker_registry: \"registry.example:5000\" }\n  production: { docker_registry: registry.example, immutable: true }\n";
        Settings::parse(text).unwrap().settings
    }

    #[test]
    fn the_host_chooses_the_environment() {
        let settings = settings();
        for (host, environment) in [
            ("registry-dev.example", Some("dev")),
            ("REGISTRY-DEV.example:8443", Some("dev")),
            ("registry-dev.example.", Some("dev")),
            ("registry.example:5000", Some("staging")),
            ("registry.example:443", Some("production")),
            ("registry.example", Some("production")),
            ("127.0.0.1:5000", None),
            ("", None),
            ("evil-registry-dev.example", None),
        ] {
            let found = settings.environment_of_host(host).map(EnvName::as_str);
            assert_eq!(found, environment, "{host}");
        }
    }

    #[test]
    fn the_tag_names_its_environment() {
        let settings = settings();
        for (tag, environment) in [
            ("production", Some("production")),
            ("production-7", Some("production")),
            ("productions", None),
            ("dev-7", Some("dev")),
            ("dev-eu-7", Some("dev-eu")),
            ("dev-european", Some("dev")),
            ("commit-production", None),
        ] {
            assert_eq!(settings.environment_of_tag(tag).map(EnvName::as_str), environment, "{tag}");
        }
    }

    #[test]
    fn immutable_environments_keep_every_tag_but_the_fallback_ones() {
        let settings = settings();
        let fallback = format!("sha256-{}", "a1".repeat(32));
        let production = EnvName::new("production").unwrap();
        let dev = EnvName::new("dev").unwrap();
        for (tag, made_in, movable) in [
            ("production", None, false),
            ("production-7", None, false),
            ("dev-eu-1", None, false),
            ("dev-1", None, true),
            ("1.0", None, true),
            ("1.0", Some(&dev), true),
            ("1.0", Some(&production), false),
            ("dev-1", Some(&production), false),
            ("production-1", Some(&dev), false),
            ("commit-0011223344", None, false),
            (&fallback, Some(&production), true),
            (&format!("{fallback}.sig"), Some(&production), true),
            (&format!("{fallback}.exe"), Some(&production), false),
            ("sha256-12", Some(&production), false),
            ("sha256-mine", Some(&production), false),
        ] {
            let rule = settings.tag_rule(tag, made_in);
            assert_eq!(rule == TagRule::Movable, movable, "{tag}");
        }
        let silent = Settings::default();
        assert_ne!(silent.tag_rule("production-7", None), TagRule::Movable);
        assert_eq!(silent.tag_rule("staging-7", None), TagRule::Movable);
        let loose = Settings::parse("environments: { production: { immutable: false } }").unwrap();
        assert_eq!(loose.settings.tag_rule("production-7", None), TagRule::Movable);
    }
}
