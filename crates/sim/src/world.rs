//! The fake world: an agent, an edge, evidence and builders that behave as the releases' characters say. It is the truth of a history.

use humdrum_model::gate::{Facts, TestFacts};
use humdrum_model::hold::Hold;
use humdrum_model::rollout::Bundle;
use humdrum_model::verdict::PolicyVerdict;
use jiff::Timestamp;

use crate::cast::{Cast, Settings};

pub(crate) mod agent;
pub(crate) mod edge;

use self::agent::Agent;
use self::edge::Edge;

/// Everything outside of control. Times are true ms since the start of the history.
#[derive(Debug)]
pub(crate) struct World {
    pub cast: Cast,
    pub settings: Settings,
    pub agent: Agent,
    pub edge: Edge,
    pub agent_down_until: i64,
    pub edge_down_until: i64,
    pub evidence_down_until: i64,
    pub bad_network_until: i64,
}

impl World {
    pub(crate) fn new(cast: Cast, settings: Settings) -> Self {
        Self {
            cast,
            settings,
            agent: Agent::default(),
            edge: Edge::default(),
            agent_down_until: 0,
            edge_down_until: 0,
            evidence_down_until: 0,
            bad_network_until: 0,
        }
    }

    /// What the gates ask, as it is at this moment. `at`: the clock of the process that asks.
    pub(crate) fn facts(
        &self,
        bundle: &Bundle,
        environment: &humdrum_model::name::EnvName,
        at: Timestamp,
        held: Option<Hold>,
        released_before: bool,
    ) -> Facts {
        let evidence = &self.cast.of(bundle.release.commit.as_str()).evidence;
        let index = self.settings.environments.iter().position(|name| name == environment);
        let after = index.and_then(|index| index.checked_sub(1));
        // The simulated world has no policies of its own: the gates that the model knows are what is rehearsed.
        let policy = PolicyVerdict {
            at,
            bundle: String::new(),
            packages: vec![],
            results: vec![],
            failed: None,
        };
        Facts {
            owner: bundle.deploy.owner.clone(),
            release: bundle.release.id.to_string(),
            signature: evidence.clone(),
            sbom: evidence.clone(),
            provenance: evidence.clone(),
            builder: Some("local".into()),
            trusted_builders: vec!["local".into()],
            tests: TestFacts::NotDeclared,
            held,
            after: after.map(|index| self.settings.environments[index].clone()),
            released_before: after.is_none() || released_before,
            service: bundle.release.service.to_string(),
            commit: bundle.release.commit.to_string(),
            policy: Some(policy),
            ..Facts::unknown(at, environment.clone(), bundle.release.artifact.digest.clone())
        }
    }
}
