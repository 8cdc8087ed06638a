//! Recorded rollouts give their expected verdicts, a replay gives the same bits, and bad files are refused by line.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use humdrum_model::judge::{Config, InputError, Judge, JudgeBlock, ReplayError, Verdict, replay};
use serde::Deserialize;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/judge/rollouts")
}

fn recording(name: &str) -> String {
    std::fs::read_to_string(folder().join(name).with_extension("jsonl")).unwrap()
}

#[derive(Deserialize)]
struct Expected {
    verdict: Verdict,
    block: i64,
    log_e: f64,
    log_e_safe: f64,
    reason: String,
}

fn expected() -> BTreeMap<String, Expected> {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-6
}

#[test]
fn recorded_rollouts_give_their_expected_verdicts() {
    let expected = expected();
    assert_eq!(expected.len(), 22);
    for (name, expected) in expected {
        let found = replay(&recording(&name)).unwrap().outcome;
        assert_eq!((found.verdict, found.block), (expected.verdict, expected.block), "{name}");
        assert!(close(found.log_e, expected.log_e), "{name}: {} {}", found.log_e, expected.log_e);
        let (safe, expected_safe) = (found.log_e_safe, expected.log_e_safe);
        assert!(close(safe, expected_safe), "{name}: {safe} {expected_safe}");
        assert_eq!(found.reason, expected.reason, "{name}");
        assert_eq!(found.evidence.metrics.is_empty(), name == "idle", "{name}");
    }
}

#[test]
fn a_replay_gives_the_same_bits_typed_or_as_text() {
    for name in expected().into_keys() {
        let text = recording(&name);
        let report = replay(&text).unwrap();
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(json, serde_json::to_string(&replay(&text).unwrap()).unwrap(), "{name}");

        let mut lines = text.lines();
        let head = lines.next().unwrap();
        let mut typed = Judge::new(head).unwrap();
        let mut again = Judge::new(head).unwrap();
        let mut exported = format!("{head}\n");
        for line in lines {
            let block = JudgeBlock::parse(line).unwrap();
            let outcome = typed.block(&block).unwrap();
            assert_eq!(again.line(&block.to_line()).unwrap(), outcome, "{name}");
            assert_eq!(typed.log_e().to_bits(), again.log_e().to_bits(), "{name}");
            exported += &block.to_line();
            exported.push('\n');
        }
        assert_eq!(typed.deadline(), report.outcome, "{name}");
        assert_eq!(replay(&exported).unwrap(), report, "{name}: exported");
    }
}

#[test]
fn a_report_begins_with_the_verdict() {
    let json = serde_json::to_string(&replay(&recording("healthy")).unwrap()).unwrap();
    assert!(json.starts_with(r#"{"verdict":"PASS","block":11,"log_e":-4.2994"#), "{json}");
    let order =
        ["\"verdict\"", "\"block\"", "\"log_e\"", "\"log_e_safe\"", "\"reason\"", "\"evidence\""];
    let places: Vec<usize> = order.iter().map(|key| json.find(key).unwrap()).collect();
    assert!(places.is_sorted(), "{json}");
}

#[test]
fn a_ladder_passes_stage_by_stage() {
    let text = recording("ladder");
    let mut lines = text.lines();
    let mut judge = Judge::new(lines.next().unwrap()).unwrap();
    let mut passed = Vec::new();
    for line in lines {
        let outcome = judge.line(line).unwrap();
        passed.extend(judge.passed_stage().filter(|stage| !passed.contains(stage)));
        if let Some(outcome) = outcome {
            assert_eq!(outcome.verdict, Verdict::Pass);
            break;
        }
        let left = judge.time_left().unwrap();
        assert!(left.pass_s.unwrap() > 0.0 && left.fail_s.unwrap() > 0.0, "{left:?}");
    }
    assert_eq!(passed, [0, 1, 2]);
}

#[test]
fn invalid_data_is_known_while_harm_is_still_looked_for() {
    let text = recording("split-drift");
    let mut lines = text.lines();
    let mut judge = Judge::new(lines.next().unwrap()).unwrap();
    assert_eq!(judge.line(lines.next().unwrap()).unwrap(), None);
    assert_eq!(judge.invalid(), Some((0, "traffic is not split as configured")));
    let before = judge.log_e();
    assert_eq!(judge.line(lines.next().unwrap()).unwrap(), None);
    assert_ne!(judge.log_e(), before);
    assert_eq!(judge.passed_stage(), None);
}

#[test]
fn a_guardrail_is_an_outcome_of_the_rollout() {
    let mut judge = Judge::new(recording("healthy").lines().next().unwrap()).unwrap();
    judge.line(recording("healthy").lines().nth(1).unwrap()).unwrap();
    let outcome = judge.guardrail("instance c1 crashed 5 times".into());
    assert_eq!((outcome.verdict, outcome.block), (Verdict::Guardrail, 0));
    assert!(outcome.sentence("12:00").contains("crashed 5 times"), "{}", outcome.sentence("12:00"));
}

#[test]
fn missing_data_never_gives_a_verdict() {
    let head = r#"{"config":{"stages":[{"share":0.1,"rule_out":2}]}}"#;
    let only = |arm: &str| {
        let block = |t| {
            format!(
                r#"{{"t":{t},"stage":0,"cells":[{{"instance":"x","arm":"{arm}","requests":500,"errors":250}}]}}"#
            )
        };
        (0..200).map(|t| format!("\n{}", block(t))).collect::<String>()
    };
    let none = (0..200).map(|t| format!("\n{{\"t\":{t},\"stage\":0,\"cells\":[]}}")).collect();
    for body in [only("canary"), only("baseline"), none] {
        let found = replay(&format!("{head}{body}")).unwrap().outcome;
        assert_eq!((found.verdict, found.block), (Verdict::Invalid, 29));
    }
    let empty = replay(head).unwrap().outcome;
    assert_eq!((empty.verdict, empty.block), (Verdict::Insufficient, -1));
    assert_eq!(empty.reason, "no traffic");
}

/// A recording whose line `line` (from 1) is replaced.
fn broken(line: usize, with: &str) -> String {
    let text = recording("healthy");
    text.lines()
        .enumerate()
        .map(|(i, l)| format!("{}\n", if i + 1 == line { with } else { l }))
        .collect()
}

#[test]
fn bad_files_are_refused_with_their_line() {
    let cases = [
        (broken(1, "{}"), 1, "no `config`"),
        (broken(1, "config"), 1, "expected value"),
        (broken(1, ""), 2, "no `config`"),
        (String::new(), 1, "no `config`"),
        (String::from("\n \n"), 1, "no `config`"),
        (broken(3, r#"{"t":10,"stage":0,"cells":["#), 3, "EOF"),
        (broken(5, r#"{"t":30,"stage":1,"cells":[]}"#), 5, "stages 0 to 0"),
        (broken(5, r#"{"t":20,"stage":0,"cells":[]}"#), 5, "t 20 after t 20"),
        (broken(5, r#"{"t":NaN,"stage":0,"cells":[]}"#), 5, "expected value"),
        // After the verdict at block 11 a line is still read.
        (broken(40, "garbage"), 40, "expected value"),
        (
            format!("{}\n\n{{}}", recording("twice").trim_end()),
            recording("twice").lines().count() + 2,
            "missing field",
        ),
    ];
    for (text, line, message) in cases {
        let error = replay(&text).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn a_latency_metric_needs_latency_in_every_cell() {
    let text = [
        r#"{"config":{"stages":[{"share":0.1,"rule_out":2}],"metrics":["latency"]}}"#,
        r#"{"t":0,"stage":0,"cells":[{"instance":"c","arm":"canary","requests":5,"errors":0}]}"#,
    ];
    let found = replay(&text.join("\n")).unwrap_err();
    let what = InputError::NoLatency { instance: "c".into() };
    assert_eq!(found, ReplayError { line: 2, what });
}

#[test]
fn stages_do_not_go_back() {
    let config = r#"{"config":{"stages":[{"share":0.1,"rule_out":5},{"share":0.5,"rule_out":2}]}}"#;
    let block = |t, stage| format!(r#"{{"t":{t},"stage":{stage},"cells":[]}}"#);
    let text = [config.into(), block(0, 0), block(1, 1), block(2, 0)].join("\n");
    let found = replay(&text).unwrap_err();
    assert_eq!(found, ReplayError { line: 4, what: InputError::StageBack { stage: 0, before: 1 } });
}

#[test]
fn crlf_and_blank_lines_change_nothing() {
    let text = recording("twice");
    let crlf = text.replace('\n', "\r\n\r\n");
    assert_eq!(replay(&crlf).unwrap(), replay(&text).unwrap());
}

#[test]
fn a_config_built_in_code_is_a_config_line() {
    let mut config = Config::parse(recording("ladder").lines().next().unwrap()).unwrap();
    config.history = Vec::new();
    assert_eq!(Judge::new(&config.to_line()).unwrap().config(), &config);
}
