//! Guardrails: what sends a release back at once, without statistics. Crash loops and failing health, never silence.

use super::state::{Placement, Seen};
use crate::unit::InstanceState;

/// Unwished ends of one instance that count as a crash loop: two may be chance or a slow dependency, three are a pattern.
pub(super) const RESTARTS_MAX: u32 = 3;

/// Why the release on trial has to go back, if it has to.
pub(super) fn broken(placement: &Placement) -> Option<String> {
    let rollout = placement.rollout.as_ref()?;
    if rollout.returning.is_some() || !rollout.has_slot() {
        return None;
    }
    let state = placement.slot(rollout.slot);
    if let Some(seen) = state
        .seen
        .iter()
        .filter(|seen| seen.restarts >= RESTARTS_MAX)
        .max_by_key(|seen| seen.restarts)
    {
        return Some(crash_loop(seen));
    }
    // Before any weight a missing instance only delays; once users are there, fewer than half is a failure.
    let (ready, wanted) = (state.ready(), state.wanted());
    if rollout.weight > 0 && ready * 2 < wanted {
        let sick = state.seen.iter().find(|seen| seen.state != InstanceState::Ready);
        let detail = sick
            .and_then(|seen| seen.last_exit.clone())
            .unwrap_or_else(|| "health checks fail".into());
        return Some(format!("only {ready} of {wanted} instances are healthy ({detail})"));
    }
    None
}

fn crash_loop(seen: &Seen) -> String {
    let exit = seen.last_exit.as_deref().unwrap_or("unknown exit");
    let line = seen
        .last_lines
        .last()
        .map(|line| format!("; its last words: {}", line.trim()))
        .unwrap_or_default();
    format!("instance {} ended {} times by itself ({exit}){line}", seen.name, seen.restarts)
}
