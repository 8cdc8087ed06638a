//! Who gets which request: shares, changes under load, drains, cookies, testers, dead instances.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use humdrum_model::name::Slot;
use humdrum_model::route::{HeaderRule, Sticky};

use crate::world::{Client, Edge, Instance, arm, eventually, free_port, get, table};

#[test]
fn shares_are_exact_and_no_weight_gets_nothing() {
    let (a, b, c) = (Instance::start("a"), Instance::start("b"), Instance::start("c"));
    let (edge, port) = (Edge::start(), free_port());
    let arms = vec![
        arm("x", Slot::A, 7_000, &[&a]),
        arm("y", Slot::B, 3_000, &[&b]),
        arm("z", Slot::B, 0, &[&c]),
    ];
    edge.put(&table(port, 1, arms));
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(port)).collect();
    (0..500).for_each(|n| assert_eq!(clients[n % 4].get("/", "").status, 200));
    assert_eq!((a.hits(), b.hits(), c.hits()), (350, 150, 0));
}

#[test]
fn ten_thousand_requests_split_to_the_last_one_and_instances_share_alike() {
    let names = ["b1", "b2", "b3", "c1"];
    let all: Vec<Instance> = names.iter().map(|n| Instance::start(n)).collect();
    let (edge, port) = (Edge::start(), free_port());
    let stable: Vec<&Instance> = all[..3].iter().collect();
    edge.put(&table(
        port,
        1,
        vec![arm("baseline", Slot::A, 9_900, &stable), arm("canary", Slot::B, 100, &[&all[3]])],
    ));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(port);
                (0..1_250).for_each(|_| assert_eq!(client.get("/", "").status, 200));
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(all.iter().map(Instance::hits).collect::<Vec<_>>(), [3_300, 3_300, 3_300, 100]);
    let mut cells = HashMap::new();
    for cell in edge.blocks_with(10_000).into_iter().flat_map(|b| b.cells) {
        *cells.entry(cell.instance).or_insert(0) += cell.requests;
    }
    assert_eq!(
        cells,
        HashMap::from([
            ("b1".into(), 3_300),
            ("b2".into(), 3_300),
            ("b3".into(), 3_300),
            ("c1".into(), 100)
        ])
    );
}

#[test]
fn an_acknowledged_zero_is_zero_at_once_under_load() {
    let (a, b) = (Instance::start("a"), Instance::start("b"));
    let (edge, port) = (Edge::start(), free_port());
    let weights = |generation, b_weight| {
        let arms = vec![
            arm("baseline", Slot::A, 10_000 - b_weight, &[&a]),
            arm("canary", Slot::B, b_weight, &[&b]),
        ];
        table(port, generation, arms)
    };
    edge.put(&weights(1, 5_000));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(port);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.get("/", "").status, 200);
                }
            })
        })
        .collect();
    for round in 0..20 {
        let before = b.hits();
        eventually("the canary has traffic", || b.hits() > before + 20);
        edge.put(&weights(2 + 2 * round, 0));
        // What was sent before the acknowledgement may still be on its way into the instance.
        eventually("open requests end", || edge.status().in_flight[1].requests == 0);
        let (at_zero, total) = (b.hits(), a.hits());
        eventually("more requests came", || a.hits() > total + 200);
        assert_eq!(b.hits(), at_zero, "round {round}");
        edge.put(&weights(3 + 2 * round, 5_000));
    }
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|t| t.join().unwrap());
}

#[test]
fn a_slot_without_weight_finishes_its_requests_and_is_cut_after_the_drain_time() {
    let (a, b) = (Instance::start("a"), Instance::start("b"));
    let (edge, port) = (Edge::start(), free_port());
    let mut first = table(
        port,
        1,
        vec![arm("baseline", Slot::A, 0, &[&a]), arm("canary", Slot::B, 10_000, &[&b])],
    );
    first.limits.drain_ms = 1_000;
    edge.put(&first);
    let mut slow = Client::connect(port);
    slow.send("GET /slow HTTP/1.1\r\nhost: h\r\n\r\n");
    let mut events = Client::connect(port);
    events.send("GET /events HTTP/1.1\r\nhost: h\r\n\r\n");
    assert!(events.read_until("data: 0").is_some());
    eventually("both are in flight", || edge.status().in_flight[1].requests == 2);

    let mut second = first.clone();
    (second.generation, second.arms[0].weight, second.arms[1].weight) = (2, 10_000, 0);
    let changed = Instant::now();
    edge.put(&second);
    assert_eq!(slow.reply().unwrap().body, "b", "an open request finishes");
    assert!(events.read_until("data: 2").is_some(), "an open stream goes on while the slot drains");
    assert!(events.read_until("data: 20").is_none(), "and ends");
    let cut = changed.elapsed();
    assert!((900..3_000).contains(&cut.as_millis()), "cut after {cut:?}");
    eventually("the slot is quiet", || edge.status().in_flight[1].quiet_ms > 20);
    let status = edge.status().in_flight;
    assert_eq!(
        (status[0].quiet_ms, status[1].requests),
        (0, 0),
        "a slot with weight is never quiet"
    );
}

#[test]
fn a_cookie_keeps_a_user_on_an_arm_while_it_has_weight() {
    let (a, b) = (Instance::start("a"), Instance::start("b"));
    let (edge, port) = (Edge::start(), free_port());
    let mut sticky = table(
        port,
        1,
        vec![arm("baseline", Slot::A, 5_000, &[&a]), arm("canary", Slot::B, 5_000, &[&b])],
    );
    sticky.sticky = Some(Sticky { cookie: "arm".into() });
    edge.put(&sticky);
    let mut seen = HashMap::new();
    for _ in 0..10 {
        let reply = get(port, "/", "");
        let cookie = reply.headers["set-cookie"].split(';').next().unwrap().to_owned();
        seen.insert(reply.body, cookie);
    }
    assert_eq!(
        (seen["a"].as_str(), seen["b"].as_str()),
        ("arm=a.release-baseline", "arm=b.release-canary")
    );
    for _ in 0..20 {
        let reply = get(port, "/", &format!("cookie: x=1; {}\r\n", seen["b"]));
        assert_eq!((reply.body.as_str(), reply.headers.get("set-cookie")), ("b", None));
    }
    (sticky.generation, sticky.arms[0].weight, sticky.arms[1].weight) = (2, 10_000, 0);
    edge.put(&sticky);
    let reply = get(port, "/", &format!("cookie: {}\r\n", seen["b"]));
    assert_eq!(reply.body, "a");
    assert!(reply.headers["set-cookie"].starts_with("arm=a.release-baseline;"));
}

#[test]
fn testers_and_declared_checks_are_answered_but_not_counted() {
    let (a, b) = (Instance::start("a"), Instance::start("b"));
    let (edge, port) = (Edge::start(), free_port());
    let mut testers = table(
        port,
        1,
        vec![arm("baseline", Slot::A, 10_000, &[&a]), arm("canary", Slot::B, 0, &[&b])],
    );
    testers.testers =
        Some(HeaderRule { header: "x-tester".into(), value: "yes".into(), arm: "canary".into() });
    edge.put(&testers);
    for _ in 0..5 {
        assert_eq!(get(port, "/", "x-tester: yes\r\n").body, "b");
        assert_eq!(get(port, "/", "x-tester: no\r\n").body, "a");
        assert_eq!(get(port, "/", "x-humdrum-synthetic: 1\r\n").body, "a");
        assert_eq!(get(port, "/", "x-humdrum-probe: t\r\n").body, "a");
    }
    assert!(!get(port, "/head", "x-humdrum-probe: t\r\n").body.contains("humdrum"));
    let blocks = edge.blocks_with(11);
    let of = |name: &str| {
        blocks
            .iter()
            .flat_map(|b| &b.cells)
            .filter(|c| c.instance == name)
            .map(|c| c.requests)
            .sum::<u64>()
    };
    assert_eq!((of("a"), of("b")), (11, 0));
}

#[test]
fn a_dead_instance_costs_no_request_and_shows_in_its_cell() {
    let (b1, b2, c) = (Instance::start("b1"), Instance::start("b2"), Instance::start("c"));
    let (edge, port) = (Edge::start(), free_port());
    let mut dead = table(
        port,
        1,
        vec![arm("baseline", Slot::A, 5_000, &[&b1, &b2]), arm("canary", Slot::B, 5_000, &[&c])],
    );
    dead.arms[0].instances[1].addr = free_port();
    dead.arms[1].instances[0].addr = free_port();
    edge.put(&dead);
    for _ in 0..40 {
        assert_eq!(get(port, "/", "").body, "b1");
    }
    // 20 turns of the baseline: 10 at each instance and 10 again at b1; 20 of the canary, which b1 served uncounted.
    eventually("the cells tell", || {
        let mut cells = HashMap::new();
        for cell in edge.blocks(0, 0).into_iter().flat_map(|b| b.cells) {
            let sum = cells.entry(cell.instance).or_insert((0, 0));
            *sum = (sum.0 + cell.requests, sum.1 + cell.errors);
        }
        if cells.len() < 3 {
            return false;
        }
        let (good, bad, canary) = (cells["b1"], cells["b2"], cells["c"]);
        good.1 == 0 && good.0 == 20 && bad.0 == bad.1 && bad.0 >= 10 && canary == (20, 20)
    });
    dead.arms[0].instances.remove(0);
    dead.generation = 2;
    edge.put(&dead);
    let reply = get(port, "/", "");
    assert_eq!(
        (reply.status, reply.headers["x-humdrum-edge"].as_str()),
        (502, "no-instance-reachable")
    );
}

#[test]
fn limits_are_kept_and_named() {
    let a = Instance::start("a");
    let (edge, port) = (Edge::start(), free_port());
    let mut limits = table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&a])]);
    (
        limits.limits.response_ms,
        limits.limits.body_bytes,
        limits.limits.in_flight,
        limits.limits.idle_ms,
    ) = (150, 10, 1, 400);
    edge.put(&limits);
    let late = get(port, "/never", "");
    assert_eq!((late.status, late.headers["x-humdrum-edge"].as_str()), (504, "instance-timed-out"));
    let mut client = Client::connect(port);
    client.send("POST /length HTTP/1.1\r\nhost: h\r\ncontent-length: 11\r\n\r\nhello world");
    assert_eq!(client.reply().unwrap().status, 413);
    let mut client = Client::connect(port);
    client.send("POST /length HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n8\r\nhello wo\r\n8\r\nhello wo\r\n0\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 413);
    // Time to be met while it is open; the limit above would end it at once.
    (limits.generation, limits.limits.response_ms) = (limits.generation + 1, 60_000);
    edge.put(&limits);
    let mut holder = Client::connect(port);
    holder.send("GET /never HTTP/1.1\r\nhost: h\r\n\r\n");
    eventually("one is in flight", || edge.status().in_flight[0].requests == 1);
    let full = get(port, "/", "");
    assert_eq!(
        (full.status, full.headers["x-humdrum-edge"].as_str()),
        (503, "too-many-requests-in-flight")
    );
    assert!(full.headers.contains_key("retry-after"));
    drop(holder);
    let mut idle = Client::connect(port);
    eventually("the route has room", || idle.get("/", "").status == 200);
    let since = Instant::now();
    assert!(idle.read_until("x").is_none(), "an idle connection is closed");
    assert!((300..3_000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
}
