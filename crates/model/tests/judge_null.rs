//! A release that is not worse must not fail: 2,000 simulated rollouts for each kind of noise, looked at after every
//! block, and a release that is twice as bad must.
//!
//! The rollouts never pass (`rule_out` is just above the margin), so harm has the whole time to be found by mistake.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

use humdrum_model::judge::thin::SplitMix64;
use humdrum_model::judge::{Arm, Judge, JudgeBlock, JudgeCell, Seconds, Verdict};

const RUNS: u64 = 2_000;
/// 30 minutes of blocks of 10 s.
const BLOCKS: u64 = 180;
const SEED: u64 = 0x5EED_0001;
const HEAD: &str = r#"{"config":{"stages":[{"share":0.25,"rule_out":1.26}]}}"#;

/// How errors come, always 1 % of the requests in the mean.
#[derive(Debug, Clone, Copy)]
enum Noise {
    Independent,
    /// One cell of 200 has 50 % errors.
    Bursty,
    /// Errors come in groups of a geometric size, 5 in the mean, as retries do.
    Clustered,
}

fn hits(random: &mut SplitMix64, n: u64, p: f64) -> u64 {
    // Jumps from hit to hit: as exact as n draws, and quick for rare ones.
    if p > 0.2 {
        return (0..n).filter(|_| random.uniform() < p).count() as u64;
    }
    let (mut at, mut hits) = (0.0, 0);
    loop {
        at += ((1.0 - random.uniform()).ln() / (-p).ln_1p()).floor() + 1.0;
        if at > n as f64 {
            return hits;
        }
        hits += 1;
    }
}

fn errors(random: &mut SplitMix64, noise: Noise, n: u64, times: f64) -> u64 {
    match noise {
        Noise::Independent => hits(random, n, 0.01 * times),
        Noise::Bursty => {
            let burst = random.uniform() < 0.005 * times;
            hits(random, n, if burst { 0.5 } else { 0.0075 * times })
        }
        Noise::Clustered => {
            let clusters = hits(random, n, 0.002 * times);
            let size = |random: &mut SplitMix64| {
                1 + ((1.0 - random.uniform()).ln() / 0.8_f64.ln()).floor() as u64
            };
            (0..clusters).map(|_| size(random)).sum::<u64>().min(n)
        }
    }
}

/// Requests of a cell: 80 to 120, so that some cells are thinned and none is equal.
fn block(random: &mut SplitMix64, noise: Noise, t: u64, times: f64) -> JudgeBlock {
    let names = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "c0", "c1", "c2"];
    let cell = |name: &&str| {
        let canary = name.starts_with('c');
        let requests = 80 + random.next_u64() % 41;
        let errors = errors(random, noise, requests, if canary { times } else { 1.0 });
        let arm = if canary { Arm::Canary } else { Arm::Baseline };
        JudgeCell { instance: (*name).into(), arm, requests, errors, latency: None }
    };
    let cells = names.iter().map(cell).collect();
    JudgeBlock::new(Seconds::Whole(t * 10), 0, cells).unwrap()
}

fn run(seed: u64, noise: Noise, times: f64) -> Verdict {
    let mut random = SplitMix64::new(seed);
    let mut judge = Judge::new(HEAD).unwrap();
    for t in 0..BLOCKS {
        if let Some(outcome) = judge.block(&block(&mut random, noise, t, times)).unwrap() {
            return outcome.verdict;
        }
    }
    judge.deadline().verdict
}

/// The seeds among `runs` whose rollout failed.
fn failed(noise: Noise, runs: u64, times: f64) -> Vec<u64> {
    let seeds = |offset: u64| (0..runs / 2).map(move |i| SEED + (2 * i + offset) * 1_000_003);
    let half = move |offset| {
        let failed = seeds(offset).filter(|seed| run(*seed, noise, times) == Verdict::Fail);
        failed.collect::<Vec<u64>>()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(move || half(1));
        let mut failed = half(0);
        failed.extend(other.join().unwrap());
        failed
    })
}

fn check_null(noise: Noise) {
    let failed = failed(noise, RUNS, 1.0);
    let share = failed.len() as f64 / RUNS as f64;
    println!("{noise:?}: {} of {RUNS} healthy rollouts failed", failed.len());
    assert!(share <= 0.015, "{noise:?}: {} of {RUNS} failed, seeds {failed:?}", failed.len());
}

#[test]
fn independent_errors_do_not_fail_a_healthy_release() {
    check_null(Noise::Independent);
}

#[test]
fn bursts_do_not_fail_a_healthy_release() {
    check_null(Noise::Bursty);
}

#[test]
fn clusters_do_not_fail_a_healthy_release() {
    check_null(Noise::Clustered);
}

#[test]
fn a_release_five_times_worse_fails_in_every_noise() {
    for noise in [Noise::Independent, Noise::Bursty, Noise::Clustered] {
        let failed = failed(noise, 100, 5.0).len();
        assert!(failed >= 99, "{noise:?}: only {failed} of 100 failed, seeds from {SEED}");
    }
}
