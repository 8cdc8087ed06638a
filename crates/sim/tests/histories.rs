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

/// What every test run must meet, or the simulation proves less than it says.
const MET: &[(&str, &[&str])] = &[
    (
        "outcome",
        &[
            "promoted",
            "already_there",
            "rolled_back",
            "aborted",
            "superseded",
            "refused",
            "failed",
            "held",
        ],
    ),
    (
        "planned step",
        &[
            "gate",
            "approve",
            "prepare",
            "smoke",
            "smoke through edge",
            "expose",
            "judge",
            "hold",
            "drain",
        ],
    ),
    ("rollout", &["all at once", "canary", "rollback"]),
    ("verdict", &["PASS", "FAIL", "INCONCLUSIVE", "INSUFFICIENT", "INVALID"]),
    ("real verdict", &["PASS", "FAIL"]),
    (
        "ship ended",
        &[
            "promoted",
            "build_failed",
            "verify_failed",
            "aborted",
            "rolled_back",
            "superseded",
            "refused",
            "failed",
            "held",
        ],
    ),
    (
        "person",
        &[
            "ship",
            "approve",
            "abort",
            "abort ship",
            "rollback",
            "hold release",
            "hold digest",
            "hold service",
            "hold environment",
            "unhold",
        ],
    ),
    (
        "crash",
        &[
            "before commit",
            "after commit",
            "before effect",
            "after effect",
            "before signal",
            "after signal",
        ],
    ),
    (
        "fault",
        &[
            "crash between",
            "process stands still",
            "clock jumps",
            "agent unreachable",
            "edge unreachable",
            "bad network",
            "agent forgets",
            "edge forgets",
            "instance dies",
            "evidence unreachable",
        ],
    ),
    (
        "event",
        &[
            "take-over",
            "restart",
            "stale commit refused",
            "late order refused by its fence",
            "message lost",
            "repeated wish heard once",
            "answer of a replaced effect",
            "unknown effect observed",
            "unknown effect was done",
            "real judge block",
            "real judge rebuilt",
        ],
    ),
    // Every kind of event but `shipped`, which a ship's first state stands for.
    (
        "recorded",
        &[
            "rollout_started",
            "admission_queued",
            "queued_dropped",
            "step_entered",
            "gates_checked",
            "approved",
            "slot_filled",
            "slot_retired",
            "unit_wished",
            "unit_accepted",
            "unit_drifted",
            "instances_changed",
            "exposed",
            "route_wished",
            "route_accepted",
            "route_drifted",
            "route_problem",
            "flight_seen",
            "smoke_passed",
            "judged",
            "rollout_paused",
            "rollout_resumed",
            "return_started",
            "release_held",
            "stable_moved",
            "rollout_ended",
            "built",
            "build_failed",
            "phase_entered",
            "stop_reached",
            "ship_ended",
            "hold_placed",
            "hold_lifted",
        ],
    ),
];

fn check_met(report: &Report) {
    let missing: Vec<String> = MET
        .iter()
        .flat_map(|(kind, words)| words.iter().map(move |word| (*kind, *word)))
        .filter(|(kind, word)| report.coverage.of(kind, word) == 0)
        .map(|(kind, word)| format!("{kind}: {word}"))
        .collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
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
    if report.count >= 2_000 {
        check_met(&report);
    }
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

#[test]
fn the_command_prints_traces_and_sums() {
    let one = humdrum_sim::command::seeds(7, 1, 1, true);
    assert!(one.ok && one.text.contains("control 0 starts"), "{}", one.text);
    let last = one.text.lines().last().unwrap_or_default();
    assert!(last.starts_with("seed 7: ") && last.contains("0 violations"), "{last}");
    let many = humdrum_sim::command::seeds(7, 20, 2, false);
    assert!(many.text.starts_with("20 histories (seeds 7 to 26), "), "{}", many.text);
    assert!(humdrum_sim::command::script("at 1h ship one").is_err());
}
