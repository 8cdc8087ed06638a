//! What people read when something is wrong: code, what, why, where, next. `UPDATE=1` writes the files anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::stage::{READY, Ran, Stage};

/// Runs commands and compares all they say with `tests/errors/NAME.out`.
fn golden(name: &str, stage: &Stage, commands: &[(&[&str], i32)]) {
    let mut found = String::new();
    for (arguments, code) in commands {
        let ran = stage.run(arguments);
        assert_eq!(ran.code, *code, "humdrum {}: {ran:?}", arguments.join(" "));
        let _ = write!(found, "$ humdrum {}\n{}", arguments.join(" "), said(&ran));
    }
    let found = found.replace(&stage.path().display().to_string(), "$STAGE");
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors").join(format!("{name}.out"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == found, "{} says\n{kept}\nand humdrum says\n{found}", path.display());
}

/// Output, errors and code; the live log of a build is left out, since it names the machine.
fn said(ran: &Ran) -> String {
    let log = |line: &&str| {
        !["prepare", "fetch", "build ", "test ", "pack "]
            .iter()
            .any(|phase| line.starts_with(phase))
    };
    let mut text = ran.out.clone();
    ran.err.lines().filter(log).for_each(|line| {
        let _ = writeln!(text, "{line}");
    });
    let _ = writeln!(text, "[exit {}]\n", ran.code);
    text
}

#[test]
fn a_repository_that_is_none() {
    let stage = Stage::new();
    golden(
        "repository",
        &stage,
        &[(&["build"], 2), (&["plan"], 2), (&["plan", "nowhere"], 2), (&["plan", "--json"], 2)],
    );
    stage.git(&["init", "-q"]);
    golden("no-commit", &stage, &[(&["build"], 2)]);
    stage.write("run.sh", "#!/bin/sh\n").commit("First");
    golden(
        "no-manifest",
        &stage,
        &[(&["build"], 2), (&["build", "v9"], 2), (&["build", "v9", "--json"], 2)],
    );
    stage.write("humdrum.yaml", READY);
    golden(
        "manifest-not-committed",
        &stage,
        &[(&["build"], 2), (&["init"], 2), (&["init", "--json"], 2)],
    );
}

#[test]
fn a_manifest_with_mistakes() {
    let stage = Stage::new();
    let text = READY.replace("owner:", "ownr:").replace("port: 18080", "port: eighty");
    stage.write("humdrum.yaml", &text).commit("Broken");
    golden("manifest", &stage, &[(&["plan"], 2), (&["plan", "--json"], 2), (&["build"], 2)]);
}

#[test]
fn a_build_that_fails() {
    let stage = Stage::new();
    let with = |build: &str| READY.replace("build:\n", &format!("build:\n{build}"));
    stage.write("run.sh", "#!/bin/sh\n");
    stage
        .write("humdrum.yaml", &with("  run: echo half; echo broken pipe; exit 3\n"))
        .commit("Fails");
    golden("build-failed", &stage, &[(&["build"], 1), (&["build", "--json"], 1)]);
    stage
        .write("humdrum.yaml", &READY.replace("run.sh: run.sh", "run.sh: out/run.sh"))
        .commit("No output");
    golden("output-missing", &stage, &[(&["build"], 1)]);
    let junit = r#"<testsuite><testcase classname="cart" name="adds"/><testcase classname="cart" name="removes"><failure message="expected 1, found 2"/></testcase></testsuite>"#;
    let tests =
        format!("test: {{ run: \"cp junit.xml out.xml; exit 1\", junit: out.xml }}\n{READY}");
    stage.write("junit.xml", junit).write("humdrum.yaml", &tests).commit("Tests fail");
    golden("tests-failed", &stage, &[(&["build"], 1), (&["build", "--json"], 1)]);
}

#[test]
fn nobody_to_ask() {
    let stage = Stage::new();
    golden(
        "not-running",
        &stage,
        &[
            (&["log", "last"], 6),
            (&["judge", "export", "d-1"], 6),
            (&["verify", "shop/production"], 6),
            (&["verify", "shop:v1"], 6),
            (&["log", "last", "--json"], 6),
        ],
    );
    std::fs::create_dir(stage.data()).unwrap();
    // Port 1 is never control's: nobody listens there.
    std::fs::write(stage.data().join("address"), "127.0.0.1:1").unwrap();
    std::fs::write(stage.data().join("token"), "0".repeat(64)).unwrap();
    golden("unreachable", &stage, &[(&["log", "s-1"], 6)]);
}

#[test]
fn an_image_that_is_none() {
    let stage = Stage::new();
    let digest = format!("shop@sha256:{}", "0".repeat(64));
    golden(
        "verify",
        &stage,
        &[
            (&["verify", "shop"], 2),
            (&["verify", "shop@sha256:12"], 2),
            (&["verify", &digest], 6),
            (&["verify", "oci:nowhere"], 2),
        ],
    );
    stage.write("run.sh", "#!/bin/sh\n").write("humdrum.yaml", READY).commit("First");
    stage.run(&["build", "--output", "image"]).ok();
    let unknown = format!("oci:image@sha256:{}", "0".repeat(64));
    stage.write("no.pem", "not a key");
    golden(
        "verify-layout",
        &stage,
        &[
            (&["verify", "oci:image:v9"], 2),
            (&["verify", &unknown], 2),
            (&["verify", "oci:image"], 2),
            (&["verify", "oci:image", "--key", "no.pem"], 2),
            (&["verify", "oci:image", "--trust", "no.pem"], 2),
            (&["verify", "oci:image", "--trust", "nowhere"], 2),
        ],
    );
}

#[test]
fn a_recording_that_is_none() {
    let stage = Stage::new();
    let head = r#"{"config":{"stages":[{"share":0.1,"rule_out":2.0}]}}"#;
    let block =
        r#"{"t":0,"stage":0,"cells":[{"instance":"c","arm":"canary","requests":5,"errors":9}]}"#;
    stage.write("errors.jsonl", &format!("{head}\n\n{block}\n"));
    stage.write("headless.jsonl", &format!("{block}\n")).write("empty.jsonl", "");
    std::fs::write(stage.repo().join("bytes.jsonl"), [head.as_bytes(), b"\n\xff\xfe"].concat())
        .unwrap();
    golden(
        "judge",
        &stage,
        &[
            (&["judge", "replay", "nowhere.jsonl"], 2),
            (&["judge", "replay", "errors.jsonl"], 2),
            (&["judge", "replay", "headless.jsonl"], 2),
            (&["judge", "replay", "empty.jsonl"], 2),
            (&["judge", "replay", "bytes.jsonl"], 2),
            (&["judge", "replay", "errors.jsonl", "--json"], 2),
        ],
    );
}

#[test]
fn a_script_that_is_none() {
    let stage = Stage::new();
    stage.write("story.txt", "# A story.\nat 0s ship one\nat 1s dance\n");
    let cases: [(&[&str], i32); 3] = [
        (&["sim", "nowhere.txt"], 2),
        (&["sim", "story.txt"], 2),
        (&["sim", "story.txt", "--json"], 2),
    ];
    golden("sim", &stage, &cases);
}

#[test]
fn arguments_that_are_none() {
    let stage = Stage::new();
    golden(
        "arguments",
        &stage,
        &[
            (&["plan", "--rps", "many"], 2),
            (&["plan", "--error-rate", "101"], 2),
            (&["log", "s-1", "--lines", "0"], 2),
            (&["judge", "replay"], 2),
        ],
    );
}
