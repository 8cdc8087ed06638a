//! The `format`s of the schemas of manifest and settings: what a text or number must look like.

use super::quantity::{Cores, Millis, Percent, Size};
use super::smoke::{Capture, JsonPath};
use crate::name::ServiceName;
use crate::settings::{PrincipalName, Retention};

/// Checks a text against a named format; unknown formats pass, as JSON Schema says. The error completes "`text` is …".
pub(super) fn text(format: &str, text: &str) -> Result<(), String> {
    let not = |what: &str| Err(format!("`{}` is not {what}", shorten(text)));
    match format {
        "name" => ServiceName::new(text)
            .map(drop)
            .map_err(|e| format!("`{}` is not a name: {}", shorten(text), e.why)),
        "duration" => text.parse::<Millis>().map(drop).map_err(|e| e.to_string()),
        "retention" => text.parse::<Retention>().map(drop).map_err(|e| e.to_string()),
        "principal" => PrincipalName::new(text)
            .map(drop)
            .map_err(|e| format!("`{}` is not a principal: {}", shorten(text), e.why)),
        "host-port" if !is_host_port(text) => {
            not("a host name: write it like `registry.example.internal` or `127.0.0.1:5000`")
        }
        "http-url" if !is_http_url(text) => {
            not("an address: write it like `https://packages.example.internal`")
        }
        "size" => text.parse::<Size>().map(drop).map_err(|e| e.to_string()),
        "env-name" if !is_env_name(text) => {
            not("the name of an environment variable: use A-Z, 0-9 and _")
        }
        "token" if !is_token(text) => not("a name that HTTP allows: use letters, digits and -"),
        "url-path" if !text.starts_with(['/', '{']) => not("a path: it must start with /"),
        "url-path" if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#') => {
            not("a path: write blanks and # as %20 and %23")
        }
        "host" if !is_host(text) => not("a host name: use a-z, 0-9, - and ."),
        "json-path" if JsonPath::parse(text).is_none() => not("a path like `$.items[0].price`"),
        "capture" => text
            .parse::<Capture>()
            .map(drop)
            .map_err(|e| format!("`{}` cannot be captured: {e}", shorten(text))),
        "capture-name" if !is_env_name(text) => not("a name: use letters, digits and _"),
        _ => Ok(()),
    }
}

/// Checks a number against a named format.
pub(super) fn number(format: &str, value: f64) -> Result<(), String> {
    match format {
        "percent" => Percent::try_from(value).map(drop).map_err(|e| e.to_string()),
        "cores" => Cores::try_from(value).map(drop).map_err(|e| e.to_string()),
        _ => Ok(()),
    }
}

/// A text short enough for a message, without line breaks.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut short: String =
        text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > SHOWN_MAX {
        short.push('…');
    }
    short
}

fn is_env_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.len() <= 200
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `token` of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn is_host_port(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) => is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => is_host(text),
    }
}

fn is_http_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |b: u8| b.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&b);
        text.len() <= 2_000 && is_host_port(host) && path.bytes().all(plain)
    })
}
