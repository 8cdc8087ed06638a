//! The real world: effects go to the agent, the edge, the registry and the builder of this installation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use humdrum_adapters::routers::Router;
use humdrum_adapters::smoke::{self, Place};
use humdrum_adapters::targets::Target;
use humdrum_adapters::{AdapterError, Retry};
use humdrum_model::manifest::Smoke;
use humdrum_model::name::{EnvName, PlacementId, Slot};
use humdrum_model::release::Release;
use humdrum_model::report::Refusal;
use humdrum_model::rollout::{self, Admission, Bundle, Kind, Placement, SmokeThrough};
use humdrum_model::route::RouteTable;
use humdrum_model::run::{Command, Effect, State, placement_run};
use humdrum_model::ship::{
    BuildFacts, BuildFailure, ShipCommand, ShipEffect, ShipRequest, deployment_id,
};
use humdrum_model::unit::UnitSpec;
use humdrum_store::Document;
use tokio::sync::OnceCell;

use super::{Attempt, Observation, World};
use crate::Pending;
use crate::allocate::Allocator;
use crate::deploy::{deploy, manifest_of};
use crate::engine::{Answer, Engine};
use crate::facts::{Gatherer, Occasion, runs};
use crate::workshop::{Promoted, Workshop};

/// Document kind of finished builds, by ship: a build is not repeated after a restart.
const BUILT: &str = "built";

/// A verification waits so long for instances that are not ready at the first look.
const STRENGTH: Duration = Duration::from_secs(15);

/// This installation.
pub struct Real {
    pub target: Arc<dyn Target>,
    pub router: Arc<dyn Router>,
    pub gatherer: Arc<Gatherer>,
    pub workshop: Arc<dyn Workshop>,
    pub allocator: Allocator,
    /// Address of the registry that instances pull from.
    pub registry: String,
    /// Whether instances can have users of their own.
    pub root: bool,
    /// Set once the engine exists, which needs this world first.
    pub engine: OnceCell<Engine>,
}

impl World for Real {
    fn attempt<'a>(&'a self, fence: u64, effect: &'a Effect) -> Pending<'a, Attempt> {
        Box::pin(async move {
            match effect {
                Effect::Placement(effect) => self.attempt_placement(fence, effect).await,
                Effect::Ship(effect) => self.attempt_ship(effect).await,
            }
        })
    }

    fn observe<'a>(&'a self, effect: &'a Effect) -> Pending<'a, Observation> {
        Box::pin(async move {
            match effect {
                Effect::Placement(rollout::Effect::Unit { slot, spec }) => {
                    self.observe_unit(*slot, spec).await
                }
                Effect::Placement(rollout::Effect::Route { table }) => {
                    self.observe_route(table).await
                }
                Effect::Ship(ShipEffect::Build { ship, .. }) => match self.built(ship).await {
                    Some(facts) => build_done(facts),
                    None => Observation::NotDone,
                },
                // Asking the gates, the checks and the placement again changes nothing.
                _ => Observation::NotDone,
            }
        })
    }
}

fn build_done(facts: BuildFacts) -> Observation {
    let response = facts.artifact.digest.to_string();
    Observation::Done { command: Command::Ship(ShipCommand::BuildDone(Box::new(facts))), response }
}

fn later(error: &AdapterError, command: Option<rollout::Command>) -> Attempt {
    match error.retry {
        Retry::Stale => Attempt::Stale { why: error.to_string() },
        Retry::Later | Retry::Never => {
            Attempt::Later { why: error.to_string(), command: command.map(Command::Placement) }
        }
    }
}

impl Real {
    fn engine(&self) -> &Engine {
        self.engine.get().expect("the engine is set before any run is started")
    }

    async fn attempt_placement(&self, fence: u64, effect: &rollout::Effect) -> Attempt {
        match effect {
            rollout::Effect::Unit { slot, spec } => self.ensure_unit(fence, *slot, spec).await,
            rollout::Effect::Route { table } => self.ensure_route(fence, table).await,
            rollout::Effect::Facts { deployment_id, index, bundle } => {
                self.gather(deployment_id, *index, bundle).await
            }
            rollout::Effect::Smoke { .. } => self.smoke(effect).await,
        }
    }

    async fn ensure_unit(&self, fence: u64, slot: Slot, spec: &UnitSpec) -> Attempt {
        match self.target.ensure(&UnitSpec { fence, ..spec.clone() }).await {
            Ok(status) => {
                let response = format!("generation {}", status.generation);
                let command =
                    rollout::Command::UnitSeen { slot, status: Box::new(status), known: None };
                Attempt::Done { command: Command::Placement(command), response }
            }
            Err(error) => {
                let problem = error.to_string();
                later(
                    &error,
                    Some(rollout::Command::UnitFailed {
                        slot,
                        problem,
                        for_good: error.retry == Retry::Never,
                    }),
                )
            }
        }
    }

    async fn ensure_route(&self, fence: u64, table: &RouteTable) -> Attempt {
        match self.router.ensure(&RouteTable { fence, ..table.clone() }).await {
            Ok(status) => {
                let problem = status.problem.clone();
                let response = format!("generation {}", status.generation);
                let command = Command::Placement(rollout::Command::RouteSeen {
                    status: Box::new(status),
                    known: None,
                });
                let closed = table.arms.iter().all(|arm| arm.weight == 0);
                match problem.filter(|_| !closed) {
                    None => Attempt::Done { command, response },
                    Some(why) => Attempt::Later { why, command: Some(command) },
                }
            }
            Err(error) => {
                let problem = error.to_string();
                later(&error, Some(rollout::Command::RouteFailed { problem }))
            }
        }
    }

    async fn observe_unit(&self, slot: Slot, spec: &UnitSpec) -> Observation {
        match self.target.observe(&spec.unit).await {
            Ok(Some(status)) if status.generation >= spec.generation => {
                let response = format!("found generation {}", status.generation);
                let command =
                    rollout::Command::UnitSeen { slot, status: Box::new(status), known: None };
                Observation::Done { command: Command::Placement(command), response }
            }
            _ => Observation::NotDone,
        }
    }

    async fn observe_route(&self, table: &RouteTable) -> Observation {
        match self.router.observe(&table.route).await {
            Ok(Some(status))
                if status.generation >= table.generation
                    && (status.problem.is_none()
                        || table.arms.iter().all(|arm| arm.weight == 0)) =>
            {
                let response = format!("found generation {}", status.generation);
                let command = rollout::Command::RouteSeen { status: Box::new(status), known: None };
                Observation::Done { command: Command::Placement(command), response }
            }
            _ => Observation::NotDone,
        }
    }

    async fn gather(&self, deployment_id: &str, index: usize, bundle: &Bundle) -> Attempt {
        let Some(id) = self.placement_of(deployment_id) else {
            return Attempt::Later { why: "the placement is not loaded".into(), command: None };
        };
        let plan =
            manifest_of(&bundle.release).ok().and_then(|manifest| manifest.plan(&id.environment));
        let after = plan
            .and_then(|plan| plan.after)
            .map(|environment| PlacementId { environment, ..id.clone() });
        let occasion = self.occasion(deployment_id, index, &id, bundle, after);
        match self.gatherer.facts(self.engine(), &id, &occasion).await {
            Ok(facts) => {
                let response = serde_json::to_string(&facts).unwrap_or_default();
                let command = rollout::Command::FactsGathered {
                    deployment_id: deployment_id.into(),
                    index,
                    facts: Box::new(facts),
                };
                Attempt::Done { command: Command::Placement(command), response }
            }
            Err(error) => Attempt::Later { why: error.to_string(), command: None },
        }
    }

    /// Who wants it, who agreed, and whether a person is still asked after this step.
    fn occasion(
        &self,
        deployment_id: &str,
        index: usize,
        id: &PlacementId,
        bundle: &Bundle,
        after: Option<PlacementId>,
    ) -> Occasion {
        let placement = self.placement(id);
        let rollout = placement
            .as_ref()
            .and_then(|placement| placement.rollout.as_ref())
            .filter(|rollout| rollout.deployment_id == deployment_id);
        let follows = |rollout: &rollout::Rollout| {
            rollout.plan.steps.iter().skip(index).any(|step| *step == rollout::plan::Step::Approve)
        };
        Occasion {
            release: bundle.release.clone(),
            owner: bundle.deploy.owner.clone(),
            after,
            author: rollout.map(|rollout| rollout.by.clone()),
            approvals: rollout.map(|rollout| rollout.approvals.clone()).unwrap_or_default(),
            approval_follows: rollout.is_some_and(follows),
        }
    }

    /// The placement whose rollout has this id.
    fn placement_of(&self, deployment_id: &str) -> Option<PlacementId> {
        self.engine().snapshots().iter().find_map(|run| match &*run.state {
            State::Placement(placement) => {
                let rollout = placement.rollout.as_ref()?;
                (rollout.deployment_id == deployment_id).then(|| placement.id.clone())
            }
            _ => None,
        })
    }

    async fn smoke(&self, effect: &rollout::Effect) -> Attempt {
        let rollout::Effect::Smoke { deployment_id, index, through, checks, addrs, .. } = effect
        else {
            return Attempt::Later { why: "not a smoke effect".into(), command: None };
        };
        let places = match (through, self.edge_place(deployment_id)) {
            (SmokeThrough::Instances, _) => {
                addrs.iter().map(|addr| Place { addr: *addr, host: addr.to_string() }).collect()
            }
            (SmokeThrough::Edge, Some(place)) => vec![place],
            (SmokeThrough::Edge, None) => {
                return Attempt::Later { why: "the route is not known".into(), command: None };
            }
        };
        let failure = self.run_checks(deployment_id, &places, checks).await.err();
        let detail = smoke::count(checks);
        let response = failure.clone().unwrap_or_else(|| detail.clone());
        let command = rollout::Command::SmokeDone {
            deployment_id: deployment_id.clone(),
            index: *index,
            failure,
            detail,
        };
        Attempt::Done { command: Command::Placement(command), response }
    }

    fn edge_place(&self, deployment_id: &str) -> Option<Place> {
        let id = self.placement_of(deployment_id)?;
        self.place_of(&id)
    }

    /// Where the edge serves a placement.
    fn place_of(&self, id: &PlacementId) -> Option<Place> {
        let placement = self.placement(id)?;
        let listen = placement.route.wish.as_ref()?.listen.clone();
        Some(Place {
            addr: listen.addr,
            host: listen.host.unwrap_or_else(|| listen.addr.to_string()),
        })
    }

    fn placement(&self, id: &PlacementId) -> Option<Placement> {
        match &*self.engine().snapshot(&placement_run(id))?.state {
            State::Placement(placement) => Some((**placement).clone()),
            _ => None,
        }
    }

    async fn run_checks(
        &self,
        deployment_id: &str,
        places: &[Place],
        checks: &[Smoke],
    ) -> Result<(), String> {
        for check in checks {
            for place in places {
                match check {
                    Smoke::Steps(steps) => smoke::run_steps(place, steps).await?,
                    Smoke::Command(run) => {
                        let request = self
                            .request_of(deployment_id)
                            .await
                            .ok_or("the commit of the release is not known here")?;
                        self.workshop.command(deployment_id, &request, run, place.addr).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The ship that a deployment belongs to: its commit is where commands run.
    async fn request_of(&self, deployment_id: &str) -> Option<ShipRequest> {
        let ship = deployment_id.strip_prefix("d-")?.rsplit_once('-')?.0;
        self.ship_request(&format!("s-{ship}")).await
    }

    async fn ship_request(&self, ship: &str) -> Option<ShipRequest> {
        let row = self.engine().store().run(ship.into()).await.ok()??;
        match State::read(row.state_version, &row.state).ok()? {
            State::Ship(ship) => Some(ship.request),
            _ => None,
        }
    }

    async fn attempt_ship(&self, effect: &ShipEffect) -> Attempt {
        match effect {
            ShipEffect::Build { ship, request } => self.build(ship, request).await,
            ShipEffect::Admit { ship, index, environment, release, .. } => {
                self.admit(ship, *index, environment, release).await
            }
            ShipEffect::Verify { ship, index, environment, release, run } => {
                let failure = self.verify(ship, environment, release, run.as_deref()).await.err();
                let response = failure.clone().unwrap_or_else(|| "passed".into());
                Attempt::Done {
                    command: Command::Ship(ShipCommand::VerifyDone { index: *index, failure }),
                    response,
                }
            }
        }
    }

    async fn built(&self, ship: &str) -> Option<BuildFacts> {
        let body = self.engine().store().document(BUILT.into(), ship.into()).await.ok()??;
        serde_json::from_str(&body).ok()
    }

    async fn build(&self, ship: &str, request: &ShipRequest) -> Attempt {
        match self.workshop.build(ship, request).await {
            Ok(facts) => {
                let body = serde_json::to_string(&facts).expect("plain data always serialises");
                let kept = self
                    .engine()
                    .store()
                    .put_document(Document { kind: BUILT.into(), id: ship.into(), body })
                    .await;
                if let Err(error) = kept {
                    return Attempt::Later { why: error.to_string(), command: None };
                }
                let response = facts.artifact.digest.to_string();
                Attempt::Done {
                    command: Command::Ship(ShipCommand::BuildDone(Box::new(facts))),
                    response,
                }
            }
            Err(failure) => {
                let response = failure.code.clone();
                Attempt::Done {
                    command: Command::Ship(ShipCommand::BuildFailed(failure)),
                    response,
                }
            }
        }
    }

    /// Hands the release to the placement, which answers with the end of the rollout.
    async fn admit(
        &self,
        ship: &str,
        index: usize,
        environment: &EnvName,
        release: &Release,
    ) -> Attempt {
        let id = PlacementId { service: release.service.clone(), environment: environment.clone() };
        let deploy =
            match deploy(release, environment, &self.registry, self.root, &self.allocator).await {
                Ok(deploy) => deploy,
                Err(error) => {
                    return refused(
                        index,
                        Refusal::new(
                            "cannot-deploy",
                            format!("The release cannot be deployed to {environment}: {error}."),
                        ),
                    );
                }
            };
        let run = placement_run(&id);
        let state = State::Placement(Box::new(Placement::new(id.clone())));
        if let Err(error) = self.engine().create(&run, &id.to_string(), &state).await {
            return Attempt::Later { why: error.to_string(), command: None };
        }
        let deployment_id = deployment_id(ship, index);
        let bundle =
            Bundle { release: release.clone(), deploy, deployment_id: deployment_id.clone() };
        let by =
            self.ship_request(ship).await.map_or_else(|| "humdrum".into(), |request| request.by);
        let admission = Admission {
            deployment_id: deployment_id.clone(),
            kind: Kind::Deploy,
            bundle,
            by: by.clone(),
            ship: Some(ship.into()),
        };
        let command = Command::Placement(rollout::Command::Admit(Box::new(admission)));
        match self.engine().submit(&run, &format!("admit/{deployment_id}"), &command, &by).await {
            Ok(Answer::Refused(refusal)) => refused(index, refusal),
            Ok(Answer::Done(_) | Answer::Pending) => {
                Attempt::Done { command: Command::Ship(ShipCommand::Tick), response: deployment_id }
            }
            Ok(Answer::NoSuchRun) => {
                Attempt::Later { why: format!("{run} is not there yet"), command: None }
            }
            Err(error) => Attempt::Later { why: error.to_string(), command: None },
        }
    }

    /// The environment still has the release, at full strength; then the declared command against it.
    async fn verify(
        &self,
        ship: &str,
        environment: &EnvName,
        release: &Release,
        run: Option<&str>,
    ) -> Result<(), String> {
        let id = PlacementId { service: release.service.clone(), environment: environment.clone() };
        let placement = self.placement(&id).ok_or("nothing is known of it")?;
        if !runs(&placement, release) {
            let now = placement
                .stable_bundle()
                .map_or_else(|| "nothing".into(), |bundle| bundle.release.id.to_string());
            return Err(format!("{id} runs {now} now, not release {}", release.id));
        }
        self.until_strong(&id).await?;
        if let Some(run) = run {
            self.verify_by_command(ship, &id, run).await?;
        }
        self.state_promotion(ship, &id, release).await
    }

    async fn verify_by_command(
        &self,
        ship: &str,
        id: &PlacementId,
        run: &str,
    ) -> Result<(), String> {
        let place = self.place_of(id).ok_or("its address is not known")?;
        let request =
            self.ship_request(ship).await.ok_or("the commit of the release is not known here")?;
        self.workshop.command(ship, &request, run, place.addr).await
    }

    /// Signs that the environment has it. The time is the rollout's end, so that a repeat makes the same statement.
    async fn state_promotion(
        &self,
        ship: &str,
        id: &PlacementId,
        release: &Release,
    ) -> Result<(), String> {
        let placement = self.placement(id).ok_or("nothing is known of it")?;
        let ended =
            placement.history.iter().rev().find(|ended| ended.ship.as_deref() == Some(ship));
        let at = ended.map(|ended| ended.ended).ok_or("its rollout is not in the history")?;
        let build = self.built(ship).await;
        let promoted = Promoted {
            placement: id.clone(),
            artifact: release.artifact.clone(),
            release: release.id.to_string(),
            at,
            evidence: build.map(|build| build.evidence.into_values().collect()).unwrap_or_default(),
        };
        self.workshop.promote(&promoted).await
    }
}

impl Real {
    /// Waits a moment for all instances: one that misses a single health check is no failed verification.
    async fn until_strong(&self, id: &PlacementId) -> Result<(), String> {
        let until = tokio::time::Instant::now() + STRENGTH;
        loop {
            let placement = self.placement(id).ok_or("nothing is known of it")?;
            let slot = placement.slot(placement.stable.unwrap_or(Slot::A));
            if slot.at_full_strength() {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                return Err(format!(
                    "only {} of {} instances are ready",
                    slot.ready(),
                    slot.wanted()
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn refused(index: usize, refusal: Refusal) -> Attempt {
    let response = refusal.code.clone();
    Attempt::Done {
        command: Command::Ship(ShipCommand::AdmissionRefused { index, refusal }),
        response,
    }
}

/// Where commands reach what was deployed, as `HUMDRUM_URL`.
pub fn url(addr: SocketAddr) -> String {
    format!("http://{addr}")
}

/// A build that did not come to an artifact.
pub fn failure(code: &str, report: humdrum_model::report::Report) -> BuildFailure {
    BuildFailure { code: code.into(), report }
}
