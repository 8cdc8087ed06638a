//! Blocks: every request in exactly one, numbers without a gap, outcomes as the judge defines them.

use humdrum_model::name::Slot;

use crate::world::{Client, Edge, Instance, arm, count, eventually, free_port, get, table};

#[test]
fn blocks_hold_every_request_once_and_follow_each_other() {
    let (a, b) = (Instance::start("a"), Instance::start("b"));
    let (edge, port) = (Edge::start(), free_port());
    let arms = |weight| {
        vec![
            arm("baseline", Slot::A, 10_000 - weight, &[&a]),
            arm("canary", Slot::B, weight, &[&b]),
        ]
    };
    edge.put(&table(port, 1, arms(1_000)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(port);
                for n in 0..500 {
                    let path = if n % 10 == 0 { "/fail" } else { "/" };
                    assert_eq!(client.get(path, "").status, if n % 10 == 0 { 500 } else { 200 });
                }
            })
        })
        .collect();
    for generation in 2..20 {
        edge.put(&table(port, generation, arms(500 * generation as u32)));
    }
    load.into_iter().for_each(|t| t.join().unwrap());
    let blocks = edge.blocks_with(2_000);
    assert_eq!(count(&blocks), 2_000);
    let cells = || blocks.iter().flat_map(|b| &b.cells);
    assert_eq!(cells().map(|c| c.errors).sum::<u64>(), 200);
    assert!(
        cells().all(|c| c.latency.values().sum::<u64>() == c.requests && c.errors <= c.requests)
    );
    assert!(
        blocks
            .windows(2)
            .all(|w| w[1].number == w[0].number + 1 && w[1].generation >= w[0].generation)
    );
    assert!(
        blocks
            .windows(2)
            .all(|w| (w[1].start_ms - w[0].start_ms - i64::from(w[0].length_ms)).abs() <= 1)
    );
    assert_eq!(blocks[0].number, 1);
}

#[test]
fn quiet_time_is_blocks_of_zeros_and_readers_are_woken() {
    let a = Instance::start("a");
    let (edge, port) = (Edge::start(), free_port());
    edge.put(&table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&a])]));
    let mut after = 0;
    for _ in 0..5 {
        let blocks = edge.blocks(after, 5_000);
        let block = blocks.first().expect("a block within five seconds");
        assert_eq!(block.number, after + 1);
        assert_eq!((block.gap, block.cells.len(), block.cells[0].requests), (false, 1, 0));
        after = blocks.last().unwrap().number;
    }
    assert_eq!(edge.ask("GET", "/routes/none.test/blocks?after=0", "").0, 404);
}

#[test]
fn a_request_without_an_answer_is_an_error_also_when_its_caller_leaves() {
    let a = Instance::start("a");
    let (edge, port) = (Edge::start(), free_port());
    edge.put(&table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&a])]));
    let mut client = Client::connect(port);
    client.send("GET /never HTTP/1.1\r\nhost: h\r\n\r\n");
    eventually("it is in flight", || edge.status().in_flight[0].requests == 1);
    drop(client);
    get(port, "/", "");
    let blocks = edge.blocks_with(2);
    let errors: u64 = blocks.iter().flat_map(|b| &b.cells).map(|c| c.errors).sum();
    let unanswered: u64 =
        blocks.iter().flat_map(|b| &b.cells).filter_map(|c| c.latency.get(&i32::MAX)).sum();
    assert_eq!((count(&blocks), errors, unanswered), (2, 1, 1));
    eventually("nothing is in flight", || edge.status().in_flight[0].requests == 0);
}
