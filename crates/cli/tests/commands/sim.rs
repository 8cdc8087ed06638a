//! `humdrum sim`: seeds are replayed to the same history, and nothing breaks.

use std::path::Path;

use crate::stage::Stage;

#[test]
fn a_seed_gives_the_same_history_every_time() {
    let stage = Stage::new();
    let first = stage.run(&["sim", "--seed", "7", "--trace"]).ok();
    let again = stage.run(&["sim", "--seed", "7", "--trace"]).ok();
    assert_eq!(first.out, again.out);
    assert!(first.out.lines().count() > 10, "{first:?}");
    let other = stage.run(&["sim", "--seed", "8", "--trace", "--json"]).ok().json();
    assert_ne!(
        other["hash"],
        stage.run(&["sim", "--seed", "7", "--trace", "--json"]).ok().json()["hash"]
    );
}

#[test]
fn many_seeds_are_counted_and_clean() {
    let stage = Stage::new();
    let report = stage.run(&["sim", "--seed", "100", "--count", "50", "--json"]).ok().json();
    assert_eq!((report["from"].as_u64(), report["count"].as_u64()), (Some(100), Some(50)));
    assert_eq!(report["violations"], serde_json::json!([]));
    let text = stage.run(&["sim", "--seed", "100", "--count", "50"]).ok().out;
    assert!(text.starts_with("50 histories (seeds 100 to 149)"), "{text}");
    assert_eq!(stage.run(&["sim", "--trace", "--count", "2"]).code, 2);
}

#[test]
fn a_script_is_played_as_its_golden_output_says() {
    let stage = Stage::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let story = folder.join("bad-canary.txt").display().to_string();
    let told = stage.run(&["sim", &story]).ok().out;
    let golden = std::fs::read_to_string(folder.join("bad-canary.out")).unwrap();
    assert_eq!(told.trim_end(), golden.trim_end());
    assert_eq!(stage.run(&["sim", &story, "--json"]).ok().json()["ok"], true);

    // A story that does not end as it expects is a failure, not an error.
    stage.write("wrong.txt", "at 0s ship one\nat 12s expect outcome production rolled_back\n");
    assert_eq!(stage.run(&["sim", "wrong.txt"]).code, 1);
    assert_eq!(stage.run(&["sim", "wrong.txt", "--seed", "3"]).code, 2);
}
