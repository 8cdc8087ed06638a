//! What people do and what breaks: drawn from the seed before a history begins, so that parts of it can be left out.

use crate::rng::Rng;

/// A person's act. Names are the environments' and the releases' of the history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    Ship {
        name: String,
    },
    Approve {
        environment: usize,
    },
    Abort {
        environment: usize,
    },
    Rollback {
        environment: usize,
        id: String,
    },
    /// Of the release on trial, or of the stable one.
    HoldRelease {
        environment: usize,
    },
    HoldDigest {
        name: String,
    },
    HoldService,
    HoldEnvironment {
        environment: usize,
    },
    Unhold,
    AbortShip {
        name: String,
    },
}

/// Where a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeCommit,
    AfterCommit,
    BeforeEffect,
    AfterEffect,
    BeforeSignal,
    AfterSignal,
    Between,
}

impl Point {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::BeforeCommit => "before commit",
            Self::AfterCommit => "after commit",
            Self::BeforeEffect => "before effect",
            Self::AfterEffect => "after effect",
            Self::BeforeSignal => "before signal",
            Self::AfterSignal => "after signal",
            Self::Between => "between",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    Crash {
        replica: usize,
        point: Point,
        pass: u64,
        down_ms: i64,
    },
    /// The process stands still and wakes up later with what it knew.
    Freeze {
        replica: usize,
        ms: i64,
    },
    ClockJump {
        replica: usize,
        by_ms: i64,
        ms: i64,
    },
    AgentUnreachable {
        ms: i64,
    },
    EdgeUnreachable {
        ms: i64,
    },
    /// Messages are lost, repeated and late.
    BadNetwork {
        ms: i64,
    },
    /// The agent forgets everything and stops what it ran.
    AgentForgets,
    EdgeForgets,
    InstanceDies {
        pick: u64,
    },
    EvidenceUnreachable {
        ms: i64,
    },
}

impl Fault {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Crash { point: Point::BeforeCommit, .. } => "crash before commit",
            Self::Crash { point: Point::AfterCommit, .. } => "crash after commit",
            Self::Crash { point: Point::BeforeEffect, .. } => "crash before effect",
            Self::Crash { point: Point::AfterEffect, .. } => "crash after effect",
            Self::Crash { point: Point::BeforeSignal, .. } => "crash before signal",
            Self::Crash { point: Point::AfterSignal, .. } => "crash after signal",
            Self::Crash { point: Point::Between, .. } => "crash between",
            Self::Freeze { .. } => "process stands still",
            Self::ClockJump { .. } => "clock jumps",
            Self::AgentUnreachable { .. } => "agent unreachable",
            Self::EdgeUnreachable { .. } => "edge unreachable",
            Self::BadNetwork { .. } => "bad network",
            Self::AgentForgets => "agent forgets",
            Self::EdgeForgets => "edge forgets",
            Self::InstanceDies { .. } => "instance dies",
            Self::EvidenceUnreachable { .. } => "evidence unreachable",
        }
    }
}

/// Everything from outside that a history will meet: time in ms from its start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programme {
    pub acts: Vec<(i64, Act)>,
    pub faults: Vec<(i64, Fault)>,
    pub chaos_ms: i64,
    pub replicas: usize,
}

impl Programme {
    pub(crate) fn drawn(rng: &mut Rng, environments: usize) -> Self {
        let replicas = if rng.chance(300) { 2 } else { 1 };
        let chaos_ms = rng.between(8_000, 35_000);
        let mut it = Self { chaos_ms, replicas, ..Self::default() };
        it.acts.push((0, Act::Ship { name: "r1".into() }));
        let mut newest = 1;
        for number in 0..rng.between(2, 7) {
            let at = rng.between(2_000, chaos_ms);
            let act = Self::act(rng, environments, &mut newest, number);
            it.acts.push((at, act));
        }
        // Some people watch what they ship, and some want the former release back once the next one is there.
        if rng.chance(250) {
            let environment = environments - 1;
            let ask = |at| (at, Act::Approve { environment });
            it.acts.extend([chaos_ms / 3, chaos_ms / 2, chaos_ms - 500].map(ask));
        }
        if rng.chance(200) {
            it.chaos_ms = chaos_ms + 15_000;
            it.acts.push((5_000, Act::Ship { name: "r2".into() }));
            let at = rng.between(18_000, it.chaos_ms);
            let id = "d-again-0".into();
            it.acts.push((at, Act::Rollback { environment: environments - 1, id }));
        }
        for _ in 0..rng.between(0, 6) {
            let at = rng.between(0, chaos_ms);
            let fault = Self::fault(rng, replicas);
            it.faults.push((at, fault));
        }
        it
    }

    fn act(rng: &mut Rng, environments: usize, newest: &mut u32, number: i64) -> Act {
        let environment = rng.below(environments as u64) as usize;
        match rng.below(20) {
            0..8 => {
                *newest += 1;
                Act::Ship { name: format!("r{newest}") }
            }
            8 | 9 => Act::Ship { name: format!("r{}", rng.between(1, i64::from(*newest))) },
            10 | 11 => Act::Approve { environment },
            12 => Act::Abort { environment },
            13 | 14 => Act::Rollback { environment, id: format!("d-back{number}-0") },
            15 => Act::HoldRelease { environment },
            16 => match rng.below(4) {
                0 => Act::HoldService,
                1 => Act::HoldEnvironment { environment },
                _ => Act::HoldDigest { name: format!("r{}", rng.between(1, i64::from(*newest))) },
            },
            17 | 18 => Act::Unhold,
            _ => Act::AbortShip { name: format!("r{newest}") },
        }
    }

    fn fault(rng: &mut Rng, replicas: usize) -> Fault {
        let replica = rng.below(replicas as u64) as usize;
        let ms = rng.between(200, 9_000);
        match rng.below(24) {
            0..8 => {
                let point = *rng.pick(&[
                    Point::BeforeCommit,
                    Point::AfterCommit,
                    Point::BeforeEffect,
                    Point::AfterEffect,
                    Point::BeforeSignal,
                    Point::AfterSignal,
                    Point::Between,
                ]);
                Fault::Crash { replica, point, pass: rng.below(5), down_ms: rng.between(50, 4_000) }
            }
            8..11 => Fault::Freeze { replica, ms: rng.between(500, 40_000) },
            // Replicas compare their clocks in leases: between them a second or two is what is promised to be harmless.
            11 | 12 if replicas > 1 => {
                Fault::ClockJump { replica, by_ms: rng.between(-2_000, 2_000), ms }
            }
            11 | 12 => Fault::ClockJump { replica, by_ms: rng.between(-60_000, 60_000), ms },
            13 | 14 => Fault::AgentUnreachable { ms },
            15 | 16 => Fault::EdgeUnreachable { ms: rng.between(200, 20_000) },
            17..20 => Fault::BadNetwork { ms: rng.between(1_000, 15_000) },
            20 => Fault::AgentForgets,
            21 => Fault::EdgeForgets,
            22 => Fault::InstanceDies { pick: rng.draw() },
            _ => Fault::EvidenceUnreachable { ms },
        }
    }
}
