//! `humdrum doctor`: what it finds here, and when it says that something is missing.

use serde_json::Value;

use crate::stage::{READY, Stage};

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check `{name}`: {report}"))
}

#[test]
fn a_machine_without_a_project_is_healthy() {
    let report = Stage::new().run(&["doctor", "--json"]).ok().json();
    assert_eq!(report["healthy"], true);
    assert_eq!(report["slsa_build_level"], 1);
    for name in ["sandbox", "limits", "git", "toolchains", "disk", "data folder", "clock"] {
        assert_ne!(check(&report, name)["state"], "missing", "{name}");
    }
    for name in ["control", "edge", "agent"] {
        let role = check(&report, name);
        assert_eq!(role["state"], "warn");
        assert!(role["fix"].as_str().unwrap().starts_with("humdrum up"));
        assert!(role["without"].is_string());
    }
}

#[test]
fn what_is_missing_is_named_with_its_cure() {
    let stage = Stage::new();
    stage.write("humdrum.yaml", READY);
    let ran = stage.run(&["doctor", "--json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let repository = check(&ran.json(), "repository").clone();
    assert_eq!(repository["state"], "missing");
    assert!(repository["fix"].as_str().unwrap().starts_with("git init"));

    stage.write("humdrum.yaml", &READY.replace("owner", "ownr")).commit("Broken");
    let ran = stage.run(&["doctor", "--json"]);
    assert_eq!((ran.code, check(&ran.json(), "manifest")["state"].as_str()), (1, Some("missing")));

    // The same words for people, and the same code.
    let ran = stage.run(&["doctor"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("mend:    humdrum plan"), "{}", ran.out);
}

#[test]
fn a_port_that_somebody_has_is_found() {
    let stage = Stage::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    stage
        .write("run.sh", "#!/bin/sh\n")
        .write("humdrum.yaml", &READY.replace("18080", &port))
        .commit("First");
    let report = stage.run(&["doctor", "--json"]).ok().json();
    let check = check(&report, &format!("port {port}"));
    assert_eq!(check["state"], "warn");
    assert!(check["fix"].as_str().unwrap().contains("ss -ltnp"), "{check}");
}
