//! `humdrum sim`: seeds are replayed to the same history, and nothing breaks.

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
