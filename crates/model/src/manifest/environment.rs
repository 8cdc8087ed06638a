//! The ordered places a release passes: the section `environments`, and the plan for one of them with every default filled in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Millis;
use super::rollout::{Canary, OnRegression, Rollout, Strategy};
use super::{Manifest, Smoke};
use crate::name::EnvName;

/// One place that a release passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Environment {
    /// The environment that comes before. Exactly one environment has none, and each is followed by at most one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "name"))]
    pub after: Option<EnvName>,
    /// Port at which this environment is reached. The last environment takes `run.port`; others without a port get one that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Only requests for this host name; several environments may then share a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "host"))]
    pub host: Option<String>,
    /// Healthy time here before the next environment may start.
    pub soak: Millis,
    /// `true`: a person approves before the release enters this environment.
    pub approve: bool,
    /// A command that must pass against the deployed environment before the next one may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Environment variables that are added to or replace those of `run.env`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 500, "propertyNames" = { "format": "env-name" }))]
    pub env: BTreeMap<String, String>,
    /// Copies of the service in each slot; `run.instances` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub instances: Option<u32>,
    /// How a new release is exposed. Left out: a canary with every default in the last environment, all at once in the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            after: None,
            port: None,
            host: None,
            soak: Millis::new(0),
            approve: false,
            verify: None,
            env: BTreeMap::new(),
            instances: None,
            rollout: None,
        }
    }
}

/// A command that must pass against the deployed environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Shell command in the checkout of the commit, with `HUMDRUM_URL`.
    #[schemars(length(min = 1, max = 65536))]
    pub run: String,
    /// Time until the command is killed and counts as failed.
    #[serde(default = "verify_time_default")]
    pub time: Millis,
}

fn verify_time_default() -> Millis {
    Millis::seconds(10 * 60)
}

/// One environment with every default filled in, as control and the planner use it.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentPlan {
    pub name: EnvName,
    /// 0 for the first.
    pub position: usize,
    /// The environment before.
    pub after: Option<EnvName>,
    /// Whether no environment follows.
    pub last: bool,
    /// The edge's port; `None` asks for one that is allocated once and kept.
    pub port: Option<u16>,
    pub host: Option<String>,
    pub soak: Millis,
    pub approve: bool,
    pub verify: Option<Verify>,
    /// `run.env` with the environment's own values over it.
    pub env: BTreeMap<String, String>,
    pub instances: u32,
    pub strategy: Strategy,
    pub on_regression: OnRegression,
    pub smoke: Vec<Smoke>,
}

impl Manifest {
    /// The environments in the order in which a release passes them. A parsed manifest has exactly one.
    pub fn order(&self) -> Vec<&EnvName> {
        let mut order: Vec<&EnvName> = vec![];
        let follower = |before: Option<&EnvName>| {
            self.environments
                .iter()
                .find(|(_, env)| env.after.as_ref() == before)
                .map(|(name, _)| name)
        };
        // The bound ends the walk if someone built a manifest by hand with a cycle.
        while let Some(next) = follower(order.last().copied())
            && order.len() < self.environments.len()
        {
            order.push(next);
        }
        order
    }

    /// The plan of every environment, in order.
    pub fn plans(&self) -> Vec<EnvironmentPlan> {
        let order = self.order();
        let last = order.len().saturating_sub(1);
        let plan =
            |(position, name): (usize, &&EnvName)| self.fill(name, position, position == last);
        order.iter().enumerate().map(plan).collect()
    }

    /// The plan of one environment.
    pub fn plan(&self, name: &EnvName) -> Option<EnvironmentPlan> {
        self.plans().into_iter().find(|plan| plan.name == *name)
    }

    fn fill(&self, name: &EnvName, position: usize, last: bool) -> EnvironmentPlan {
        let environment = &self.environments[name];
        let rollout = environment.rollout.clone().unwrap_or_else(|| Rollout {
            // Users are behind the last environment; the others exist to find faults early.
            strategy: if last { Strategy::Canary(Canary::default()) } else { Strategy::AllAtOnce },
            on_regression: OnRegression::default(),
        });
        let mut env = self.run.env.clone();
        env.extend(environment.env.clone());
        EnvironmentPlan {
            name: name.clone(),
            position,
            after: environment.after.clone(),
            last,
            port: environment.port.or(last.then_some(self.run.port)),
            host: environment.host.clone(),
            soak: environment.soak,
            approve: environment.approve,
            verify: environment.verify.clone(),
            env,
            instances: environment.instances.unwrap_or(self.run.instances),
            strategy: match rollout.strategy {
                Strategy::Canary(canary) => Strategy::Canary(canary.normalized()),
                Strategy::AllAtOnce => Strategy::AllAtOnce,
            },
            on_regression: rollout.on_regression,
            smoke: self.smoke.clone(),
        }
    }
}
