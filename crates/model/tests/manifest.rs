//! The manifest against files: what is accepted, what every broken one says, and that no text whatever panics.
//!
//! `UPDATE=1 cargo test -p humdrum-model --test manifest` writes the expected answers anew; read the diff before you commit it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use humdrum_model::manifest::{CODES, Manifest, Percent, Strategy};
use proptest::prelude::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests")
}

fn broken() -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder().join("broken"))
        .expect("the folder of broken manifests can be read")
        .map(|entry| entry.expect("the folder of broken manifests can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

/// The text after `YAML:` in the issue that founded the format: it must stay valid.
const FIRST: &str = include_str!("manifests/first.yaml");
const FULL: &str = include_str!("manifests/full.yaml");

fn rendered(text: &str) -> String {
    let problems = match Manifest::parse_with_warnings(text) {
        Ok(parsed) => parsed.warnings,
        Err(problems) => problems,
    };
    problems.iter().fold(String::new(), |mut out, problem| {
        let _ = writeln!(out, "{}", problem.render("humdrum.yaml", text));
        out
    })
}

#[test]
fn every_broken_manifest_says_what_where_and_what_to_do() {
    let files = broken();
    assert!(files.len() >= 25, "only {} broken manifests", files.len());
    let mut wrong = vec![];
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let found = rendered(&text);
        assert!(!found.is_empty(), "{} is not broken", path.display());
        let expected = path.with_extension("out");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &found).unwrap();
        } else if std::fs::read_to_string(&expected).ok().as_deref() != Some(&found) {
            wrong.push(format!("{}:\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "answers changed (UPDATE=1 accepts them):\n{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_broken_manifest() {
    let all: String = broken()
        .iter()
        .map(|path| std::fs::read_to_string(path.with_extension("out")).unwrap())
        .collect();
    for (code, _) in CODES {
        // The first is made by size, not by a file; the second only by a gap between schema and types.
        if !matches!(*code, "HUM-002" | "HUM-019") {
            assert!(all.contains(&format!("[{code}]")), "no broken manifest shows {code}");
        }
    }
}

#[test]
fn several_problems_are_told_at_once() {
    let text = "service: Shop\nowner: me\nbuild: { files: { app: /x } }\nrun: { comand: [a], port: 0 }\nenvironments: { dev: { after: prod } }\n";
    let codes: Vec<_> =
        Manifest::parse(text).unwrap_err().iter().map(|p| (p.code, p.line, p.column)).collect();
    assert_eq!(
        codes,
        [("HUM-016", 1, 10), ("HUM-011", 4, 6), ("HUM-010", 4, 8), ("HUM-014", 4, 27)]
    );
}

#[test]
fn the_full_manifest_is_read() {
    let manifest = Manifest::parse(FULL).unwrap_or_else(|_| panic!("{}", rendered(FULL)));
    assert_eq!(manifest.run.env["VERSION"], "1.10");
    assert_eq!(manifest.run.env["DEBUG"], "no");
    let plans = manifest.plans();
    let names: Vec<_> = plans.iter().map(|plan| plan.name.as_str()).collect();
    assert_eq!(names, ["dev", "staging", "production"]);
    assert_eq!(
        plans.iter().map(|plan| plan.port).collect::<Vec<_>>(),
        [Some(8081), None, Some(8080)]
    );
    assert_eq!((plans[1].env["LOG"].as_str(), plans[1].instances), ("debug", 1));
    assert!(plans[2].last && plans[2].approve && !plans[1].last);
    let Strategy::Canary(canary) = &plans[2].strategy else { panic!("not a canary") };
    let rungs: Vec<_> =
        canary.rungs().iter().map(|rung| (rung.share.parts(), rung.rule_out)).collect();
    assert_eq!(rungs, [(50, 10.0), (500, 5.0), (2_500, 2.0), (5_000, 1.5)]);
}

#[test]
fn the_first_manifest_stays_valid_and_its_defaults_follow_the_share() {
    let manifest = Manifest::parse(FIRST).unwrap_or_else(|_| panic!("{}", rendered(FIRST)));
    let plan = manifest.plans().pop().unwrap();
    let Strategy::Canary(canary) = plan.strategy else { panic!("not a canary") };
    let shares =
        [1.0, 4.99, 5.0, 24.99, 25.0, 49.99, 50.0, 99.99].map(|p| Percent::try_from(p).unwrap());
    let rule_out = shares.map(humdrum_model::manifest::rule_out_default);
    assert_eq!(rule_out, [10.0, 10.0, 5.0, 5.0, 2.0, 2.0, 1.5, 1.5]);
    assert_eq!(canary.rule_out.as_deref(), Some(&[10.0, 5.0, 2.0, 1.5][..]));
}

#[test]
fn a_normalized_manifest_is_complete_and_stable() {
    for text in [FIRST, FULL, include_str!("manifests/small.yaml")] {
        let manifest = Manifest::parse(text).unwrap_or_else(|_| panic!("{}", rendered(text)));
        let normal = manifest.normalized();
        assert_eq!(normal.normalized(), normal);
        let json = serde_json::to_string(&normal).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), normal, "{json}");
        // JSON is YAML: what was stored can be read by the same door.
        assert_eq!(Manifest::parse(&json).unwrap(), normal, "{}", rendered(&json));
        assert_eq!(manifest.plans(), normal.plans());
    }
}

#[test]
fn the_smallest_manifest_gets_the_documented_defaults() {
    let manifest = Manifest::parse(include_str!("manifests/small.yaml")).unwrap();
    let json = serde_json::to_string_pretty(&manifest.normalized()).unwrap() + "\n";
    let path = folder().join("small.normalized.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &json).unwrap();
    }
    assert_eq!(
        json,
        std::fs::read_to_string(&path).unwrap(),
        "a new default changes every release id: UPDATE=1 accepts it"
    );
}

#[test]
fn limits_are_held() {
    let deep = format!("service: {}1{}", "[".repeat(100), "]".repeat(100));
    let large = format!("# {}\n{FIRST}", "x".repeat(300 << 10));
    let bomb: String = (1..30).fold("a0: &a0 [x, x, x, x]\n".into(), |text, i| {
        text + &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "))
    });
    for text in [deep, large, bomb] {
        let problems = Manifest::parse(&text).unwrap_err();
        assert_eq!(problems[0].code, "HUM-002", "{}", problems[0].message);
    }
}

fn check_any(text: &str) {
    let found = Manifest::parse_with_warnings(text);
    let problems = match &found {
        Ok(parsed) => &parsed.warnings,
        Err(problems) => problems,
    };
    assert!(found.is_ok() || !problems.is_empty());
    for problem in problems {
        let out = problem.render("humdrum.yaml", text);
        assert!(out.contains(problem.code));
        // Schema and types must agree: this code is what their gap would show.
        assert_ne!(problem.code, "HUM-019", "{out}");
    }
    if let Ok(parsed) = found {
        parsed.manifest.normalized();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        check_any(&text);
    }

    #[test]
    fn no_yaml_like_text_panics(text in "[a-c0-9:,{}\\[\\]\\-&*!|>'\"#%@?~<\\. \n\t]{0,120}") {
        check_any(&text);
    }

    /// A good manifest with one piece replaced: closer to the rules than random text gets.
    #[test]
    fn no_damaged_manifest_panics(at in 0..FULL.len(), length in 0..40usize, insert in "[a-z0-9:{}\\[\\]$. \n-]{0,12}") {
        let end = (at + length).min(FULL.len());
        if FULL.is_char_boundary(at) && FULL.is_char_boundary(end) {
            check_any(&format!("{}{insert}{}", &FULL[..at], &FULL[end..]));
        }
    }

    /// Numbers and durations at the edges of their types.
    #[test]
    fn no_value_panics(value in prop_oneof!["-?[0-9]{1,40}(\\.[0-9]{1,20})?(e[0-9]{1,4})?", "[0-9]{1,25} ?(ms|s|m|h|d|w|y|us|ns)?", "\\PC{0,20}"], key in 0..6usize) {
        let text = [
            ("alpha: 0.01", "alpha: "), ("block: 10s", "block: "), ("memory: 512MiB", "memory: "),
            ("port: 8080", "port: "), ("0.5, 5", "5, "), ("cpu: 0.5", "cpu: "),
        ][key];
        check_any(&FULL.replacen(text.0, &format!("{}{value}", text.1), 1));
    }
}
