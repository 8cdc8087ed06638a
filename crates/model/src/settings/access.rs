//! Who may do what: the access matrix, and the decision over it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::name::EnvName;

/// The principal behind the installation's own token. It may do everything, since it may also write these settings; its name
/// is no [`PrincipalName`], so no file can give it away.
pub const OWNER: &str = "@owner";

/// The name of a person, team or machine: 1 to 100 letters, digits and `-_.@:/+`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrincipalName(String);

/// Why a text is no principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a principal: {why}")]
pub struct PrincipalError {
    pub text: String,
    pub why: &'static str,
}

impl PrincipalName {
    /// Checks the text.
    ///
    /// # Errors
    /// [`PrincipalError`] when it has another form.
    pub fn new(text: impl Into<String>) -> Result<Self, PrincipalError> {
        let text = text.into();
        let why = if text.is_empty() || text.len() > 100 {
            "it must have 1 to 100 characters"
        } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            "it must start with a letter or digit"
        } else if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@:/+".contains(&b)) {
            "only letters, digits and -_.@:/+ are allowed"
        } else {
            return Ok(Self(text));
        };
        Err(PrincipalError { text, why })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PrincipalName {
    type Error = PrincipalError;
    fn try_from(text: String) -> Result<Self, PrincipalError> {
        Self::new(text)
    }
}

impl From<PrincipalName> for String {
    fn from(name: PrincipalName) -> String {
        name.0
    }
}

impl JsonSchema for PrincipalName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PrincipalName".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "principal", "examples": ["sre-team"] })
    }
}

/// Who may do what with the artifacts of one environment. Each right stands for itself: `write` alone cannot read, `admin` has all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// May pull.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub read: Vec<PrincipalName>,
    /// May push, and cannot pull unless it is also under `read`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub write: Vec<PrincipalName>,
    /// May pull, push, delete, and change lifecycle policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub admin: Vec<PrincipalName>,
}

/// What somebody wants to do with the artifacts of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Pull, list tags and referrers.
    Read,
    /// Push and tag.
    Write,
    /// Delete, and change lifecycle policies.
    Admin,
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The key of the settings that gives it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// May they?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    /// With the reason, in words for the one who is refused.
    Denied {
        why: String,
    },
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        *self == Self::Allowed
    }
}

/// Whether somebody with these principals may do `action` with the artifacts of an environment.
///
/// One principal with the right is enough. An environment without an entry in `repositories` is open to [`OWNER`] alone.
pub fn may(
    settings: &Settings,
    principals: &[String],
    action: Action,
    environment: &EnvName,
) -> Decision {
    if principals.iter().any(|principal| principal == OWNER) {
        return Decision::Allowed;
    }
    let who = match principals {
        [] => "nobody".to_owned(),
        principals => principals.join(", "),
    };
    let Some(access) = settings.repositories.get(environment) else {
        let why = format!(
            "the settings have no `repositories.{environment}`, so {who} has no right in it"
        );
        return Decision::Denied { why };
    };
    let given = match action {
        Action::Read => access.read.as_slice(),
        Action::Write => access.write.as_slice(),
        Action::Admin => &[],
    };
    let able = || given.iter().chain(&access.admin);
    if able().any(|name| principals.iter().any(|principal| principal == name.as_str())) {
        return Decision::Allowed;
    }
    let mut known: Vec<&str> = able().map(PrincipalName::as_str).collect();
    known.dedup();
    let known = if known.is_empty() { "nobody".to_owned() } else { known.join(", ") };
    let key = action.key();
    let why = format!("`{key}` in {environment} is for {known}; this is {who}");
    Decision::Denied { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSION: &str = "\
repositories:
  production: { read: [sre-team, deploy-service], write: [release-automation], admin: [platform-team] }
  staging:    { read: [developers, qa-team], write: [ci-system, developers], admin: [team-leads] }
";

    fn ask(principals: &[&str], action: Action, environment: &str) -> bool {
        let settings = Settings::parse(MISSION).unwrap().settings;
        let principals: Vec<String> = principals.iter().map(ToString::to_string).collect();
        may(&settings, &principals, action, &EnvName::new(environment).unwrap()).is_allowed()
    }

    #[test]
    fn each_right_stands_for_itself() {
        use Action::{Admin, Read, Write};
        // principal, environment, read, write, admin
        for (who, environment, rights) in [
            ("sre-team", "production", [true, false, false]),
            ("deploy-service", "production", [true, false, false]),
            ("release-automation", "production", [false, true, false]),
            ("platform-team", "production", [true, true, true]),
            ("developers", "production", [false, false, false]),
            ("developers", "staging", [true, true, false]),
            ("qa-team", "staging", [true, false, false]),
            ("ci-system", "staging", [false, true, false]),
            ("team-leads", "staging", [true, true, true]),
            ("team-leads", "production", [false, false, false]),
            ("team-leads", "development", [false, false, false]),
            (OWNER, "production", [true, true, true]),
            (OWNER, "development", [true, true, true]),
        ] {
            assert_eq!([Read, Write, Admin].map(|a| ask(&[who], a, environment)), rights, "{who}");
        }
        assert!(ask(&["nobody-knows", "qa-team"], Read, "staging"));
        assert!(!ask(&[], Read, "staging"));
    }

    #[test]
    fn a_refusal_says_who_may() {
        let settings = Settings::parse(MISSION).unwrap().settings;
        let refused = |environment: &str| {
            let environment = EnvName::new(environment).unwrap();
            match may(&settings, &["ci-system".into()], Action::Read, &environment) {
                Decision::Denied { why } => why,
                Decision::Allowed => panic!("allowed"),
            }
        };
        assert_eq!(
            refused("production"),
            "`read` in production is for sre-team, deploy-service, platform-team; this is ci-system"
        );
        assert_eq!(
            refused("dev"),
            "the settings have no `repositories.dev`, so ci-system has no right in it"
        );
    }

    #[test]
    fn no_file_can_name_the_owner() {
        assert!(PrincipalName::new(OWNER).is_err());
        for good in ["sre-team", "ann@example.com", "github:org/repo", "A1"] {
            assert!(PrincipalName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "ä", &"a".repeat(101)] {
            assert!(PrincipalName::new(bad).is_err(), "{bad}");
        }
    }
}
