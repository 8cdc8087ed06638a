//! What an instance is told: its command and its complete environment. Pure; nothing of the host's environment passes.

use std::collections::BTreeMap;

use humdrum_model::unit::{Labels, UnitSpec};
use sha2::{Digest as _, Sha256};

use crate::check;

/// Where programs are looked for when neither image nor wish says it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The words of the command with `{port}` filled in.
pub(crate) fn command(spec: &UnitSpec, port: u16) -> Vec<String> {
    spec.command.iter().map(|word| word.replace("{port}", &port.to_string())).collect()
}

/// The environment: a default `PATH`, then the image's own, then the wish's, then ours.
pub(crate) fn environment(
    spec: &UnitSpec,
    image: &BTreeMap<String, String>,
    port: u16,
    name: &str,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    env.extend(image.clone());
    env.extend(spec.env.clone());
    let labels = &spec.labels;
    let attributes = resource_attributes(labels, name, env.get("OTEL_RESOURCE_ATTRIBUTES"));
    let ours = [
        ("PORT", port.to_string()),
        ("HUMDRUM_SERVICE", labels.service.clone()),
        ("HUMDRUM_ENVIRONMENT", labels.environment.clone()),
        ("HUMDRUM_RELEASE", labels.release.clone()),
        ("HUMDRUM_DEPLOYMENT_ID", labels.deployment_id.clone()),
        ("HUMDRUM_COMMIT", labels.commit.clone()),
        ("HUMDRUM_INSTANCE", name.to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", attributes),
    ];
    env.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    env
}

/// What every log line carries, by the names of OpenTelemetry's semantic conventions (service, deployment, vcs, cicd).
pub(crate) fn log_labels(labels: &Labels) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("service.name", labels.service.clone()),
        ("service.version", labels.release.clone()),
        ("deployment.environment.name", labels.environment.clone()),
        ("deployment.id", labels.deployment_id.clone()),
        ("vcs.ref.head.revision", labels.commit.clone()),
        ("cicd.pipeline.run.id", labels.build_id.clone()),
    ])
}

/// `unit.<first 8 of the release>.<index>`.
pub(crate) fn name(spec: &UnitSpec, index: u32) -> String {
    let short = check::release_short(&spec.labels.release).unwrap_or("unnamed");
    format!("{}.{short}.{index}", spec.unit)
}

/// What makes two wishes the same instance: while this is equal, a new generation restarts nothing.
///
/// Labels other than the release are left out: a repeated deployment of what runs already is no reason to restart it.
pub(crate) fn key(spec: &UnitSpec) -> String {
    let same = serde_json::json!([
        1,
        spec.labels.release,
        spec.image.digest,
        spec.command,
        spec.env,
        spec.workdir,
        spec.uid,
        spec.limits,
    ]);
    hex::encode(Sha256::digest(same.to_string()))
}

/// The variable's own format: `key=value` joined by commas, values percent-encoded (OpenTelemetry, "SDK environment
/// variables", W3C baggage octets).
fn resource_attributes(labels: &Labels, name: &str, given: Option<&String>) -> String {
    let ours = log_labels(labels)
        .into_iter()
        .chain([("service.instance.id", name.to_owned())])
        .map(|(key, value)| format!("{key}={}", encoded(&value)));
    given
        .filter(|text| !text.is_empty())
        .cloned()
        .into_iter()
        .chain(ours)
        .collect::<Vec<_>>()
        .join(",")
}

fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::good;

    #[test]
    fn ours_wins_over_the_wish_and_the_wish_over_the_image() {
        let mut spec = good();
        spec.env.extend([("PORT".into(), "1".into()), ("A".into(), "wish".into())]);
        spec.labels.commit = "a,b".into();
        let image = BTreeMap::from([("A".into(), "image".into()), ("PATH".into(), "/opt".into())]);
        let env = environment(&spec, &image, 21_000, "shop.production.a.01234567.0");
        assert_eq!((env["PORT"].as_str(), env["A"].as_str()), ("21000", "wish"));
        assert_eq!(env["PATH"], "/opt");
        assert_eq!(env["HUMDRUM_DEPLOYMENT_ID"], "d1");
        let attributes = &env["OTEL_RESOURCE_ATTRIBUTES"];
        assert!(attributes.contains("deployment.id=d1,"), "{attributes}");
        assert!(attributes.contains("vcs.ref.head.revision=a%2Cb"), "{attributes}");
        assert_eq!(command(&spec, 21_000), ["/app", "--port=21000"]);
    }

    #[test]
    fn the_key_changes_with_what_runs_and_not_with_its_number() {
        type Change = fn(&mut UnitSpec);
        #[rustfmt::skip]
        let cases: [(Change, bool); 7] = [
            (|s| s.generation = 9,                            true),
            (|s| s.instances = 1,                             true),
            (|s| s.labels.deployment_id = "d2".into(),        true),
            (|s| s.command.push("-v".into()),                 false),
            (|s| { s.env.insert("A".into(), "b".into()); },   false),
            (|s| s.uid = Some(61_000),                        false),
            (|s| s.labels.release = "fedcba9876543210".into(), false),
        ];
        for (index, (change, same)) in cases.into_iter().enumerate() {
            let mut spec = good();
            change(&mut spec);
            assert_eq!(key(&spec) == key(&good()), same, "case {index}");
        }
    }
}
