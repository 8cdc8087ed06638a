//! The HTTP API as a stranger's client meets it: every refusal is a problem document, and the chain can be checked.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::stage::{SOON, Stage};

/// An answer, with its head as it came.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// One request on a connection of its own, byte for byte as given.
fn ask(stage: &Stage, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let addr = std::fs::read_to_string(stage.data().join("address")).unwrap();
    let mut stream = TcpStream::connect(addr.trim()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    // A server that refuses a large body may close before it has read all of it.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.into() }
}

fn token(stage: &Stage) -> String {
    let token = std::fs::read_to_string(stage.data().join("token")).unwrap();
    format!("authorization: Bearer {}", token.trim())
}

#[test]
fn every_refusal_is_a_problem_document() {
    let stage = Stage::new();
    let _control = stage.control();
    let token = &token(&stage);
    let (json, text) = ("content-type: application/json", "content-type: text/plain");
    let wrong = "authorization: Bearer 0000";
    let hold = "/api/v1/holds";
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a str, u16, &'a str);
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        // method   path                              headers         body       status  code
        ("POST",   hold,                              &[token, json], "{",        400, "bad-json"),
        ("POST",   hold,                              &[token, json], "{}",       422, "body"),
        ("POST",   hold,                              &[token, text], "{}",       415, "content-type"),
        ("POST",   hold,                              &[token],       "{}",       415, "content-type"),
        ("POST",   hold,                              &[token, json], &large,     413, "body-too-large"),
        ("GET",    "/api/v1/feed?after=x",            &[token],       "",         400, "query"),
        ("GET",    "/api/v1/nothing",                 &[token],       "",         404, "no-such-path"),
        ("GET",    "/",                               &[],            "",         404, "no-such-path"),
        ("DELETE", "/api/v1/status",                  &[token],       "",         405, "no-such-method"),
        ("POST",   "/healthz",                        &[],            "",         405, "no-such-method"),
        ("GET",    "/api/v1/status",                  &[],            "",         401, "unauthenticated"),
        ("GET",    "/api/v1/status",                  &[wrong],       "",         401, "unauthenticated"),
        ("GET",    "/api/v1/ships/s-0",               &[token],       "",         404, "no-such-ship"),
        ("GET",    "/api/v1/placements/a/b",          &[token],       "",         404, "no-such-placement"),
        ("GET",    "/api/v1/placements/A/b",          &[token],       "",         422, "name"),
        ("GET",    "/api/v1/placements/%ff/b",        &[token],       "",         400, "path"),
        ("GET",    "/api/v1/explain/nobody",          &[token],       "",         404, "unknown"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = ask(&stage, method, path, headers, body);
        let case = format!("{method} {path} {headers:?}: {} {}", answer.head, answer.body);
        assert_eq!(answer.status, *status, "{case}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{case}");
        let problem = answer.json();
        assert_eq!(problem["code"], *code, "{case}");
        assert_eq!(problem["status"], *status, "{case}");
        assert_eq!(problem["title"], problem["what"], "{case}");
        for key in ["what", "next"] {
            assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {case}");
        }
        assert!(problem["why"].as_array().is_some_and(|why| !why.is_empty()), "{case}");
        let asks = answer.head.contains("www-authenticate: bearer");
        assert_eq!(asks, *status == 401, "{case}");
    }
    let allowed = ask(&stage, "DELETE", "/api/v1/status", &[token], "");
    assert!(allowed.head.contains("allow: get"), "{}", allowed.head);
}

#[test]
fn the_feed_tells_the_stored_bytes_so_that_the_chain_can_be_checked() {
    let stage = Stage::new();
    let _control = stage.control();
    stage.run(&["hold", "service:other", "--why", "a \\ \"quoted\" ümlaut"]).ok();
    let token = &token(&stage);
    let lines = ask(&stage, "GET", "/api/v1/chain", &[token], "");
    assert!(lines.head.contains("content-type: application/jsonl"), "{}", lines.head);
    let feed = ask(&stage, "GET", "/api/v1/feed", &[token], "").body;
    let rows = feed_rows(&feed);
    let lines: Vec<Value> =
        lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty() && lines.len() <= rows.len(), "{feed}");
    for (line, (row, body)) in lines.iter().zip(&rows) {
        for key in ["pos", "run", "seq", "kind", "actor", "at_ms", "prev_hash", "hash"] {
            assert_eq!(line[key], row[key], "{key}");
        }
        assert_eq!(line["body"], *body, "the feed's bytes are those that were hashed");
    }
    let after = ask(&stage, "GET", "/api/v1/chain?after=1&limit=1", &[token], "").body;
    assert!(after.is_empty() || after.lines().count() == 1, "{after}");
}

/// The feed's rows, and the bytes of each body exactly as they came.
fn feed_rows(feed: &str) -> Vec<(Value, String)> {
    let rows: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(feed).unwrap();
    let split = |row: &str| {
        let mut map: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(row).unwrap();
        let body = map.remove("body").unwrap().get().to_owned();
        (serde_json::from_str(row).unwrap(), body)
    };
    rows.iter().map(|row| split(row.get())).collect()
}

#[test]
fn a_syntax_error_names_its_place() {
    let stage = Stage::new();
    let _control = stage.control();
    let headers = [&*token(&stage), "content-type: application/json"];
    let answer = ask(&stage, "POST", "/api/v1/holds", &headers, "{\n  \"subject\" 1}");
    let why = answer.json()["why"][0].as_str().unwrap().to_owned();
    assert!(why.contains("line 2 column"), "{why}");
}
