//! What holds for every input: no panic, no dependence on the order of cells, no change after the verdict.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

use humdrum_model::judge::{
    Arm, Config, Histogram, Judge, JudgeBlock, JudgeCell, Metric, Seconds, Stage, Traffic, plan,
    replay,
};
use proptest::prelude::*;

fn histogram() -> impl Strategy<Value = Histogram> {
    let bound =
        prop_oneof![Just(f64::INFINITY), (0_u32..60).prop_map(|k| f64::from(k) * 1.5 + 0.5)];
    proptest::collection::btree_map(bound.prop_map(|b: f64| b.to_bits()), 0_u64..200, 0..12)
        .prop_map(|map| map.into_iter().map(|(b, n)| (f64::from_bits(b), n)).collect())
        .prop_map(|buckets| Histogram::new(buckets).unwrap())
}

fn cell(arm: Arm) -> impl Strategy<Value = (Arm, u64, f64, Histogram)> {
    (Just(arm), prop_oneof![0_u64..5, 0_u64..3_000], 0.0..1.0, histogram())
}

fn cells() -> impl Strategy<Value = Vec<JudgeCell>> {
    let canary = proptest::collection::vec(cell(Arm::Canary), 0..5);
    let baseline = proptest::collection::vec(cell(Arm::Baseline), 0..8);
    let names = Just((0..13).collect::<Vec<u32>>()).prop_shuffle();
    (canary, baseline, names).prop_map(|(canary, baseline, names)| {
        let cells = canary.into_iter().chain(baseline).zip(names);
        cells
            .map(|((arm, requests, share, latency), name)| JudgeCell {
                instance: format!("{arm:?}{name}"),
                arm,
                requests,
                // Rates from 0 to 1, most of them small.
                errors: (requests as f64 * share.powi(6)).floor() as u64,
                latency: Some(latency),
            })
            .collect()
    })
}

fn blocks() -> impl Strategy<Value = Vec<(u64, usize, Vec<JudgeCell>)>> {
    proptest::collection::vec((1_u64..20_000, 0_usize..10, cells()), 0..40).prop_map(|steps| {
        let (mut t_ms, mut stage) = (0, 0);
        let next = steps.into_iter().map(|(step, rise, cells)| {
            t_ms += step;
            stage = (stage + usize::from(rise == 0)).min(2);
            (t_ms, stage, cells)
        });
        next.collect()
    })
}

fn config() -> impl Strategy<Value = Config> {
    let metrics = prop_oneof![
        Just(vec![Metric::Errors]),
        Just(vec![Metric::Latency]),
        Just(vec![Metric::Errors, Metric::Latency]),
    ];
    (metrics, 0_u64..20, 1.3..20.0_f64, 0.0..0.01_f64, 0.001..0.9_f64).prop_map(
        |(metrics, min_baseline_cells, rule_out, absolute_margin, share)| Config {
            metrics,
            min_baseline_cells,
            absolute_margin,
            stages: vec![Stage { share, rule_out, soak_s: 3.0 }; 3],
            ..Config::default()
        },
    )
}

/// Judges blocks whose cells were permuted by `order`, and returns the whole trace as bits.
fn trace(
    config: &Config,
    blocks: &[(u64, usize, Vec<JudgeCell>)],
    order: impl Fn(&mut Vec<JudgeCell>),
) -> Vec<String> {
    let mut judge = Judge::new(&config.to_line()).unwrap();
    let mut out = Vec::new();
    for (t_ms, stage, cells) in blocks {
        let mut cells = cells.clone();
        order(&mut cells);
        let block = JudgeBlock::new(Seconds::from_ms(*t_ms), *stage, cells).unwrap();
        let outcome = judge.block(&block).unwrap();
        assert!(judge.log_e().is_finite() && judge.log_e_safe().is_finite());
        out.push(format!(
            "{:x} {:x} {outcome:?}",
            judge.log_e().to_bits(),
            judge.log_e_safe().to_bits()
        ));
    }
    out.push(serde_json::to_string(&judge.deadline()).unwrap());
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_cells_changes_no_bit(config in config(), blocks in blocks(), by in 0_usize..7) {
        let sorted = trace(&config, &blocks, |_| ());
        prop_assert_eq!(&sorted, &trace(&config, &blocks, |cells| cells.reverse()));
        let rotate = |cells: &mut Vec<JudgeCell>| {
            let by = by.min(cells.len());
            cells.rotate_left(by);
        };
        prop_assert_eq!(&sorted, &trace(&config, &blocks, rotate));
    }

    #[test]
    fn a_recording_replays_to_the_live_verdict(config in config(), blocks in blocks()) {
        let mut judge = Judge::new(&config.to_line()).unwrap();
        let mut recording = config.to_line();
        for (t_ms, stage, cells) in blocks {
            let block = JudgeBlock::new(Seconds::from_ms(t_ms), stage, cells).unwrap();
            recording += &format!("\n{}", block.to_line());
            if judge.block(&block).unwrap().is_some() {
                break;
            }
        }
        let replayed = replay(&recording).unwrap().outcome;
        prop_assert_eq!(&replayed, &judge.deadline());
        prop_assert!(!replayed.sentence("now").contains("NaN"));
    }

    #[test]
    fn a_plan_never_panics(
        config in config(),
        rps in 0.0..1e6_f64,
        error_rate in 0.0..1.0_f64,
        phi in 0.5..1e3_f64,
        baseline_instances in 0_u64..100,
    ) {
        for stage in plan(&config, &Traffic { rps, error_rate, phi, baseline_instances }) {
            let times = [stage.pass_s, stage.fail_s, stage.detects];
            prop_assert!(times.iter().flatten().all(|s| s.is_finite() && *s > 0.0), "{:?}", stage);
        }
    }
}

/// Text that is nearly a recording: tokens of the format in any order, and strings of anything.
fn nearly_json() -> impl Strategy<Value = String> {
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"config\"",
        "\"t\"",
        "\"stage\"",
        "\"cells\"",
        "\"instance\"",
        "\"arm\"",
        "\"canary\"",
        "\"baseline\"",
        "\"requests\"",
        "\"errors\"",
        "\"latency\"",
        "\"+Inf\"",
        "\"stages\"",
        "\"share\"",
        "\"rule_out\"",
        "0",
        "1",
        "-1",
        "1e999",
        "0.5",
        "1e-300",
        "NaN",
        "null",
        "true",
        "18446744073709551616",
        "\n",
        "\"history\"",
        "\"metrics\"",
    ];
    let token = prop_oneof![
        8 => proptest::sample::select(tokens.to_vec()).prop_map(String::from),
        1 => any::<String>(),
    ];
    proptest::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

const BLOCK: &str = r#"{"t":0,"stage":0,"cells":[{"instance":"c1","arm":"canary","requests":500,"errors":5,"latency":{"1":1,"+Inf":2}},{"instance":"b1","arm":"baseline","requests":500,"errors":4,"latency":{}}]}"#;
const CONFIG: &str = r#"{"config":{"alpha":0.01,"margin":1.25,"stages":[{"share":0.1,"rule_out":2.0,"soak_s":1}],"metrics":["errors"],"history":[{"requests":1,"errors":0}]}}"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in nearly_json()) {
        let _ = replay(&text);
        let _ = replay(&format!("{CONFIG}\n{text}"));
        let _ = JudgeBlock::parse(&text);
        let _ = Config::parse(&text);
    }

    #[test]
    fn a_damaged_line_is_refused_or_judged(
        line in prop_oneof![Just(CONFIG), Just(BLOCK)],
        at in any::<proptest::sample::Index>(),
        cut in 0_usize..4,
        with in prop_oneof![
            Just(String::new()),
            "[0-9eE.+-]{1,4}",
            Just(String::from("\"")),
            Just(String::from("1e308")),
            any::<char>().prop_map(String::from),
        ],
    ) {
        let at = at.index(line.len());
        let end = (at + cut).min(line.len());
        let damaged = format!("{}{with}{}", &line[..at], &line[end..]);
        if let Ok(block) = JudgeBlock::parse(&damaged) {
            prop_assert_eq!(&JudgeBlock::parse(&block.to_line()).unwrap(), &block);
        }
        let (head, block) = if line == CONFIG { (damaged.as_str(), BLOCK) } else { (CONFIG, damaged.as_str()) };
        if let Err(error) = replay(&format!("{head}\n{block}")) {
            prop_assert!(error.line >= 1 && !error.to_string().is_empty());
        }
    }
}
