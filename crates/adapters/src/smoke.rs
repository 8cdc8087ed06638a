//! Smoke checks: requests and commands against what was just deployed, in order, with cookies and captured values.
//!
//! Requests carry [`SYNTHETIC`], so that they never count for the judge.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use humdrum_model::manifest::{Body, Capture, JsonPath, Request, Smoke};
use serde_json::Value;

use crate::http::{Answer, Peer, exchange};

/// Header of requests that never count.
pub const SYNTHETIC: &str = "x-humdrum-synthetic";
/// One request without its own `max_ms` may take this long.
const REQUEST: Duration = Duration::from_secs(10);

/// What a check runs against.
#[derive(Debug, Clone)]
pub struct Place {
    pub addr: SocketAddr,
    /// The `Host` header: the route's host name, or the address.
    pub host: String,
}

/// Runs a check's requests in order; the error names the step, what was expected and what was found.
pub async fn run_steps(place: &Place, steps: &[Request]) -> Result<(), String> {
    let mut cookies: BTreeMap<String, String> = BTreeMap::new();
    let mut captured: BTreeMap<String, String> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        let name = format!("step {}, {} {}", index + 1, step.method.as_str(), step.path);
        run_step(place, step, &mut cookies, &mut captured)
            .await
            .map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

async fn run_step(
    place: &Place,
    step: &Request,
    cookies: &mut BTreeMap<String, String>,
    captured: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let request = compose(place, step, cookies, captured)?;
    let started = Instant::now();
    let answer =
        exchange(&Peer::Tcp(place.addr), request, REQUEST).await.map_err(|error| chain(&error))?;
    let took_ms = started.elapsed().as_millis();
    expect(step, &answer, took_ms)?;
    for set in answer.headers.get_all("set-cookie") {
        let pair = set.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        if let Some((name, value)) = pair.split_once('=') {
            cookies.insert(name.trim().into(), value.trim().into());
        }
    }
    for (name, source) in &step.capture {
        captured.insert(name.clone(), capture(source, &answer, cookies)?);
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn compose(
    place: &Place,
    step: &Request,
    cookies: &BTreeMap<String, String>,
    captured: &BTreeMap<String, String>,
) -> Result<hyper::Request<Full<Bytes>>, String> {
    let mut builder = hyper::Request::builder()
        .method(step.method.as_str())
        .uri(fill(&step.path, captured))
        .header("host", &place.host)
        .header("user-agent", "humdrum-smoke")
        .header(SYNTHETIC, "1");
    if !cookies.is_empty() {
        let line: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        builder = builder.header("cookie", line.join("; "));
    }
    for (name, value) in &step.headers {
        builder = builder.header(name, fill(value, captured));
    }
    let body = match &step.body {
        None => Bytes::new(),
        Some(Body::Json(json)) => {
            builder = builder.header("content-type", "application/json");
            Bytes::from(
                serde_json::to_vec(&fill_json(json, captured))
                    .map_err(|error| error.to_string())?,
            )
        }
        Some(Body::Form(fields)) => {
            builder = builder.header("content-type", "application/x-www-form-urlencoded");
            let pairs: Vec<_> = fields
                .iter()
                .map(|(k, v)| format!("{}={}", encode(k), encode(&fill(v, captured))))
                .collect();
            Bytes::from(pairs.join("&"))
        }
    };
    builder.body(Full::new(body)).map_err(|error| format!("the request cannot be made: {error}"))
}

/// Replaces `{name}` by captured values; unknown names stay, the manifest's rules refuse them before.
fn fill(text: &str, captured: &BTreeMap<String, String>) -> String {
    captured
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn fill_json(value: &Value, captured: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, captured)),
        Value::Array(list) => list.iter().map(|value| fill_json(value, captured)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), fill_json(value, captured))).collect()
        }
        other => other.clone(),
    }
}

/// Percent-encoding of `application/x-www-form-urlencoded`.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => {
                char::from(byte).to_string()
            }
            b' ' => "+".into(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn expect(step: &Request, answer: &Answer, took_ms: u128) -> Result<(), String> {
    let status = answer.status;
    let right = step.expect.status.map_or((200..400).contains(&status), |wanted| wanted == status);
    if !right {
        let wanted =
            step.expect.status.map_or_else(|| "200 to 399".into(), |wanted| wanted.to_string());
        return Err(format!(
            "status {status}, expected {wanted}; the answer begins: {}",
            answer.text().chars().take(120).collect::<String>()
        ));
    }
    if let Some(max_ms) = step.expect.max_ms
        && took_ms > u128::from(max_ms)
    {
        return Err(format!("took {took_ms} ms, expected at most {max_ms} ms"));
    }
    if step.expect.json.is_empty() {
        return Ok(());
    }
    let json = parse(answer)?;
    for (path, wanted) in &step.expect.json {
        let found = JsonPath::parse(path).and_then(|path| path.find(&json).cloned());
        if found.as_ref() != Some(wanted) {
            let found = found.map_or_else(|| "nothing".into(), |found| found.to_string());
            return Err(format!("{path} is {found}, expected {wanted}"));
        }
    }
    Ok(())
}

fn parse(answer: &Answer) -> Result<Value, String> {
    serde_json::from_slice(&answer.body).map_err(|error| format!("the answer is not JSON: {error}"))
}

fn capture(
    source: &Capture,
    answer: &Answer,
    cookies: &BTreeMap<String, String>,
) -> Result<String, String> {
    let found = match source {
        Capture::Json(path) => {
            let json = parse(answer)?;
            JsonPath::parse(path).and_then(|path| path.find(&json).cloned()).map(
                |value| match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                },
            )
        }
        Capture::Header(name) => {
            answer.headers.get(name).and_then(|value| value.to_str().ok()).map(Into::into)
        }
        Capture::Cookie(name) => cookies.get(name).cloned(),
    };
    found.ok_or_else(|| format!("`{source}` is not in the answer"))
}

/// How many checks there are, for the record.
pub fn count(checks: &[Smoke]) -> String {
    let requests: usize = checks
        .iter()
        .map(|check| if let Smoke::Steps(steps) = check { steps.len() } else { 1 })
        .sum();
    format!("{} checks, {requests} requests and commands", checks.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Answers each connection with the next of the given texts and keeps what was asked.
    async fn server(answers: Vec<String>) -> (Place, tokio::task::JoinHandle<Vec<String>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let mut asked = vec![];
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 4096];
                let n = stream.read(&mut buffer).await.unwrap();
                asked.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (Place { addr, host: addr.to_string() }, asked)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn steps(yaml: Value) -> Vec<Request> {
        match serde_json::from_value(yaml).unwrap() {
            Smoke::Steps(steps) => steps,
            Smoke::Command(_) => panic!("not a command"),
        }
    }

    #[tokio::test]
    async fn values_and_cookies_are_carried_along() {
        let (place, asked) = server(vec![
            answer("200 OK", "set-cookie: sid=s1; Path=/\r\n", r#"{"token":"t-9"}"#),
            answer("200 OK", "", r#"{"items":[{"price":12}]}"#),
        ])
        .await;
        let check = steps(serde_json::json!({"steps": [
            {"post": "/login", "json": {"user": "demo"}, "capture": {"token": "$.token"}},
            {"get": "/cart?t={token}", "headers": {"authorization": "Bearer {token}"}, "status": 200, "expect_json": {"$.items[0].price": 12}},
        ]}));
        run_steps(&place, &check).await.unwrap();
        let asked = asked.await.unwrap();
        assert!(asked[0].contains("x-humdrum-synthetic: 1"));
        assert!(asked[1].starts_with("GET /cart?t=t-9 "));
        assert!(
            asked[1].contains("authorization: Bearer t-9") && asked[1].contains("cookie: sid=s1")
        );
    }

    #[tokio::test]
    async fn failures_name_step_expectation_and_finding() {
        let cases = [
            (
                serde_json::json!({"get": "/a", "status": 200}),
                answer("500 Oops", "", "sorry"),
                "step 1, GET /a: status 500, expected 200",
            ),
            (
                serde_json::json!({"get": "/a", "expect_json": {"$.x": 1}}),
                answer("200 OK", "", "{}"),
                "$.x is nothing, expected 1",
            ),
            (
                serde_json::json!({"get": "/a", "capture": {"t": "header:location"}}),
                answer("200 OK", "", ""),
                "`header:location` is not in the answer",
            ),
            (
                serde_json::json!({"get": "/a"}),
                answer("404 Not Found", "", ""),
                "expected 200 to 399",
            ),
        ];
        for (check, answer, expected) in cases {
            let (place, _asked) = server(vec![answer]).await;
            let failure = run_steps(&place, &steps(check)).await.unwrap_err();
            assert!(failure.contains(expected), "{failure}");
        }
    }
}
