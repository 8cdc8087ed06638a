//! `humdrum advisories`: a published export in, a delta, and SBOMs matched, by the real program.

use serde_json::{Value, json};

use crate::stage::Stage;

fn record(id: &str, modified: &str, name: &str, fixed: &str) -> String {
    json!({
        "schema_version": "1.7.4", "id": id, "modified": modified, "summary": "Reads too far", "aliases": [format!("CVE-2026-{}", id.len())],
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        "affected": [{"package": {"ecosystem": "npm", "name": name}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": fixed}]}]}],
    })
    .to_string()
}

fn sbom(purls: &[&str]) -> String {
    let component = |purl: &&str| json!({"type": "library", "name": "x", "purl": purl});
    let components: Vec<Value> = purls.iter().map(component).collect();
    json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components}).to_string()
}

/// Far in the past and hence too old, or as if published just now.
const AGELESS: &str = "--max-age=40000d";

#[test]
fn an_export_is_imported_changed_and_matched() {
    let stage = Stage::new();
    stage
        .write("npm/GHSA-1.json", &record("GHSA-1", "2026-01-02T00:00:00Z", "left", "1.5.0"))
        .write("npm/GHSA-22.json", &record("GHSA-22", "2026-01-03T00:00:00Z", "right", "2.0.0"))
        .write("npm/broken.json", "{\"id\": 1}")
        .write("a.json", &sbom(&["pkg:npm/left@1.4.9", "pkg:npm/right@2.0.0", "pkg:generic/x@1"]))
        .write("b.json", &sbom(&["pkg:gem/rails@7.0.0"]));
    let none = stage.run(&["advisories", "match", "a.json"]);
    assert_eq!(none.code, 5, "{none:?}");
    assert!(
        none.out.contains("no evidence of being clean: no advisories of npm were imported"),
        "{none:?}"
    );

    let first = stage.run(&["advisories", "import", "npm", "--json"]).ok().json();
    assert_eq!(first["ecosystems"][0]["new"], 2);
    assert_eq!(first["ecosystems"][0]["as_of"], "2026-01-03T00:00:00Z");
    assert!(first["unreadable"][0]["file"].as_str().unwrap().ends_with("broken.json"), "{first}");

    let old = stage.run(&["advisories", "match", "a.json", "--json"]);
    assert_eq!(old.code, 3, "{old:?}");
    assert!(
        old.json()["report"]["failed"].as_str().unwrap().contains("days old; the limit is 7.0"),
        "{old:?}"
    );
    let found = stage.run(&["advisories", "match", "a.json", AGELESS, "--json"]);
    assert_eq!(found.code, 3);
    let answer = found.json();
    assert_eq!(answer["report"]["failed"], Value::Null);
    assert_eq!(answer["report"]["data_as_of"], "2026-01-03T00:00:00Z");
    let findings = answer["report"]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{answer}");
    assert_eq!(findings[0]["rule"], "GHSA-1");
    assert_eq!(findings[0]["severity"], "critical");
    assert_eq!(findings[0]["fixed_in"], "1.5.0");
    assert_eq!(answer["not_assessed"][0]["package"], "pkg:generic/x@1");
    assert_eq!(answer["data"][0]["unreadable"], 1);
    let text = stage.run(&["advisories", "match", "a.json", AGELESS]).out;
    for part in [
        "critical 9.8  GHSA-1 (CVE-2026-6)  pkg:npm/left@1.4.9",
        "fixed in 1.5.0",
        "1 findings in 2 packages; 1 not assessed.",
        "1 records could not be read",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }

    // A delta: one record changed, one withdrawn, one of before that must not come back.
    let mut gone: Value =
        serde_json::from_str(&record("GHSA-22", "2026-01-05T00:00:00Z", "right", "2.0.0")).unwrap();
    gone["withdrawn"] = json!("2026-01-05T00:00:00Z");
    stage
        .write("delta/GHSA-1.json", &record("GHSA-1", "2026-01-04T00:00:00Z", "left", "1.4.9"))
        .write("delta/GHSA-22.json", &gone.to_string());
    let second = stage.run(&["advisories", "import", "delta", "--json"]).ok().json();
    assert_eq!(
        (&second["ecosystems"][0]["changed"], &second["ecosystems"][0]["advisories"]),
        (&json!(2), &json!(1))
    );
    let again = stage.run(&["advisories", "import", "npm", "--json"]).ok().json();
    assert_eq!(
        (&again["ecosystems"][0]["changed"], &again["ecosystems"][0]["unchanged"]),
        (&json!(0), &json!(2))
    );
    stage.run(&["advisories", "match", "a.json", AGELESS]).ok();
    assert_eq!(stage.run(&["advisories", "match", "b.json", AGELESS]).code, 5);

    let status = stage.run(&["advisories", "status", "--json"]).ok().json();
    assert_eq!(status["shards"][0]["ecosystem"], "npm");
    assert_eq!(
        (&status["shards"][0]["advisories"], &status["shards"][0]["withdrawn"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(status["shards"][0]["as_of"], "2026-01-05T00:00:00Z");
    assert_eq!(stage.run(&["advisories", "status", "--max-age", "7d"]).code, 3);
}

#[test]
fn a_zip_is_an_export_too_and_a_changed_shard_is_refused() {
    let stage = Stage::new();
    let record = record("GHSA-1", "2026-01-02T00:00:00Z", "left", "1.5.0");
    stage.write("sbom.json", &sbom(&["pkg:npm/left@1.0.0"])).write("GHSA-1.json", &record);
    // The zip of Python's standard library: another hand than ours.
    let zipped = std::process::Command::new("python3")
        .args(["-m", "zipfile", "-c", "all.zip", "GHSA-1.json"])
        .current_dir(stage.repo())
        .status()
        .unwrap();
    assert!(zipped.success());
    stage.run(&["advisories", "import", "all.zip", "--as-of", "2026-02-01T00:00:00Z"]).ok();
    let found = stage.run(&["advisories", "match", "sbom.json", AGELESS]);
    assert_eq!(found.code, 3, "{found:?}");
    assert!(found.out.contains("npm as of 2026-02-01T00:00:00Z"), "{found:?}");

    let folder = stage.data().join("advisories");
    let shard = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
    let shard = shard
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "advisories"))
        .unwrap();
    let mut bytes = std::fs::read(&shard).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let refused = stage.run(&["advisories", "match", "sbom.json", AGELESS]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("error[advisories]"), "{refused:?}");
}

#[test]
fn an_export_does_not_speak_for_ecosystems_it_only_mentions() {
    let stage = Stage::new();
    for number in 0..30 {
        let name = format!("GHSA-{number}");
        stage.write(
            &format!("npm/{name}.json"),
            &record(&name, "2026-01-02T00:00:00Z", &name.to_lowercase(), "1.0.0"),
        );
    }
    let both = record("GHSA-both", "2026-01-02T00:00:00Z", "both", "1.0.0")
        .replace("\"npm\"", "\"PyPI\"")
        .replace("SEMVER", "ECOSYSTEM");
    stage.write("npm/GHSA-both.json", &both).write("sbom.json", &sbom(&["pkg:pypi/clean@1.0"]));
    let imported = stage.run(&["advisories", "import", "npm", "--json"]).ok().json();
    assert_eq!(imported["not_stored"]["PyPI"], 1, "{imported}");
    // Thirty records about npm are no evidence about Python.
    assert_eq!(stage.run(&["advisories", "match", "sbom.json", AGELESS]).code, 5);
}

#[test]
fn openvex_settles_visibly_and_is_written() {
    let stage = Stage::new();
    let vex = json!({
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/1", "author": "Team Shop", "timestamp": "2026-01-05T00:00:00Z", "version": 1,
        "statements": [{"vulnerability": {"name": "CVE-2026-6"}, "products": [{"@id": "pkg:oci/shop", "subcomponents": [{"@id": "pkg:npm/left"}]}],
            "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path"}],
    });
    stage
        .write("npm/GHSA-1.json", &record("GHSA-1", "2026-01-02T00:00:00Z", "left", "1.5.0"))
        .write("sbom.json", &sbom(&["pkg:npm/left@1.0.0"]))
        .write("vex.json", &vex.to_string())
        .write("bad.json", &vex.to_string().replace("justification", "justified"));
    stage.run(&["advisories", "import", "npm"]).ok();
    let arguments = ["advisories", "match", "sbom.json", AGELESS, "--vex"];
    // Without the product's name the statement is about something else.
    assert_eq!(stage.run(&[&arguments[..], &["vex.json"]].concat()).code, 3);
    let product = ["vex.json", "--product", "pkg:oci/shop", "--vex-out", "out.json"];
    let settled = stage.run(&[&arguments[..], &product[..]].concat()).ok();
    for part in [
        "settled  GHSA-1  pkg:npm/left@1.0.0",
        "not_affected (vulnerable_code_not_in_execute_path), says Team Shop at 2026-01-05T00:00:00Z",
        "0 findings in 1 packages; 0 not assessed. 1 settled by OpenVEX.",
    ] {
        assert!(settled.out.contains(part), "{part} is missing: {settled:?}");
    }
    // What was written settles the same.
    let again = stage
        .run(&[&arguments[..], &["out.json", "--product", "pkg:oci/shop", "--json"]].concat())
        .ok()
        .json();
    assert_eq!(again["settled"][0]["said"]["status"], "not_affected");
    let bad = stage.run(&[&arguments[..], &["bad.json"]].concat());
    assert_eq!(bad.code, 2, "{bad:?}");
    assert!(
        bad.err.contains("statement 1 about `CVE-2026-6` says `not_affected` without"),
        "{bad:?}"
    );
}

#[test]
fn bad_input_is_named() {
    let stage = Stage::new();
    stage.write("x.json", "{}").write("no.zip", "no zip").write("empty/readme.txt", "");
    let cases: &[(&[&str], &str)] = &[
        (&["advisories", "match", "x.json"], "missing field `bomFormat`"),
        (&["advisories", "match", "none.json"], "`none.json` cannot be read"),
        (&["advisories", "import", "no.zip"], "`no.zip` is no zip that can be read"),
        (&["advisories", "import", "empty"], "`empty` holds no JSON files and no zips with them"),
        (&["advisories", "import", "none"], "`none` does not exist"),
        (&["advisories", "status", "--max-age", "soon"], "`soon` is not an age like 7d or 36h"),
    ];
    for (arguments, said) in cases {
        let ran = stage.run(arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(said), "{said}: {ran:?}");
    }
}
