//! Invariants of what was decided: each committed step is looked at with the state before and after it.

use humdrum_model::judge::Verdict;
use humdrum_model::rollout::{Command as PlacementCommand, Outcome};

use super::reaction::OnTrial;
use super::*;

/// V2: weight is given only to a slot that runs all it should, confirmed, ready.
fn v2_ready_for_weight(before: &Placement, weight: u32) -> Option<Broken> {
    let rollout = before.rollout.as_ref()?;
    let slot = before.slot(rollout.slot);
    let wish = slot.wish.as_ref();
    let ready =
        slot.seen.iter().filter(|it| it.state == humdrum_model::unit::InstanceState::Ready).count();
    let full = slot.run
        && wish.is_some_and(|wish| {
            slot.accepted >= wish.generation && ready >= wish.spec.instances as usize && ready > 0
        });
    must(full, "V2", || {
        format!("{} gets {weight} with {ready} instances ready", rollout.deployment_id)
    })
}

/// V4: while a release is on trial, a verified one stands by with everything it needs.
fn v4_way_back(state: &Placement) -> Option<Broken> {
    let rollout = state.rollout.as_ref().filter(|it| it.weight > 0 && it.kind == Kind::Deploy)?;
    let stable = state.stable?;
    let slot = state.slot(stable);
    let stands_by = stable != rollout.slot && slot.run && slot.verified && slot.content.is_some();
    must(stands_by, "V4", || {
        format!("{} has {} and nothing verified stands by", rollout.deployment_id, rollout.weight)
    })
}

/// V4: the step up is taken only while the way back is at full strength.
fn v4_step_has_way_back(before: &Placement) -> Option<Broken> {
    let rollout = before.rollout.as_ref().filter(|it| it.kind == Kind::Deploy)?;
    let stable = before.stable?;
    let slot = before.slot(stable);
    must(slot.at_full_strength() && slot.verified, "V4", || {
        format!(
            "{} goes up while {} of {} instances of the way back are ready",
            rollout.deployment_id,
            slot.ready(),
            slot.wanted()
        )
    })
}

/// V6: what is held gets no traffic, unless the hold's message is still under way.
fn v6_nothing_held_is_exposed(
    run: &str,
    after: &Placement,
    book: &HoldBook,
    store: &MemoryStore,
) -> Option<Broken> {
    let rollout = after.rollout.as_ref()?;
    let hold = book.covering(&rollout.bundle.release, &after.id.environment)?;
    let waiting = now_ready(store.signals(run.into())).unwrap_or_default();
    must(waiting.iter().any(|it| it.body.contains("hold_placed")), "V6", || {
        format!("{} goes up although the {} is held", rollout.deployment_id, hold.subject)
    })
}

/// V7: a judged stage is left upwards only by its PASS or by a person.
fn v7_silence_is_not_health(before: &Placement, events: &[&PlacementEvent]) -> Option<Broken> {
    let rollout = before.rollout.as_ref()?;
    let judged = matches!(rollout.step(), Some(Step::Judge { .. }));
    let entered = events.iter().any(
        |it| matches!(it, PlacementEvent::StepEntered { index, .. } if *index == rollout.at + 1),
    );
    if !judged || !entered || rollout.returning.is_some() {
        return None;
    }
    let word = events.iter().any(|it| match it {
        PlacementEvent::Judged { verdict } => verdict.verdict == Verdict::Pass,
        PlacementEvent::RolloutResumed { .. } => true,
        _ => false,
    });
    must(word, "V7", || format!("{} leaves a judged stage without a word", rollout.deployment_id))
}

/// V7: a release is sent back by its own fault only: by FAIL, by failing checks, or by what its instances truly did.
fn v7_sent_back_for_cause(
    rec: &Recorded<'_>,
    before: &Placement,
    outcome: Outcome,
    why: &str,
    world: &World,
) -> Option<Broken> {
    let rollout = before.rollout.as_ref()?;
    if !matches!(outcome, Outcome::RolledBack | Outcome::Failed) {
        return None;
    }
    let Command::Placement(command) = rec.command else { return None };
    match command {
        PlacementCommand::VerdictReached { verdict, .. } => {
            must(verdict.verdict == Verdict::Fail, "V7", || {
                format!("{} goes back on {}", rollout.deployment_id, verdict.verdict.name())
            })
        }
        PlacementCommand::UnitSeen { .. } if why.starts_with("A guardrail fired") => {
            let unit = world.agent.units.get(&before.id.unit(rollout.slot))?;
            let mine = unit.spec.labels.deployment_id == rollout.bundle.deployment_id;
            let few_now = rollout.weight > 0 && unit.ready() * 2 < unit.wanted();
            let cause = mine && (unit.ends_max >= 3 || unit.was_half_down || few_now);
            must(cause, "V7", || {
                format!(
                    "a guardrail sends {} back for what its instances never did",
                    rollout.deployment_id
                )
            })
        }
        _ => None,
    }
}

/// V10: a slot is filled only after gates that passed on evidence that was there.
fn v10_gates_at_that_moment(
    state: &Placement,
    gathered: &BTreeMap<(String, usize), bool>,
) -> Option<Broken> {
    let rollout = state.rollout.as_ref()?;
    let last = rollout.plan.steps.iter().take(rollout.at + 1).rposition(|step| *step == Step::Gate);
    let truth = last.and_then(|at| gathered.get(&(rollout.deployment_id.clone(), at)));
    let passed = !rollout.gates.is_empty() && rollout.gates.iter().all(|it| it.passed);
    must(passed && truth == Some(&true), "V10", || {
        format!("{} enters without its gates having passed", rollout.deployment_id)
    })
}

/// V11: every open run has a timer or a named party, and `explain` says what it waits for.
fn v11_wait_is_named(rec: &Recorded<'_>, store: &MemoryStore) -> Option<Broken> {
    let moved = rec.before.awaits() != rec.after.awaits();
    let stored = if moved { now_ready(store.run(rec.run.into())).ok()? } else { None };
    if stored.is_some_and(|stored| stored.wait != wait_of(rec.after)) {
        return Some(Broken::new(
            "V11",
            format!("{} waits for something else than its state", rec.run),
        ));
    }
    let silent = matches!(rec.after.awaits(), Some((_, party)) if party.is_empty());
    let explained = match rec.after {
        State::Placement(it)
            if rec.events.iter().any(|event| {
                event.kind() == "step_entered" || event.kind() == "rollout_paused"
            }) =>
        {
            let now = Timestamp::from_millisecond(rec.wall_ms).unwrap_or(Timestamp::UNIX_EPOCH);
            let why = it.explain(None, now);
            !why.report.sentences.is_empty() && (it.rollout.is_none() || why.report.next.is_some())
        }
        _ => true,
    };
    must(!silent && explained, "V11", || format!("{} waits and does not say for what", rec.run))
}

/// One active rollout, and never more ends than one for each deployment.
fn ends_once(before: &Placement, events: &[&PlacementEvent]) -> Option<Broken> {
    let ends = events.iter().filter(|it| matches!(it, PlacementEvent::RolloutEnded { .. })).count();
    must(ends <= 2, "ends", || format!("{}: one step ends {ends} rollouts", before.id))
}

impl Ledger {
    /// Everything that can be said about a step at its commit.
    pub(crate) fn committed(
        &mut self,
        now: i64,
        rec: &Recorded<'_>,
        world: &World,
        published: &BTreeMap<String, Rc<State>>,
        store: &MemoryStore,
    ) -> Option<Broken> {
        let broken = v11_wait_is_named(rec, store);
        let (State::Placement(before), State::Placement(after)) = (rec.before, rec.after) else {
            return broken;
        };
        let events: Vec<&PlacementEvent> = rec
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Placement(event) => Some(event),
                _ => None,
            })
            .collect();
        let mut broken = broken
            .or_else(|| ends_once(before, &events))
            .or_else(|| v7_silence_is_not_health(before, &events))
            .or_else(|| v4_way_back(after));
        // Events are replayed one by one, so that each rule sees the state at its own event.
        let mut state = (**before).clone();
        for event in &events {
            if broken.is_none() {
                broken = self.on_event(now, rec, event, &state, world, published, store);
            }
            state.apply(event);
            if broken.is_none() && matches!(event, PlacementEvent::SlotFilled { .. }) {
                broken = v10_gates_at_that_moment(&state, &self.gathered);
            }
        }
        self.trials.insert(rec.run.to_owned(), OnTrial::of(now, after, self.trials.get(rec.run)));
        broken
    }

    #[expect(clippy::too_many_arguments, reason = "what a rule may look at, all by reference")]
    fn on_event(
        &mut self,
        now: i64,
        rec: &Recorded<'_>,
        event: &PlacementEvent,
        before: &Placement,
        world: &World,
        published: &BTreeMap<String, Rc<State>>,
        store: &MemoryStore,
    ) -> Option<Broken> {
        match event {
            PlacementEvent::RolloutStarted { admission, .. } => {
                self.returned.remove(&admission.bundle.deployment_id);
                None
            }
            PlacementEvent::RouteWished { table } => v1_weights_sum(table),
            PlacementEvent::Exposed { weight, .. } if *weight > 0 => {
                v2_ready_for_weight(before, *weight)
                    .or_else(|| v4_step_has_way_back(before))
                    .or_else(|| {
                        v6_nothing_held_is_exposed(rec.run, before, book(published)?, store)
                    })
            }
            PlacementEvent::ReturnStarted { outcome, report, .. } => {
                let rollout = before.rollout.as_ref()?;
                self.returned.insert(rollout.bundle.deployment_id.clone(), now);
                v7_sent_back_for_cause(rec, before, *outcome, &report.text(), world)
            }
            _ => None,
        }
    }
}
