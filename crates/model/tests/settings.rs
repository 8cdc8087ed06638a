//! The settings against files: what is accepted, what every broken one says, and that no text whatever panics.
//!
//! `UPDATE=1 cargo test -p humdrum-model --test settings` writes the expected answers anew; read the diff before you commit it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use humdrum_model::name::EnvName;
use humdrum_model::settings::{Action, CODES, OWNER, Settings, VulnerabilityScan, may};
use proptest::prelude::*;

/// The two examples of the mission with a third environment of the same form: they must stay valid.
const FULL: &str = include_str!("settings/full.yaml");

fn broken() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/settings/broken");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of broken settings can be read")
        .map(|entry| entry.expect("the folder of broken settings can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

fn rendered(text: &str) -> String {
    let problems = match Settings::parse(text) {
        Ok(parsed) => parsed.warnings,
        Err(problems) => problems,
    };
    problems.iter().fold(String::new(), |mut out, problem| {
        let _ = writeln!(out, "{}", problem.render("settings.yaml", text));
        out
    })
}

#[test]
fn every_broken_file_says_what_where_and_what_to_do() {
    let files = broken();
    assert!(files.len() >= 12, "only {} broken files", files.len());
    let (mut wrong, mut all) = (vec![], String::new());
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
        all.push_str(&found);
    }
    assert!(wrong.is_empty(), "answers changed (UPDATE=1 accepts them):\n{}", wrong.join("\n"));
    for (code, _) in CODES {
        assert!(all.contains(&format!("[{code}]")), "no broken file shows {code}");
    }
}

#[test]
fn the_full_file_is_read_without_a_remark() {
    assert_eq!(rendered(FULL), "");
    let settings = Settings::parse(FULL).unwrap().settings;
    let environment = |name: &str| &settings.environments[&EnvName::new(name).unwrap()];
    let seen = ["development", "staging", "production"].map(|name| {
        let e = environment(name);
        (e.retention.unwrap().to_string(), e.vulnerability_scan, e.immutable)
    });
    assert_eq!(
        seen,
        [
            ("7 days".into(), VulnerabilityScan::Advisory, None),
            ("30 days".into(), VulnerabilityScan::Blocking, None),
            ("1 year".into(), VulnerabilityScan::BlockingWithAttestation, Some(true)),
        ]
    );
    let production = EnvName::new("production").unwrap();
    let ask = |who: &str, action| may(&settings, &[who.into()], action, &production).is_allowed();
    // Write-only: pushes, and really cannot read.
    assert!(ask("release-automation", Action::Write) && !ask("release-automation", Action::Read));
    let json = serde_json::to_value(&settings).unwrap();
    assert_eq!(serde_json::from_value::<Settings>(json).unwrap(), settings);
}

#[test]
fn each_half_stands_alone() {
    for text in ["repositories: { production: { read: [a] } }", "repositories:\nenvironments: {}"] {
        assert_eq!(rendered(text), "", "{text}");
    }
}

fn lists() -> impl Strategy<Value = [Vec<usize>; 3]> {
    let list = || proptest::collection::vec(0..6_usize, 0..4);
    (list(), list(), list()).prop_map(|(read, write, admin)| [read, write, admin])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}", cut in 0..FULL.len()) {
        let _ = Settings::parse(&text);
        let _ = Settings::parse(&format!("{}{text}", FULL.get(..cut).unwrap_or_default()));
    }

    /// Allowed exactly when a principal is listed for the action or for admin: no other list, and no other environment, gives it.
    #[test]
    fn rights_are_what_the_lists_say(lists in lists(), who in 0..6_usize) {
        let names = |list: &[usize]| list.iter().map(|i| format!("p{i}")).collect::<Vec<_>>().join(", ");
        let text = format!(
            "repositories: {{ here: {{ read: [{}], write: [{}], admin: [{}] }}, there: {{ admin: [p0, p1, p2, p3, p4, p5] }} }}",
            names(&lists[0]), names(&lists[1]), names(&lists[2])
        );
        let settings = Settings::parse(&text).unwrap().settings;
        let here = EnvName::new("here").unwrap();
        for (index, action) in Action::ALL.into_iter().enumerate() {
            let expected = lists[index].contains(&who) || lists[2].contains(&who);
            prop_assert_eq!(may(&settings, &[format!("p{who}")], action, &here).is_allowed(), expected);
            prop_assert!(may(&settings, &[OWNER.into()], action, &here).is_allowed());
        }
    }
}
