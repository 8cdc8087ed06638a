//! What needs a running control: the token, the log of a ship, an artifact verified through it and, after its death, from its files.

use crate::stage::{READY, Stage, until};

/// A stage with one shipped commit whose artifact is published, and control still running.
pub(crate) fn published() -> (Stage, crate::stage::Control, String) {
    let stage = Stage::new();
    stage.write("run.sh", "#!/bin/sh\nexit 0\n").write("humdrum.yaml", READY).commit("First");
    let control = stage.control();
    stage.run(&["ship", "--no-wait", "--json"]).ok();
    let digest = until(|| {
        let status = stage.run(&["status", "--json"]).ok().json();
        let ship = &status["ships"][0];
        assert!(ship["outcome"] != "failed", "{ship}");
        ship["digest"].as_str().map(str::to_owned)
    });
    (stage, control, digest.expect("the commit is built and published"))
}

#[test]
fn a_ship_has_a_log_and_its_artifact_verifies_with_and_without_control() {
    let (stage, control, digest) = published();
    let log = stage.run(&["log", "last"]).ok();
    assert!(log.out.contains(&format!("pack image {digest}")), "{log:?}");
    let cut = stage.run(&["log", "last", "--lines", "1"]).ok();
    assert_eq!(cut.out.lines().count(), 1);

    let image = format!("shop@{digest}");
    let verified = stage.run(&["verify", &image, "--json"]).ok().json();
    assert_eq!(verified["accepted"], true);
    let tag = format!(
        "shop:commit-{}",
        &stage.run(&["build", "--json"]).ok().json()["commit"].as_str().unwrap()[..10]
    );
    assert_eq!(stage.run(&["verify", &tag, "--json"]).ok().json()["digest"], digest.as_str());
    let built = stage.run(&["build", "--json"]).ok().json();
    assert_eq!(built["digest"], digest.as_str(), "build and ship make the same image");

    let unknown = format!("shop@sha256:{}", "0".repeat(64));
    let ran = stage.run(&["verify", &unknown]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.starts_with("error[unknown-image]: "), "{ran:?}");
    assert_eq!(stage.run(&["log", "s-0000"]).code, 2);
    assert_eq!(stage.run(&["judge", "export", "d-0000"]).code, 2);
    let plan = stage.run(&["plan", "--json"]).ok().json();
    assert_eq!(plan["holds"], serde_json::json!({ "asked": true, "held": [] }));
    let doctor = stage.run(&["doctor"]);
    assert!(
        doctor.out.contains("control") && doctor.out.contains("answers at http://127.0.0.1:"),
        "{doctor:?}"
    );

    control.kill();
    let ran = stage.run(&["verify", &image, "--json"]).ok().json();
    let names: Vec<_> =
        ran["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["manifest", "content", "signature", "sbom", "provenance"]);
    let ran = stage.run(&["verify", &unknown]);
    assert!((ran.code, ran.err.starts_with("error[unknown-image]: ")) == (2, true), "{ran:?}");
    let other = stage.run(&["verify", &image, "--builder", "urn:somebody-else", "--json"]);
    assert_eq!(other.code, 3);
    assert!(other.out.contains(r#""reason":"wrong_builder""#), "{other:?}");
}

#[test]
fn a_wrong_token_is_refused_with_its_own_code() {
    let stage = Stage::new();
    let _control = stage.control();
    let token = stage.data().join("token");
    let right = std::fs::read(&token).unwrap();
    std::fs::write(&token, "1".repeat(64)).unwrap();
    for arguments in [
        &["log", "s-1"][..],
        &["log", "last"],
        &["judge", "export", "d-1"],
        &["verify", "shop/production"],
    ] {
        let ran = stage.run(arguments);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.err.starts_with("error[unauthenticated]: "), "{ran:?}");
        assert!(ran.err.contains("\n  next: "), "{ran:?}");
    }
    let doctor = stage.run(&["doctor"]);
    assert!(doctor.out.contains("refuses the token of this data folder"), "{doctor:?}");
    std::fs::write(&token, right).unwrap();
    assert_eq!(stage.run(&["log", "last"]).code, 2, "nothing was shipped yet");
}

#[test]
fn a_hold_is_told_before_the_ship() {
    let (stage, _control, _) = published();
    stage.run(&["hold", "service:shop", "--why", "audit"]).ok();
    stage.run(&["hold", "service:other", "--why", "not ours"]).ok();
    let held = stage.run(&["plan", "--json"]).ok().json()["holds"]["held"].clone();
    assert_eq!(held.as_array().map(Vec::len), Some(1), "{held}");
    let text = stage.run(&["plan"]).ok().out;
    assert!(
        text.contains("Held     service shop by ") && text.contains("humdrum unhold service:shop"),
        "{text}"
    );
}

#[test]
fn a_canary_is_forecast_before_it_starts() {
    let stage = Stage::new();
    let manifest =
        READY.replace("production: {}", "production: { rollout: { canary: { steps: [5, 100] } } }");
    stage.write("run.sh", "#!/bin/sh\nexit 0\n").write("humdrum.yaml", &manifest).commit("First");
    let _control = stage.control();
    let told = stage.run(&["ship", "--no-wait"]).ok().out;
    assert!(told.contains("production: what to expect"), "{told}");
    assert!(told.contains("the first release there goes all at once"), "{told}");

    let ran = stage.run(&["ship", "--no-wait", "--json"]).ok();
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "the forecast, then the ship: {ran:?}");
    let production = &lines[0]["forecast"][0];
    assert_eq!(production["environment"], "production");
    assert_eq!(production["first"], true);
    assert_eq!(production["traffic"]["source"], "assumed");
    assert_eq!(production["traffic"]["rps"], 100.0);
    assert_eq!(production["ladder"]["stages"][0]["share"], 0.05);
    assert!(production["ladder"]["stages"][0]["detects"].as_f64().unwrap() > 1.0, "{production}");
    assert!(lines[1]["id"].as_str().unwrap().starts_with("s-"), "{ran:?}");
}

#[test]
fn an_altered_blob_is_mended_by_shipping_again() {
    let (stage, control, digest) = published();
    let (layer, whole) = alter_layer(&stage, &digest);
    let id = stage.run(&["ship", "--no-wait", "--json"]).ok().json()["id"].clone();
    let published = until(|| {
        let ship = stage.run(&["status", "--json"]).ok().json()["ships"][0].clone();
        (ship["id"] == id && ship["digest"] == digest.as_str()).then_some(())
    });
    assert!(published.is_some(), "the same commit is published again");
    assert_eq!(std::fs::read(layer).unwrap(), whole);
    control.kill();
    // Without control the content is read from the files.
    let verified = stage.run(&["verify", &format!("shop@{digest}"), "--json"]).ok().json();
    let checks = verified["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["name"] == "content"), "{verified}");
}

/// Changes the last byte of the file of the image's first layer, as a bad disk or a curious person would, and answers its path and
/// former content.
fn alter_layer(stage: &Stage, image: &str) -> (std::path::PathBuf, Vec<u8>) {
    let layout = stage.path().join("layout");
    stage.run(&["build", "--output", layout.to_str().unwrap()]).ok();
    let read = |digest: &str| {
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap()
    };
    let layer = read(image)["layers"][0]["digest"].as_str().unwrap().to_owned();
    let hex = layer.strip_prefix("sha256:").unwrap();
    let path = stage.data().join("registry/sha256").join(&hex[..2]).join(hex);
    let whole = std::fs::read(&path).unwrap();
    let mut altered = whole.clone();
    *altered.last_mut().unwrap() ^= 1;
    std::fs::write(&path, altered).unwrap();
    (path, whole)
}
