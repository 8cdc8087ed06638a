//! The worker's bounds, with the test's own program as the worker: policies that loop, eat memory, crash or lie still give a verdict that denies.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it says")]

use std::path::Path;
use std::time::Duration;

use humdrum_model::gate::Facts;
use humdrum_model::name::{Digest, EnvName};
use humdrum_policy::worker::{Evaluator, Limits, serve};
use jiff::Timestamp;

const WORKER: &str = "--worker";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) == Some(WORKER) {
        let status = serve(&arguments[2..], std::io::stdin(), std::io::stdout());
        std::process::exit(status);
    }
    // `cargo test` lists and filters tests by arguments that this program does not have.
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    a_harmless_policy_answers();
    bad_policies_end_and_deny();
    a_worker_that_is_not_there_denies();
}

fn evaluator(folder: &Path) -> Evaluator {
    Evaluator {
        program: std::env::current_exe().unwrap(),
        arguments: vec![WORKER.into()],
        folder: folder.into(),
        limits: Limits { processor_s: 1, wall: Duration::from_secs(60), memory: 200 << 20 },
    }
}

fn facts() -> Facts {
    let production = EnvName::new("production").unwrap();
    Facts::unknown(Timestamp::UNIX_EPOCH, production, Digest::of(b"image"))
}

fn a_harmless_policy_answers() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "package main\ndeny contains msg if { input.environment.name == \"production\"; msg := \"never\" }\n";
    std::fs::write(folder.path().join("p.rego"), policy).unwrap();
    std::fs::write(folder.path().join("data.yaml"), "gates: { review_required: true }\n").unwrap();
    let answer = evaluator(folder.path()).evaluate(&facts());
    assert_eq!(answer.verdict.failed, None);
    let rules: Vec<_> = answer.verdict.results.iter().map(|said| said.rule.as_str()).collect();
    assert!(rules.contains(&"main/deny") && rules.contains(&"review-missing"), "{rules:?}");
    assert!(answer.settings.review_required);
}

fn bad_policies_end_and_deny() {
    let loops = "package main\nn := numbers.range(1, 3000)\ndeny contains msg if { some a in n; some b in n; some c in n; a + b == c * 7000; msg := \"x\" }\n";
    // Each line doubles the text of the one before: a gigabyte after 27.
    let doubled = (1..28).map(|n| format!("x{n} := concat(\"\", [x{0}, x{0}])\n", n - 1));
    let eats = format!(
        "package main\nx0 := \"0123456789\"\n{}deny contains msg if {{ count(x27) == 0; msg := \"x\" }}\n",
        doubled.collect::<String>()
    );
    #[rustfmt::skip]
    let cases = [
        ("loops.rego",   loops,                                                 "policy-timeout", "1 s of processor time"),
        ("eats.rego",    eats.as_str(),                                                  "policy-memory",  "200 MiB"),
        ("broken.rego",  "package main\ndeny contains msg if { msg := }\n",     "policy-broken",  "broken.rego:2:"),
        ("network.rego", "package main\n\ndeny contains \"x\" if {\n  http.send({}).status == 1\n}\n", "policy-builtin", "network.rego:4:3: built-in `http.send`"),
        ("test.rego",    "package main\ntest_it if { 1 == 2 }\n",               "policy-test-failed", "data.main.test_it"),
        ("shape.rego",   "package main\ndeny := true\n",                        "policy-shape",   "data.main.deny"),
        ("error.rego",   "package main\ndeny contains msg if { msg := to_number(input.service) }\n", "policy-error", "error.rego:2:"),
        ("data.yaml",    "gates: { windos: [] }\n",                           "policy-settings", "unknown field `windos`"),
        ("data.json",    "{",                                                   "policy-settings", "data.json"),
    ];
    for (file, text, code, why) in cases {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), text).unwrap();
        let failed = evaluator(folder.path()).evaluate(&facts()).verdict.failed.expect(file);
        assert_eq!(failed.code, code, "{file}: {}", failed.why);
        assert!(failed.why.contains(why), "{file}: {}", failed.why);
    }
}

fn a_worker_that_is_not_there_denies() {
    let folder = tempfile::tempdir().unwrap();
    let gone = Evaluator { program: "/nonexistent/humdrum".into(), ..evaluator(folder.path()) };
    assert_eq!(gone.evaluate(&facts()).verdict.failed.unwrap().code, "policy-crashed");
    let other = Evaluator { program: "/bin/false".into(), ..evaluator(folder.path()) };
    assert_eq!(other.evaluate(&facts()).verdict.failed.unwrap().code, "policy-crashed");
    let liar = Evaluator { program: "/bin/true".into(), ..evaluator(folder.path()) };
    assert_eq!(liar.evaluate(&facts()).verdict.failed.unwrap().code, "policy-crashed");
}
