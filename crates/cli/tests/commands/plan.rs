//! `humdrum plan`: the working tree, in order, with times that follow the traffic.

use serde_json::Value;

use crate::stage::Stage;

const MANIFEST: &str = "\
service: shop
owner: team-shop
build:
  fetch: cargo fetch --locked
  run: cargo build --release --locked --offline
  files: { /app/shop: target/release/shop }
test: { run: cargo test --offline, junit: target/junit.xml }
run: { command: [/app/shop], port: 8080, health: /healthz, instances: 3 }
smoke:
  - { get: /healthz, status: 200 }
  - steps: [ { post: /login, json: { user: demo }, capture: { token: $.token } }, { get: /cart, headers: { authorization: \"Bearer {token}\" }, status: 200 } ]
environments:
  dev: { port: 8081 }
  staging: { after: dev, soak: 10s, verify: { run: npm run e2e } }
  production:
    after: staging
    approve: true
    rollout: { canary: { steps: [1, 5, 25, 50, 100], rule_out: [10, 5, 2, 1.5], block: 10s, warmup: 3m, deadline: 2h, soak: 5m } }
";

fn plan(stage: &Stage, more: &[&str]) -> Value {
    let arguments = [&["plan", "--json"], more].concat();
    stage.run(&arguments).ok().json()
}

#[test]
fn everything_that_shipping_would_do_is_told_in_order() {
    let stage = Stage::new();
    stage.write("humdrum.yaml", MANIFEST);
    let report = plan(&stage, &[]);
    let names = |list: &Value, key: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&report["phases"], "phase"), ["fetch", "build", "test", "pack", "evidence"]);
    assert_eq!(report["phases"][0]["network"], true);
    assert_eq!(report["phases"][1]["network"], false);
    assert_eq!(names(&report["environments"], "name"), ["dev", "staging", "production"]);
    let production = &report["environments"][2];
    assert_eq!((production["port"].as_u64(), production["smoke"].as_u64()), (Some(8080), Some(3)));
    assert_eq!(report["approvals"], serde_json::json!(["production"]));
    assert_eq!(report["holds"]["asked"], false, "nobody runs, so nobody was asked");
    let stages = production["ladder"]["stages"].as_array().unwrap();
    let ladder: Vec<_> = stages
        .iter()
        .map(|s| (s["share"].as_f64().unwrap(), s["rule_out"].as_f64().unwrap()))
        .collect();
    assert_eq!(ladder, [(0.01, 10.0), (0.05, 5.0), (0.25, 2.0), (0.5, 1.5)]);

    let text = stage.run(&["plan"]).ok().out;
    for words in [
        "3. production  port 8080, 3 instances, after staging",
        "waits for a person",
        "Held     not known",
        "cargo fetch --locked  (with network)",
    ] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
}

#[test]
fn times_follow_the_traffic_that_is_assumed() {
    let stage = Stage::new();
    stage.write("humdrum.yaml", MANIFEST);
    let total = |more: &[&str]| plan(&stage, more)["environments"][2]["ladder"]["total_s"].as_f64();
    let (slow, fast) = (total(&["--rps", "50"]).unwrap(), total(&["--rps", "5000"]).unwrap());
    assert!(fast < slow, "{fast} s with more traffic, {slow} s with less");
    assert_eq!(total(&["--rps", "0"]), None, "without traffic no step ever passes");
    let noisy = plan(&stage, &["--error-rate", "5%"]);
    assert_eq!(noisy["assumed"]["error_rate"], 0.05);
}

#[test]
fn the_state_of_the_working_tree_is_told() {
    let stage = Stage::new();
    stage.write("humdrum.yaml", MANIFEST);
    assert_eq!(plan(&stage, &[])["state"], "no-repository");
    stage.git(&["init", "-q"]);
    assert_eq!(plan(&stage, &[])["state"], "uncommitted");
    stage.commit("First");
    assert_eq!(plan(&stage, &[])["state"], "committed");
    stage.write("humdrum.yaml", &MANIFEST.replace("8081", "8082"));
    let changed = plan(&stage, &[]);
    assert_eq!(changed["state"], "changed");
    assert_eq!(changed["environments"][0]["port"], 8082, "the working tree counts");
}
