//! The manifest `humdrum.yaml`: what a service is, how it is built, run, checked and released.
//!
//! The types are the one source of truth: the JSON Schema comes from them, [`Manifest::parse`] checks a file against that
//! schema, and the reference page is printed from it. Rules that no schema can say are in `manifest/rules.rs`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod build;
pub(crate) mod check;
mod environment;
pub(crate) mod format;
mod nearest;
mod problem;
mod quantity;
mod rollout;
mod rules;
mod schema;
mod service;
mod smoke;
pub(crate) mod yaml;

pub use build::{Build, BuildLimits, FileSource, LAYER_DEFAULT, Runtime, Test};
pub use environment::{Environment, EnvironmentPlan, Verify};
pub use nearest::nearest;
pub use problem::{CODES, Problem, Severity};
pub use quantity::{Cores, DURATION_MAX_MS, Millis, Percent, QuantityError, Size};
pub use rollout::{Canary, Metric, OnRegression, Rollout, Rung, Strategy, rule_out_default};
pub use service::{Health, Run, RunLimits, Sticky, Testers, Timeouts};
pub use smoke::{Body, Capture, Expect, JsonPath, Method, Probe, Request, SMOKE_STEPS_MAX, Smoke};
pub use yaml::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX};

use crate::name::{EnvName, ServiceName};

/// Name of the manifest in a repository.
pub const FILE_NAME: &str = "humdrum.yaml";

/// Most environments of one service.
pub const ENVIRONMENTS_MAX: usize = 20;

/// What a service is and how its commits reach its users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the service: 1 to 40 of a-z, 0-9 and -, starting with a letter. It becomes part of host names, folders and registry paths.
    #[schemars(extend("format" = "name"))]
    pub service: ServiceName,
    /// Who is asked when something is wrong: a team or a person.
    #[schemars(length(min = 1, max = 200))]
    pub owner: String,
    /// How a commit becomes an image.
    pub build: Build,
    /// Tests that must pass before the image exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Test>,
    /// How instances run.
    pub run: Run,
    /// Checks of a deployed version, right after it started and again at 100 %. All must pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub smoke: Vec<Smoke>,
    /// Traffic that Humdrum sends itself, for services with too little of their own. It counts for the judge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The places a release passes, chained by `after`.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 20, "propertyNames" = { "format": "name" }))]
    pub environments: BTreeMap<EnvName, Environment>,
}

/// A manifest that may be used, and what its author should still look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub manifest: Manifest,
    /// Each has [`Severity::Warning`].
    pub warnings: Vec<Problem>,
}

impl Manifest {
    /// Reads and checks a manifest. Reports as many problems at once as can be told apart, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        Self::parse_with_warnings(text).map(|parsed| parsed.manifest)
    }

    /// As [`Manifest::parse`], with the warnings of a manifest that may be used.
    pub fn parse_with_warnings(text: &str) -> Result<Parsed, Vec<Problem>> {
        let document =
            yaml::read(text, "`humdrum init` writes one").map_err(|problem| vec![*problem])?;
        let (value, mut problems) = check::against_schema(&document, schema(), "the manifest");
        if problems.is_empty() {
            match serde_json::from_value::<Self>(value) {
                Ok(manifest) => {
                    problems = rules::check(&manifest, &document);
                    if problems.iter().all(|problem| problem.severity == Severity::Warning) {
                        return Ok(Parsed { manifest, warnings: problems });
                    }
                }
                // The schema lets it pass and the types do not: still an answer, though without the place.
                Err(error) => {
                    problems.push(Problem::at("HUM-019", &document, &[], error.to_string()))
                }
            }
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(problems)
    }

    /// The same manifest with every default written out: what is hashed, so that a new default is a new configuration.
    pub fn normalized(&self) -> Self {
        let mut normal = self.clone();
        for plan in self.plans() {
            let Some(environment) = normal.environments.get_mut(&plan.name) else { continue };
            environment.port = plan.port;
            environment.instances = Some(plan.instances);
            environment.rollout =
                Some(Rollout { strategy: plan.strategy, on_regression: plan.on_regression });
        }
        normal
    }

    /// The JSON Schema of the manifest (draft 2020-12).
    pub fn json_schema() -> &'static serde_json::Value {
        schema()
    }
}

fn schema() -> &'static serde_json::Value {
    static SCHEMA: std::sync::LazyLock<serde_json::Value> =
        std::sync::LazyLock::new(|| schemars::schema_for!(Manifest).to_value());
    &SCHEMA
}
