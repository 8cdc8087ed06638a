//! Checks of a deployed version before it gets traffic, and declared probe traffic: the sections `smoke` and `probe`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One check: a request, a list of requests that share cookies and captured values, or a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "SmokeForm", into = "SmokeForm")]
#[schemars(with = "SmokeForm")]
pub enum Smoke {
    /// Requests in order; cookies are kept and captured values filled in between them. A single request is a list of one.
    Steps(Vec<Request>),
    /// A shell command with `HUMDRUM_URL`; exit status 0 passes.
    Command(String),
}

/// Requests of one check.
pub const SMOKE_STEPS_MAX: usize = 50;

/// A smoke check in one of its three forms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum SmokeForm {
    /// Requests in order; cookies and captured values are kept between them.
    Steps(StepsForm),
    /// A shell command with `HUMDRUM_URL`; exit status 0 passes.
    Command(CommandForm),
    /// A single request.
    Request(Box<RequestForm>),
}

/// Requests in order; cookies and captured values are kept between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepsForm {
    /// The requests.
    #[schemars(length(min = 1, max = 50))]
    steps: Vec<RequestForm>,
}

/// A shell command with `HUMDRUM_URL`; exit status 0 passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CommandForm {
    /// The command, run in the checkout of the commit.
    #[schemars(length(min = 1, max = 65536))]
    run: String,
}

/// One request and what its answer must be. `{name}` in path, headers, json and form is replaced by a captured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE` or `HEAD`.
    pub method: Method,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Option<Body>,
    pub expect: Expect,
    pub capture: BTreeMap<String, Capture>,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Head,
}

impl Method {
    /// As HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Head => "HEAD",
        }
    }

    /// As the manifest writes it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Head => "head",
        }
    }
}

/// The body of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Sent as `application/json`.
    Json(Value),
    /// Sent as `application/x-www-form-urlencoded`.
    Form(BTreeMap<String, String>),
}

/// What an answer must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    /// Exact status; without it, 200 to 399.
    pub status: Option<u16>,
    /// Values in the JSON body by path (`$.items[0].price`).
    pub json: BTreeMap<String, Value>,
    /// Longest time to the whole answer, ms.
    pub max_ms: Option<u64>,
}

/// Where a captured value is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capture {
    /// A path in the JSON body: `$.token`.
    Json(String),
    /// A header of the answer: `header:location`.
    Header(String),
    /// A cookie that the answer sets: `cookie:session`.
    Cookie(String),
}

/// One request and what its answer must be. `{name}` in path, headers, json and form is replaced by a captured value; cookies are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["get"] }, { "required": ["post"] }, { "required": ["put"] }, { "required": ["patch"] }, { "required": ["delete"] }, { "required": ["head"] }]))]
#[schemars(extend("not" = { "required": ["json", "form"] }))]
struct RequestForm {
    /// Path to GET. Exactly one of `get`, `post`, `put`, `patch`, `delete`, `head` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url-path"))]
    get: Option<String>,
    /// Path to POST to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url-path"))]
    post: Option<String>,
    /// Path to PUT to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url-path"))]
    put: Option<String>,
    /// Path to PATCH.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url-path"))]
    patch: Option<String>,
    /// Path to DELETE.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url-path"))]
    delete: Option<String>,
    /// Path for HEAD.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url-path"))]
    head: Option<String>,
    /// Request headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100, "propertyNames" = { "format": "token" }))]
    headers: BTreeMap<String, String>,
    /// JSON body.
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    /// Form body, instead of `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<BTreeMap<String, String>>,
    /// Status that the answer must have; without it, 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    status: Option<u16>,
    /// Values that the JSON answer must have, by path: `$.items[0].price: 12`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100, "propertyNames" = { "format": "json-path" }))]
    expect_json: BTreeMap<String, Value>,
    /// Longest time to the whole answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600_000))]
    max_ms: Option<u64>,
    /// Values kept for later steps: name → `$.path` of the JSON answer, `header:NAME` or `cookie:NAME`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100, "propertyNames" = { "format": "capture-name" }, "additionalProperties" = { "type": "string", "format": "capture" }))]
    capture: BTreeMap<String, String>,
}

impl TryFrom<RequestForm> for Request {
    type Error = &'static str;
    fn try_from(form: RequestForm) -> Result<Self, Self::Error> {
        let given = [
            (Method::Get, form.get),
            (Method::Post, form.post),
            (Method::Put, form.put),
            (Method::Patch, form.patch),
            (Method::Delete, form.delete),
            (Method::Head, form.head),
        ];
        let mut given = given.into_iter().filter_map(|(method, path)| Some((method, path?)));
        let (Some((method, path)), None) = (given.next(), given.next()) else {
            return Err("a request has exactly one of get, post, put, patch, delete, head");
        };
        let body = match (form.json, form.form) {
            (Some(_), Some(_)) => return Err("a request has either `json` or `form`"),
            (Some(json), None) => Some(Body::Json(json)),
            (None, Some(form)) => Some(Body::Form(form)),
            (None, None) => None,
        };
        let capture = form
            .capture
            .into_iter()
            .map(|(name, source)| Ok((name, source.parse()?)))
            .collect::<Result<_, &'static str>>()?;
        let expect = Expect { status: form.status, json: form.expect_json, max_ms: form.max_ms };
        Ok(Self { method, path, headers: form.headers, body, expect, capture })
    }
}

impl From<Request> for RequestForm {
    fn from(request: Request) -> Self {
        let mut form = Self {
            headers: request.headers,
            status: request.expect.status,
            expect_json: request.expect.json,
            max_ms: request.expect.max_ms,
            capture: request.capture.into_iter().map(|(k, v)| (k, v.to_string())).collect(),
            ..Self::default()
        };
        let place = match request.method {
            Method::Get => &mut form.get,
            Method::Post => &mut form.post,
            Method::Put => &mut form.put,
            Method::Patch => &mut form.patch,
            Method::Delete => &mut form.delete,
            Method::Head => &mut form.head,
        };
        *place = Some(request.path);
        match request.body {
            Some(Body::Json(json)) => form.json = Some(json),
            Some(Body::Form(fields)) => form.form = Some(fields),
            None => {}
        }
        form
    }
}

impl std::str::FromStr for Capture {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix("header:") {
            return if name.is_empty() {
                Err("`header:` needs a name")
            } else {
                Ok(Self::Header(name.to_ascii_lowercase()))
            };
        }
        if let Some(name) = text.strip_prefix("cookie:") {
            return if name.is_empty() {
                Err("`cookie:` needs a name")
            } else {
                Ok(Self::Cookie(name.into()))
            };
        }
        if JsonPath::parse(text).is_some() {
            return Ok(Self::Json(text.into()));
        }
        Err("a value is captured from `$.path`, `header:NAME` or `cookie:NAME`")
    }
}

impl std::fmt::Display for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(path) => f.write_str(path),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl TryFrom<SmokeForm> for Smoke {
    type Error = &'static str;
    fn try_from(form: SmokeForm) -> Result<Self, Self::Error> {
        Ok(match form {
            SmokeForm::Command(CommandForm { run }) => Self::Command(run),
            SmokeForm::Request(request) => Self::Steps(vec![(*request).try_into()?]),
            SmokeForm::Steps(StepsForm { steps }) => {
                Self::Steps(steps.into_iter().map(Request::try_from).collect::<Result<_, _>>()?)
            }
        })
    }
}

impl From<Smoke> for SmokeForm {
    fn from(smoke: Smoke) -> Self {
        match smoke {
            Smoke::Command(run) => Self::Command(CommandForm { run }),
            Smoke::Steps(steps) => {
                Self::Steps(StepsForm { steps: steps.into_iter().map(Into::into).collect() })
            }
        }
    }
}

/// A path into a JSON value: `$`, `$.a.b`, `$.items[0]`, `$["odd key"]`. A small part of RFC 9535.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    Index(usize),
}

impl JsonPath {
    /// Reads a path; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut parts = vec![];
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    return None;
                }
                parts.push(Part::Key(after[..end].into()));
                rest = &after[end..];
            } else if let Some(after) = rest.strip_prefix("[\"") {
                let end = after.find("\"]")?;
                parts.push(Part::Key(after[..end].into()));
                rest = &after[end + 2..];
            } else {
                let after = rest.strip_prefix('[')?;
                let end = after.find(']')?;
                parts.push(Part::Index(after[..end].parse().ok()?));
                rest = &after[end + 1..];
            }
        }
        Some(Self(parts))
    }

    /// The value at the path, if there is one.
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, part| match part {
            Part::Key(key) => value.get(key),
            Part::Index(index) => value.get(index),
        })
    }
}

/// Traffic that Humdrum itself sends through the edge to both versions, for services with too little of their own. It counts for the judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Path to GET.
    #[schemars(extend("format" = "url-path"))]
    pub get: String,
    /// Request headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100, "propertyNames" = { "format": "token" }))]
    pub headers: BTreeMap<String, String>,
    /// Requests a second, over both versions together.
    #[schemars(range(min = 0.01, max = 10000.0))]
    pub rps: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_paths_find_values() {
        let value = json!({ "a": { "b": [1, { "c d": true }] } });
        for (path, found) in [
            ("$", Some(value.clone())),
            ("$.a.b[0]", Some(json!(1))),
            ("$.a.b[1][\"c d\"]", Some(json!(true))),
            ("$.a.x", None),
            ("$.a.b[7]", None),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().find(&value), found.as_ref(), "{path}");
        }
        for bad in ["", "a", "$a", "$.", "$..a", "$[", "$[x]", "$[\"a]"] {
            assert!(JsonPath::parse(bad).is_none(), "{bad}");
        }
    }
}
