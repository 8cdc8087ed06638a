//! `humdrum build`: the commit and nothing but it, twice the same, and what differs when it is not.

use crate::stage::{READY, Stage};

#[test]
fn the_commit_is_built_whatever_lies_in_the_working_tree() {
    let stage = Stage::new();
    stage.write("run.sh", "#!/bin/sh\n").write("humdrum.yaml", READY).commit("First");
    let clean = stage.run(&["build", "--json"]).ok().json();
    stage.write("run.sh", "#!/bin/sh\necho changed\n").write("new.txt", "new");
    let dirty = stage.run(&["build", "--json"]).ok();
    assert_eq!(dirty.json()["digest"], clean["digest"]);
    assert!(dirty.err.contains("has changes that are not in commit"), "{dirty:?}");
    assert!(dirty.err.contains("pack    image sha256:"), "the live log has phases: {dirty:?}");
    stage.commit("Second");
    let (second, first) =
        (stage.run(&["build", "--json"]).ok(), stage.run(&["build", "HEAD~1", "--json"]).ok());
    assert_ne!(second.json()["digest"], clean["digest"]);
    assert_eq!(first.json()["digest"], clean["digest"]);
    let left = std::fs::read_dir(stage.data().join("builds")).unwrap().count();
    assert_eq!(left, 0, "builds leave nothing behind");
}

#[test]
fn two_builds_are_compared_and_a_difference_is_named() {
    let stage = Stage::new();
    stage.write("run.sh", "#!/bin/sh\n").write("humdrum.yaml", READY).commit("First");
    let equal = stage.run(&["build", "--verify", "--json"]).ok().json();
    assert_eq!(equal["reproducible"], true);

    let random = READY.replace("build:\n", "build:\n  run: od -An -N8 -tx1 /dev/urandom > id\n");
    let random = random.replace("/app/run.sh: run.sh }", "/app/run.sh: run.sh, /app/id: id }");
    stage.write("humdrum.yaml", &random).commit("Random");
    let ran = stage.run(&["build", "--verify", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["reproducible"], false);
    assert_eq!(report["differences"][0]["path"], "/app/id");
    assert!(report["differences"][0]["what"]["bytes"]["first"].is_string(), "{report}");
    let text = stage.run(&["build", "--verify"]);
    assert_eq!(text.code, 1);
    assert!(text.out.contains("layer app, /app/id: bytes differ from offset"), "{}", text.out);
}

#[test]
fn a_service_in_a_folder_of_the_repository_is_built_from_there() {
    let stage = Stage::new();
    let manifest = READY.replace("run.sh: run.sh", "run.sh: api/run.sh");
    stage.write("api/run.sh", "#!/bin/sh\n").write("api/humdrum.yaml", &manifest).commit("First");
    let mut command = stage.command(&["build", "--json"]);
    let output = command.current_dir(stage.repo().join("api")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stage.run(&["build"]).code, 2, "the root has no manifest");
    stage.run(&["plan", "api"]).ok();
}
