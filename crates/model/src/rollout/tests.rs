//! Walks of the machine against a world that answers at once: each story is a line of outcomes a release manager can check.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::strategy::Strategy;
use super::*;
use crate::gate::{Fact, Facts, TestFacts};
use crate::hold::{Hold, HoldSubject};
use crate::judge::Verdict;
use crate::name::{Commit, Digest, EnvName, PlacementId, ServiceName, Slot};
use crate::release::{Artifact, Release};
use crate::report::Report;
use crate::route::{Listen, RouteLimits, RouteStatus, SlotFlight, WEIGHT_TOTAL};
use crate::unit::{
    Health, HealthCheck, InstanceState, InstanceStatus, Stop, UnitLimits, UnitStatus,
};
use crate::verdict::PolicyVerdict;

fn release(name: &str) -> Release {
    Release::new(
        ServiceName::new("shop").unwrap(),
        Artifact { repository: "shop".into(), digest: Digest::of(name.as_bytes()) },
        Commit::new("c".repeat(40)).unwrap(),
        format!("b-{name}"),
        serde_json::json!({ "name": name }),
    )
}

fn deploy(approve: bool) -> Deploy {
    let stage = |weight, rule_out| StageSettings { weight, rule_out, soak_ms: 0 };
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
            start_ms: 1000,
        },
        limits: UnitLimits::default(),
        stop: Stop { grace_ms: 1000 },
        uid: None,
        listen: Listen { addr: "127.0.0.1:8080".parse().unwrap(), host: None },
        sticky: None,
        testers: None,
        route_limits: RouteLimits::default(),
        count_ms: 1000,
        smoke: vec![],
        probe: None,
        approve,
        strategy: Strategy::Canary,
        judge: JudgeSettings {
            alpha: 0.01,
            beta: 0.05,
            margin: 1.25,
            absolute_margin: 0.0005,
            latency_margin: None,
            metrics: vec!["errors".into()],
            block_ms: 1000,
            warmup_ms: 0,
            deadline_ms: 60_000,
            stages: vec![stage(100, 10.0), stage(5000, 1.5)],
        },
        on_regression: OnRegression::Rollback,
        prepare_ms: 10_000,
        smoke_ms: 10_000,
        watch_ms: 2_000,
        drain_ms: 5_000,
    }
}

/// A placement and a world that does what is wanted of it.
struct World {
    placement: Placement,
    now: Timestamp,
    healthy: bool,
    held: Option<Hold>,
    tables: Vec<Vec<(Slot, u32)>>,
    events: Vec<&'static str>,
}

impl World {
    fn new() -> Self {
        let id = PlacementId {
            service: ServiceName::new("shop").unwrap(),
            environment: EnvName::new("production").unwrap(),
        };
        Self {
            placement: Placement::new(id),
            now: Timestamp::UNIX_EPOCH,
            healthy: true,
            held: None,
            tables: vec![],
            events: vec![],
        }
    }

    fn send(&mut self, command: Command) -> Result<Report, crate::report::Refusal> {
        let (events, report) = self.placement.decide(&command, self.now)?;
        let mut replayed = self.placement.clone();
        for event in &events {
            let text = serde_json::to_string(event).unwrap();
            replayed.apply(&serde_json::from_str(&text).unwrap());
            self.events.push(event.kind());
        }
        self.placement = replayed;
        Ok(report)
    }

    fn admit(
        &mut self,
        id: &str,
        name: &str,
        approve: bool,
    ) -> Result<Report, crate::report::Refusal> {
        let bundle =
            Bundle { release: release(name), deploy: deploy(approve), deployment_id: id.into() };
        let admission = state::Admission {
            deployment_id: id.into(),
            kind: Kind::Deploy,
            bundle,
            by: "ada".into(),
            ship: None,
        };
        let report = self.send(Command::Admit(Box::new(admission)));
        self.run();
        report
    }

    /// Does what is wanted until nothing changes any more.
    fn run(&mut self) {
        for _ in 0..100 {
            let wanted = self.placement.wanted();
            if wanted.is_empty() {
                return;
            }
            let before = self.placement.clone();
            for effect in wanted {
                let answer = self.act(&effect);
                self.send(answer).unwrap();
            }
            if self.placement == before {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn act(&mut self, effect: &Effect) -> Command {
        match effect {
            Effect::Unit { slot, spec } => {
                let state =
                    if self.healthy { InstanceState::Ready } else { InstanceState::Starting };
                Command::UnitSeen {
                    slot: *slot,
                    status: Box::new(status(spec.generation, spec.instances, state, 0)),
                    known: None,
                }
            }
            Effect::Route { table } => {
                let sum: u32 = table.arms.iter().map(|arm| arm.weight).sum();
                assert!(sum == WEIGHT_TOTAL || sum == 0, "V1: {sum}");
                self.tables.push(table.arms.iter().map(|arm| (arm.slot, arm.weight)).collect());
                self.route(table.generation, 1000)
            }
            Effect::Facts { deployment_id, index, bundle } => Command::FactsGathered {
                deployment_id: deployment_id.clone(),
                index: *index,
                facts: Box::new(self.facts(&bundle.release)),
            },
            Effect::Smoke { deployment_id, index, .. } => Command::SmokeDone {
                deployment_id: deployment_id.clone(),
                index: *index,
                failure: None,
                detail: "0 checks".into(),
            },
        }
    }

    fn route(&self, generation: u64, quiet_ms: u64) -> Command {
        let in_flight =
            [Slot::A, Slot::B].map(|slot| SlotFlight { slot, requests: 0, quiet_ms }).to_vec();
        Command::RouteSeen {
            status: Box::new(RouteStatus {
                route: self.placement.id.route(),
                fence: 1,
                generation,
                in_flight,
                problem: None,
            }),
            known: Some(self.placement.route.accepted),
        }
    }

    fn facts(&self, release: &Release) -> Facts {
        let fine = || Fact::Verified { detail: String::new() };
        Facts {
            owner: "team-shop".into(),
            release: release.id.to_string(),
            signature: fine(),
            sbom: fine(),
            provenance: fine(),
            builder: Some("local".into()),
            trusted_builders: vec!["local".into()],
            tests: TestFacts::NotDeclared,
            held: self.held.clone(),
            released_before: true,
            policy: Some(PolicyVerdict {
                at: self.now,
                bundle: String::new(),
                packages: vec![],
                results: vec![],
                failed: None,
            }),
            ..Facts::unknown(
                self.now,
                self.placement.id.environment.clone(),
                release.artifact.digest.clone(),
            )
        }
    }

    fn verdict(&mut self, stage: usize, verdict: Verdict) {
        let Some(rollout) = &self.placement.rollout else { panic!("no rollout to judge") };
        let deployment_id = rollout.deployment_id.clone();
        let said = StageVerdict {
            stage,
            verdict,
            at: self.now,
            blocks: 9,
            log_e: 5.0,
            log_e_safe: 3.0,
            sentence: format!("{verdict:?} at stage {stage}."),
        };
        let command = if verdict == Verdict::Pass {
            Command::StagePassed { deployment_id, verdict: said }
        } else {
            Command::VerdictReached { deployment_id, verdict: said }
        };
        self.send(command).unwrap();
        self.run();
    }

    fn wait(&mut self, ms: i64) {
        self.now = self.now.checked_add(SignedDuration::from_millis(ms)).unwrap();
        self.send(Command::Tick).unwrap();
        let generation = self.placement.route.accepted;
        let seen = self.route(generation, 1000);
        self.send(seen).unwrap();
        self.run();
    }

    fn last(&self) -> (Outcome, &Report) {
        let ended = self.placement.history.last().expect("a rollout ended");
        (ended.outcome, &ended.report)
    }

    /// Weights as the edge has them: `a100` or `a99 b1`.
    fn traffic(&self) -> String {
        let table = self.placement.route.wish.as_ref().expect("a table");
        table
            .arms
            .iter()
            .map(|arm| format!("{}{}", arm.slot, arm.weight / 100))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn first_release(&mut self) {
        self.admit("d-1", "one", false).unwrap();
        self.wait(2_000);
        assert_eq!(self.last().0, Outcome::Promoted);
        assert_eq!(self.traffic(), "a100");
    }
}

fn status(generation: u64, instances: u32, state: InstanceState, restarts: u32) -> UnitStatus {
    let instances = (0..instances)
        .map(|index| InstanceStatus {
            name: format!("i{index}"),
            index,
            pid: Some(1),
            addr: "127.0.0.1:2000".parse().unwrap(),
            state,
            since_ms: 0,
            restarts,
            last_exit: (restarts > 0).then(|| "exit 1".into()),
            last_lines: vec![],
            notes: vec![],
        })
        .collect();
    UnitStatus { unit: String::new(), fence: 1, generation, instances, problem: None }
}

#[test]
fn a_good_release_climbs_the_ladder() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    assert_eq!(world.traffic(), "a99 b1");
    world.verdict(0, Verdict::Pass);
    assert_eq!(world.traffic(), "a50 b50");
    world.verdict(0, Verdict::Pass); // A late word about a stage that is over.
    assert_eq!(world.traffic(), "a50 b50");
    world.verdict(1, Verdict::Pass);
    assert_eq!(world.traffic(), "a0 b100");
    world.wait(2_000);
    assert_eq!(world.last().0, Outcome::Promoted);
    assert_eq!(world.traffic(), "b100");
    assert!(
        !world.placement.a.run,
        "the former release is stopped once the new one has proven itself"
    );
    assert_eq!(world.placement.a.wish.as_ref().unwrap().spec.instances, 0);
}

#[test]
fn a_bad_release_goes_back_and_is_held() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    world.verdict(0, Verdict::Fail);
    assert_eq!(world.last().0, Outcome::RolledBack);
    assert_eq!(world.last().1.sentences.len(), 3);
    assert!(world.events.contains(&"release_held"));
    assert!(!world.placement.b.run);
    assert_eq!(world.traffic(), "a100");
    let heights: Vec<u32> = world
        .tables
        .iter()
        .flat_map(|table| {
            table.iter().filter(|(slot, _)| *slot == Slot::B).map(|(_, weight)| *weight)
        })
        .collect();
    assert_eq!(*heights.last().unwrap(), 0, "V3");
}

#[test]
fn nothing_is_stopped_before_it_is_drained() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    world.send(Command::Abort { by: "ada".into(), why: "wrong branch".into() }).unwrap();
    let generation = world.placement.route.wish.as_ref().unwrap().generation;
    // The edge confirms 0 while two requests are open.
    let mut busy = world.route(generation, 0);
    if let Command::RouteSeen { status, .. } = &mut busy {
        status.in_flight[1].requests = 2;
    }
    world.send(busy).unwrap();
    assert!(world.placement.b.run, "V5");
    world.wait(0);
    assert!(!world.placement.b.run);
    assert_eq!(world.last().0, Outcome::Aborted);
}

#[test]
fn silence_is_not_health() {
    for (verdict, next) in [
        (Verdict::Inconclusive, "approve"),
        (Verdict::Insufficient, "approve"),
        (Verdict::Invalid, "approve"),
    ] {
        let mut world = World::new();
        world.first_release();
        world.admit("d-2", "two", false).unwrap();
        world.verdict(0, verdict);
        assert_eq!(world.traffic(), "a99 b1", "V7: it neither goes on nor back");
        let why = world.placement.explain(None, world.now);
        assert_eq!(why.waits_for, WaitKind::Person);
        assert!(why.report.next.unwrap().contains(next));
        world.send(Command::Approve { by: "ada".into() }).unwrap();
        world.run();
        assert_eq!(world.traffic(), "a50 b50");
    }
}

#[test]
fn a_newer_release_supersedes_by_rule() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    world.admit("d-3", "three", false).unwrap();
    assert_eq!(world.last().0, Outcome::Superseded);
    assert_eq!(world.traffic(), "a99 b1");
    assert_eq!(world.placement.rollout.as_ref().unwrap().deployment_id, "d-3");
    let zero = world.tables.iter().position(|table| {
        table.contains(&(Slot::B, 0)) && table.contains(&(Slot::A, WEIGHT_TOTAL))
    });
    assert!(zero.is_some(), "weight 0 first, then the slot is used again");
}

#[test]
fn a_person_rolls_back_in_one_command() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    world.verdict(0, Verdict::Pass);
    world.verdict(1, Verdict::Pass);
    world.wait(2_000);
    let spec_before = world.placement.a.content.clone();
    world
        .send(Command::Rollback {
            by: "ada".into(),
            why: "complaints".into(),
            deployment_id: "d-9".into(),
        })
        .unwrap();
    world.run();
    world.wait(0);
    assert_eq!(world.traffic(), "a100");
    assert_eq!(world.placement.a.content, spec_before, "byte for byte");
    assert!(world.events.contains(&"release_held"));
}

#[test]
fn guardrails_need_no_statistics() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    let generation = world.placement.b.accepted;
    let crash = status(generation, 2, InstanceState::Ready, guardrail::RESTARTS_MAX);
    let known = Some(generation);
    world.send(Command::UnitSeen { slot: Slot::B, status: Box::new(crash), known }).unwrap();
    assert_eq!(world.traffic(), "a100 b0");
    world.run();
    world.wait(0);
    assert_eq!(world.last().0, Outcome::RolledBack);
    assert!(world.last().1.text().contains("3 times"));
}

#[test]
fn a_service_that_never_becomes_healthy_fails_before_any_traffic() {
    let mut world = World::new();
    world.first_release();
    world.healthy = false;
    world.admit("d-2", "two", false).unwrap();
    assert_eq!(world.placement.explain(None, world.now).waits_for, WaitKind::Instances);
    world.wait(10_000);
    assert_eq!(world.last().0, Outcome::Failed);
    assert!(world.tables.iter().flatten().all(|(slot, weight)| *slot == Slot::A || *weight == 0));
}

#[test]
fn what_is_held_is_never_admitted() {
    let mut world = World::new();
    world.first_release();
    let subject = HoldSubject::Release(release("two").id);
    world.held = Some(Hold {
        subject: subject.clone(),
        by: "ada".into(),
        why: "incident".into(),
        since: world.now,
    });
    world.admit("d-2", "two", false).unwrap();
    assert_eq!(world.last().0, Outcome::Held);
    assert_eq!(world.traffic(), "a100");
    // And a hold that comes while it is under way ends it.
    let hold = world.held.take().unwrap();
    world.admit("d-3", "two", false).unwrap();
    world.send(Command::HoldPlaced { hold }).unwrap();
    assert_eq!(world.traffic(), "a100 b0");
}

#[test]
fn no_step_up_without_a_way_back() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    let sick = status(world.placement.a.accepted, 2, InstanceState::Unhealthy, 0);
    let known = Some(world.placement.a.accepted);
    world.send(Command::UnitSeen { slot: Slot::A, status: Box::new(sick), known }).unwrap();
    world.verdict(0, Verdict::Pass);
    assert_eq!(
        world.traffic(),
        "a99 b1",
        "V4: the step is refused while nothing could take everything back"
    );
    let why = world.placement.explain(None, world.now);
    assert_eq!(why.waits_for, WaitKind::WayBack);
    assert!(why.report.text().contains("no way back"));
}

#[test]
fn delivery_waits_for_a_person_and_checks_again() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", true).unwrap();
    assert_eq!(world.placement.explain(None, world.now).waits_for, WaitKind::Approval);
    world.send(Command::Approve { by: "bob".into() }).unwrap();
    world.run();
    assert_eq!(world.traffic(), "a99 b1");
    let gates = world.events.iter().filter(|kind| **kind == "gates_checked").count();
    assert_eq!(gates, 3, "once for the first release, twice around the approval");
}

#[test]
fn drift_is_repaired_by_a_new_wish() {
    let mut world = World::new();
    world.first_release();
    let accepted = world.placement.route.accepted;
    let lost = world.route(0, 0);
    world.send(lost).unwrap();
    world.run();
    assert!(world.placement.route.accepted > accepted);
    let accepted = world.placement.a.accepted;
    world
        .send(Command::UnitSeen {
            slot: Slot::A,
            status: Box::new(status(0, 0, InstanceState::Ready, 0)),
            known: Some(accepted),
        })
        .unwrap();
    world.run();
    assert!(world.placement.a.accepted > accepted);
}

#[test]
fn the_same_release_again_is_nothing_to_do() {
    let mut world = World::new();
    world.first_release();
    let tables = world.tables.len();
    world.admit("d-2", "one", false).unwrap();
    assert_eq!(world.last().0, Outcome::AlreadyThere);
    assert_eq!(world.tables.len(), tables);
}

#[test]
fn the_stable_release_again_ends_what_was_under_way_once() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    world.admit("d-3", "one", false).unwrap();
    world.wait(0);
    let ends = world.placement.history.iter().map(|it| it.outcome).collect::<Vec<_>>();
    assert_eq!(ends, [Outcome::Promoted, Outcome::Superseded, Outcome::AlreadyThere]);
    assert!(world.placement.queued.is_none() && world.placement.rollout.is_none());
}

#[test]
fn the_drain_time_counts_from_the_confirmed_zero() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    world.send(Command::Abort { by: "ada".into(), why: "wrong branch".into() }).unwrap();
    // The edge cannot be reached for longer than the drain time of 5 s, and then has open requests.
    world.now = world.now.checked_add(SignedDuration::from_secs(60)).unwrap();
    let generation = world.placement.route.wish.as_ref().unwrap().generation;
    let mut busy = world.route(generation, 0);
    if let Command::RouteSeen { status, .. } = &mut busy {
        status.in_flight[1].requests = 2;
    }
    world.send(busy).unwrap();
    world.send(Command::Tick).unwrap();
    assert!(world.placement.b.run, "V5: they get their drain time");
    world.now = world.now.checked_add(SignedDuration::from_secs(5)).unwrap();
    world.send(Command::Tick).unwrap();
    assert!(!world.placement.b.run);
}

#[test]
fn gauges_of_an_older_table_drain_nothing() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    let before = world.route(world.placement.route.accepted - 1, 1_000_000);
    world.send(Command::Abort { by: "ada".into(), why: "wrong branch".into() }).unwrap();
    world.send(before).unwrap();
    let mut busy = world.route(world.placement.route.wish.as_ref().unwrap().generation, 0);
    if let Command::RouteSeen { status, .. } = &mut busy {
        status.in_flight[1].requests = 2;
    }
    world.send(busy).unwrap();
    assert!(world.placement.b.run, "V5");
}

#[test]
fn crashes_of_the_former_release_are_not_the_next_ones() {
    let mut world = World::new();
    world.first_release();
    world.healthy = false;
    world.admit("d-2", "two", false).unwrap();
    let seen = Seen {
        name: "i0".into(),
        addr: "127.0.0.1:2000".parse().unwrap(),
        state: InstanceState::BackingOff,
        restarts: guardrail::RESTARTS_MAX,
        last_exit: None,
        last_lines: vec![],
    };
    world.placement.b.seen = vec![seen];
    world.placement.apply(&Event::SlotFilled { slot: Slot::B });
    let fine = status(world.placement.a.accepted, 2, InstanceState::Ready, 0);
    let known = Some(world.placement.a.accepted);
    world.send(Command::UnitSeen { slot: Slot::A, status: Box::new(fine), known }).unwrap();
    assert!(world.placement.rollout.as_ref().unwrap().returning.is_none());
}

#[test]
fn a_late_answer_to_a_confirmed_order_changes_nothing() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    let late = status(world.placement.b.accepted, 2, InstanceState::Starting, 0);
    world.send(Command::UnitSeen { slot: Slot::B, status: Box::new(late), known: None }).unwrap();
    assert_eq!(world.traffic(), "a99 b1");
}

#[test]
fn a_judge_without_a_word_leaves_it_to_a_person() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    world.wait(60_000);
    assert!(world.placement.rollout.as_ref().unwrap().paused.is_none(), "it may still speak");
    world.wait(10_000);
    assert_eq!(world.traffic(), "a99 b1", "V7");
    assert_eq!(world.placement.explain(None, world.now).waits_for, WaitKind::Person);
    assert_eq!(
        world.placement.awaits(),
        (None, "a person".into()),
        "V11: no timer that wakes nobody"
    );
}

#[test]
fn while_the_edge_is_silent_no_timer_runs_on_the_way_back() {
    let mut world = World::new();
    world.first_release();
    world.admit("d-2", "two", false).unwrap();
    world.send(Command::Abort { by: "ada".into(), why: "wrong branch".into() }).unwrap();
    assert_eq!(world.placement.awaits(), (None, "the edge".into()));
}
