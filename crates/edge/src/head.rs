//! Request and answer heads: what is refused, what never crosses a proxy, and what the edge adds.
//!
//! Rules are those of RFC 9110 (7.6.1: connection-specific fields) and RFC 9112 (3.2: request target, 6.3: body length).

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names the reason of an answer that the edge made itself.
pub(crate) const EDGE_REASON: HeaderName = HeaderName::from_static("x-humdrum-edge");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Bytes of a request head or of one read; the whole head must fit. Above: 431.
///
/// The number of fields is limited to 100 by hyper's default. Saying so explicitly would cost two allocations for each
/// request: hyper keeps the fields on the stack only for its default.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Characters of a request id that is kept; a longer one is replaced.
const REQUEST_ID_MAX: usize = 128;

/// What one pass over the fields of a request learned.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Names and values together.
    pub(crate) bytes: usize,
    hosts: u32,
    content_lengths: u32,
    transfer_encoding: bool,
    connection: bool,
    /// Some field that must not be passed on is present.
    hop_by_hop: bool,
    pub(crate) upgrade: bool,
    expect: bool,
    te: bool,
    private: bool,
    request_id: bool,
    forwarded_for: bool,
    forwarded_proto: bool,
    forwarded_host: bool,
    /// Declared by the caller as not a user's request.
    pub(crate) synthetic: bool,
}

impl Survey {
    #[inline]
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut s = Self::default();
        for (name, value) in headers {
            s.bytes += name.as_str().len() + value.len();
            match name.as_str() {
                "host" => s.hosts += 1,
                "content-length" => s.content_lengths += 1,
                "transfer-encoding" => s.transfer_encoding = true,
                "connection" => s.connection = true,
                "keep-alive" | "proxy-connection" | "proxy-authorization" | "http2-settings" => {
                    s.hop_by_hop = true
                }
                "upgrade" => s.upgrade = true,
                "te" => s.te = true,
                "expect" => s.expect = true,
                "x-humdrum-synthetic" => (s.private, s.synthetic) = (true, true),
                "x-humdrum-probe" => s.private = true,
                "x-request-id" => s.request_id = true,
                "x-forwarded-for" => s.forwarded_for = true,
                "x-forwarded-proto" => s.forwarded_proto = true,
                "x-forwarded-host" => s.forwarded_host = true,
                _ => {}
            }
        }
        s
    }
}

/// The host a request is for; bytes as sent, so that comparing ignores case.
pub(crate) fn host_of<B>(request: &Request<B>) -> Option<&str> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str());
    }
    request.headers().get(header::HOST)?.to_str().ok()
}

/// The host without its port.
pub(crate) fn bare_host(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Why a head must not be forwarded: two readers could understand it differently.
pub(crate) fn fault<B>(request: &Request<B>, survey: &Survey) -> Option<&'static str> {
    if survey.content_lengths > 1 {
        return Some("more than one content-length");
    }
    if survey.content_lengths == 1 && survey.transfer_encoding {
        return Some("both content-length and transfer-encoding");
    }
    if survey.transfer_encoding && !only_chunked(request.headers()) {
        return Some("a transfer-encoding other than chunked");
    }
    if survey.hosts > 1 {
        return Some("more than one host");
    }
    if request.method() == Method::CONNECT {
        return Some("method CONNECT");
    }
    match request.uri().scheme_str() {
        None | Some("http") => {}
        Some("https") if request.version() == Version::HTTP_2 => {}
        Some(_) => return Some("a target that is not http"),
    }
    if request.uri().authority().is_none()
        && survey.hosts == 0
        && request.version() != Version::HTTP_10
    {
        return Some("no host");
    }
    match host_of(request) {
        Some(host) if !valid_host(host) => Some("a malformed host"),
        None if survey.hosts > 0 => Some("a malformed host"),
        _ => None,
    }
}

fn only_chunked(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = all.next().is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && all.next().is_none()
}

fn valid_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => (name, port.strip_prefix(':').or(port.is_empty().then_some("0"))),
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("0")),
        },
    };
    let in_brackets = host.starts_with('[');
    let name_ok = |b: u8| {
        b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&b) || (in_brackets && b == b':')
    };
    !name.is_empty()
        && name.bytes().all(name_ok)
        && port.is_some_and(|p| p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()))
}

/// Where the request came from, prepared once for a connection.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) ip: IpAddr,
    ip_value: HeaderValue,
}

impl Caller {
    pub(crate) fn new(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let ip_value = HeaderValue::from_str(&ip.to_string()).expect("an address is visible ASCII");
        Self { ip, ip_value }
    }

    /// A TLS terminator on this machine may say what the user's side looked like; nobody else may.
    pub(crate) fn trusted(&self) -> bool {
        self.ip.is_loopback()
    }
}

/// Whether the request asks for another protocol on its connection, other than h2c (which needs no upgrade here).
pub(crate) fn wants_upgrade<B>(request: &Request<B>, survey: &Survey) -> bool {
    survey.upgrade
        && survey.connection
        && request.version() == Version::HTTP_11
        && request
            .headers()
            .get(header::UPGRADE)
            .is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"h2c"))
        && tokens(request.headers(), &header::CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade"))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
}

/// Removes the fields that `Connection` names, and `Connection` itself.
fn drop_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        // Naming these would let a caller strip what the next hop needs to understand the message.
        .filter(|t| {
            ![
                "host",
                "content-length",
                "authorization",
                "cookie",
                "close",
                "keep-alive",
                "upgrade",
                "te",
            ]
            .contains(&t.to_ascii_lowercase().as_str())
        })
        .filter(|t| !t.to_ascii_lowercase().starts_with("x-forwarded-"))
        .filter_map(|t| t.parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
}

/// Makes a request fit for the next hop over HTTP/1.1.
pub(crate) fn prepare_request(
    parts: &mut Parts,
    survey: &Survey,
    caller: &Caller,
    upgrade: bool,
    new_id: impl FnOnce() -> HeaderValue,
) {
    strip_request(parts, survey, upgrade);
    let headers = &mut parts.headers;
    match headers.get(REQUEST_ID) {
        Some(id) if survey.request_id && !id.is_empty() && id.len() <= REQUEST_ID_MAX => {}
        _ => {
            headers.insert(REQUEST_ID, new_id());
        }
    }
    forward_caller(parts, survey, caller);
    to_origin_form(parts);
}

fn strip_request(parts: &mut Parts, survey: &Survey, upgrade: bool) {
    let headers = &mut parts.headers;
    if survey.connection {
        drop_named(headers);
    }
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else if survey.upgrade {
        headers.remove(header::UPGRADE);
    }
    if survey.hop_by_hop {
        for name in ["keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"] {
            headers.remove(name);
        }
    }
    if survey.te {
        let trailers = tokens(headers, &header::TE).any(|t| t.eq_ignore_ascii_case("trailers"));
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    if survey.transfer_encoding {
        headers.remove(header::TRANSFER_ENCODING); // The next hop's framing is written anew.
    }
    if survey.expect {
        headers.remove(header::EXPECT); // The edge itself answers 100 when it reads the body.
    }
    if survey.private {
        headers.remove("x-humdrum-synthetic");
        headers.remove("x-humdrum-probe");
    }
}

fn forward_caller(parts: &mut Parts, survey: &Survey, caller: &Caller) {
    let host = match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => parts.headers.get(header::HOST).cloned(),
    };
    let headers = &mut parts.headers;
    let chain =
        if survey.forwarded_for { appended(headers, caller) } else { caller.ip_value.clone() };
    headers.insert(FORWARDED_FOR, chain);
    if !(survey.forwarded_proto && caller.trusted()) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if let Some(host) = host
        && !(survey.forwarded_host && caller.trusted())
    {
        headers.insert(FORWARDED_HOST, host);
    }
}

fn appended(headers: &HeaderMap, caller: &Caller) -> HeaderValue {
    let mut chain = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(caller.ip_value.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| caller.ip_value.clone())
}

/// `GET http://host/path` becomes `GET /path` with that host, which wins over a `Host` field.
fn to_origin_form(parts: &mut Parts) {
    if let Some(authority) = parts.uri.authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            parts.headers.insert(header::HOST, host);
        }
        let path = parts.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
        parts.uri = Uri::from(path);
    }
    parts.version = Version::HTTP_11;
}

/// The HTTP/2 form of a request prepared for HTTP/1.1: the host moves into the target.
pub(crate) fn to_http2(parts: &mut Parts) {
    let host = parts.headers.remove(header::HOST);
    let authority = host.as_ref().and_then(|h| h.to_str().ok()).unwrap_or("localhost");
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = authority.parse().ok();
    parts.uri = Uri::from_parts(uri).unwrap_or_else(|_| Uri::from_static("http://localhost/"));
    parts.version = Version::HTTP_2;
}

/// Undoes [`to_http2`] for a request that was not sent.
pub(crate) fn from_http2<B>(request: Request<B>) -> Request<B> {
    let (mut parts, body) = request.into_parts();
    to_origin_form(&mut parts);
    Request::from_parts(parts, body)
}

/// HTTP/2 may split cookies into several fields; HTTP/1.1 must have one (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(one) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, one);
    }
}

/// Removes from an answer what was meant for this hop only.
#[inline]
pub(crate) fn prepare_answer(headers: &mut HeaderMap) {
    let (mut connection, mut other) = (false, false);
    for name in headers.keys() {
        match name.as_str() {
            "connection" => connection = true,
            "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => other = true,
            _ => {}
        }
    }
    if connection {
        drop_named(headers);
    }
    if other {
        for name in ["keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
            headers.remove(name);
        }
    }
}

/// The value of a cookie, if the request has it.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = http::Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], Option<&'static str>);
        #[rustfmt::skip]
        let cases: [Case; 14] = [
            ("/", &[("host", "a")], None),
            ("/", &[("host", "a:80")], None),
            ("/", &[("host", "[::1]:80")], None),
            ("/", &[], Some("no host")),
            ("/", &[("host", "a"), ("host", "a")], Some("more than one host")),
            ("/", &[("host", "a b")], Some("a malformed host")),
            ("/", &[("host", "a@b")], Some("a malformed host")),
            ("/", &[("host", "")], Some("a malformed host")),
            ("/", &[("host", "a:x")], Some("a malformed host")),
            ("/", &[("host", "a"), ("content-length", "1"), ("content-length", "2")], Some("more than one content-length")),
            ("/", &[("host", "a"), ("content-length", "1"), ("transfer-encoding", "chunked")], Some("both content-length and transfer-encoding")),
            ("/", &[("host", "a"), ("transfer-encoding", "gzip, chunked")], Some("a transfer-encoding other than chunked")),
            ("ftp://a/", &[("host", "a")], Some("a target that is not http")),
            ("http://a/", &[("host", "b")], None),
        ];
        for (target, fields, expected) in cases {
            let request = request(target, fields);
            assert_eq!(
                fault(&request, &Survey::of(request.headers())),
                expected,
                "{target} {fields:?}"
            );
        }
    }

    #[test]
    fn only_end_to_end_fields_pass() {
        let (mut parts, ()) = request(
            "http://shop.test/a?b=1",
            &[
                ("host", "other"),
                ("connection", "close, x-secret, host"),
                ("x-secret", "1"),
                ("keep-alive", "5"),
                ("te", "gzip, trailers"),
                ("expect", "100-continue"),
                ("upgrade", "h2c"),
                ("x-humdrum-synthetic", "1"),
                ("x-forwarded-for", "9.9.9.9"),
                ("x-forwarded-proto", "https"),
                ("traceparent", "00-ab-cd-01"),
            ],
        )
        .into_parts();
        let survey = Survey::of(&parts.headers);
        let caller = Caller::new([10, 0, 0, 7].into());
        prepare_request(&mut parts, &survey, &caller, false, || HeaderValue::from_static("id-1"));
        let mut seen: Vec<String> =
            parts.headers.iter().map(|(k, v)| format!("{k}: {}", v.to_str().unwrap())).collect();
        seen.sort();
        let expected = [
            "host: shop.test",
            "te: trailers",
            "traceparent: 00-ab-cd-01",
            "x-forwarded-for: 9.9.9.9, 10.0.0.7",
            "x-forwarded-host: shop.test",
            "x-forwarded-proto: http",
            "x-request-id: id-1",
        ];
        assert_eq!(seen, expected);
        assert_eq!(parts.uri, "/a?b=1");
    }

    #[test]
    fn cookies_are_found_and_joined() {
        let mut headers =
            request("/", &[("cookie", "a=1; b=2"), ("cookie", "c=3")]).headers().clone();
        assert_eq!(cookie(&headers, "b"), Some("2"));
        assert_eq!(cookie(&headers, "d"), None);
        join_cookies(&mut headers);
        assert_eq!(headers[header::COOKIE], "a=1; b=2; c=3");
    }
}
