//! kill -9 of a process that serves pushes, again and again: what was answered is there afterwards, byte for byte.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/server.rs"]
mod server;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use humdrum_registry::Registry;
use humdrum_registry::name::Reference;
use server::{BASIC, IMAGE, Server, image, policy, sha256};

const FOLDER: &str = "REGISTRY_KILL_TEST_FOLDER";
const ROUNDS: u64 = 12;

/// The process that is killed: this test program again, serving until its end.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let server = Server::start(Path::new(&folder)).await;
    println!("\nlistening {}", server.addr);
    // The parent kills us; should it be gone itself, we end.
    tokio::time::sleep(Duration::from_secs(60)).await;
}

fn spawn(folder: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("listening ").map(str::to_owned));
    (child, found.expect("the child says where it listens"))
}

/// One request; `None` when the server died under it.
async fn ask(addr: &str, method: &str, path: &str, body: Vec<u8>) -> Option<(u16, String)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(addr).await.ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: {BASIC}\r\ncontent-type: {IMAGE}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&body).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let location = text.lines().find_map(|line| line.strip_prefix("location: "));
    Some((status, location.unwrap_or_default().to_owned()))
}

/// Pushes images with one layer each until the server dies; answers the tags that were answered 201, and the layers.
async fn push_until_death(addr: &str, round: u64) -> Vec<(String, Vec<u8>)> {
    let mut answered = vec![];
    for n in 0.. {
        let tag = format!("r{round}-{n}");
        let layer = tag.repeat(20_000).into_bytes();
        if push(addr, &tag, &layer).await.is_none() {
            break;
        }
        answered.push((tag, layer));
    }
    answered
}

async fn push(addr: &str, tag: &str, layer: &[u8]) -> Option<()> {
    let digest = sha256(layer);
    let (_, place) = ask(addr, "POST", "/v2/shop/blobs/uploads/", vec![]).await?;
    let half = layer.len() / 2;
    assert_eq!(ask(addr, "PATCH", &place, layer[..half].to_vec()).await?.0, 202);
    let last = format!("{place}?digest={digest}");
    assert_eq!(ask(addr, "PUT", &last, layer[half..].to_vec()).await?.0, 201);
    let manifest = image(&sha256(b"{}"), &[(&digest, layer.len())], "");
    let path = format!("/v2/shop/manifests/{tag}");
    assert_eq!(ask(addr, "PUT", &path, manifest.into_bytes()).await?.0, 201);
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), policy()).unwrap();
    registry.put_blob("shop", "{}".into()).await.unwrap();
    drop(registry);
    let mut answered = vec![];
    for round in 0..ROUNDS {
        let (mut child, addr) = spawn(folder.path());
        // Spread over a push, so that the kill meets each of its steps.
        let life = Duration::from_millis(40 + 7 * round);
        let killer = tokio::task::spawn_blocking(move || {
            std::thread::sleep(life);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        answered.extend(push_until_death(&addr, round).await);
        killer.await.unwrap();
    }
    assert!(!answered.is_empty(), "no push was ever answered");
    let registry = Registry::open(folder.path(), policy()).unwrap();
    for (tag, layer) in &answered {
        let row = registry.get_manifest("shop", &Reference::Tag(tag.clone())).await.unwrap();
        let digest = sha256(layer);
        assert!(String::from_utf8_lossy(&row.body).contains(&digest));
        let kept = registry.blob_bytes("shop", &digest.parse().unwrap(), u64::MAX).await.unwrap();
        assert!(kept == layer.as_slice(), "{tag}");
    }
    // And every link has its bytes, answered or not.
    let tags = registry.tags("shop", None, 1000).await.unwrap().unwrap().tags;
    assert!(tags.len() >= answered.len());
    for tag in tags {
        let row = registry.get_manifest("shop", &Reference::Tag(tag)).await.unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&row.body).unwrap();
        let digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
        registry.blob_bytes("shop", &digest, u64::MAX).await.unwrap();
    }
}
