//! The simulator's own proof: many seeds hold, a seed replays, and every interesting state is met.

use humdrum_sim::{Options, Report, run, run_many};

/// Histories of every test run; `HUMDRUM_SIM_COUNT` overrides it.
const COUNT: u64 = 100_000;
/// Histories from a base that differs each time.
const RANDOM_COUNT: u64 = 1_000;
const BASE: u64 = 1;

fn count() -> u64 {
    std::env::var("HUMDRUM_SIM_COUNT").ok().and_then(|it| it.parse().ok()).unwrap_or(COUNT)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn check(report: &Report) {
    assert!(report.is_clean(), "\n{}", report.text());
}

#[test]
fn histories() {
    let began = std::time::Instant::now();
    let report = run_many(BASE, count(), threads(), &Options::default());
    println!(
        "{}took {:?}\n{}",
        report.text(),
        began.elapsed(),
        report.coverage.table(report.count)
    );
    check(&report);
    let base = std::collections::hash_map::RandomState::new();
    let base = std::hash::BuildHasher::hash_one(&base, 0) >> 1;
    println!("random base {base}");
    check(&run_many(base, RANDOM_COUNT.min(count()), threads(), &Options::default()));
}

#[test]
fn a_seed_replays_identically() {
    for seed in 0..200 {
        let trace = Options { trace: true, ..Options::default() };
        let (one, two) = (run(seed, &Options::default()), run(seed, &trace));
        match (one, two) {
            (Ok(one), Ok(two)) => {
                assert_eq!((one.hash, one.steps), (two.hash, two.steps), "seed {seed}");
            }
            (one, two) => panic!("{one:?} {two:?}"),
        }
    }
}
