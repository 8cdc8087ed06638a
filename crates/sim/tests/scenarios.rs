//! Scripts in `tests/scenarios` give exactly the output beside them. `UPDATE=1` refreshes it.

use std::path::Path;

#[test]
fn scripts_give_their_golden_output() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let mut scripts = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let script = entry.unwrap().path();
        if script.extension().is_none_or(|it| it != "txt") {
            continue;
        }
        scripts += 1;
        let name = script.file_name().unwrap().to_string_lossy().into_owned();
        let played = humdrum_sim::play(&std::fs::read_to_string(&script).unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        if !played.ok {
            wrong.push(format!("{name} is not as it expects:\n{}", played.text));
        }
        let golden = script.with_extension("out");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, &played.text).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != played.text {
            wrong.push(format!(
                "{name} differs from its .out (UPDATE=1 refreshes):\n{}",
                played.text
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(scripts >= 12, "only {scripts} scripts were found");
}

#[test]
fn a_script_that_is_not_understood_says_where() {
    let error = humdrum_sim::play("at 0s ship one\nat 1s dance\n").unwrap_err();
    assert!(error.to_string().starts_with("line 2: `at 1s dance`: known are: ship"), "{error}");
    assert!(humdrum_sim::play("at 2s wait\nat 1s wait\n").is_err());
    assert!(
        !humdrum_sim::play("at 0s ship one\nat 9s expect outcome production failed\n").unwrap().ok
    );
}
