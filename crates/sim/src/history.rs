//! One seed, one history: drawn, played until everything is at rest, and checked. The same seed always gives the same trace.

use std::collections::BTreeSet;

use humdrum_store::Store;

use crate::cast::{Cast, Character, Settings};
use crate::coverage::Coverage;
use crate::invariant::{self, Broken};
use crate::people::Programme;
use crate::queue::Happening;
use crate::rng::Rng;
use crate::stage::{Stage, at_words, now_ready};
use crate::world::World;

/// After the chaos everything must come to rest within this, ms: longer than all deadlines of a rollout and a clock jump together.
const CALM_MS: i64 = 600_000;
/// Before that, nobody asks whether all is at rest, ms: drift is found by the next slow look.
const SETTLE_MS: i64 = 6_000;
/// And what a dead replica had is taken over by then, ms.
const LEASES_MS: i64 = 20_000;
/// How often rest is looked for, ms.
const LOOK_MS: i64 = 1_000;
/// Trace lines that a violation shows.
const LAST_LINES: usize = 40;

/// How a history is played.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keep every event in words.
    pub trace: bool,
    /// Acts and faults of the programme to leave out, by their number: how a violation is shrunk.
    pub without: BTreeSet<usize>,
}

/// A history that held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub seed: u64,
    pub steps: u64,
    /// Events in the feed.
    pub events: u64,
    /// Of all that happened; equal for equal seeds within a build.
    pub hash: String,
    pub coverage: Coverage,
    pub trace: Vec<String>,
}

/// An invariant broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, step {step}, {at}: {invariant}: {what}")]
pub struct Violation {
    pub seed: u64,
    pub step: u64,
    /// True time, s.
    pub at: String,
    pub invariant: String,
    pub what: String,
    /// What happened last, in words.
    pub last: Vec<String>,
    /// Acts and faults that are not needed for it.
    pub without: Vec<usize>,
}

impl Violation {
    /// Everything a person needs to see it again.
    pub fn text(&self) -> String {
        let mut text = format!("{self}\n");
        for line in &self.last {
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str(&format!("see it again: humdrum sim --seed {} --trace\n", self.seed));
        text
    }
}

/// Plays a seed. A violation is told with its shortest programme and its last events.
pub fn run(seed: u64, options: &Options) -> Result<Summary, Box<Violation>> {
    let mut stage = drawn(seed, options);
    let broken = play(&mut stage);
    match broken {
        None => Ok(summary(seed, stage)),
        Some(broken) => Err(Box::new(told(seed, options, &broken, &stage))),
    }
}

fn drawn(seed: u64, options: &Options) -> Stage {
    let root = Rng::new(seed);
    let mut rng = root.fork(1);
    let settings = Settings::drawn(&mut rng);
    let programme = Programme::drawn(&mut root.fork(2), settings.environments.len());
    let mut cast = Cast::default();
    // Most histories begin with a release that works, or there is nothing to go back to.
    if rng.chance(900) {
        cast.enter("r1", Character::good());
    }
    if rng.chance(300) {
        cast.enter("r2", Character::good());
    }
    let real = rng.chance(60);
    let mut stage = Stage::new(World::new(cast, settings), programme, root.fork(3), options.trace);
    stage.trials.real = real;
    stage.invite(&options.without);
    stage
}

/// Plays to the end; what broke, if anything.
fn play(stage: &mut Stage) -> Option<Broken> {
    let chaos_ms = stage.programme.chaos_ms;
    while stage.queue.next_at().is_some_and(|at| at < chaos_ms) {
        if !stage.step() {
            return stage.broken.take();
        }
    }
    let calm_at = calm(stage);
    let end = calm_at + CALM_MS;
    // Whoever looks only now and then has looked at least once by then.
    let leases = if stage.replicas.len() > 1 { LEASES_MS } else { 0 };
    let mut look = calm_at + SETTLE_MS + leases;
    loop {
        if !stage.step() {
            return stage.broken.take();
        }
        if stage.now < look {
            continue;
        }
        look = stage.now + LOOK_MS;
        match invariant::at_rest(stage) {
            Ok(()) => return at_end(stage),
            Err(what) if stage.now > end => return Some(Broken::new("ends", what)),
            Err(_) => {}
        }
    }
}

/// Nothing breaks any more: clocks are right, everything can be reached. Answers when the last process wakes up.
fn calm(stage: &mut Stage) -> i64 {
    let awake = stage.replicas.iter().map(|it| it.frozen_until).max().unwrap_or(0).max(stage.now);
    stage.say(|_| "calm".into());
    let now = stage.now;
    let world = &mut stage.world;
    world.agent_down_until = now;
    world.edge_down_until = now;
    world.evidence_down_until = now;
    world.bad_network_until = now;
    stage.ledger.troubled(awake + 5_000);
    for index in 0..stage.replicas.len() {
        let skew_ms = stage.replicas[index].skew_ms;
        if skew_ms != 0 {
            stage.ease(index, -skew_ms);
        }
        stage.replicas[index].frozen_until = now;
        stage.replicas[index].disarm();
    }
    awake
}

fn at_end(stage: &mut Stage) -> Option<Broken> {
    invariant::world_follows(stage)
        .or_else(|| invariant::v9_nothing_accepted_is_lost(stage))
        .or_else(|| invariant::v12_chain_is_whole(stage))
}

fn summary(seed: u64, stage: Stage) -> Summary {
    let events = now_ready(stage.store.verify_chain()).unwrap_or(0);
    let last = now_ready(stage.store.feed(events.saturating_sub(1), 1)).unwrap_or_default();
    let head = last.last().map_or("", |row| &row.hash[..16]);
    Summary {
        seed,
        steps: stage.steps,
        events,
        hash: format!("{head}-{}", stage.steps),
        coverage: stage.seen,
        trace: stage.trace.unwrap_or_default(),
    }
}

fn told(seed: u64, options: &Options, broken: &Broken, stage: &Stage) -> Violation {
    let trace = stage.trace.clone().unwrap_or_default();
    let from = trace.len().saturating_sub(LAST_LINES);
    Violation {
        seed,
        step: stage.steps,
        at: at_words(stage.now),
        invariant: broken.invariant.into(),
        what: broken.what.clone(),
        last: trace[from..].to_vec(),
        without: options.without.iter().copied().collect(),
    }
}

/// The violation of a seed with as few acts and faults as it needs, and its trace.
pub fn shrink(seed: u64) -> Option<Box<Violation>> {
    let mut options = Options::default();
    let first = run(seed, &options).err()?;
    let probe = drawn(seed, &options);
    let parts = probe.programme.acts.len() + probe.programme.faults.len();
    for part in (0..parts).rev() {
        let mut fewer = options.clone();
        fewer.without.insert(part);
        if run(seed, &fewer).is_err_and(|it| it.invariant == first.invariant) {
            options = fewer;
        }
    }
    options.trace = true;
    run(seed, &options).err()
}

impl Stage {
    fn ease(&mut self, replica: usize, by_ms: i64) {
        self.queue.push(self.now, Happening::Ease { replica, by_ms });
    }
}
