//! Which arm and which instance a request goes to. Reads and advances the route's turn counters, nothing else.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use http::HeaderMap;

use crate::head;
use crate::table::Plan;

/// What a request said about where it wants to go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    tester: bool,
    /// Value of the sticky cookie.
    cookie: Option<String>,
    /// A smoke check: answered like any other, never counted.
    synthetic: bool,
}

impl Wish {
    #[inline]
    pub(crate) fn new(plan: &Plan, headers: &HeaderMap, synthetic: bool) -> Self {
        let tester = plan.tester.as_ref().is_some_and(|t| headers.get(&t.header) == Some(&t.value));
        let sticky = plan.table.sticky.as_ref();
        let cookie = sticky.and_then(|s| head::cookie(headers, &s.cookie)).map(str::to_owned);
        Self { tester, cookie, synthetic }
    }

    /// Whether the caller must be told the cookie of the arm that served it.
    pub(crate) fn lacks_cookie(&self, plan: &Plan, arm: usize) -> bool {
        plan.table.sticky.is_some()
            && !self.tester
            && self.cookie.as_deref() != Some(&plan.arms[arm].cookie)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) arm: usize,
    /// Index of [`Plan::endpoints`].
    pub(crate) endpoint: usize,
    /// Whether the judge is told.
    pub(crate) counted: bool,
}

/// The first choice for a request. `None` when the plan has no arm with weight.
#[inline]
pub(crate) fn first(plan: &Plan, wish: &Wish) -> Option<Choice> {
    if wish.tester
        && let Some(tester) = &plan.tester
        && let Some(endpoint) = next_instance(plan, tester.arm, &[])
    {
        return Some(Choice { arm: tester.arm, endpoint, counted: false });
    }
    let arm = match kept_arm(plan, wish) {
        Some(arm) => arm,
        None => plan.schedule.arm(plan.gauges.turns.fetch_add(1, Ordering::Relaxed))?,
    };
    let endpoint = next_instance(plan, arm, &[])?;
    Some(Choice { arm, endpoint, counted: !wish.synthetic })
}

fn kept_arm(plan: &Plan, wish: &Wish) -> Option<usize> {
    let cookie = wish.cookie.as_deref()?;
    let mut arms = plan.table.arms.iter().zip(&plan.arms);
    arms.position(|(arm, compiled)| arm.weight > 0 && compiled.cookie == cookie)
}

/// Another instance after one could not be reached: first of the same arm, then of any arm with weight.
///
/// Another arm serves the user but is not counted: the split did not assign the request to it, and a share that follows the
/// other arm's failures would look like a broken split.
pub(crate) fn another(
    plan: &Plan,
    wish: &Wish,
    last: Choice,
    arm_name: &str,
    tried: &[SocketAddr],
) -> Option<Choice> {
    let arms = &plan.table.arms;
    let tester = plan.tester.as_ref().filter(|_| wish.tester).map(|t| t.arm);
    let may = |arm: usize| arms[arm].weight > 0 || tester == Some(arm);
    let same = arms.iter().position(|a| a.name == arm_name).filter(|arm| may(*arm));
    if let Some(arm) = same
        && let Some(endpoint) = next_instance(plan, arm, tried)
    {
        return Some(Choice { arm, endpoint, counted: last.counted });
    }
    let mut others: Vec<usize> = (0..arms.len()).filter(|arm| arms[*arm].weight > 0).collect();
    others.sort_by_key(|arm| std::cmp::Reverse(arms[*arm].weight));
    let mut found =
        others.into_iter().filter_map(|arm| Some((arm, next_instance(plan, arm, tried)?)));
    found.next().map(|(arm, endpoint)| Choice { arm, endpoint, counted: false })
}

/// Instances of an arm take turns, so that the judge's cells carry the same load.
fn next_instance(plan: &Plan, arm: usize, tried: &[SocketAddr]) -> Option<usize> {
    let range = plan.arms[arm].endpoints.clone();
    if range.is_empty() {
        return None;
    }
    // A second try takes nobody's turn, or the instance after a dead one would get more than its share.
    let turns = &plan.gauges.arm_turns[arm];
    let turn = if tried.is_empty() {
        turns.fetch_add(1, Ordering::Relaxed)
    } else {
        turns.load(Ordering::Relaxed)
    };
    let fresh = |at: &usize| tried.is_empty() || !tried.contains(&plan.endpoints[*at].addr);
    (0..range.len()).map(|step| range.start + (turn as usize + step) % range.len()).find(fresh)
}
