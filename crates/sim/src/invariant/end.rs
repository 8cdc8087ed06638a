//! Invariants of the end: once nothing is broken any more, everything is over or waits for a person, and nothing is lost.

use humdrum_model::ship::Phase;

use super::*;
use crate::stage::Stage;

/// V12: the chain has no gap, each run's numbers have none, and all of it verifies.
pub(crate) fn v12_chain_is_whole(stage: &Stage) -> Option<Broken> {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut after = 0;
    loop {
        let rows = now_ready(stage.store.feed(after, 0)).unwrap_or_default();
        let Some(last) = rows.last() else { break };
        for (index, row) in rows.iter().enumerate() {
            let seq = next.entry(row.run.clone()).or_insert(1);
            if row.pos != after + index as u64 + 1 || row.seq != *seq {
                return Some(Broken::new(
                    "V12",
                    format!("position {} holds {} of {}", row.pos, row.seq, row.run),
                ));
            }
            *seq += 1;
        }
        after = last.pos;
    }
    match now_ready(stage.store.verify_chain()) {
        Ok(rows) => must(rows == after, "V12", || format!("{rows} of {after} rows verify")),
        Err(error) => Some(Broken::new("V12", error.to_string())),
    }
}

/// V9: everything that was accepted was heard, and is still known.
pub(crate) fn v9_nothing_accepted_is_lost(stage: &Stage) -> Option<Broken> {
    for (run, id) in &stage.ledger.signals {
        let waiting = now_ready(stage.store.signals(run.clone())).unwrap_or_default();
        if waiting.iter().any(|it| it.id == *id) {
            return Some(Broken::new("V9", format!("{id} was accepted and is not answered")));
        }
        let known = now_ready(stage.store.signal(humdrum_store::NewSignal {
            id: id.clone(),
            run: run.clone(),
            dedup_key: id.clone(),
            body: String::new(),
            actor: String::new(),
            at_ms: 0,
        }));
        if known != Ok(humdrum_store::SignalAccepted::Repeated) {
            return Some(Broken::new("V9", format!("{id} was accepted and is forgotten")));
        }
    }
    None
}

fn waits_for_person(placement: &Placement) -> bool {
    placement.rollout.as_ref().is_some_and(|it| {
        it.returning.is_none() && (it.paused.is_some() || matches!(it.step(), Some(Step::Approve)))
    })
}

/// Always ends: what is not over waits for a person. Else: who is still under way.
pub(crate) fn at_rest(stage: &Stage) -> Result<(), String> {
    let mut asked = false;
    for (run, placement) in stage.placements() {
        asked |= waits_for_person(placement);
        let idle = placement.rollout.is_none() && placement.queued.is_none();
        if !(idle || waits_for_person(placement)) {
            let (at, party) = placement.awaits();
            return Err(format!("{run} waits for {party} until {at:?}"));
        }
        if !placement.wanted().is_empty() {
            return Err(format!("{run} still wants {}", placement.wanted()[0].key()));
        }
    }
    for run in stage.published.keys() {
        let waiting = now_ready(stage.store.signals(run.clone())).unwrap_or_default();
        if let Some(first) = waiting.first() {
            return Err(format!("{} waits to be heard", first.id));
        }
    }
    for ship in stage.all_ships() {
        let over = matches!(ship.phase, Phase::Done { .. });
        let behind = asked && matches!(ship.phase, Phase::Deploying { .. });
        if !(over || behind) {
            return Err(format!("{} waits for {:?}", ship.id, ship.awaits()));
        }
    }
    Ok(())
}

/// At rest the edge does what was decided: all traffic is served, by a verified release if there ever was one.
pub(crate) fn world_follows(stage: &Stage) -> Option<Broken> {
    stage.placements().find_map(|(run, placement)| {
        let stable = placement.stable?;
        let Some(route) = stage.world.edge.routes.get(&placement.id.route()) else {
            return Some(Broken::new("ends", format!("{run} has a verified release and no route")));
        };
        let trial = placement.rollout.as_ref().map_or(0, |it| it.weight);
        let weight = route.flight(stable).weight;
        must(placement.slot(stable).verified && weight == WEIGHT_TOTAL - trial, "ends", || {
            format!("{run}: the verified release gets {weight}, the one on trial {trial}")
        })
    })
}
