//! Protocols: what passes through unchanged, and what is refused.

use std::io::Read as _;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Version};
use http_body_util::{BodyExt, StreamBody};
use humdrum_model::name::Slot;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::world::{Client, Edge, Instance, arm, eventually, free_port, get, table};

fn one() -> (Instance, Edge, std::net::SocketAddr) {
    let (a, edge, port) = (Instance::start("a"), Edge::start(), free_port());
    edge.put(&table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&a])]));
    (a, edge, port)
}

#[test]
fn heads_are_forwarded_as_a_proxy_must() {
    let (_a, _edge, port) = one();
    let body = get(
        port,
        "/head?q=1",
        "x-secret: 1\r\nconnection: x-secret\r\ntraceparent: 00-1-2-01\r\nx-request-id: mine\r\n",
    )
    .body;
    for expected in [
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: shop.test",
        "traceparent: 00-1-2-01",
        "x-request-id: mine",
        "host: shop.test",
        "target: /head?q=1",
    ] {
        assert!(body.lines().any(|l| l == expected), "{expected} not in\n{body}");
    }
    assert!(!body.contains("x-secret") && !body.contains("via"), "{body}");
    let made = |body: String| {
        body.lines().find_map(|l| l.strip_prefix("x-request-id: ").map(str::to_owned)).unwrap()
    };
    assert_ne!(made(get(port, "/head", "").body), made(get(port, "/head", "").body));
}

#[test]
fn ambiguous_requests_never_reach_an_instance() {
    let (a, _edge, port) = one();
    #[rustfmt::skip]
    let attacks = [
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5, 6\r\n\r\nhello!",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\n folded: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nbad name: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nx: a\0b\r\n\r\n",
        "GET ftp://h/ HTTP/1.1\r\nhost: h\r\n\r\n",
        "CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\n",
        "GET / HTTP/3.0\r\nhost: h\r\n\r\n",
    ];
    for attack in attacks {
        let mut client = Client::connect(port);
        client.send(attack);
        let mut all = String::new();
        client.stream.read_to_string(&mut all).unwrap();
        assert!(all.starts_with("HTTP/1.1 400"), "{attack:?} got {all:?}");
        assert_eq!(all.matches("HTTP/1.1").count(), 1, "{attack:?} got {all:?}");
    }
    assert_eq!(a.hits(), 0);
    let many: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(get(port, "/", &many).status, 431);
    assert_eq!(get(port, "/", &format!("x: {}\r\n", "y".repeat(100_000))).status, 431);
    let before = a.hits();
    // With both, the parser obeys the chunks, drops the length and ends the connection (RFC 9112, 6.3): one request with one
    // meaning arrives, and what follows it is never read.
    for (n, both) in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ]
    .iter()
    .enumerate()
    {
        let mut client = Client::connect(port);
        client.send(&format!("POST /length HTTP/1.1\r\nhost: h\r\n{both}\r\n\r\n4\r\nabcd\r\n0\r\n\r\nGET /x HTTP/1.1\r\nhost: h\r\n\r\n"));
        let mut all = String::new();
        client.stream.read_to_string(&mut all).unwrap();
        assert!(
            all.ends_with("\r\n\r\n4") && all.matches("HTTP/1.1").count() == 1,
            "{both} got {all:?}"
        );
        assert_eq!(a.hits(), before + n as u64 + 1);
    }
}

#[test]
fn the_absolute_form_wins_over_the_host_field() {
    let (_a, _edge, port) = one();
    let mut client = Client::connect(port);
    client.send("GET http://real.test/head HTTP/1.1\r\nhost: other\r\n\r\n");
    let body = client.reply().unwrap().body;
    assert!(body.contains("host: real.test\n") && body.contains("target: /head"), "{body}");
}

#[test]
fn a_websocket_is_joined_byte_by_byte_and_counted_as_in_flight() {
    let (_a, edge, port) = one();
    let mut client = Client::connect(port);
    client.send("GET /socket HTTP/1.1\r\nhost: h\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\nsec-websocket-version: 13\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!((head.status, head.headers["upgrade"].as_str()), (101, "websocket"));
    for n in 0..50 {
        let text = format!("frame {n};");
        client.send(&text);
        assert_eq!(client.read_until(";").unwrap(), text);
    }
    assert_eq!(edge.status().in_flight[0].requests, 1);
    drop(client);
    eventually("the tunnel is gone", || edge.status().in_flight[0].requests == 0);
}

#[test]
fn events_arrive_one_by_one() {
    let (_a, _edge, port) = one();
    let mut client = Client::connect(port);
    client.send("GET /events HTTP/1.1\r\nhost: h\r\n\r\n");
    // One small event each 200 ms, without an end: had a page of them been collected, the first would not come within the client's patience.
    for n in 0..5 {
        assert!(client.read_until(&format!("data: {n}\n\n")).is_some(), "event {n}");
    }
}

fn with_http2<T>(
    port: std::net::SocketAddr,
    talk: impl AsyncFnOnce(
        hyper::client::conn::http2::SendRequest<
            http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>,
        >,
    ) -> T,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(port).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        tokio::time::timeout(crate::world::LONG, talk(sender)).await.expect("in time")
    })
}

#[test]
fn grpc_shaped_streams_pass_both_ways_with_trailers() {
    let (a, edge, port) = one();
    with_http2(port, async |mut sender| {
        let (feed, parts) = tokio::sync::mpsc::channel::<Bytes>(1);
        let stream = futures::stream::unfold(parts, |mut parts| async move {
            parts.recv().await.map(|p| (Ok(Frame::data(p)), parts))
        });
        let request = Request::post(format!("http://{port}/mirror"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(BodyExt::boxed(StreamBody::new(stream)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        let mut body = response.into_body();
        for n in 0..5 {
            feed.send(Bytes::from(format!("message {n}"))).await.unwrap();
            // The answer to each part comes while the request is still open.
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("message {n}"));
        }
        drop(feed);
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
    });
    assert_eq!(a.hits(), 1);
    edge.blocks_with(1);
}

#[test]
fn http2_callers_reach_an_instance_that_speaks_only_http1() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    stream.set_nonblocking(true).unwrap();
                    let io = TokioIo::new(tokio::net::TcpStream::from_std(stream).unwrap());
                    let service = hyper::service::service_fn(
                        |r: Request<hyper::body::Incoming>| async move {
                            let cookies = r.headers().get_all("cookie").iter().count();
                            Ok::<_, std::convert::Infallible>(http::Response::new(format!(
                                "{:?} {cookies}",
                                r.version()
                            )))
                        },
                    );
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .await;
                });
            });
        }
    });
    let (edge, port, a) = (Edge::start(), free_port(), Instance::start("a"));
    let mut old = table(port, 1, vec![arm("baseline", Slot::A, 10_000, &[&a])]);
    old.arms[0].instances[0].addr = addr;
    edge.put(&old);
    with_http2(port, async |sender| {
        let answers = futures::stream::iter(0..20).then(|_| {
            let mut sender = sender.clone();
            async move {
                let request = Request::get(format!("http://{port}/"))
                    .header("cookie", "a=1")
                    .header("cookie", "b=2");
                let request = request.body(BodyExt::boxed(http_body_util::Empty::new())).unwrap();
                sender
                    .send_request(request)
                    .await
                    .unwrap()
                    .into_body()
                    .collect()
                    .await
                    .unwrap()
                    .to_bytes()
            }
        });
        let all: Vec<Bytes> = answers.collect().await;
        assert!(all.iter().all(|b| b == "HTTP/1.1 1"), "{all:?}");
    });
}
