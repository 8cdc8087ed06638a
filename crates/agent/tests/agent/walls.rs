//! What an instance may see and be, and which images are refused.

use std::io::{Read, Write};
use std::net::TcpListener;

use humdrum_model::unit::InstanceState;

use crate::registry::layer;
use crate::stage::{Stage, fetch, service};

#[tokio::test]
async fn an_instance_sees_only_its_image_and_writes_only_to_memory() {
    let (stage, image) = Stage::with_service().await;
    stage.accepted(&stage.spec(&image, 1)).await;
    let unit = stage.until_ready(1).await;
    let instance = &unit.instances[0];
    let host_file = stage.folder.path().join("agent/ports.json");
    assert!(host_file.exists());
    let refused = "No such file or directory";
    assert_eq!(fetch(instance, &format!("/read{}", host_file.display())).await, refused);
    assert_eq!(fetch(instance, "/read/etc/passwd").await, refused);
    assert_eq!(fetch(instance, "/read/app").await, "read");
    assert_eq!(fetch(instance, "/write/tmp/x").await, "written");
    // Neither its own root, which other instances share, nor anything above it.
    for path in ["/write/app", "/write/new", "/write/../x"] {
        let answer = fetch(instance, path).await;
        assert!(
            answer == "Read-only file system" || answer == "Permission denied",
            "{path}: {answer}"
        );
    }
    if rustix::process::geteuid().is_root() {
        assert_eq!(fetch(instance, "/uid").await, "61007");
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", instance.pid.unwrap())).unwrap();
        let uids = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
        assert!(uids.contains("61007") && !uids.split_whitespace().any(|uid| uid == "0"), "{uids}");
    }
}

#[tokio::test]
async fn limits_are_set_or_it_is_said_that_they_are_not() {
    let (stage, image) = Stage::with_service().await;
    let mut spec = stage.spec(&image, 1);
    spec["limits"] = serde_json::json!({"memory_bytes": 134_217_728, "open_files": 64});
    stage.accepted(&spec).await;
    let unit = stage.until_ready(1).await;
    let notes = unit.instances[0].notes.join("; ");
    // Otherwise no test of a ready instance proves that its own socket is known as such.
    assert!(!notes.contains("is not checked"), "{notes}");
    assert!(notes.contains("limits by ") || notes.contains("not limited"), "{notes}");
}

#[tokio::test]
async fn an_image_with_a_changed_byte_is_refused() {
    let mut stage = Stage::new().await;
    let image = stage.registry.image(&[layer(&[("app", service())])]);
    stage.registry.spoil_layers();
    stage.start_agent().await;
    stage.accepted(&stage.spec(&image, 1)).await;
    let unit = stage.until("refused", |unit| unit.problem.is_some()).await;
    let problem = unit.problem.unwrap();
    assert!(problem.contains("have the digest sha256:"), "{problem}");
    assert!(unit.instances.iter().all(|instance| instance.pid.is_none()));
}

#[tokio::test]
async fn a_layer_that_climbs_out_is_refused() {
    let mut stage = Stage::new().await;
    let image = stage.registry.image(&[layer(&[("app", service()), ("../../climbed", b"bad")])]);
    stage.start_agent().await;
    stage.accepted(&stage.spec(&image, 1)).await;
    let unit = stage.until("refused", |unit| unit.problem.is_some()).await;
    let problem = unit.problem.unwrap();
    assert!(problem.contains("a path with `..` is refused"), "{problem}");
    assert!(!stage.folder.path().join("agent/images/climbed").exists());
}

#[tokio::test]
async fn an_image_that_the_registry_does_not_have_is_said() {
    let (stage, _) = Stage::with_service().await;
    let absent = humdrum_model::name::Digest::of(b"absent");
    stage.accepted(&stage.spec(&absent, 1)).await;
    let unit = stage.until("refused", |unit| unit.problem.is_some()).await;
    let problem = unit.problem.unwrap();
    assert!(problem.contains("404"), "{problem}");
}

#[tokio::test]
async fn without_root_instances_have_their_own_root_by_a_user_namespace() {
    if !rustix::process::geteuid().is_root() {
        // Then every other test here is this one.
        return;
    }
    let mut stage = Stage::new().await;
    let nobody = 65_534;
    std::os::unix::fs::chown(stage.folder.path(), Some(nobody), Some(nobody)).unwrap();
    stage.uid = Some(nobody);
    let image = stage.registry.image(&[layer(&[("app", service())])]);
    stage.start_agent().await;
    stage.accepted(&stage.spec(&image, 1)).await;
    let unit = stage.until_ready(1).await;
    let instance = &unit.instances[0];
    assert_eq!(fetch(instance, "/uid").await, nobody.to_string());
    let notes = instance.notes.join("; ");
    assert!(notes.contains("no own user: the agent is not root"), "{notes}");
    assert!(!notes.contains("is not checked"), "{notes}");
    if !notes.contains("no own root") {
        assert_eq!(fetch(instance, "/read/etc/passwd").await, "No such file or directory");
    }
}

/// A program that has nothing to do with the instance, and answers well.
fn answer_for_ever(server: TcpListener) {
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
}

#[tokio::test]
async fn an_answer_of_another_program_is_no_health() {
    let (stage, image) = Stage::with_service().await;
    let mut spec = stage.spec(&image, 1);
    // It listens, but elsewhere: on a port of the kernel's choice.
    spec["command"] = serde_json::json!(["/app", "0"]);
    spec["health"]["start_ms"] = serde_json::json!(3000);
    stage.accepted(&spec).await;
    let unit = stage.until("started", |unit| unit.instances.iter().any(|i| i.pid.is_some())).await;
    let addr = unit.instances[0].addr;
    answer_for_ever(TcpListener::bind(addr).unwrap());

    let never_ready = |unit: &humdrum_model::unit::UnitStatus| {
        assert!(unit.instances.iter().all(|i| i.state != InstanceState::Ready), "{unit:#?}");
    };
    let why = format!("port {} is answered by another program", addr.port());
    let unit = stage
        .until("told", |unit| {
            never_ready(unit);
            unit.problem.as_ref().is_some_and(|problem| problem.contains(&why))
        })
        .await;
    assert_eq!(unit.instances[0].state, InstanceState::Starting, "{unit:#?}");
    let unit = stage
        .until("given up", |unit| {
            never_ready(unit);
            unit.instances.iter().any(|i| i.restarts > 0)
        })
        .await;
    let how = unit.instances[0].last_exit.as_ref().unwrap();
    assert!(how.starts_with("not ready within 3 s: ") && how.contains(&why), "{how}");
    let problem = unit.problem.unwrap();
    assert!(problem.contains("failed to start") && problem.contains(&why), "{problem}");
}
