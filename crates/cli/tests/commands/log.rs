//! `humdrum log --verify` and `--export`: the chain of events, whole and tampered with.

use crate::ship::published;
use crate::stage::Stage;

fn export(stage: &Stage) -> String {
    let file = stage.path().join("events.jsonl");
    let told = stage.run(&["log", "--export", file.to_str().unwrap()]).ok();
    assert!(told.out.contains("humdrum log --verify"), "{told:?}");
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn the_chain_is_verified_and_exported_and_a_changed_line_is_named() {
    let (stage, control, _) = published();
    stage.run(&["hold", "service:other", "--why", "a \"quoted\" ümlaut"]).ok();
    let live = stage.run(&["log", "--verify", "--json"]).ok().json();
    assert_eq!(live["verified"], true);
    let whole = export(&stage);
    let lines: Vec<&str> = whole.lines().collect();
    assert!(lines.len() as u64 >= live["events"].as_u64().unwrap(), "{live}");
    let piped = stage.run(&["log", "--export", "-"]).ok().out;
    assert!(piped.starts_with(&whole), "an export only grows");

    // From here on nobody needs Humdrum to run.
    control.kill();
    assert_eq!(stage.run(&["log", "--verify"]).code, 6);
    let file = stage.path().join("copy.jsonl");
    let verify = |text: &str| {
        std::fs::write(&file, text).unwrap();
        stage.run(&["log", "--verify", file.to_str().unwrap()])
    };
    let told = verify(&whole).ok().out;
    assert!(told.contains(&format!("{} events", lines.len())), "{told}");

    let changed = whole.replace("ümlaut", "umlaut");
    let at = lines.iter().position(|line| line.contains("ümlaut")).unwrap() + 1;
    let mut without = lines.clone();
    without.remove(1);
    let last = lines.len();
    #[rustfmt::skip]
    let cases = [
        // what happened to the file                    line  cause
        (changed,                                       at,   "it was changed"),
        (without.join("\n"),                            2,    "is missing"),
        (format!("{whole}not an event\n"),              last + 1, "cannot be read"),
        (whole[..whole.len() - 9].to_owned(),           last, "cannot be read"),
    ];
    for (text, line, cause) in cases {
        let ran = verify(&text);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.starts_with("error[chain-broken]: "), "{ran:?}");
        assert!(ran.err.contains(&format!("copy.jsonl:{line}\n")), "line {line}: {ran:?}");
        assert!(ran.err.contains(cause), "{cause}: {ran:?}");
    }
    assert_eq!(verify("").code, 2, "an empty file proves nothing");
    assert_eq!(stage.run(&["log"]).code, 2, "something must be named");
    assert_eq!(stage.run(&["log", "last", "--verify"]).code, 2);
}
