//! What no schema can say: rules across the fields of a manifest.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::quantity::Percent;
use super::rollout::{Canary, Strategy};
use super::smoke::{Body, Request, Smoke};
use super::yaml::Document;
use super::{Manifest, format::shorten, nearest};
use crate::name::{Digest, EnvName};

/// Shortest and longest counting block, ms: below, a block holds no requests; above, a verdict comes too late.
const BLOCK_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

/// Every broken rule.
pub(super) fn check(manifest: &Manifest, document: &Document) -> Vec<Problem> {
    let mut found = Found { document, problems: vec![] };
    chain(manifest, &mut found);
    ports(manifest, &mut found);
    image(manifest, &mut found);
    command(manifest, &mut found);
    variables(manifest, &mut found);
    for (name, environment) in &manifest.environments {
        if let Some(Strategy::Canary(canary)) =
            environment.rollout.as_ref().map(|rollout| &rollout.strategy)
        {
            ladder(canary, name, &mut found);
        }
    }
    for (index, smoke) in manifest.smoke.iter().enumerate() {
        if let Smoke::Steps(steps) = smoke {
            captures(steps, &index.to_string(), &mut found);
        }
    }
    found.problems
}

struct Found<'a> {
    document: &'a Document,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, code: &'static str, keys: &[&str], message: String) -> &mut Problem {
        let index = self.problems.len();
        self.problems.push(Problem::at(code, self.document, keys, message));
        &mut self.problems[index]
    }
}

/// `after` must make one line: one first environment, nobody unknown, nobody twice, no circle.
fn chain(manifest: &Manifest, found: &mut Found<'_>) {
    let environments = &manifest.environments;
    let firsts: Vec<&EnvName> =
        environments.iter().filter(|(_, env)| env.after.is_none()).map(|(name, _)| name).collect();
    let mut followers: BTreeMap<&EnvName, &EnvName> = BTreeMap::new();
    for (name, after) in
        environments.iter().filter_map(|(name, env)| Some((name, env.after.as_ref()?)))
    {
        let keys = ["environments", name.as_str(), "after"];
        if !environments.contains_key(after) {
            let known =
                environments.keys().map(EnvName::as_str).filter(|known| *known != name.as_str());
            let near = nearest(after.as_str(), known.clone())
                .map(|near| format!("did you mean `{near}`?"));
            let hint = near.unwrap_or_else(|| {
                format!("environments: {}", known.collect::<Vec<_>>().join(", "))
            });
            found
                .add(
                    "HUM-020",
                    &keys,
                    format!("`{name}` comes after `{after}`, which does not exist"),
                )
                .hint = Some(hint);
        } else if let Some(other) = followers.insert(after, name) {
            let message = format!(
                "both `{other}` and `{name}` come after `{after}`; releases pass environments in one line"
            );
            found.add("HUM-023", &keys, message);
        }
    }
    if found.problems.iter().any(|problem| matches!(problem.code, "HUM-020" | "HUM-023")) {
        return;
    }
    match firsts.as_slice() {
        [_] => {}
        [] => {
            let names: Vec<_> = environments.keys().map(|name| format!("`{name}`")).collect();
            let message = format!(
                "{} wait for each other; one environment must have no `after`",
                names.join(", ")
            );
            found.add("HUM-022", &["environments"], message);
            return;
        }
        [first, others @ ..] => {
            for other in others {
                let message = format!(
                    "`{first}` and `{other}` are both first; say which comes `after` the other"
                );
                found.add("HUM-021", &["environments", other.as_str()], message).hint =
                    Some(format!("add `after: {first}` to `{other}`, or the other way round"));
            }
            return;
        }
    }
    let order = manifest.order();
    for name in environments.keys().filter(|name| !order.contains(name)) {
        let message = format!("`{name}` is part of a circle of `after` and is never reached");
        found.add("HUM-022", &["environments", name.as_str(), "after"], message);
    }
}

/// Each environment needs a listener of its own: another port, or another host name on the same port.
fn ports(manifest: &Manifest, found: &mut Found<'_>) {
    let order = manifest.order();
    if order.len() != manifest.environments.len() {
        return; // The chain is broken, so the last environment is not known.
    }
    let mut taken: BTreeMap<(u16, Option<&str>), &EnvName> = BTreeMap::new();
    for (position, name) in order.iter().enumerate().rev() {
        let environment = &manifest.environments[*name];
        let last = position + 1 == order.len();
        let keys = ["environments", name.as_str(), "port"];
        if last && let Some(port) = environment.port.filter(|port| *port != manifest.run.port) {
            let message = format!(
                "`{name}` is the last environment and takes `run.port` {}, but has port {port}",
                manifest.run.port
            );
            found.add("HUM-025", &keys, message).hint =
                Some("remove it, or give `run.port` this value".into());
        }
        let Some(port) = environment.port.or(last.then_some(manifest.run.port)) else { continue };
        if let Some(other) = taken.insert((port, environment.host.as_deref()), name) {
            let message = format!("`{name}` and `{other}` both listen on port {port}");
            found.add("HUM-024", &keys, message).hint = Some(
                "give one another port, remove it to get one that is kept, or set `host` in both"
                    .into(),
            );
        }
    }
}

/// What goes into the image stays inside checkout and image.
fn image(manifest: &Manifest, found: &mut Found<'_>) {
    for (target, source) in &manifest.build.files {
        let keys = ["build", "files", target.as_str()];
        if !plain_absolute(target) {
            let message = format!(
                "`{}` is not a place in the image: it must be absolute, without `.`, `..` or `//`",
                shorten(target)
            );
            found.add("HUM-031", &keys, message);
        }
        if !inside_checkout(&source.from) {
            let message = format!(
                "`{}` is not a path inside the checkout: it must be relative, without `..`",
                shorten(&source.from)
            );
            found.add("HUM-030", &keys, message);
        }
    }
    if let Some(junit) = manifest
        .test
        .as_ref()
        .and_then(|test| test.junit.as_ref())
        .filter(|path| !inside_checkout(path))
    {
        let message = format!(
            "`{}` is not a path inside the checkout: it must be relative, without `..`",
            shorten(junit)
        );
        found.add("HUM-030", &["test", "junit"], message);
    }
    if !plain_absolute(&manifest.run.workdir) {
        let message = format!(
            "`{}` is not a folder in the image: it must be absolute, without `.`, `..` or `//`",
            shorten(&manifest.run.workdir)
        );
        found.add("HUM-031", &["run", "workdir"], message);
    }
    if let Some(base) = &manifest.build.base {
        let digest = base
            .rsplit_once('@')
            .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace));
        if digest.is_none_or(|(_, digest)| Digest::new(digest).is_err()) {
            let message =
                format!("`{}` names no digest, so it may be another image tomorrow", shorten(base));
            found.add("HUM-032", &["build", "base"], message).hint = Some(
                "write `NAME@sha256:…`; `skopeo inspect docker://NAME` shows the digest".into(),
            );
        }
    }
}

/// The program must be absolute, or a plain name that is looked up in the image's PATH.
fn command(manifest: &Manifest, found: &mut Found<'_>) {
    let program = manifest.run.command.first().map_or("", String::as_str);
    let keys = ["run", "command", "0"];
    if program.contains(char::is_whitespace) {
        let words: Vec<_> = program.split_whitespace().collect();
        found
            .add(
                "HUM-033",
                &keys,
                format!("`{}` is one word with blanks, and no shell splits it", shorten(program)),
            )
            .hint = Some(format!("write [{}]", shorten(&words.join(", "))));
    } else if program.starts_with('/') && !plain_absolute(program) || program.is_empty() {
        found.add(
            "HUM-033",
            &keys,
            format!(
                "`{}` is not a program: it must be a path in the image or a name",
                shorten(program)
            ),
        );
    } else if program.contains('/') && !program.starts_with('/') {
        let message =
            format!("`{}` is neither absolute nor a name that PATH finds", shorten(program));
        let hint = format!(
            "write where it is in the image, like `/app/{}`",
            shorten(program.rsplit('/').next().unwrap_or(program))
        );
        found.add("HUM-033", &keys, message).hint = Some(hint);
    }
}

/// Variables that Humdrum sets, and values that should not be in git.
fn variables(manifest: &Manifest, found: &mut Found<'_>) {
    let shared = manifest.run.env.iter().map(|pair| (vec!["run", "env"], pair));
    let own = manifest.environments.iter().flat_map(|(name, environment)| {
        environment.env.iter().map(move |pair| (vec!["environments", name.as_str(), "env"], pair))
    });
    for (mut keys, (variable, value)) in shared.chain(own) {
        keys.push(variable);
        if variable == "PORT" || variable.starts_with("HUMDRUM_") {
            found.add("HUM-061", &keys, format!("`{variable}` is set by Humdrum itself")).hint =
                Some(
                    "remove it; instances read `PORT` and `HUMDRUM_…` from their environment"
                        .into(),
                );
        } else if let Some(why) = looks_secret(variable, value) {
            let message = format!("the value of `{variable}` looks like a secret: {why}");
            let problem = found.add("HUM-060", &keys, message);
            *problem = problem
                .clone()
                .warning()
                .hint("this file is in git; let the service read secrets from a file or a store");
        }
    }
}

/// Known shapes of credentials, and long random values under a telling name.
fn looks_secret(variable: &str, value: &str) -> Option<&'static str> {
    const SHAPES: [(&str, &str); 7] = [
        ("-----BEGIN", "it holds a private key or certificate"),
        ("AKIA", "it has the form of an AWS key"),
        ("ghp_", "it has the form of a GitHub token"),
        ("github_pat_", "it has the form of a GitHub token"),
        ("glpat-", "it has the form of a GitLab token"),
        ("xoxb-", "it has the form of a Slack token"),
        ("sk_live_", "it has the form of a payment key"),
    ];
    if let Some((_, why)) = SHAPES.iter().find(|(prefix, _)| value.starts_with(prefix)) {
        return Some(why);
    }
    let address = value.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
    if let Some((user, _)) = address.and_then(|host| host.rsplit_once('@'))
        && user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
    {
        return Some("the address contains a password");
    }
    let name = variable.to_ascii_uppercase();
    let telling =
        ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY", "CREDENTIAL"];
    let pointer = ["_FILE", "_PATH", "_URL", "_TTL", "_NAME"].iter().any(|end| name.ends_with(end));
    let random = value.len() >= 8 && !value.starts_with('/') && !value.contains(' ');
    (random && !pointer && telling.iter().any(|word| name.contains(word)))
        .then_some("its name says so")
}

/// Steps grow to 100; `rule_out` fits them; a step can end before its deadline.
fn ladder(canary: &Canary, name: &EnvName, found: &mut Found<'_>) {
    let at = |key: &'static str| ["environments", name.as_str(), "rollout", "canary", key];
    let growing = canary.steps.windows(2).all(|pair| pair[0] < pair[1]);
    let steps: Vec<String> = canary.steps.iter().map(Percent::to_string).collect();
    if !growing || canary.steps.last() != Some(&Percent::ALL) {
        let message = format!("the steps {} do not grow to 100", steps.join(", "));
        found.add("HUM-040", &at("steps"), message).hint =
            Some("write each share once, the smallest first, 100 last".into());
    }
    let judged = canary.steps.iter().filter(|step| **step < Percent::ALL).count();
    if let Some(values) = canary.rule_out.as_ref().filter(|values| values.len() != judged) {
        let message =
            format!("`rule_out` has {} values for {judged} steps below 100", values.len());
        found.add("HUM-041", &at("rule_out"), message).hint =
            Some("write one value for each step below 100, or leave it out".into());
    }
    for (index, rung) in
        canary.rungs().iter().enumerate().filter(|(_, rung)| rung.rule_out <= canary.margin)
    {
        let message = format!(
            "the step {} rules out {} times worse, which is not above the margin {}",
            rung.share, rung.rule_out, canary.margin
        );
        let keys = if canary.rule_out.is_some() { at("rule_out") } else { at("margin") };
        let place = index.to_string();
        let deep: Vec<&str> = keys
            .iter()
            .copied()
            .chain(canary.rule_out.is_some().then_some(place.as_str()))
            .collect();
        found.add("HUM-042", &deep, message).hint =
            Some("what lies within the margin can never be told apart from it".into());
    }
    if !BLOCK_MS.contains(&canary.block.ms()) {
        let message = format!("the block {} must be from 100ms to 60s", canary.block);
        found.add("HUM-043", &at("block"), message);
    }
    let least = canary.warmup.ms() + canary.soak.ms().max(canary.block.ms());
    if canary.deadline.ms() <= least {
        let message = format!(
            "the deadline {} leaves no time after warm-up {} and soak {}",
            canary.deadline, canary.warmup, canary.soak
        );
        found.add("HUM-044", &at("deadline"), message);
    }
}

/// `{name}` must have been captured by an earlier step of the same check.
fn captures(steps: &[Request], index: &str, found: &mut Found<'_>) {
    let mut known: Vec<&str> = vec![];
    for (step, request) in steps.iter().enumerate() {
        let step_index = step.to_string();
        for (name, key) in request.placeholders() {
            if known.contains(&name.as_str()) {
                continue;
            }
            let keys = ["smoke", index, "steps", &step_index, key];
            // A single request has no `steps` in the file, so the place is the check itself.
            let later = steps[step..].iter().any(|later| later.capture.contains_key(&name));
            let hint = match nearest(&name, known.iter().copied()) {
                Some(near) => format!("did you mean `{{{near}}}`?"),
                None if later => "capture it in an earlier step".into(),
                None => "add `capture` to an earlier step of the same check".into(),
            };
            found
                .add("HUM-050", &keys, format!("`{{{name}}}` is used before a step captures it"))
                .hint = Some(hint);
        }
        known.extend(request.capture.keys().map(String::as_str));
    }
}

impl Request {
    /// Names of `{name}` in path, headers and body, with the key of the manifest in which each stands.
    pub(super) fn placeholders(&self) -> Vec<(String, &'static str)> {
        let mut out: Vec<(String, &'static str)> = vec![];
        let mut scan = |text: &str, key: &'static str| {
            for name in placeholders_of(text) {
                if !out.iter().any(|(known, _)| known == name) {
                    out.push((name.into(), key));
                }
            }
        };
        scan(&self.path, self.method.key());
        self.headers.values().for_each(|value| scan(value, "headers"));
        match &self.body {
            Some(Body::Form(fields)) => fields.values().for_each(|value| scan(value, "form")),
            Some(Body::Json(json)) => texts_of(json, &mut |text| scan(text, "json")),
            None => {}
        }
        out
    }
}

fn texts_of(value: &serde_json::Value, visit: &mut impl FnMut(&str)) {
    match value {
        serde_json::Value::String(text) => visit(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts_of(item, visit)),
        serde_json::Value::Object(map) => map.values().for_each(|item| texts_of(item, visit)),
        _ => {}
    }
}

/// `{name}` with a name of letters, digits and `_`; other braces are text.
fn placeholders_of(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| {
        let name = rest.split_once('}')?.0;
        let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (word && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
    })
}

fn plain_absolute(path: &str) -> bool {
    let parts = path
        .strip_prefix('/')
        .map(|rest| rest.trim_end_matches('/').split('/').collect::<Vec<_>>());
    path.len() <= 1_000
        && !path.contains(char::is_control)
        && parts.is_some_and(|parts| {
            path == "/" || parts.iter().all(|part| !matches!(*part, "" | "." | ".."))
        })
}

fn inside_checkout(path: &str) -> bool {
    (1..=1_000).contains(&path.len())
        && !path.starts_with('/')
        && !path.contains(char::is_control)
        && path.split('/').all(|part| part != "..")
}
