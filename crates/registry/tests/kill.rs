//! kill -9 of a process that serves pushes, again and again: what was answered is there afterwards, byte for byte.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use humdrum_registry::collect::Collecting;
use humdrum_registry::name::Reference;
use humdrum_registry::{Registry, fsck};
use server::{BASIC, IMAGE, Server, image, policy, sha256};

const FOLDER: &str = "REGISTRY_KILL_TEST_FOLDER";
const ROUNDS: u64 = 12;
/// Deaths of a registry that collects all the time.
const DEATHS: u64 = 28;
/// With this, the child collects, and its clock starts at so many days.
const DAYS: &str = "REGISTRY_KILL_TEST_DAYS";
/// Between two lives: longer than every grace time.
const DAYS_BETWEEN: u64 = 20;
const DAY_MS: i64 = 24 * 3_600_000;

/// The process that is killed: this test program again, serving until its end.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let days = std::env::var(DAYS).ok().map(|text| text.parse::<u64>().unwrap());
    let server = match days {
        None => Server::start(folder).await,
        Some(days) => Server::start_changed(folder, aged(folder, days), |_| {}).await,
    };
    println!("\nlistening {}", server.addr);
    while days.is_some() {
        server.registry.collect(&Collecting::default()).await.unwrap();
    }
    // The parent kills us; should it be gone itself, we end.
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// A registry whose clock begins at so many days.
fn aged(folder: &Path, days: u64) -> Registry {
    let (start, first) = (Instant::now(), days as i64 * DAY_MS);
    let clock = move || first + start.elapsed().as_millis() as i64;
    Registry::open(folder, policy()).unwrap().with_clock(Arc::new(clock))
}

fn spawn(folder: &Path, days: Option<u64>) -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    if let Some(days) = days {
        command.env(DAYS, days.to_string());
    }
    let mut child = command
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
        let (mut child, addr) = spawn(folder.path(), None);
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

/// What the parent knows of its tags: certain ones with their layers, and those of which a request died.
#[derive(Default)]
struct Known {
    tagged: BTreeMap<String, Vec<u8>>,
    unsure: BTreeSet<String>,
    untagged: u64,
}

/// Pushes and untags until the server dies.
async fn live_until_death(addr: &str, round: u64, known: &mut Known) {
    for n in 0.. {
        let config = format!("/v2/shop/blobs/uploads/?digest={}", sha256(b"{}"));
        let Some((201, _)) = ask(addr, "POST", &config, b"{}".to_vec()).await else { return };
        let tag = format!("r{round}-{n}");
        let layer = tag.repeat(2_000).into_bytes();
        known.unsure.insert(tag.clone());
        if push(addr, &tag, &layer).await.is_none() {
            return;
        }
        known.unsure.remove(&tag);
        known.tagged.insert(tag, layer);
        // Of two tags one goes, an older one as often as a new one.
        if n % 2 == 1 {
            let nth = (n as usize * 7) % known.tagged.len();
            let tag = known.tagged.keys().nth(nth).unwrap().clone();
            known.tagged.remove(&tag);
            known.unsure.insert(tag.clone());
            let path = format!("/v2/shop/manifests/{tag}");
            let Some((202, _)) = ask(addr, "DELETE", &path, vec![]).await else { return };
            known.unsure.remove(&tag);
            known.untagged += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_that_are_killed_lose_nothing_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    for round in 0..DEATHS {
        let (mut child, addr) = spawn(folder.path(), Some(1000 + round * DAYS_BETWEEN));
        let life = Duration::from_millis(30 + 6 * round);
        let killer = tokio::task::spawn_blocking(move || {
            std::thread::sleep(life);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        live_until_death(&addr, round, &mut known).await;
        killer.await.unwrap();
    }
    assert!(known.untagged > 0 && !known.tagged.is_empty(), "nothing happened between the deaths");
    for later in 1..=3 {
        let registry = aged(folder.path(), 1000 + (DEATHS + later) * DAYS_BETWEEN);
        registry.collect(&Collecting::default()).await.unwrap();
    }
    let registry = aged(folder.path(), 1000 + (DEATHS + 4) * DAYS_BETWEEN);
    assert!(registry.collect(&Collecting::default()).await.unwrap().is_empty());
    let tags: BTreeSet<String> =
        registry.tags("shop", None, 100_000).await.unwrap().unwrap().tags.into_iter().collect();
    let mut wanted = BTreeSet::from([sha256(b"{}")]);
    for tag in &tags {
        assert!(known.tagged.contains_key(tag) || known.unsure.contains(tag), "{tag} came back");
        let layer = sha256(&tag.repeat(2_000).into_bytes());
        let kept = registry.blob_bytes("shop", &layer.parse().unwrap(), u64::MAX).await.unwrap();
        assert!(kept == tag.repeat(2_000).as_bytes(), "{tag}");
        wanted.insert(layer);
    }
    assert!(known.tagged.keys().all(|tag| tags.contains(tag)), "a tag is lost");
    let checkup = fsck::check(folder.path(), true, SystemTime::now()).unwrap();
    assert!(checkup.findings.is_empty(), "{checkup:?}");
    assert_eq!(checkup.blobs, wanted.len() as u64, "bytes that nothing needs");
}
