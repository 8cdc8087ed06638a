//! The edge's own death and replacement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use humdrum_model::name::Slot;

use crate::world::{Client, Edge, Instance, arm, count, eventually, free_port, get, table};

#[test]
fn after_a_kill_it_serves_from_disk_and_the_lost_time_is_a_gap() {
    let a = Instance::start("a");
    let port = free_port();
    let mut edge = Edge::spawn(&Arc::new(tempfile::tempdir().unwrap()));
    edge.put(&table(port, 7, vec![arm("baseline", Slot::A, 10_000, &[&a])]));
    (0..20).for_each(|_| assert_eq!(get(port, "/", "").body, "a"));
    edge.blocks_with(20);
    edge.kill();
    let killed = Instant::now();
    let edge = Edge::spawn(&edge.folder);
    // An instance of the test needs no control: the table comes from disk.
    assert_eq!(get(port, "/", "").body, "a");
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(edge.status().generation, 7);
    let blocks = edge.blocks_with(21);
    assert!(blocks.windows(2).all(|w| w[1].number == w[0].number + 1));
    let gaps: Vec<_> = blocks.iter().filter(|b| b.gap).collect();
    assert_eq!(gaps.len(), 1);
    assert!(gaps[0].cells.is_empty() && gaps[0].length_ms > 0);
    let before = &blocks[gaps[0].number as usize - 2];
    assert_eq!(before.start_ms + i64::from(before.length_ms), gaps[0].start_ms);
}

#[test]
fn a_new_process_takes_over_without_losing_a_request_or_a_count() {
    let (a, b) = (Instance::start("a"), Instance::start("b"));
    let port = free_port();
    let mut old = Edge::spawn(&Arc::new(tempfile::tempdir().unwrap()));
    old.put(&table(
        port,
        1,
        vec![arm("baseline", Slot::A, 9_000, &[&a]), arm("canary", Slot::B, 1_000, &[&b])],
    ));
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..6)
        .map(|kind| {
            let (stop, sent) = (stop.clone(), sent.clone());
            std::thread::spawn(move || {
                let mut client = Client::connect(port);
                while !stop.load(Ordering::Relaxed) {
                    // Half of the callers keep their connection as long as they may, half open one each time.
                    if kind % 2 == 0 {
                        client = Client::connect(port);
                    }
                    let path = if kind == 1 { "/slow" } else { "/" };
                    let reply = client.try_get(path, "").expect("no connection is cut");
                    assert_eq!(reply.status, 200);
                    sent.fetch_add(1, Ordering::SeqCst);
                    if reply.headers.get("connection").is_some_and(|c| c == "close") {
                        client = Client::connect(port);
                    }
                }
            })
        })
        .collect();
    let mut first = old.pid();
    for _ in 0..3 {
        let before = sent.load(Ordering::SeqCst);
        eventually("there is load", || sent.load(Ordering::SeqCst) > before + 200);
        let new = Edge::spawn(&old.folder);
        assert_ne!(new.pid(), first);
        first = new.pid();
        eventually("the old process ends by itself", || old.ended());
        old = new;
    }
    let before = sent.load(Ordering::SeqCst);
    eventually("there is load", || sent.load(Ordering::SeqCst) > before + 200);
    stop.store(true, Ordering::Relaxed);
    load.into_iter().for_each(|t| t.join().unwrap());
    let total = sent.load(Ordering::SeqCst);
    assert_eq!(a.hits() + b.hits(), total);
    let blocks = old.blocks_with(total);
    assert_eq!(count(&blocks), total);
    assert!(blocks.iter().all(|b| !b.gap));
    assert!(blocks.windows(2).all(|w| w[1].number == w[0].number + 1));
}

#[test]
fn a_hand_over_that_nobody_completes_changes_nothing() {
    use std::io::{Read as _, Write as _};
    let a = Instance::start("a");
    let (edge, port) = (Edge::start(), free_port());
    edge.put(&table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&a])]));
    let mut half = std::os::unix::net::UnixStream::connect(edge.socket()).unwrap();
    half.write_all(b"POST /handover HTTP/1.1\r\nhost: e\r\nconnection: upgrade\r\nupgrade: humdrum-handover\r\n\r\n").unwrap();
    half.read_exact(&mut [0; 200]).unwrap();
    drop(half);
    eventually("it serves on", || {
        Client::connect(port).try_get("/", "").is_some_and(|r| r.body == "a")
    });
    edge.put(&table(port, 2, vec![arm("baseline", Slot::A, 10_000, &[&a])]));
}
