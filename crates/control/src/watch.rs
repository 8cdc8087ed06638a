//! Eyes on the world: what the agent runs, what the edge serves, and a live judge for each rollout on trial. What they see becomes commands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use humdrum_adapters::routers::Router;
use humdrum_adapters::targets::Target;
use humdrum_model::name::Slot;
use humdrum_model::rollout::plan::Step;
use humdrum_model::rollout::{Command, Placement, Progress};
use humdrum_model::run::{Command as RunCommand, State};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::{Engine, Snapshot};
use crate::probe;
use crate::trial::Trial;

/// The agent is asked again at the latest after this.
const AGENT_WAIT_MS: u64 = 5_000;
/// Pause after a failed look.
const PAUSE: Duration = Duration::from_millis(300);
/// How often the edge is looked at while something there is waited for, and while nothing is.
const EDGE_BUSY: Duration = Duration::from_millis(50);
const EDGE_IDLE: Duration = Duration::from_secs(2);

/// What live judges know, by run.
pub type Boards = Arc<Mutex<HashMap<String, Progress>>>;

/// The progress of a run's judge.
pub fn progress(boards: &Boards, run: &str) -> Option<Progress> {
    boards.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
}

/// Everything the watchers need.
#[derive(Clone)]
pub struct Watch {
    pub engine: Engine,
    pub target: Arc<dyn Target>,
    pub router: Arc<dyn Router>,
    pub boards: Boards,
    pub stop: CancellationToken,
}

impl Watch {
    /// Starts the watchers; they end with `stop`.
    pub fn start(self, tracker: &TaskTracker) {
        let watch = self.clone();
        tracker
            .spawn(self.stop.clone().run_until_cancelled_owned(async move { watch.agent().await }));
        let (watch, tasks) = (self.clone(), tracker.clone());
        tracker.spawn(
            self.stop
                .clone()
                .run_until_cancelled_owned(async move { watch.placements(tasks).await }),
        );
    }

    fn placement_runs(&self) -> Vec<(Snapshot, Placement)> {
        let of = |run: Snapshot| match &*run.state {
            State::Placement(placement) => Some((run.clone(), (**placement).clone())),
            _ => None,
        };
        self.engine.snapshots().into_iter().filter_map(of).collect()
    }

    /// Tells each placement about its units whenever the agent's picture changes, and about once in a while anyway.
    async fn agent(&self) {
        let mut after = 0;
        loop {
            // Read before asking: what was confirmed by now must be in the answer, or it is drift.
            let runs = self.placement_runs();
            match self.target.watch(after, AGENT_WAIT_MS).await {
                Ok(seen) => {
                    // A new agent counts from the start again.
                    after = if seen.version < after { 0 } else { seen.version };
                    self.tell_forgotten(&runs, &seen.units).await;
                    for unit in seen.units {
                        let owner = runs.iter().find_map(|(run, placement)| {
                            let slot = [Slot::A, Slot::B]
                                .into_iter()
                                .find(|slot| placement.id.unit(*slot) == unit.unit)?;
                            Some((run.id.clone(), slot, placement.slot(slot).accepted))
                        });
                        if let Some((run, slot, known)) = owner {
                            let command = Command::UnitSeen {
                                slot,
                                status: Box::new(unit),
                                known: Some(known),
                            };
                            self.engine.tell(&run, RunCommand::Placement(command)).await;
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the agent cannot be watched");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// A unit that was confirmed and is unknown to the agent now was lost with its data: generation 0 says so.
    async fn tell_forgotten(
        &self,
        runs: &[(Snapshot, Placement)],
        units: &[humdrum_model::unit::UnitStatus],
    ) {
        for (run, placement) in runs {
            for slot in [Slot::A, Slot::B] {
                let (unit, known) = (placement.id.unit(slot), placement.slot(slot).accepted);
                if known > 0 && !units.iter().any(|status| status.unit == unit) {
                    let status = humdrum_model::unit::UnitStatus {
                        unit,
                        fence: 0,
                        generation: 0,
                        instances: vec![],
                        problem: None,
                    };
                    let command =
                        Command::UnitSeen { slot, status: Box::new(status), known: Some(known) };
                    self.engine.tell(&run.id, RunCommand::Placement(command)).await;
                }
            }
        }
    }

    /// Keeps one eye on each placement's route, and a judge on each one that is on trial.
    async fn placements(&self, tracker: TaskTracker) {
        let mut changes = self.engine.changes();
        let mut eyes: HashMap<String, ()> = HashMap::new();
        loop {
            for (run, _) in self.placement_runs() {
                if eyes.insert(run.id.clone(), ()).is_none() {
                    let (watch, id) = (self.clone(), run.id.clone());
                    tracker.spawn(
                        self.stop
                            .clone()
                            .run_until_cancelled_owned(async move { watch.route(&id).await }),
                    );
                    let (watch, id) = (self.clone(), run.id.clone());
                    tracker.spawn(
                        self.stop
                            .clone()
                            .run_until_cancelled_owned(async move { watch.judge(&id).await }),
                    );
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn placement(&self, run: &str) -> Option<Placement> {
        match &*self.engine.snapshot(run)?.state {
            State::Placement(placement) => Some((**placement).clone()),
            _ => None,
        }
    }

    async fn route(&self, run: &str) {
        let mut changes = self.engine.changes();
        loop {
            let Some(placement) = self.placement(run) else { return };
            if placement.route.wish.is_some() {
                match self.router.observe(&placement.id.route()).await {
                    Ok(Some(status)) => {
                        let command = Command::RouteSeen {
                            status: Box::new(status),
                            known: Some(placement.route.accepted),
                        };
                        self.engine.tell(run, RunCommand::Placement(command)).await;
                    }
                    // A route that was confirmed and is unknown now was lost with the edge's data: generation 0 says so.
                    Ok(None) if placement.route.accepted > 0 => {
                        let command = Command::RouteSeen {
                            status: Box::new(unknown_route(&placement)),
                            known: Some(placement.route.accepted),
                        };
                        self.engine.tell(run, RunCommand::Placement(command)).await;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        self.engine
                            .tell(
                                run,
                                RunCommand::Placement(Command::RouteFailed {
                                    problem: error.to_string(),
                                }),
                            )
                            .await;
                    }
                }
            }
            if is_busy(&placement) {
                tokio::time::sleep(EDGE_BUSY).await;
            } else {
                let _ = tokio::time::timeout(EDGE_IDLE, changes.changed()).await;
                tokio::time::sleep(EDGE_BUSY).await;
            }
        }
    }

    /// Judges the run's rollouts, one after another.
    async fn judge(&self, run: &str) {
        let mut changes = self.engine.changes();
        loop {
            let Some(placement) = self.placement(run) else { return };
            if is_judged(&placement) {
                self.trial(run, &placement).await;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn trial(&self, run: &str, placement: &Placement) {
        let Some(id) = placement.rollout.as_ref().map(|rollout| rollout.deployment_id.clone())
        else {
            return;
        };
        let trial = loop {
            match Trial::open(run, placement, self.engine.store().clone(), self.router.clone())
                .await
            {
                Ok(Some(trial)) => break trial,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(run, %error, "the judge cannot start");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        // Declared probe traffic lasts as long as the judge listens, and ends with it.
        tokio::select! {
            () = self.hear(run, &id, trial) => {}
            () = probe::probe(placement) => {}
        }
        self.boards.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
    }

    async fn hear(&self, run: &str, id: &str, mut trial: Trial) {
        let mut told: Option<usize> = None;
        loop {
            let Some(placement) = self.placement(run) else { return };
            let Some(rollout) = placement
                .rollout
                .as_ref()
                .filter(|rollout| rollout.deployment_id == id && rollout.returning.is_none())
            else {
                return;
            };
            if told == Some(rollout.at) && rollout.paused.is_none() {
                // What was told is being recorded; the state moves on in a moment.
                tokio::time::sleep(Duration::from_millis(5)).await;
                told = None;
                continue;
            }
            match trial.step(rollout).await {
                Ok(command) => {
                    self.boards
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(run.into(), trial.progress());
                    if let Some(command) = command {
                        told = Some(rollout.at);
                        self.engine.tell(run, RunCommand::Placement(command)).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(run, %error, "the judge stumbled");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// From the first judged stage on, until the rollout turns round or has all traffic.
fn is_judged(placement: &Placement) -> bool {
    placement.rollout.as_ref().is_some_and(|rollout| {
        rollout.returning.is_none() && matches!(rollout.step(), Some(Step::Judge { .. }))
    })
}

/// Whether the edge's word is awaited.
fn is_busy(placement: &Placement) -> bool {
    let draining = |rollout: &humdrum_model::rollout::Rollout| {
        rollout.returning.is_some()
            || matches!(rollout.step(), Some(Step::Drain { .. } | Step::Expose { .. }))
    };
    placement.rollout.as_ref().is_some_and(draining)
}

fn unknown_route(placement: &Placement) -> humdrum_model::route::RouteStatus {
    humdrum_model::route::RouteStatus {
        route: placement.id.route(),
        fence: 0,
        generation: 0,
        in_flight: vec![],
        problem: None,
    }
}
