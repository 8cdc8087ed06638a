//! What control may and may not tell the edge.

use humdrum_model::name::Slot;
use humdrum_model::route::{RouteConflict, RouteProblems, RouteTable};

use crate::world::{Edge, Instance, arm, eventually, free_port, get, table};

fn send(edge: &Edge, table: &RouteTable) -> (u16, String) {
    edge.ask("PUT", &format!("/routes/{}", table.route), &serde_json::to_string(table).unwrap())
}

#[test]
fn only_newer_tables_are_accepted_and_also_after_a_removal() {
    let a = Instance::start("a");
    let (edge, port) = (Edge::start(), free_port());
    let mut mine = table(port, 5, vec![arm("baseline", Slot::A, 10_000, &[&a])]);
    mine.fence = 3;
    edge.put(&mine);
    assert_eq!(send(&edge, &mine).0, 200, "the same again is the same");
    let mut other = mine.clone();
    other.arms[0].release = "another".into();
    for (fence, generation) in [(2, 9), (3, 4), (3, 5)] {
        (other.fence, other.generation) = (fence, generation);
        let (status, body) = send(&edge, &other);
        let conflict: RouteConflict = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (status, conflict.fence, conflict.generation),
            (409, 3, 5),
            "{fence} {generation}"
        );
    }
    assert_eq!(edge.ask("DELETE", "/routes/shop.test?fence=2&generation=9", "").0, 409);
    assert_eq!(edge.ask("DELETE", "/routes/shop.test?fence=4&generation=1", "").0, 204);
    assert_eq!(edge.ask("GET", "/routes/shop.test", "").0, 404);
    assert_eq!(send(&edge, &mine).0, 409, "a late writer cannot bring a removed route back");
    (mine.fence, mine.generation) = (4, 2);
    edge.put(&mine);
    assert_eq!(get(port, "/", "").body, "a");
}

#[test]
fn a_table_with_mistakes_is_refused_with_all_of_them() {
    let a = Instance::start("a");
    let edge = Edge::start();
    let mut bad = table(free_port(), 1, vec![arm("baseline", Slot::A, 9_000, &[&a])]);
    bad.block_ms = 1;
    let (status, body) = send(&edge, &bad);
    let found: RouteProblems = serde_json::from_str(&body).unwrap();
    assert_eq!((status, found.problems.len()), (422, 2), "{body}");
    let (status, body) = edge.ask("PUT", "/routes/shop.test", "{");
    assert_eq!(status, 422, "{body}");
}

#[test]
fn routes_share_a_port_by_host_and_a_closed_one_says_why() {
    let (a, b) = (Instance::start("a"), Instance::start("b"));
    let (edge, port) = (Edge::start(), free_port());
    let mut shop = table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&a])]);
    shop.listen.host = Some("shop.test".into());
    let mut cart = table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&b])]);
    (cart.route, cart.listen.host) = ("cart.test".into(), Some("Cart.test".into()));
    let mut closed = table(port, 1, vec![]);
    (closed.route, closed.closed_reason) =
        ("rest.test".into(), Some("the first release is not healthy yet".into()));
    edge.put(&shop);
    edge.put(&cart);
    let ask = |host: &str| {
        let mut client = crate::world::Client::connect(port);
        client.send(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        client.reply().unwrap()
    };
    assert_eq!(
        (ask("shop.test").body, ask("SHOP.test:80").body, ask("cart.test").body),
        ("a".into(), "a".into(), "b".into())
    );
    assert_eq!(
        (ask("x.test").status, ask("x.test").headers["x-humdrum-edge"].as_str()),
        (404, "no-route")
    );
    edge.put(&closed);
    let reply = ask("x.test");
    assert_eq!(
        (reply.status, reply.body.trim_end()),
        (503, "the first release is not healthy yet")
    );
    assert_eq!(
        (reply.headers["content-type"].as_str(), reply.headers["x-humdrum-edge"].as_str()),
        ("text/plain; charset=utf-8", "closed")
    );
    assert!(reply.headers.contains_key("retry-after"));
}

#[test]
fn a_taken_port_is_a_problem_until_it_is_free() {
    let a = Instance::start("a");
    let edge = Edge::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let status = edge.put(&table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&a])]));
    assert!(status.problem.unwrap().contains("cannot listen on 127.0.0.1"));
    drop(taken);
    eventually("the port is taken over", || edge.status().problem.is_none());
    assert_eq!(get(port, "/", "").body, "a");
}

#[test]
fn numbers_are_exported_and_the_socket_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let a = Instance::start("a");
    let (edge, port) = (Edge::start(), free_port());
    edge.put(&table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&a])]));
    get(port, "/", "");
    get(port, "/fail", "");
    edge.blocks_with(2);
    let (_, page) = edge.ask("GET", "/metrics", "");
    let labels = "{service=\"shop\",environment=\"test\",deployment_id=\"deployment-baseline\",slot=\"a\",instance=\"a\"}";
    for line in [
        format!("humdrum_edge_requests_total{labels} 2"),
        format!("humdrum_edge_errors_total{labels} 1"),
    ] {
        assert!(page.contains(&line), "{line} not in\n{page}");
    }
    assert!(page.contains("le=\"+Inf\"} 2"));
    let mode = std::fs::metadata(edge.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
