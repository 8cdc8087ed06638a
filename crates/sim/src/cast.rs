//! Who plays: releases and their true character, which only the world knows. Control has to find out.

use std::collections::BTreeMap;

use humdrum_model::gate::Fact;
use humdrum_model::judge::Verdict;
use humdrum_model::name::{Commit, Digest, EnvName, PlacementId, ServiceName};
use humdrum_model::release::{Artifact, Release};
use humdrum_model::rollout::strategy::Strategy;
use humdrum_model::rollout::{Deploy, JudgeSettings, OnRegression, StageSettings};
use humdrum_model::route::{Listen, RouteLimits};
use humdrum_model::ship::{BuildFacts, EnvStop, ShipRequest};
use humdrum_model::unit::{Health, HealthCheck, Stop, UnitLimits};
use jiff::Timestamp;

use crate::rng::Rng;

/// Unix ms of the start of every history: 2026-11-01 12:00 UTC.
pub(crate) const EPOCH_MS: i64 = 1_793_534_400_000;

/// What a release does when it runs. Nothing here is told to control.
#[derive(Debug, Clone)]
pub(crate) struct Character {
    pub builds: bool,
    pub evidence: Fact,
    /// From start to ready, ms; none: never.
    pub ready_ms: Option<i64>,
    /// Ends by itself after so many ms, and again after each restart.
    pub crashes_ms: Option<i64>,
    /// Its health check fails from then on.
    pub sickens_ms: Option<i64>,
    pub smoke: Smoke,
    pub verifies: bool,
    /// What the judge will say in each stage, and after how long; the real judge ignores it.
    pub words: Vec<(Word, i64)>,
    /// Errors in 1000 requests, for the real judge.
    pub errors: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Smoke {
    Passes,
    FailsBefore,
    FailsAtEdge,
}

/// What the judge does at the end of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Says(Verdict),
    /// Nothing, even at the deadline: the edge gives no blocks, or the judge stumbles.
    Silent,
}

impl Character {
    /// Passes everything in a ladder of any length.
    pub(crate) fn good() -> Self {
        Self {
            builds: true,
            evidence: Fact::Verified { detail: "verified".into() },
            ready_ms: Some(300),
            crashes_ms: None,
            sickens_ms: None,
            smoke: Smoke::Passes,
            verifies: true,
            words: vec![(Word::Says(Verdict::Pass), 1_000)],
            errors: 10,
        }
    }

    pub(crate) fn drawn(rng: &mut Rng, stages: usize) -> Self {
        let mut it = Self::good();
        it.ready_ms = Some(rng.between(100, 2_500));
        match rng.below(20) {
            0 => it.builds = false,
            1 => it.evidence = Fact::Missing,
            2 => it.ready_ms = None,
            3 => it.crashes_ms = Some(rng.between(200, 1_500)),
            4 => it.crashes_ms = Some(rng.between(3_000, 12_000)),
            5 => it.sickens_ms = Some(rng.between(2_000, 12_000)),
            6 => it.smoke = Smoke::FailsBefore,
            7 => it.smoke = Smoke::FailsAtEdge,
            8 => it.verifies = false,
            9 => {
                it.evidence =
                    Fact::Bad { code: "signature-invalid".into(), why: "a byte changed".into() };
            }
            _ => {}
        }
        it.words = (0..stages).map(|_| (Self::word(rng), rng.between(200, 5_000))).collect();
        it.errors = if rng.chance(300) { 250 } else { 10 };
        it
    }

    fn word(rng: &mut Rng) -> Word {
        match rng.below(24) {
            0..3 => Word::Says(Verdict::Fail),
            3 => Word::Says(Verdict::Inconclusive),
            4 => Word::Says(Verdict::Insufficient),
            5 => Word::Says(Verdict::Invalid),
            6 => Word::Silent,
            _ => Word::Says(Verdict::Pass),
        }
    }
}

/// How everything of a history is shipped.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub environments: Vec<EnvName>,
    pub deploy: Deploy,
}

impl Settings {
    pub(crate) fn named(environments: &[&str]) -> Self {
        let names = environments.iter().map(|name| env(name)).collect();
        Self { environments: names, deploy: deploy() }
    }

    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        let both: &[&str] = &["staging", "production"];
        let mut it = Self::named(if rng.chance(350) { both } else { &both[1..] });
        let deploy = &mut it.deploy;
        deploy.instances = rng.between(1, 3) as u32;
        deploy.approve = rng.chance(150);
        deploy.drain_ms = *rng.pick(&[1_000, 3_000, 6_000]);
        deploy.watch_ms = *rng.pick(&[0, 500, 2_000]);
        if rng.chance(150) {
            deploy.on_regression = OnRegression::Hold;
        }
        if rng.chance(150) {
            deploy.strategy = Strategy::AllAtOnce;
        }
        let ladders: [&[u32]; 4] = [&[100, 5_000], &[500], &[100, 500, 2_500], &[2_500, 5_000]];
        deploy.judge.stages = rng.pick(&ladders).iter().map(|weight| stage(*weight)).collect();
        it
    }
}

pub(crate) fn env(name: &str) -> EnvName {
    EnvName::new(name).expect("names of environments are ours")
}

pub(crate) fn service() -> ServiceName {
    ServiceName::new("shop").expect("the name is ours")
}

pub(crate) fn placement(environment: &EnvName) -> PlacementId {
    PlacementId { service: service(), environment: environment.clone() }
}

fn stage(weight: u32) -> StageSettings {
    let rule_out = if weight < 500 { 10.0 } else { 1.5 };
    StageSettings { weight, rule_out, soak_ms: 0 }
}

fn deploy() -> Deploy {
    Deploy {
        owner: "team-shop".into(),
        registry: "127.0.0.1:7070".into(),
        instances: 2,
        command: vec!["/app/shop".into()],
        env: BTreeMap::new(),
        workdir: None,
        health: Health {
            check: HealthCheck::Tcp,
            interval_ms: 100,
            timeout_ms: 100,
            healthy_after: 1,
            unhealthy_after: 3,
            start_ms: 5_000,
        },
        limits: UnitLimits::default(),
        stop: Stop { grace_ms: 1_000 },
        uid: None,
        listen: Listen { addr: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)), host: None },
        sticky: None,
        testers: None,
        route_limits: RouteLimits::default(),
        count_ms: 1_000,
        smoke: vec![],
        approve: false,
        probe: None,
        strategy: Strategy::Canary,
        judge: JudgeSettings {
            alpha: 0.01,
            beta: 0.05,
            margin: 1.25,
            absolute_margin: 0.0005,
            latency_margin: None,
            metrics: vec!["errors".into()],
            block_ms: 1_000,
            warmup_ms: 0,
            deadline_ms: 15_000,
            stages: vec![stage(500), stage(5_000)],
        },
        on_regression: OnRegression::Rollback,
        prepare_ms: 8_000,
        smoke_ms: 5_000,
        watch_ms: 1_000,
        drain_ms: 3_000,
    }
}

/// Everybody who may be shipped, by commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cast {
    players: BTreeMap<String, (String, Character)>,
}

impl Cast {
    pub(crate) fn enter(&mut self, name: &str, character: Character) {
        self.players.insert(commit(name).to_string(), (name.to_owned(), character));
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.players.contains_key(commit(name).as_str())
    }

    pub(crate) fn of(&self, commit: &str) -> &Character {
        &self.players.get(commit).expect("only who entered is shipped").1
    }

    /// The name that people of the history use: `two`.
    pub(crate) fn name(&self, commit: &str) -> &str {
        self.players.get(commit).map_or("nobody", |player| &player.0)
    }
}

pub(crate) fn commit(name: &str) -> Commit {
    let hex = Digest::of(name.as_bytes());
    Commit::new(&hex.hex()[..40]).expect("forty digits of a hash are a commit")
}

pub(crate) fn request(name: &str, by: &str) -> ShipRequest {
    ShipRequest {
        service: service(),
        repository: "shop.git".into(),
        folder: String::new(),
        commit: commit(name),
        reference: name.into(),
        by: by.into(),
    }
}

/// What the builder makes of a commit: the same every time.
pub(crate) fn built(request: &ShipRequest, environments: &[EnvName], at: Timestamp) -> BuildFacts {
    let stop = |name: &EnvName| EnvStop { name: name.clone(), verify: None };
    BuildFacts {
        build_id: format!("b-{}", request.commit.short()),
        artifact: Artifact {
            repository: "shop".into(),
            digest: Digest::of(request.commit.as_str().as_bytes()),
        },
        owner: "team-shop".into(),
        config: serde_json::json!({ "service": "shop" }),
        environments: environments.iter().map(stop).collect(),
        evidence: BTreeMap::new(),
        rung: "namespaces".into(),
        level: "L2".into(),
        started: at,
        finished: at,
    }
}

/// The release that a build of this name gives.
pub(crate) fn release(name: &str) -> Release {
    let request = request(name, "");
    let facts = built(&request, &[], Timestamp::UNIX_EPOCH);
    Release::new(service(), facts.artifact, request.commit, facts.build_id, facts.config)
}
