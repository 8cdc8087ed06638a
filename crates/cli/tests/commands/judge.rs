//! `humdrum judge replay`: recorded rollouts in, one JSON object each out.

use std::io::Write;
use std::process::Stdio;

use crate::stage::Stage;

const HEAD: &str = r#"{"config":{"alpha":0.01,"beta":0.05,"margin":1.25,"absolute_margin":0.0005,"stages":[{"share":0.5,"rule_out":2.0}],"metrics":["errors"]}}"#;

/// Blocks of two arms; the canary fails as often as told.
fn recording(blocks: usize, canary_errors: u64) -> String {
    let mut text = format!("{HEAD}\n");
    for block in 0..blocks {
        let cell = |name: &str, arm: &str, errors: u64| {
            format!(r#"{{"instance":"{name}","arm":"{arm}","requests":500,"errors":{errors}}}"#)
        };
        let cells = [
            cell("c1", "canary", canary_errors),
            cell("c2", "canary", canary_errors),
            cell("b1", "baseline", 5),
            cell("b2", "baseline", 5),
        ];
        text += &format!("{{\"t\":{},\"stage\":0,\"cells\":[{}]}}\n", block * 10, cells.join(","));
    }
    text
}

#[test]
fn every_verdict_exits_with_0_and_one_object_a_file() {
    let stage = Stage::new();
    stage.write("bad.jsonl", &recording(60, 150)).write("short.jsonl", &recording(2, 5));
    let ran = stage.run(&["judge", "replay", "bad.jsonl", "short.jsonl"]).ok();
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert_eq!(lines[0]["verdict"], "FAIL");
    assert_eq!(lines[1]["verdict"], "INSUFFICIENT");
    for line in &lines {
        for key in ["verdict", "block", "log_e", "log_e_safe", "reason"] {
            assert!(line.get(key).is_some(), "{key} is missing: {line}");
        }
    }
    let again = stage.run(&["judge", "replay", "bad.jsonl", "short.jsonl", "--json"]).ok();
    assert_eq!(again.out, ran.out, "the same bits every time, with --json too");
}

#[test]
fn a_recording_comes_from_standard_input_too() {
    let stage = Stage::new();
    let mut command = stage.command(&["judge", "replay", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(recording(60, 150).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with(r#"{"verdict":"FAIL","#));
}
