//! What a wish must fulfil before it is accepted. Pure: every problem of a spec at once, each in words.

use humdrum_model::name::{EnvName, ServiceName};
use humdrum_model::unit::{HealthCheck, UnitSpec};

/// Instances of one unit: each is two processes and a port, and a machine runs many units.
pub(crate) const INSTANCES_MAX: u32 = 64;
/// Arguments and environment together; the kernel's own limit for both is 2 MiB.
const WORDS_BYTES_MAX: usize = 512 << 10;
/// The shortest and longest pause between health questions.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 20..=3_600_000;
/// The longest any single wait of a spec may be: an hour.
const WAIT_MS_MAX: u64 = 3_600_000;

/// Everything wrong with a spec; empty when it can be accepted.
pub(crate) fn problems(spec: &UnitSpec) -> Vec<String> {
    let mut found = vec![];
    let mut check = |good: bool, problem: &dyn Fn() -> String| {
        if !good {
            found.push(problem());
        }
    };
    check(is_unit(&spec.unit), &|| format!("unit `{}` is not service.environment.slot", spec.unit));
    check(is_loopback(&spec.image.registry), &|| {
        format!("image.registry `{}` is not a loopback address and port", spec.image.registry)
    });
    check(is_repository(&spec.image.repository), &|| {
        format!("image.repository `{}` is not a repository name", spec.image.repository)
    });
    check(spec.command.first().is_some_and(|word| !word.is_empty()), &|| "command is empty".into());
    check(spec.instances <= INSTANCES_MAX, &|| {
        format!("instances is {}, at most {INSTANCES_MAX} are allowed", spec.instances)
    });
    check(release_short(&spec.labels.release).is_some(), &|| {
        format!("labels.release `{}` has fewer than 8 letters and digits", spec.labels.release)
    });
    check(spec.workdir.as_ref().is_none_or(|dir| dir.starts_with('/')), &|| {
        "workdir is not an absolute path".into()
    });
    check(spec.stop.grace_ms <= WAIT_MS_MAX, &|| {
        format!("stop.grace_ms is {}, at most {WAIT_MS_MAX} is allowed", spec.stop.grace_ms)
    });
    words(spec, &mut check);
    health(spec, &mut check);
    found
}

fn words(spec: &UnitSpec, check: &mut impl FnMut(bool, &dyn Fn() -> String)) {
    let pairs = spec.env.iter().map(|(key, value)| key.len() + value.len());
    let bytes = spec.command.iter().map(String::len).chain(pairs).sum::<usize>();
    check(bytes <= WORDS_BYTES_MAX, &|| {
        format!("command and env have {bytes} bytes, at most {WORDS_BYTES_MAX} are allowed")
    });
    check(!spec.command.iter().any(|word| word.contains('\0')), &|| {
        "command has a zero byte".into()
    });
    for (key, value) in &spec.env {
        check(!key.is_empty() && !key.contains(['=', '\0']), &|| {
            format!("env `{key}` is not a variable name")
        });
        check(!value.contains('\0'), &|| format!("env `{key}` has a zero byte"));
    }
}

fn health(spec: &UnitSpec, check: &mut impl FnMut(bool, &dyn Fn() -> String)) {
    let health = &spec.health;
    if let HealthCheck::Http(path) = &health.check {
        let good = path.starts_with('/') && path.parse::<http::Uri>().is_ok();
        check(good, &|| format!("health path `{path}` is not a path that can be asked for"));
    }
    check(INTERVAL_MS.contains(&health.interval_ms), &|| {
        let (least, most) = (INTERVAL_MS.start(), INTERVAL_MS.end());
        format!("health.interval_ms is {}, {least} to {most} are allowed", health.interval_ms)
    });
    for (name, ms) in [("timeout_ms", health.timeout_ms), ("start_ms", health.start_ms)] {
        check((1..=WAIT_MS_MAX).contains(&ms), &|| {
            format!("health.{name} is {ms}, 1 to {WAIT_MS_MAX} are allowed")
        });
    }
    for (name, n) in
        [("healthy_after", health.healthy_after), ("unhealthy_after", health.unhealthy_after)]
    {
        check((1..=1_000).contains(&n), &|| format!("health.{name} is {n}, 1 to 1000 are allowed"));
    }
}

/// `service.environment.slot`: it becomes a folder, so nothing else may pass.
pub(crate) fn is_unit(unit: &str) -> bool {
    let parts: Vec<&str> = unit.split('.').collect();
    let [service, environment, slot] = parts[..] else { return false };
    ServiceName::new(service).is_ok()
        && EnvName::new(environment).is_ok()
        && matches!(slot, "a" | "b")
}

/// The first 8 digits of a release id, with or without `sha256:`.
pub(crate) fn release_short(release: &str) -> Option<&str> {
    // Release ids are `r-` and a hash; other callers may use digests.
    let digits =
        release.strip_prefix("sha256:").or_else(|| release.strip_prefix("r-")).unwrap_or(release);
    let short = digits.get(..8)?;
    short.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(short)
}

/// The registry is asked over plain HTTP with a token, which must not leave the machine.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
    let host = authority.host().trim_matches(['[', ']']);
    authority.port_u16().is_some()
        && (host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()))
}

fn is_repository(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_./".contains(&b);
    (1..=255).contains(&name.len())
        && name.bytes().all(allowed)
        && name.split('/').all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn good() -> UnitSpec {
        serde_json::from_value(serde_json::json!({
            "unit": "shop.production.a", "fence": 1, "generation": 1,
            "image": {"registry": "127.0.0.1:7070", "repository": "shop",
                      "digest": format!("sha256:{}", "a".repeat(64))},
            "command": ["/app", "--port={port}"], "env": {"LOG": "info"},
            "health": {"check": {"http": "/healthz"}, "interval_ms": 1000, "timeout_ms": 1000,
                       "healthy_after": 1, "unhealthy_after": 3, "start_ms": 30000},
            "instances": 3, "stop": {"grace_ms": 5000},
            "labels": {"service": "shop", "environment": "production", "release": "0123456789ab",
                       "deployment_id": "d1", "commit": "c1", "build_id": "b1"}
        }))
        .unwrap()
    }

    #[test]
    fn a_good_spec_has_no_problem() {
        assert_eq!(problems(&good()), Vec::<String>::new());
    }

    #[test]
    fn each_problem_is_named() {
        type Spoil = fn(&mut UnitSpec);
        #[rustfmt::skip]
        let cases: [(Spoil, &str); 12] = [
            (|s| s.unit = "../../etc".into(),               "unit"),
            (|s| s.unit = "shop.production.c".into(),       "unit"),
            (|s| s.image.registry = "10.0.0.1:80".into(),   "image.registry"),
            (|s| s.image.registry = "127.0.0.1".into(),     "image.registry"),
            (|s| s.image.repository = "../x".into(),        "image.repository"),
            (|s| s.command.clear(),                         "command"),
            (|s| s.instances = INSTANCES_MAX + 1,           "instances"),
            (|s| s.labels.release = "12/4567890".into(),    "labels.release"),
            (|s| s.workdir = Some("app".into()),            "workdir"),
            (|s| { s.env.insert("A=B".into(), "".into()); },"env"),
            (|s| s.health.check = HealthCheck::Http("x".into()), "health path"),
            (|s| s.health.healthy_after = 0,                "health.healthy_after"),
        ];
        for (spoil, start) in cases {
            let mut spec = good();
            spoil(&mut spec);
            let found = problems(&spec);
            assert!(found.len() == 1 && found[0].starts_with(start), "{start}: {found:?}");
        }
    }
}
