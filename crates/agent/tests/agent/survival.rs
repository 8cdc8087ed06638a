//! Crashes: of an instance, of a shim, of the agent, and of a pull.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;
use humdrum_model::unit::InstanceState;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::registry::layer;
use crate::stage::{PATIENCE, Stage, fetch, kill, kill_instance, service};

fn shim_pid(stage: &Stage) -> i32 {
    let file = std::fs::read(stage.index(0).join("shim.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    i32::try_from(file["shim"]["pid"].as_i64().unwrap()).unwrap()
}

#[tokio::test]
async fn a_killed_instance_is_started_again_on_its_port() {
    let (stage, image) = Stage::with_service().await;
    stage.accepted(&stage.spec(&image, 2)).await;
    let before = stage.until_ready(2).await;
    kill_instance(&before.instances[0]);
    let after = stage
        .until("restarted", |unit| {
            unit.instances[0].restarts == 1 && unit.instances[0].state == InstanceState::Ready
        })
        .await;
    let (old, new) = (&before.instances[0], &after.instances[0]);
    assert_ne!(old.pid, new.pid);
    assert_eq!((&old.name, old.addr), (&new.name, new.addr));
    assert_eq!(new.last_exit.as_deref(), Some("signal 9"));
    assert_eq!(before.instances[1], after.instances[1]);
    // One that ends by itself says so with its lines.
    fetch(new, "/crash").await;
    let again = stage.until("restarted", |unit| unit.instances[0].restarts == 2).await;
    assert_eq!(again.instances[0].last_exit.as_deref(), Some("exit 3"));
    assert_eq!(again.instances[0].last_lines.last().unwrap(), "about to crash");
}

#[tokio::test]
async fn instances_outlive_the_agent_and_the_next_one_adopts_them() {
    let (mut stage, image) = Stage::with_service().await;
    let mut spec = stage.spec(&image, 3);
    stage.accepted(&spec).await;
    let before = stage.until_ready(3).await;
    stage.kill_agent();
    for instance in &before.instances {
        assert_eq!(fetch(instance, "/healthz").await, "health");
    }
    stage.start_agent().await;
    // The first answer already: whoever asks never sees a ready instance as anything else.
    assert_eq!(stage.status().await, before);
    spec["fence"] = json!(4);
    assert_eq!(stage.put(&spec).await.0, StatusCode::CONFLICT);
    // The adopted ones are kept as before: ended ones come back, unwished ones stop in order.
    kill_instance(&before.instances[1]);
    stage
        .until("restarted", |unit| {
            unit.instances[1].restarts == 1 && unit.instances[1].state == InstanceState::Ready
        })
        .await;
    (spec["fence"], spec["instances"]) = (json!(5), json!(0));
    spec["generation"] = json!(2);
    stage.accepted(&spec).await;
    let stopped = stage
        .until("stopped", |unit| unit.instances.iter().all(|i| i.state == InstanceState::Exited))
        .await;
    assert!(stopped.instances.iter().all(|i| i.last_exit.as_deref() == Some("exit 0")));
}

#[tokio::test]
async fn an_end_while_no_agent_looked_is_counted_by_the_next() {
    let (mut stage, image) = Stage::with_service().await;
    stage.accepted(&stage.spec(&image, 1)).await;
    let before = stage.until_ready(1).await;
    stage.kill_agent();
    fetch(&before.instances[0], "/crash").await;
    let deadline = Instant::now() + PATIENCE;
    while !stage.index(0).join("exit.json").exists() {
        assert!(Instant::now() < deadline, "the shim never wrote the exit");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.start_agent().await;
    let after = stage.until_ready(1).await;
    assert_eq!(after.instances[0].restarts, 1);
    assert_eq!(after.instances[0].last_exit.as_deref(), Some("exit 3"));
}

#[tokio::test]
async fn the_death_of_a_shim_is_the_end_of_its_instance_and_counts() {
    let (stage, image) = Stage::with_service().await;
    stage.accepted(&stage.spec(&image, 1)).await;
    let before = stage.until_ready(1).await;
    kill(shim_pid(&stage), Signal::KILL);
    let after = stage
        .until("restarted", |unit| {
            unit.instances[0].restarts == 1 && unit.instances[0].state == InstanceState::Ready
        })
        .await;
    assert_eq!(after.instances[0].last_exit.as_deref(), Some("its shim was killed"));
    assert_eq!(after.instances[0].addr, before.instances[0].addr);
    assert_ne!(after.instances[0].pid, before.instances[0].pid);
}

#[tokio::test]
async fn a_process_with_a_reused_number_is_left_alone() {
    let (mut stage, image) = Stage::with_service().await;
    let mut spec = stage.spec(&image, 1);
    stage.accepted(&spec).await;
    stage.until_ready(1).await;
    stage.kill_agent();
    kill(shim_pid(&stage), Signal::KILL);
    let mut stranger = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    for (file, field) in [("shim.json", "shim"), ("started.json", "instance")] {
        let path = stage.index(0).join(file);
        let mut forged: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        forged[field]["pid"] = json!(stranger.id());
        // All of this test fits into one tick of the kernel's clock, a reuse of numbers does not.
        forged[field]["start"] = json!(forged[field]["start"].as_u64().unwrap() - 1);
        std::fs::write(path, forged.to_string()).unwrap();
    }
    stage.start_agent().await;
    let after = stage.until_ready(1).await;
    assert_ne!(after.instances[0].pid, Some(stranger.id()));
    (spec["generation"], spec["instances"]) = (json!(2), json!(0));
    stage.accepted(&spec).await;
    stage.until("stopped", |unit| unit.instances[0].state == InstanceState::Exited).await;
    assert!(stranger.try_wait().unwrap().is_none(), "a process that is not ours was ended");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_pull_goes_on_after_the_agent_was_killed_in_its_middle() {
    let mut stage = Stage::new().await;
    let first = layer(&[("data", &[7; 100_000])]);
    let image = stage.registry.image(&[first, layer(&[("app", service())])]);
    // The configuration and the first layer pass, the second does not.
    stage.registry.only_blobs(2);
    stage.start_agent().await;
    stage.accepted(&stage.spec(&image, 1)).await;
    let deadline = Instant::now() + PATIENCE;
    while stage.registry.asked("/blobs/") < 2 {
        assert!(Instant::now() < deadline, "the pull never came this far");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The first layer must be complete on disk before the kill, or it is pulled again.
    while finished_blobs(&stage) < 3 {
        assert!(Instant::now() < deadline, "the first layer is never finished");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.kill_agent();
    stage.registry.only_blobs(1_000);
    stage.start_agent().await;
    stage.until_ready(1).await;
    // The configuration and the first layer; how often the stalled one was asked for is a matter of luck.
    assert!(stage.registry.asked_once("/blobs/") >= 2, "finished blobs are pulled again");
}

fn finished_blobs(stage: &Stage) -> usize {
    let entries = std::fs::read_dir(stage.folder.path().join("agent/blobs")).unwrap().flatten();
    entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
}

#[tokio::test]
async fn a_second_agent_in_the_same_folder_is_refused() {
    let (stage, _) = Stage::with_service().await;
    let folder = stage.folder.path();
    let second = Command::new(env!("CARGO_BIN_EXE_humdrum-agent-alone"))
        .arg(folder)
        .arg(folder.join("other.sock"))
        .args(["u", "p", "12000", "12001", "1000"])
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another agent works in"));
}
