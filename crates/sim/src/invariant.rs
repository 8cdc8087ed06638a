//! What must always hold (V1–V12), as named functions; [`Ledger`] remembers what they compare with.
//!
//! Decisions are checked when they are committed, the world after every event, the chain and what was accepted at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use humdrum_model::hold::HoldBook;
use humdrum_model::name::Slot;
use humdrum_model::rollout::plan::Step;
use humdrum_model::rollout::{Event as PlacementEvent, Kind, Placement};
use humdrum_model::route::{RouteTable, WEIGHT_TOTAL};
use humdrum_model::run::{Command, Event, HOLDS_RUN, State};
use humdrum_model::unit::UnitSpec;
use humdrum_store::{MemoryStore, Store};
use jiff::Timestamp;

use crate::queue::Worker;
use crate::replica::wait_of;
use crate::stage::now_ready;
use crate::world::World;

mod decision;
mod end;
mod reaction;

pub(crate) use self::end::{
    at_rest, v9_nothing_accepted_is_lost, v12_chain_is_whole, world_follows,
};

/// Time without a request that the edge must have seen before instances may go, ms. As in the model.
const QUIET_MS: i64 = 300;
/// Wake-ups that may find their timer in the past, in a row: more is a loop that burns a core.
const SPINS_MAX: u32 = 100;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub invariant: &'static str,
    pub what: String,
}

impl Broken {
    pub(crate) fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

fn must(holds: bool, invariant: &'static str, what: impl FnOnce() -> String) -> Option<Broken> {
    (!holds).then(|| Broken::new(invariant, what()))
}

/// A committed step of a run.
pub(crate) struct Recorded<'a> {
    pub run: &'a str,
    pub command: &'a Command,
    pub events: &'a [Event],
    pub before: &'a State,
    pub after: &'a State,
    pub wall_ms: i64,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Newest fence and generation that a place took, by place and name.
    taken: BTreeMap<(&'static str, String), (u64, u64)>,
    signals: Vec<(String, String)>,
    runs: BTreeSet<String>,
    /// Whether the gates could pass with what was gathered, by deployment and step.
    gathered: BTreeMap<(String, usize), bool>,
    /// When rollouts turned round, by the deployment id that the edge's arms carry.
    returned: BTreeMap<String, i64>,
    trials: BTreeMap<String, reaction::OnTrial>,
    /// Until when a fault may keep control from reacting.
    troubled_until: i64,
    /// Wall clocks moved: what is measured with them may be shorter or longer.
    clocks_jumped: bool,
    /// Newest epoch under which each run was taken.
    epochs: BTreeMap<String, u64>,
}

/// V1: weights sum to the total or nothing is served; each slot of a rollout is written.
pub(crate) fn v1_weights_sum(table: &RouteTable) -> Option<Broken> {
    let sum: u32 = table.arms.iter().map(|arm| arm.weight).sum();
    must(sum == WEIGHT_TOTAL || sum == 0, "V1", || {
        format!("the weights of {} sum to {sum}", table.route)
    })
    .or_else(|| {
        must((sum == 0) == table.closed_reason.is_some(), "V1", || {
            format!("{} is closed without a reason, or open with one", table.route)
        })
    })
}

/// V2: an arm has weight only while its slot runs that very release.
pub(crate) fn v2_weight_meets_its_release(table: &RouteTable, world: &World) -> Option<Broken> {
    table.arms.iter().filter(|arm| arm.weight > 0).find_map(|arm| {
        let unit = world.agent.units.get(&format!("{}.{}", table.route, arm.slot))?;
        let found = &unit.spec.labels.deployment_id;
        must(*found == arm.deployment_id, "V2", || {
            format!(
                "slot {} gets {} for {}, but runs {found}",
                arm.slot, arm.weight, arm.deployment_id
            )
        })
    })
}

/// V5: nothing is stopped before its share was 0 and its requests were over, or the drain time was.
pub(crate) fn v5_drained_before_stop(
    now: i64,
    spec: &UnitSpec,
    placement: &Placement,
    world: &World,
    clocks_jumped: bool,
) -> Option<Broken> {
    let slot = [Slot::A, Slot::B].into_iter().find(|slot| placement.id.unit(*slot) == spec.unit)?;
    let unit = world.agent.units.get(&spec.unit)?;
    let newer = (spec.fence, spec.generation) > (unit.spec.fence, unit.spec.generation);
    let stops = unit.spec.labels.release != spec.labels.release || spec.instances == 0;
    if !newer || !stops || unit.instances.is_empty() {
        return None;
    }
    let flight = world.edge.routes.get(&placement.id.route())?.flight(slot);
    let drain_ms = world.settings.deploy.drain_ms as i64;
    let waited = flight.zero_since.is_none_or(|since| now - since >= drain_ms);
    must(flight.weight == 0, "V5", || {
        format!("{} is stopped while its weight is {}", spec.unit, flight.weight)
    })
    .or_else(|| {
        must(flight.quiet_ms(now) >= QUIET_MS || waited || clocks_jumped, "V5", || {
            format!(
                "{} is stopped with {} open requests, {} ms after its share became 0",
                spec.unit,
                flight.in_flight,
                flight.zero_since.map_or(0, |since| now - since)
            )
        })
    })
}

/// V8: a process that was overtaken records nothing.
pub(crate) fn v8_commit_is_present(run: &str, mine: u64, present: u64) -> Option<Broken> {
    must(mine >= present, "V8", || {
        format!("{run}: a commit with epoch {mine} was taken, the run has {present}")
    })
}

/// V11: a timer that fired leads to something, or to another timer.
pub(crate) fn v11_timer_wakes(run: &str, spins: u32, party: &str) -> Option<Broken> {
    must(spins <= SPINS_MAX, "V11", || {
        format!("{run} waits for {party} with a timer in the past and is woken again and again")
    })
}

impl Ledger {
    pub(crate) fn troubled(&mut self, until: i64) {
        self.troubled_until = self.troubled_until.max(until);
    }

    pub(crate) fn clock_jumped(&mut self) {
        self.clocks_jumped = true;
    }

    pub(crate) fn claimed(&mut self, run: &str, epoch: u64) {
        self.epochs.insert(run.into(), epoch);
    }

    pub(crate) fn epoch(&self, run: &str) -> u64 {
        self.epochs.get(run).copied().unwrap_or(0)
    }

    /// A place lost its data, and with it what it had taken.
    pub(crate) fn forgot(&mut self, place: &'static str) {
        self.taken.retain(|(known, _), _| *known != place);
    }

    pub(crate) fn accepted_signal(&mut self, run: &str, id: &str) {
        self.signals.push((run.into(), id.into()));
    }

    pub(crate) fn accepted_run(&mut self, id: &str) {
        self.runs.insert(id.into());
    }

    pub(crate) fn gathered(&mut self, deployment_id: &str, index: usize, fine: bool) {
        self.gathered.insert((deployment_id.into(), index), fine);
    }

    /// V8: no place takes an order that is older than one it took.
    pub(crate) fn accepted(
        &mut self,
        run: &str,
        place: &'static str,
        name: &str,
        fence: u64,
        generation: u64,
    ) -> Option<Broken> {
        let newest = self.taken.entry((place, name.to_owned())).or_default();
        if (fence, generation) >= *newest {
            *newest = (fence, generation);
            return None;
        }
        let newest = *newest;
        Some(Broken::new(
            "V8",
            format!("{run}: the {place} took {fence}/{generation} for {name} after {newest:?}"),
        ))
    }

    /// V8: what has a recorded result is not done again by the process that has the run.
    pub(crate) fn attempted(&self, worker: &Worker, store: &MemoryStore) -> Option<Broken> {
        if self.epoch(&worker.run) != worker.epoch {
            return None; // An overtaken process: its fence is refused, its result is never recorded.
        }
        let rows = now_ready(store.effects(worker.run.clone())).ok()?;
        let row = rows.into_iter().rev().find(|row| row.key == worker.key);
        match row {
            None => {
                Some(Broken::new("V8", format!("{} is done without a recorded intent", worker.key)))
            }
            Some(row) => must(row.status == "intended", "V8", || {
                format!("{} is {} and is done again", worker.key, row.status)
            }),
        }
    }

    pub(crate) fn before_unit(
        &self,
        now: i64,
        spec: &UnitSpec,
        world: &World,
        published: &BTreeMap<String, Rc<State>>,
    ) -> Option<Broken> {
        published.values().find_map(|state| match &**state {
            State::Placement(it) => {
                v5_drained_before_stop(now, spec, it, world, self.clocks_jumped)
            }
            _ => None,
        })
    }

    /// A table came into force; `sent`: when it left control.
    pub(crate) fn table(
        &self,
        _now: i64,
        table: &RouteTable,
        sent: i64,
        world: &World,
    ) -> Option<Broken> {
        v1_weights_sum(table)
            .or_else(|| v2_weight_meets_its_release(table, world))
            .or_else(|| self.v3_no_rise_after_return(table, sent))
    }

    /// V3: no table that leaves control after a return was decided gives the release anything.
    fn v3_no_rise_after_return(&self, table: &RouteTable, sent: i64) -> Option<Broken> {
        table.arms.iter().filter(|arm| arm.weight > 0).find_map(|arm| {
            let since = *self.returned.get(&arm.deployment_id)?;
            must(sent <= since, "V3", || {
                format!("{} gets {} after it turned round", arm.deployment_id, arm.weight)
            })
        })
    }

    /// V9: a restart finds everything that was answered "accepted".
    pub(crate) fn restarted(&mut self, store: &MemoryStore) -> Option<Broken> {
        let lost =
            self.runs.iter().find(|id| !matches!(now_ready(store.run((*id).clone())), Ok(Some(_))));
        if let Some(lost) = lost {
            return Some(Broken::new(
                "V9",
                format!("{lost} was accepted and is unknown after a restart"),
            ));
        }
        None
    }
}

fn book(published: &BTreeMap<String, Rc<State>>) -> Option<&HoldBook> {
    match &**published.get(HOLDS_RUN)? {
        State::Holds(book) => Some(book),
        _ => None,
    }
}
