//! From a wish to ready instances and back to none.

use std::time::{Duration, Instant};

use http::StatusCode;
use humdrum_model::unit::InstanceState;
use serde_json::json;

use crate::registry::layer;
use crate::stage::{Stage, UNIT, fetch, service};

#[tokio::test]
async fn a_wish_becomes_ready_instances_with_their_own_ports_and_labels() {
    let (stage, image) = Stage::with_service().await;
    let mut spec = stage.spec(&image, 3);
    stage.accepted(&spec).await;
    let unit = stage.until_ready(3).await;
    assert_eq!(unit.problem, None);
    let names: Vec<&str> = unit.instances.iter().map(|i| i.name.as_str()).collect();
    let expected = [0, 1, 2].map(|index| format!("{UNIT}.01234567.{index}"));
    assert_eq!(names, expected);
    for instance in &unit.instances {
        assert_eq!(fetch(instance, "/env/PORT").await, instance.addr.port().to_string());
        assert_eq!(fetch(instance, "/env/HUMDRUM_DEPLOYMENT_ID").await, "dep-1");
        assert_eq!(fetch(instance, "/env/IMAGE_SAYS").await, "hello");
        assert_eq!(fetch(instance, "/env/HOST_SECRET").await, "(unset)");
    }
    // The image was pulled once for the three.
    assert_eq!(stage.registry.asked("/manifests/"), 1);
    assert_eq!(stage.get("/healthz").await["version"], env!("CARGO_PKG_VERSION"));

    // An older writer is refused and told the highest accepted numbers.
    spec["fence"] = json!(4);
    spec["generation"] = json!(99);
    let (status, refusal) = stage.put(&spec).await;
    assert_eq!((status, &refusal["fence"]), (StatusCode::CONFLICT, &json!(5)));
    spec["fence"] = json!(5);
    spec["command"] = json!([]);
    let (status, refusal) = stage.put(&spec).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refusal["problems"], json!(["command is empty"]));

    let (_, log) = stage.ask("GET", &format!("/units/{UNIT}/logs?lines=50"), None).await;
    let log = String::from_utf8(log.to_vec()).unwrap();
    assert_eq!(log.lines().count(), 3, "{log}");
    for line in log.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["labels"]["deployment.id"], "dep-1");
        assert!(record["line"].as_str().unwrap().starts_with("listening on"), "{line}");
    }
}

#[tokio::test]
async fn a_new_generation_restarts_nothing_and_a_new_release_replaces_all() {
    let (stage, image) = Stage::with_service().await;
    let mut spec = stage.spec(&image, 2);
    stage.accepted(&spec).await;
    let first = stage.until_ready(2).await;
    spec["generation"] = json!(2);
    spec["instances"] = json!(3);
    stage.accepted(&spec).await;
    let more = stage.until_ready(3).await;
    for index in 0..2 {
        assert_eq!(more.instances[index], first.instances[index]);
    }
    spec["generation"] = json!(3);
    spec["labels"]["release"] = json!("fedcba9876543210");
    spec["env"]["LOG"] = json!("debug");
    stage.accepted(&spec).await;
    let replaced = stage
        .until("replaced", |unit| {
            unit.instances
                .iter()
                .all(|i| i.name.contains(".fedcba98.") && i.state == InstanceState::Ready)
        })
        .await;
    for index in 0..3 {
        assert_ne!(replaced.instances[index].pid, more.instances[index].pid);
        assert_eq!(replaced.instances[index].addr, more.instances[index].addr);
        assert_eq!(replaced.instances[index].restarts, 0);
        assert_eq!(fetch(&replaced.instances[index], "/env/LOG").await, "debug");
    }
}

#[tokio::test]
async fn no_instances_means_an_orderly_stop_and_later_a_clean_folder() {
    let mut stage = Stage::new().await;
    stage.retired_ms = 600;
    let image = stage.registry.image(&[layer(&[("app", service())])]);
    stage.start_agent().await;
    let mut spec = stage.spec(&image, 2);
    stage.accepted(&spec).await;
    stage.until_ready(2).await;
    (spec["generation"], spec["instances"]) = (json!(2), json!(0));
    stage.accepted(&spec).await;
    let stopped = stage
        .until("stopped", |unit| unit.instances.iter().all(|i| i.state == InstanceState::Exited))
        .await;
    for instance in &stopped.instances {
        assert_eq!(instance.last_exit.as_deref(), Some("exit 0"));
        assert_eq!((instance.pid, instance.restarts), (None, 0));
    }
    let (_, log) = stage.ask("GET", &format!("/units/{UNIT}/logs"), None).await;
    assert_eq!(String::from_utf8_lossy(&log).matches("asked to stop").count(), 2);
    stage.until("clean", |unit| unit.instances.is_empty()).await;
    assert!(!stage.index(0).exists());
    // The highest fence outlives the files.
    spec["fence"] = json!(4);
    assert_eq!(stage.put(&spec).await.0, StatusCode::CONFLICT);
    // A cleaned unit can be wished for again.
    (spec["fence"], spec["instances"]) = (json!(6), json!(1));
    stage.accepted(&spec).await;
    stage.until_ready(1).await;
}

#[tokio::test]
async fn who_ignores_the_request_to_stop_is_ended_after_the_grace() {
    let (stage, image) = Stage::with_service().await;
    let mut spec = stage.spec(&image, 1);
    spec["env"]["MODE"] = json!("stubborn");
    stage.accepted(&spec).await;
    stage.until_ready(1).await;
    (spec["generation"], spec["instances"]) = (json!(2), json!(0));
    let mut spec_short = spec.clone();
    spec_short["stop"]["grace_ms"] = json!(300);
    // The grace of a retiring wish is the one that counts.
    stage.accepted(&spec_short).await;
    let asked = Instant::now();
    let stopped = stage.until("stopped", |u| u.instances[0].state == InstanceState::Exited).await;
    assert_eq!(stopped.instances[0].last_exit.as_deref(), Some("signal 9"));
    assert!(asked.elapsed() >= Duration::from_millis(290), "{:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn what_cannot_start_says_why_with_its_last_lines() {
    let (stage, image) = Stage::with_service().await;
    let mut spec = stage.spec(&image, 1);
    (spec["env"]["MODE"], spec["health"]["start_ms"]) = (json!("sick"), json!(400));
    stage.accepted(&spec).await;
    let unit = stage.until("refused", |unit| unit.problem.is_some()).await;
    let problem = unit.problem.unwrap();
    assert!(problem.contains("not ready within 0.4 s"), "{problem}");
    let instance = &unit.instances[0];
    assert_eq!(instance.last_exit.as_deref(), Some("not ready within 0.4 s"));
    assert!(instance.last_lines.iter().any(|line| line.contains("never fills")), "{instance:?}");

    (spec["generation"], spec["env"]["MODE"]) = (json!(2), json!("quits"));
    stage.accepted(&spec).await;
    let unit = stage
        .until("restarted twice", |u| {
            u.instances.iter().any(|i| i.last_exit.as_deref() == Some("exit 4") && i.restarts >= 2)
        })
        .await;
    let problem = unit.problem.unwrap();
    assert!(problem.contains("exit 4; its last line: cannot reach the database"), "{problem}");

    (spec["generation"], spec["command"]) = (json!(3), json!(["/absent", "{port}"]));
    stage.accepted(&spec).await;
    let unit = stage
        .until("not found", |u| u.problem.as_ref().is_some_and(|p| p.contains("/absent")))
        .await;
    let problem = unit.problem.unwrap();
    assert!(problem.contains("command `/absent` cannot be started in the image"), "{problem}");

    // A good release in the same unit clears the problem.
    spec["generation"] = json!(4);
    (spec["command"], spec["env"]) = (json!(["/app", "{port}"]), json!({}));
    stage.accepted(&spec).await;
    assert_eq!(stage.until_ready(1).await.problem, None);
}

#[tokio::test]
async fn a_change_is_told_at_once() {
    let (stage, image) = Stage::with_service().await;
    stage.accepted(&stage.spec(&image, 1)).await;
    let unit = stage.until_ready(1).await;
    let version = stage.get("/watch").await["version"].as_u64().unwrap();
    let killed = Instant::now();
    crate::stage::kill_instance(&unit.instances[0]);
    let seen = stage.get(&format!("/watch?after={version}&wait_ms=10000")).await;
    let delay = killed.elapsed();
    assert_eq!(seen["units"][0]["instances"][0]["state"], "backing_off");
    // 50 ms is the promise on a machine with time; this one compiles meanwhile.
    assert!(delay < Duration::from_secs(1), "{delay:?}");
    eprintln!("an end is told after {delay:?}");
}

#[tokio::test]
async fn a_log_can_be_followed_while_it_is_written() {
    let (stage, image) = Stage::with_service().await;
    stage.accepted(&stage.spec(&image, 1)).await;
    let unit = stage.until_ready(1).await;
    let path = format!("/units/{UNIT}/logs?follow=1&lines=10&instance={}", unit.instances[0].name);
    let mut log = stage.stream(&path).await;
    assert!(log.next_chunk().await.contains("listening on"));
    fetch(&unit.instances[0], "/crash").await;
    assert!(log.next_chunk().await.contains("about to crash"));
    // The next start writes to the same log.
    assert!(log.next_chunk().await.contains("listening on"));
}
