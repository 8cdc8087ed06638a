//! A backup under load, restored elsewhere: the same artifact verifies there, and control goes on where it was.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::ship::published;
use crate::stage::{Ran, Stage};

/// What `status` knows that no clock moves.
fn known(status: &Value) -> (Value, Vec<Value>) {
    let placements = status["placements"].as_array().unwrap();
    (
        status["ships"][0]["digest"].clone(),
        placements.iter().map(|placement| placement["id"].clone()).collect(),
    )
}

fn restore(stage: &Stage, backup: &Path, data: &Path) -> Ran {
    let (backup, data) = (backup.to_str().unwrap(), data.to_str().unwrap());
    stage.run(&["restore", backup, "--data", data, "--json"])
}

#[test]
fn a_backup_under_load_restores_to_the_same_installation() {
    let (stage, control, digest) = published();
    let status = stage.run(&["status", "--json"]).ok().json();
    let folder = stage.path().join("backup");
    let file = stage.path().join("backup.tar");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Commits of the log and collections of the registry go on meanwhile.
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                stage.run(&["hold", &format!("service:other{n}"), "--why", "load"]).ok();
                stage.run(&["registry", "gc", "--json"]).ok();
            }
        });
        for place in [&folder, &file] {
            let written = stage.run(&["backup", place.to_str().unwrap(), "--json"]).ok().json();
            assert!(written["written"]["blobs"].as_u64().unwrap() > 0, "{written}");
            assert_eq!(written["written"]["password"], true);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let again = stage.run(&["backup", file.to_str().unwrap()]);
    assert!(again.code == 2 && again.err.contains("error[exists]"), "{again:?}");
    control.kill();

    for (backup, name) in [(&folder, "one"), (&file, "two")] {
        let data = stage.path().join(name);
        restore(&stage, backup, &data).ok();
        assert!(data.join("registry/history.db").is_file(), "pull times and policies are lost");
        let refused = restore(&stage, backup, &data);
        assert!(refused.code == 2 && refused.out.contains("not-empty"), "{refused:?}");
        let place = data.to_str().unwrap();
        let image = format!("shop@{digest}");
        let verified = stage.run(&["--data", place, "verify", &image, "--json"]).ok().json();
        assert_eq!(
            (&verified["accepted"], &verified["digest"]),
            (&Value::Bool(true), &Value::from(digest.as_str()))
        );
        let checked = stage.run(&["--data", place, "registry", "fsck", "--json"]).ok().json();
        assert_eq!(checked["checkup"]["findings"], serde_json::json!([]));
    }
    // The restored one in the place of the old one, and it goes on: the same state, and the next command is taken.
    fs::rename(stage.data(), stage.path().join("lost")).unwrap();
    fs::rename(stage.path().join("two"), stage.data()).unwrap();
    let control = stage.control();
    let restored = stage.run(&["status", "--json"]).ok().json();
    assert_eq!(known(&restored), known(&status));
    assert!(restored["holds"].as_array().unwrap().len() <= 100_000);
    stage.run(&["hold", "service:after", "--why", "goes on"]).ok();
    control.kill();
}

#[test]
fn a_damaged_backup_restores_nothing() {
    let (stage, control, _) = published();
    control.kill();
    let backup = stage.path().join("backup");
    stage.run(&["backup", backup.to_str().unwrap()]).ok();
    let tar = stage.path().join("b.tar");
    stage.run(&["backup", tar.to_str().unwrap()]).ok();
    let data = stage.path().join("new");
    let refused = |what: &str, place: &Path| {
        let ran = restore(&stage, place, &data);
        assert!(ran.code != 0 && ran.out.contains(what), "{what}: {ran:?}");
        assert!(!data.exists(), "{what}: something was restored");
    };
    // A byte of the token, which no other check would miss.
    let token = fs::read_to_string(backup.join("token")).unwrap();
    fs::write(backup.join("token"), token.replacen(|c: char| c.is_ascii_hexdigit(), "x", 1))
        .unwrap();
    refused("damaged", &backup);
    fs::write(backup.join("token"), &token).unwrap();
    fs::write(backup.join("stranger"), "x").unwrap();
    refused("not in its list", &backup);
    fs::remove_file(backup.join("stranger")).unwrap();
    fs::rename(backup.join("keys/signing.key"), stage.path().join("key")).unwrap();
    refused("missing", &backup);
    fs::rename(stage.path().join("key"), backup.join("keys/signing.key")).unwrap();
    let list = fs::read_to_string(backup.join("backup.json")).unwrap();
    fs::remove_file(backup.join("backup.json")).unwrap();
    refused("no-backup", &backup);
    fs::write(backup.join("backup.json"), list.replacen("\"format\": 1", "\"format\": 9", 1))
        .unwrap();
    refused("format 9", &backup);
    fs::write(backup.join("backup.json"), list).unwrap();
    let bytes = fs::read(&tar).unwrap();
    fs::write(&tar, &bytes[..bytes.len() / 2]).unwrap();
    refused("no", &tar);
    // And whole it is good.
    restore(&stage, &backup, &data).ok();
}

#[test]
fn a_backup_refuses_what_is_damaged_or_not_there() {
    let stage = Stage::new();
    let none = stage.run(&["backup", stage.path().join("b").to_str().unwrap()]);
    assert!(none.code == 2 && none.err.contains("error[no-installation]"), "{none:?}");
    let (stage, control, _) = published();
    control.kill();
    let blobs = stage.data().join("registry/sha256");
    let folder = fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    let blob = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&blob).unwrap();
    fs::write(&blob, vec![0; bytes.len()]).unwrap();
    let place = stage.path().join("b");
    let refused = stage.run(&["backup", place.to_str().unwrap()]);
    assert!(refused.code == 1 && refused.err.contains("error[damaged]"), "{refused:?}");
    let left: Vec<_> =
        fs::read_dir(stage.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter().all(|name| !name.to_string_lossy().contains("b.") && name != "b"),
        "{left:?}"
    );
    // What fsck says about it, and the way out.
    let checked = stage.run(&["registry", "fsck"]);
    assert!(checked.code == 1 && checked.out.contains("damage"), "{checked:?}");
    let repaired = stage.run(&["registry", "fsck", "--repair", "--json"]);
    assert_eq!(repaired.json()["mended"].as_array().unwrap().len(), 1, "{repaired:?}");
    stage.run(&["backup", place.to_str().unwrap()]).ok();
}
