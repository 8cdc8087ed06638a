//! `humdrum secrets`: what it says, how it ends, and that no form of its output has the secret.

use std::process::Command;

use crate::stage::Stage;

/// A token, put together here so that no file of this repository has one.
fn token() -> String {
    format!("gh{}_{}", 'p', "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8")
}

fn dirty() -> Stage {
    let stage = Stage::new();
    stage.write("src/a.txt", &format!("one\nlet t = \"{}\";\n", token()));
    stage
}

#[test]
fn a_folder_is_clean_or_not() {
    let stage = Stage::new();
    stage.write("a.txt", "nothing\n");
    let ran = stage.run(&["secrets"]).ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "no secrets in 1 files\n"));
    stage.write("a.txt", &token());
    let ran = stage.run(&["secrets", "."]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(ran.out, "a.txt:1  github-pat  GitHub personal access token [40 characters]\n");
}

#[test]
fn every_form_names_the_place_and_none_the_secret() {
    let stage = dirty();
    let forms: [&[&str]; 5] = [
        &[],
        &["--json"],
        &["--format", "json"],
        &["--format", "sarif"],
        &["--format", "gitleaks"],
    ];
    for form in forms {
        let ran = stage.run(&[&["secrets"], form].concat());
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.out.contains("src/a.txt") && ran.out.contains("github-pat"), "{ran:?}");
        assert!(!ran.out.contains(&token()[4..]) && !ran.err.contains(&token()[4..]), "{ran:?}");
    }
    let report = stage.run(&["secrets", "--json"]).json();
    assert_eq!(report["findings"][0]["kind"], "secret");
    assert_eq!(report["findings"][0]["place"]["line"], 2);
    let sarif = stage.run(&["secrets", "--format", "sarif"]).json();
    assert_eq!(sarif["version"], "2.1.0");
}

#[test]
fn known_findings_are_left_out() {
    let stage = dirty();
    for form in ["json", "gitleaks"] {
        stage.run(&["secrets", "--format", form, "--output", "base.json"]);
        let ran = stage.run(&["secrets", "--baseline", "base.json"]).ok();
        assert!(ran.err.contains("1 known ones left out"), "{ran:?}");
    }
    std::fs::remove_file(stage.repo().join("base.json")).unwrap();
    stage.write(".gitleaksignore", "src/a.txt:github-pat:2\nodd\n");
    let ran = stage.run(&["secrets"]).ok();
    assert!(ran.err.contains(".gitleaksignore:2: `odd` is no fingerprint"), "{ran:?}");
}

#[test]
fn rule_files_are_found_and_their_mistakes_told() {
    let stage = dirty();
    stage.write(".gitleaks.toml", "[[rules]]\nid = 'a'\nregex = '''one'''\nkeyword = ['x']\n");
    let ran = stage.run(&["secrets"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.err.contains(".gitleaks.toml:4:1") && ran.err.contains("did you mean `keywords`?"),
        "{ran:?}"
    );
    stage.write(".gitleaks.toml", "[[rules]]\nid = 'a'\ndescription = 'One'\nregex = '''one'''\n");
    assert_eq!(stage.run(&["secrets"]).out, "src/a.txt:1  a  One [3 characters]\n");
    stage
        .write("more.toml", "[extend]\npath = 'base.toml'\n")
        .write("base.toml", "[[rules]]\nid = 'b'\nregex = '''let'''\n");
    assert_eq!(
        stage.run(&["secrets", "--config", "more.toml", "src"]).out,
        "a.txt:2  b   [3 characters]\n"
    );
    assert_eq!(stage.run(&["secrets", "--config", "none.toml"]).code, 2);
    assert_eq!(stage.run(&["secrets", "nowhere"]).code, 2);
    assert_eq!(stage.run(&["secrets", "--history"]).code, 2, "it is no repository");
}

#[test]
fn the_history_has_what_the_files_no_longer_have() {
    let stage = dirty();
    stage.git(&["init", "-q"]).git(&["add", "-A"]).git(&["commit", "-q", "-m", "one"]);
    stage.write("src/a.txt", "clean\n").git(&["add", "-A"]).git(&["commit", "-q", "-m", "two"]);
    stage.run(&["secrets"]).ok();
    let ran = stage.run(&["secrets", "--history", "--json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let first = Command::new("git")
        .args(["rev-parse", "HEAD~1"])
        .current_dir(stage.repo())
        .output()
        .unwrap();
    let first = String::from_utf8(first.stdout).unwrap();
    assert_eq!(ran.json()["findings"][0]["place"]["commit"], first.trim());
}

#[test]
fn the_hook_refuses_the_commit_and_spares_others_hooks() {
    let stage = Stage::new();
    stage.write("a.txt", "clean\n").git(&["init", "-q"]);
    stage.run(&["secrets", "install-hook"]).ok();
    stage.run(&["secrets", "install-hook"]).ok();
    stage.git(&["add", "-A"]).git(&["commit", "-q", "-m", "clean"]);
    stage.write("b.txt", &token()).git(&["add", "-A"]);
    let mut commit = Command::new("git");
    commit.args([
        "-c",
        "user.name=T",
        "-c",
        "user.email=t@example.com",
        "commit",
        "-q",
        "-m",
        "dirty",
    ]);
    let output = commit.current_dir(stage.repo()).env("HOME", stage.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("b.txt:1  github-pat"), "{said}");

    let hook = stage.repo().join(".git/hooks/pre-commit");
    std::fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
    let ran = stage.run(&["secrets", "install-hook"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("error[hook-exists]"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&hook).unwrap(), "#!/bin/sh\nexit 0\n");
}
