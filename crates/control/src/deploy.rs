//! From a release's configuration to how it runs in one environment: everything frozen, nothing looked up later.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use humdrum_model::manifest::{self, EnvironmentPlan, Manifest};
use humdrum_model::name::{EnvName, PlacementId};
use humdrum_model::release::Release;
use humdrum_model::rollout::strategy::Strategy;
use humdrum_model::rollout::{Deploy, JudgeSettings, OnRegression, StageSettings};
use humdrum_model::route::{HeaderRule, Listen, Sticky};
use humdrum_model::unit::Stop;

use crate::allocate::{AllocateError, Allocator};

/// Longest wait for open requests when a slot is given up, unless the manifest's drain time is shorter, ms.
const DRAIN_MAX_MS: u64 = 60_000;
/// Longest smoke run, ms.
const SMOKE_MS: u64 = 5 * 60_000;
/// Counting blocks are at most this long, so that tables and drains are seen soon, ms.
const COUNT_MAX_MS: u64 = 1_000;

/// Why a release cannot be deployed here.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error("the release's configuration cannot be read")]
    Config(#[source] serde_json::Error),
    #[error("the release knows no environment `{0}`")]
    NoEnvironment(EnvName),
    #[error(transparent)]
    Allocate(#[from] AllocateError),
}

/// The manifest inside a release.
pub fn manifest_of(release: &Release) -> Result<Manifest, DeployError> {
    let mut config = release.config.clone();
    if let Some(map) = config.as_object_mut() {
        map.insert("build".into(), serde_json::json!({ "files": {} }));
    }
    serde_json::from_value(config).map_err(DeployError::Config)
}

/// The part of a manifest that belongs to a release: everything but how the artifact is built.
pub fn config_of(manifest: &Manifest) -> serde_json::Value {
    let mut config =
        serde_json::to_value(manifest.normalized()).expect("a manifest always serialises");
    if let Some(map) = config.as_object_mut() {
        map.remove("build");
    }
    config
}

/// How the release runs in the environment. `registry`: where instances pull from; `root`: whether users of their own can be given.
pub async fn deploy(
    release: &Release,
    environment: &EnvName,
    registry: &str,
    root: bool,
    allocator: &Allocator,
) -> Result<Deploy, DeployError> {
    let manifest = manifest_of(release)?;
    let plan = manifest
        .plan(environment)
        .ok_or_else(|| DeployError::NoEnvironment(environment.clone()))?;
    let id = PlacementId { service: release.service.clone(), environment: environment.clone() };
    let port = match plan.port {
        Some(port) => port,
        None => allocator.port(&id).await?,
    };
    let uid = if root { Some(allocator.uid(&id).await?) } else { None };
    Ok(compose(&manifest, &plan, registry, port, uid))
}

fn compose(
    manifest: &Manifest,
    plan: &EnvironmentPlan,
    registry: &str,
    port: u16,
    uid: Option<u32>,
) -> Deploy {
    let run = &manifest.run;
    let (strategy, judge) = strategy(plan);
    let soak = plan.soak.ms();
    let last_stage = judge.stages.iter().map(|stage| stage.soak_ms).max().unwrap_or(0);
    Deploy {
        owner: manifest.owner.clone(),
        registry: registry.into(),
        instances: plan.instances,
        command: run.command.clone(),
        env: plan.env.clone(),
        workdir: Some(run.workdir.clone()),
        health: run.health.to_unit(),
        limits: run.limits.to_unit(),
        stop: Stop { grace_ms: run.stop_grace.ms() },
        uid,
        listen: Listen {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            host: plan.host.clone(),
        },
        sticky: run.sticky.as_ref().map(|sticky| Sticky { cookie: sticky.cookie.clone() }),
        testers: run.testers.as_ref().map(|rule| HeaderRule {
            header: rule.header.clone(),
            value: rule.value.clone(),
            arm: "canary".into(),
        }),
        route_limits: run.timeouts.to_route(),
        count_ms: u32::try_from(judge.block_ms.min(COUNT_MAX_MS)).unwrap_or(1_000),
        smoke: plan.smoke.clone(),
        probe: manifest.probe.clone(),
        approve: plan.approve,
        strategy,
        on_regression: match plan.on_regression {
            manifest::OnRegression::Rollback => OnRegression::Rollback,
            manifest::OnRegression::Hold => OnRegression::Hold,
        },
        prepare_ms: run.health.start.ms() + 30_000,
        smoke_ms: SMOKE_MS,
        watch_ms: soak.max(last_stage),
        drain_ms: run.timeouts.drain.ms().min(DRAIN_MAX_MS),
        judge,
    }
}

fn strategy(plan: &EnvironmentPlan) -> (Strategy, JudgeSettings) {
    let defaults = manifest::Canary::default().normalized();
    match &plan.strategy {
        manifest::Strategy::AllAtOnce => {
            (Strategy::AllAtOnce, JudgeSettings { stages: vec![], ..judge(&defaults) })
        }
        manifest::Strategy::Canary(canary) => (Strategy::Canary, judge(canary)),
    }
}

/// The judge's settings of a ladder; the last step, 100 %, is no stage of its own.
pub fn judge(canary: &manifest::Canary) -> JudgeSettings {
    let rungs = canary.rungs();
    JudgeSettings {
        alpha: canary.alpha,
        beta: canary.beta,
        margin: canary.margin,
        absolute_margin: canary.absolute_margin,
        latency_margin: Some(canary.latency_margin),
        metrics: canary.metrics.iter().map(metric_name).collect(),
        block_ms: canary.block.ms(),
        warmup_ms: canary.warmup.ms(),
        deadline_ms: canary.deadline.ms(),
        stages: rungs
            .iter()
            .map(|rung| StageSettings {
                weight: rung.share.parts(),
                rule_out: rung.rule_out,
                soak_ms: canary.soak.ms(),
            })
            .collect(),
    }
}

fn metric_name(metric: &manifest::Metric) -> String {
    match metric {
        manifest::Metric::Errors => "errors".into(),
        manifest::Metric::Latency => "latency".into(),
    }
}
