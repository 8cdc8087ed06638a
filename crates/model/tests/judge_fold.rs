//! The live side: edge blocks become judge blocks, and nothing is counted twice, lost silently or judged while
//! connections drain.

use std::collections::BTreeMap;

use humdrum_model::block::{Block, Cell};
use humdrum_model::judge::{
    BlockFold, Config, FoldCounts, Judge, JudgeBlock, Metric, Stage, Verdict, history, replay,
};
use proptest::prelude::*;

const ORIGIN_MS: i64 = 1_763_683_200_000;

fn cell(instance: &str, arm: &str, requests: u64, errors: u64) -> Cell {
    let latency = BTreeMap::from([(100, requests - requests / 50), (i32::MAX, requests / 50)]);
    Cell { instance: instance.into(), arm: arm.into(), requests, errors, latency }
}

/// Edge block `number`, 1 s long, the `number`th second after the origin.
fn second(number: u64, cells: Vec<Cell>) -> Block {
    Block {
        route: "shop.production".into(),
        number,
        start_ms: ORIGIN_MS + (number as i64 - 1) * 1_000,
        length_ms: 1_000,
        fence: 1,
        generation: 1,
        gap: false,
        cells,
    }
}

fn both(number: u64) -> Block {
    second(number, vec![cell("c1", "canary", 10, 1), cell("b1", "baseline", 30, 2)])
}

fn push_all(fold: &mut BlockFold, blocks: impl IntoIterator<Item = Block>) -> Vec<JudgeBlock> {
    blocks.into_iter().flat_map(|block| fold.push(&block)).collect()
}

fn summary(blocks: &[JudgeBlock]) -> Vec<String> {
    let cells = |block: &JudgeBlock| {
        let cells =
            block.cells().iter().map(|c| format!("{}={}/{}", c.instance, c.errors, c.requests));
        cells.collect::<Vec<_>>().join(" ")
    };
    blocks.iter().map(|b| format!("t={} stage={} {}", b.t(), b.stage(), cells(b))).collect()
}

#[test]
fn edge_blocks_are_summed_to_judge_blocks() {
    let mut fold = BlockFold::new(ORIGIN_MS, 10_000, true);
    let sealed = push_all(&mut fold, (1..=25).map(both));
    assert_eq!(
        summary(&sealed),
        ["t=0 stage=0 b1=20/300 c1=10/100", "t=10 stage=0 b1=20/300 c1=10/100"]
    );
    let latency = sealed[0].cells()[0].latency.as_ref().unwrap();
    assert_eq!(latency.buckets(), [(7.38809, 300), (f64::INFINITY, 0)]);
    assert!(sealed[0].to_line().contains(r#""latency":{"7.38809":300,"+Inf":0}"#));
    assert_eq!(fold.counts(), FoldCounts { taken: 25, ..FoldCounts::default() });
}

#[test]
fn blocks_as_short_as_the_edges_pass_through() {
    let mut fold = BlockFold::new(ORIGIN_MS, 1_000, false);
    let sealed = push_all(&mut fold, (1..=3).map(both));
    assert_eq!(sealed.len(), 3);
    assert_eq!(summary(&sealed)[2], "t=2 stage=0 b1=2/30 c1=1/10");
    assert_eq!(sealed[2].cells()[0].latency, None);
}

#[test]
fn the_first_block_after_a_change_of_weights_is_dropped() {
    let mut fold = BlockFold::new(ORIGIN_MS, 2_000, false);
    fold.enter_stage(0, 1, 1);
    let first = push_all(&mut fold, (1..=5).map(both));
    assert_eq!(summary(&first), ["t=2 stage=0 b1=4/60 c1=2/20"]);
    fold.enter_stage(1, 1, 2);
    let old_table = push_all(&mut fold, (6..=7).map(both));
    let new = |number| Block { generation: 2, ..both(number) };
    let second = push_all(&mut fold, (8..=11).map(new));
    assert!(old_table.is_empty());
    assert_eq!(summary(&second), ["t=9 stage=1 b1=4/60 c1=2/20"]);
    let counts = FoldCounts { taken: 9, stale: 2, after_change: 2, ..FoldCounts::default() };
    assert_eq!(fold.counts(), counts);
}

#[test]
fn repeated_blocks_count_once() {
    let mut fold = BlockFold::new(ORIGIN_MS, 3_000, false);
    let sealed = push_all(&mut fold, [1, 2, 2, 1, 3, 3].map(both));
    assert_eq!(summary(&sealed), ["t=0 stage=0 b1=6/90 c1=3/30"]);
    assert_eq!(fold.counts().repeated, 3);
}

#[test]
fn gaps_and_lost_blocks_are_missing_never_zero() {
    let gap = |number: u64, length_ms| Block {
        gap: true,
        length_ms,
        cells: Vec::new(),
        ..second(number, Vec::new())
    };
    let mut fold = BlockFold::new(ORIGIN_MS, 2_000, false);
    let sealed = push_all(&mut fold, [both(1), gap(2, 1_000), both(3), both(4)]);
    assert_eq!(summary(&sealed), ["t=0 stage=0 ", "t=2 stage=0 b1=4/60 c1=2/20"]);

    let mut fold = BlockFold::new(ORIGIN_MS, 2_000, false);
    let sealed = push_all(&mut fold, [both(1), both(2), both(3), both(8), both(9), both(10)]);
    // Blocks 4 to 7 never came: what they touch is missing.
    assert_eq!(
        summary(&sealed),
        [
            "t=0 stage=0 b1=4/60 c1=2/20",
            "t=2 stage=0 ",
            "t=4 stage=0 ",
            "t=6 stage=0 ",
            "t=8 stage=0 b1=4/60 c1=2/20"
        ]
    );
    assert_eq!((fold.counts().lost, fold.counts().missing), (4, 3));
}

#[test]
fn a_hole_without_end_is_cut() {
    let mut fold = BlockFold::new(ORIGIN_MS, 1_000, false);
    let late = Block { start_ms: ORIGIN_MS + 86_400_000, ..both(2) };
    let sealed = push_all(&mut fold, [both(1), late]);
    assert_eq!(sealed.len(), 1 + 1_000 + 1);
    assert_eq!(fold.counts().cut, 86_400 - 1 - 1_000);
    assert_eq!(summary(&sealed).last().unwrap(), "t=86400 stage=0 b1=2/30 c1=1/10");
}

#[test]
fn a_clock_that_is_set_back_keeps_the_order() {
    let mut fold = BlockFold::new(ORIGIN_MS, 1_000, false);
    let back = |number| Block { start_ms: ORIGIN_MS - 3_600_000, ..both(number) };
    let sealed = push_all(&mut fold, [both(1), both(2), back(3), back(4)]);
    let times: Vec<f64> = sealed.iter().map(|b| b.t().value()).collect();
    assert_eq!(times.len(), 4);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
}

#[test]
fn errors_that_come_after_their_request_are_carried() {
    let mut fold = BlockFold::new(ORIGIN_MS, 1_000, false);
    let with =
        |number, requests, errors| second(number, vec![cell("c1", "canary", requests, errors)]);
    let sealed = push_all(&mut fold, [with(1, 10, 0), with(2, 2, 5), with(3, 10, 0)]);
    assert_eq!(
        summary(&sealed),
        ["t=0 stage=0 c1=0/10", "t=1 stage=0 c1=2/2", "t=2 stage=0 c1=3/10"]
    );
    assert_eq!(fold.counts().carried_errors, 3);
}

#[test]
fn what_the_judge_would_refuse_is_missing_with_a_reason() {
    let mut fold = BlockFold::new(ORIGIN_MS, 1_000, false);
    let cells =
        vec![cell("x", "canary", 1, 0), cell("x", "baseline", 1, 0), cell("y", "tester", 1, 0)];
    let sealed = push_all(&mut fold, [second(1, cells)]);
    assert_eq!(summary(&sealed), ["t=0 stage=0 "]);
    assert_eq!((fold.counts().refused, fold.counts().other_arm), (1, 1));
    assert!(fold.refusal().unwrap().to_string().contains("`x` twice"));
}

#[test]
fn history_is_the_baseline_before_the_rollout() {
    let cells = history(&(1..=20).map(both).collect::<Vec<_>>(), 10_000, true);
    assert_eq!(cells.len(), 2);
    assert_eq!((cells[0].requests, cells[0].errors), (300, 20));
    assert!(cells[0].latency.is_some());
}

#[test]
fn an_exported_live_rollout_replays_to_the_same_verdict() {
    let before: Vec<Block> = (1..=200)
        .map(|n| second(n, vec![cell("b1", "baseline", 100, 1), cell("b2", "baseline", 120, 1)]))
        .collect();
    let stage = |share, rule_out| Stage { share, rule_out, soak_s: 2.0 };
    let config = Config {
        stages: vec![stage(0.25, 5.0), stage(0.5, 2.0)],
        metrics: vec![Metric::Errors, Metric::Latency],
        block_s: 1.0,
        history: history(&before, 1_000, true),
        ..Config::default()
    };
    for (errors, expected) in [(1, Verdict::Pass), (9, Verdict::Fail)] {
        let head = config.to_line();
        let mut judge = Judge::new(&head).unwrap();
        let mut fold = BlockFold::new(ORIGIN_MS, 1_000, true);
        fold.enter_stage(0, 1, 1);
        let mut recording = head;
        let mut stage = 0;
        let live = (201..).find_map(|number| {
            let share = if stage == 0 { 35 } else { 110 };
            let cells = ["c1", "c2"]
                .map(|c| cell(c, "canary", share, if number % 2 == 0 { errors } else { 0 }));
            let rest = [cell("b1", "baseline", 100, 1), cell("b2", "baseline", 120, 1)];
            let block = Block {
                generation: stage + 1,
                ..second(number, [cells.to_vec(), rest.to_vec()].concat())
            };
            for sealed in fold.push(&block) {
                recording += &format!("\n{}", sealed.to_line());
                if let Some(outcome) = judge.block(&sealed).unwrap() {
                    return Some(outcome);
                }
                if judge.passed_stage() == Some(0) && stage == 0 {
                    stage = 1;
                    fold.enter_stage(1, 1, 2);
                }
            }
            assert!(number < 2_000, "no verdict: {:?}", judge.evidence());
            None
        });
        let live = live.unwrap();
        assert_eq!(live.verdict, expected, "{}", live.sentence("now"));
        assert_eq!(replay(&recording).unwrap().outcome, live);
        assert_eq!(live.evidence.stage as u64, stage);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The edge may seal a block early at any time; the sums do not depend on it.
    #[test]
    fn splitting_edge_blocks_changes_nothing(
        counts in proptest::collection::vec((0_u64..50, 0_u64..50), 1..40),
        cuts in proptest::collection::vec(1_u32..750, 40),
        parts in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let whole: Vec<Block> = (1..).zip(&counts).map(|(n, (x, y))| {
            second(n, vec![cell("c1", "canary", *x, x / 3), cell("b1", "baseline", *y, 0)])
        }).collect();
        let mut split = Vec::new();
        for ((block, cut), part) in whole.iter().zip(cuts).zip(parts) {
            if !part {
                split.push(block.clone());
                continue;
            }
            let (mut first, mut rest) = (block.clone(), block.clone());
            first.length_ms = cut;
            rest.length_ms = 1_000 - cut;
            rest.start_ms += i64::from(cut);
            // All latencies stay in the first half: a request's answer may come in another block.
            for (a, b) in first.cells.iter_mut().zip(&mut rest.cells) {
                a.requests /= 2;
                b.requests -= a.requests;
                a.errors = 0;
                b.latency.clear();
            }
            split.extend([first, rest]);
        }
        (1..).zip(&mut split).for_each(|(number, block)| block.number = number);
        let fold = || BlockFold::new(ORIGIN_MS, 10_000, true);
        prop_assert_eq!(push_all(&mut fold(), whole), push_all(&mut fold(), split));
    }
}
