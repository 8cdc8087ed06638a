//! Which images are in use: what runs, is rolled out, may be returned to, or is on its way. Nothing of this ever expires.

use std::collections::BTreeMap;

use humdrum_model::rollout::Placement;
use humdrum_model::run::State;
use humdrum_model::ship::{Phase, Ship};

use crate::engine::Snapshot;

/// Ended rollouts of each placement whose releases stay: as many as the judge's and people's "go back" ever looked at in practice,
/// and fewer than a placement remembers.
pub const RELEASES_KEPT: usize = 5;

/// Digests in use, each with every reason: `shop/production runs it`.
pub type InUse = BTreeMap<String, Vec<String>>;

/// From all runs as they were last committed.
pub fn in_use(runs: &[Snapshot]) -> InUse {
    let mut uses = InUse::new();
    for run in runs {
        match run.state.as_ref() {
            State::Placement(placement) => of_placement(placement, &mut uses),
            State::Ship(ship) => of_ship(ship, &mut uses),
            _ => {}
        }
    }
    uses
}

fn of_placement(placement: &Placement, uses: &mut InUse) {
    let mut uses_it = |digest: &str, how: &str| {
        let reason = format!("{} {how}", placement.id);
        let reasons = uses.entry(digest.to_owned()).or_default();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    for slot in [humdrum_model::name::Slot::A, humdrum_model::name::Slot::B] {
        let state = placement.slot(slot);
        let Some(bundle) = &state.content else { continue };
        let how = match (placement.stable == Some(slot), state.verified) {
            (true, _) => "runs it",
            (false, true) => "may return to it",
            (false, false) => "has it in a slot",
        };
        uses_it(bundle.release.artifact.digest.as_str(), how);
    }
    if let Some(rollout) = &placement.rollout {
        uses_it(rollout.bundle.release.artifact.digest.as_str(), "is rolling it out");
    }
    if let Some(queued) = &placement.queued {
        uses_it(queued.bundle.release.artifact.digest.as_str(), "will roll it out");
    }
    let mut ended: Vec<_> = placement.history.iter().collect();
    ended.sort_by_key(|ended| std::cmp::Reverse(ended.ended));
    let how = format!("had it among its last {RELEASES_KEPT} releases");
    let mut last: Vec<&str> = vec![];
    for digest in ended.iter().map(|ended| ended.release.artifact.digest.as_str()) {
        if !last.contains(&digest) && last.len() < RELEASES_KEPT {
            last.push(digest);
            uses_it(digest, &how);
        }
    }
}

fn of_ship(ship: &Ship, uses: &mut InUse) {
    if let (false, Some(build)) = (matches!(ship.phase, Phase::Done { .. }), &ship.build) {
        let reasons = uses.entry(build.artifact.digest.to_string()).or_default();
        reasons.push(format!("{} is under way", ship.id));
    }
}
