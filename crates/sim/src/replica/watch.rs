//! Eyes on the world, as `humdrum_control::watch`: what agent, edge and judge show becomes commands. Looks are lost, late and repeated.

use std::rc::Rc;

use humdrum_model::name::Slot;
use humdrum_model::rollout::plan::Step;
use humdrum_model::rollout::{Command, Placement};
use humdrum_model::route::RouteStatus;
use humdrum_model::run::{Command as RunCommand, State};

use crate::queue::{Happening, Input, LookAt, Process};
use crate::stage::Stage;

/// The agent is asked again at the latest after this, ms.
const AGENT_MS: i64 = 5_000;
/// The edge is asked again after this while its word is awaited, and while it is not, ms. Coarser than in production.
const EDGE_BUSY_MS: i64 = 150;
const EDGE_IDLE_MS: i64 = 2_500;
/// The judge looks at blocks that often, ms.
const JUDGE_MS: i64 = 400;
const JUDGE_IDLE_MS: i64 = 1_500;

impl Stage {
    /// Hands an observation over. It may get lost: the next look makes it again.
    pub(crate) fn tell(&mut self, process: Process, run: &str, command: Command) {
        if self.loses() {
            self.seen.count("event", "message lost");
            return;
        }
        let copies = 1 + usize::from(self.repeats());
        for _ in 0..copies {
            // A watcher asks once at a time and says at once what it was answered: its words get lost, but stay in order. Without a
            // number on a unit's picture nobody could tell an old one that comes late; orders and their answers do come late.
            let at = (self.now + 2).max(self.replicas[process.replica].told_at + 1);
            self.replicas[process.replica].told_at = at;
            let input = Input::Tell(RunCommand::Placement(command.clone()));
            self.queue.push(at, Happening::Input { process, run: run.into(), input });
        }
    }

    pub(crate) fn look_at_agent(&mut self, process: Process) {
        let again = Happening::Look { process, run: String::new(), at: LookAt::Agent };
        let regular = !self.replicas[process.replica].agent_looked(self.now, AGENT_MS);
        if regular {
            self.queue.push(self.now + AGENT_MS, again);
        }
        if self.now < self.world.agent_down_until {
            return;
        }
        for (run, state) in self.owned(process) {
            let State::Placement(placement) = &*state else { continue };
            for slot in [Slot::A, Slot::B] {
                let state = placement.slot(slot);
                let unit = placement.id.unit(slot);
                // A unit that was confirmed and is unknown now was lost with the agent's data: generation 0 says so.
                if !self.world.agent.units.contains_key(&unit) && state.accepted == 0 {
                    continue;
                }
                let status = Box::new(self.world.agent.status(&unit));
                let known = Some(state.accepted);
                self.tell(process, &run, Command::UnitSeen { slot, status, known });
            }
        }
    }

    fn owned(&self, process: Process) -> Vec<(String, Rc<State>)> {
        let tasks = &self.replicas[process.replica].tasks;
        let is_placement = |state: &State| matches!(state, State::Placement(_));
        let owned = tasks.iter().filter(|(_, task)| is_placement(&task.state));
        owned.map(|(run, task)| (run.clone(), task.state.clone())).collect()
    }

    /// The placement as this process knows it; none when it does not have it any more.
    fn mine(&self, process: Process, run: &str) -> Option<Rc<State>> {
        self.replicas[process.replica].tasks.get(run).map(|task| task.state.clone())
    }

    pub(crate) fn look_at_route(&mut self, process: Process, run: &str) {
        let Some(state) = self.mine(process, run) else { return };
        let State::Placement(placement) = &*state else { return };
        let pause = if is_busy(placement) { EDGE_BUSY_MS } else { EDGE_IDLE_MS };
        let again = Happening::Look { process, run: run.into(), at: LookAt::Route };
        self.queue.push(self.now + pause, again);
        if placement.route.wish.is_none() {
            return;
        }
        if self.now < self.world.edge_down_until {
            let problem = "the edge cannot be reached".into();
            return self.tell(process, run, Command::RouteFailed { problem });
        }
        let route = placement.id.route();
        let known = Some(placement.route.accepted);
        let status = match self.world.edge.status(self.now, &route) {
            Some(status) => status,
            None if placement.route.accepted > 0 => unknown_route(route),
            None => return,
        };
        self.tell(process, run, Command::RouteSeen { status: Box::new(status), known });
    }

    pub(crate) fn look_at_judge(&mut self, process: Process, run: &str) {
        let Some(state) = self.mine(process, run) else { return };
        let State::Placement(placement) = &*state else { return };
        let judged = placement.rollout.as_ref().is_some_and(|rollout| {
            rollout.returning.is_none() && matches!(rollout.step(), Some(Step::Judge { .. }))
        });
        let pause = if judged { JUDGE_MS } else { JUDGE_IDLE_MS };
        let again = Happening::Look { process, run: run.into(), at: LookAt::Judge };
        self.queue.push(self.now + pause, again);
        if judged
            && self.now >= self.world.edge_down_until
            && let Some(command) = self.judge(process, run, placement)
        {
            self.tell(process, run, command);
        }
    }
}

/// Whether the edge's word is awaited.
fn is_busy(placement: &Placement) -> bool {
    placement.rollout.as_ref().is_some_and(|rollout| {
        rollout.returning.is_some()
            || matches!(rollout.step(), Some(Step::Drain { .. } | Step::Expose { .. }))
    })
}

fn unknown_route(route: String) -> RouteStatus {
    RouteStatus { route, fence: 0, generation: 0, in_flight: vec![], problem: None }
}
