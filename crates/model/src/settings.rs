//! The settings of an installation: its environments, and who may do what in them.
//!
//! One file, `DATA/settings.yaml`, read with the same code as the manifest: the types are the schema, the parser and the
//! reference page. Without the file [`Settings::default`] holds: nobody but the installation's owner has a right.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod access;
mod environment;
mod place;
mod retention;
mod rules;

pub use access::{Access, Action, Decision, OWNER, PrincipalName, may};
pub use environment::{EnvironmentSettings, VulnerabilityScan};
pub use place::{TagRule, is_fallback_tag};
pub use retention::{RETENTION_MAX_MS, Retention};

use crate::manifest::{Problem, Severity, check, yaml};
use crate::name::EnvName;

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "settings.yaml";

/// Environments and rights of one installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Who may do what with the artifacts of each environment. An environment that is missing here is open to the installation's owner alone.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 50, "propertyNames" = { "format": "name" }))]
    pub repositories: BTreeMap<EnvName, Access>,
    /// The environments, each with the names and rules of its artifacts.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 50, "propertyNames" = { "format": "name" }))]
    pub environments: BTreeMap<EnvName, EnvironmentSettings>,
}

/// Settings that may be used, and what their author should still look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub settings: Settings,
    /// Each has [`Severity::Warning`].
    pub warnings: Vec<Problem>,
}

/// Codes that only the settings have, with their meaning; the others are those of the manifest.
pub const CODES: &[(&str, &str)] = &[
    ("HUM-070", "rights are given in an environment that does not exist"),
    ("HUM-071", "two environments have the same address"),
    ("HUM-072", "nobody has a right in an environment (warning)"),
];

impl Settings {
    /// Reads and checks a settings file. Reports as many problems at once as can be told apart, in the order of the file.
    ///
    /// # Errors
    /// Every [`Problem`] of a file that may not be used.
    pub fn parse(text: &str) -> Result<Parsed, Vec<Problem>> {
        let start = "`repositories:` and `environments:` are described in docs/settings.md";
        let document = yaml::read(text, start).map_err(|problem| vec![*problem])?;
        let (value, mut problems) = check::against_schema(&document, schema(), "the file");
        if problems.is_empty() {
            match serde_json::from_value::<Self>(value) {
                Ok(settings) => {
                    problems = rules::check(&settings, &document);
                    if problems.iter().all(|problem| problem.severity == Severity::Warning) {
                        return Ok(Parsed { settings, warnings: problems });
                    }
                }
                // The schema lets it pass and the types do not: still an answer, though without the place.
                Err(error) => {
                    problems.push(Problem::at("HUM-019", &document, &[], error.to_string()));
                }
            }
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(problems)
    }

    /// The JSON Schema of the file (draft 2020-12).
    pub fn json_schema() -> &'static serde_json::Value {
        schema()
    }
}

fn schema() -> &'static serde_json::Value {
    static SCHEMA: std::sync::LazyLock<serde_json::Value> =
        std::sync::LazyLock::new(|| schemars::schema_for!(Settings).to_value());
    &SCHEMA
}
