//! What no schema can say: rules across the fields of the settings.

use std::collections::BTreeMap;

use super::{EnvironmentSettings, Settings};
use crate::manifest::yaml::Document;
use crate::manifest::{Problem, nearest};
use crate::name::EnvName;

/// Every broken rule.
pub(super) fn check(settings: &Settings, document: &Document) -> Vec<Problem> {
    let mut problems = vec![];
    known(settings, document, &mut problems);
    addresses(
        settings,
        document,
        "docker_registry",
        |e| e.docker_registry.as_deref(),
        &mut problems,
    );
    addresses(settings, document, "package_repo", |e| e.package_repo.as_deref(), &mut problems);
    open_to_nobody(settings, document, &mut problems);
    problems
}

/// Rights in an environment that was misspelt would be rights nobody has.
fn known(settings: &Settings, document: &Document, problems: &mut Vec<Problem>) {
    if settings.environments.is_empty() {
        return;
    }
    for name in settings.repositories.keys() {
        if settings.environments.contains_key(name) {
            continue;
        }
        let known = || settings.environments.keys().map(EnvName::as_str);
        let hint = match nearest(name.as_str(), known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("environments: {}", known().collect::<Vec<_>>().join(", ")),
        };
        let keys = ["repositories", name.as_str()];
        let message = format!("rights are given in `{name}`, which is not under `environments`");
        problems.push(Problem::at("HUM-070", document, &keys, message).hint(hint));
    }
}

/// The address chooses the environment, so two environments cannot share one.
fn addresses(
    settings: &Settings,
    document: &Document,
    key: &str,
    address: impl Fn(&EnvironmentSettings) -> Option<&str>,
    problems: &mut Vec<Problem>,
) {
    let mut seen: BTreeMap<String, &EnvName> = BTreeMap::new();
    for (name, environment) in &settings.environments {
        let Some(address) = address(environment) else { continue };
        if let Some(other) = seen.insert(address.to_ascii_lowercase(), name) {
            let keys = ["environments", name.as_str(), key];
            let message = format!("`{other}` and `{name}` have the same `{key}`, `{address}`");
            let hint = "the address chooses the environment: give each its own, or leave it out";
            problems.push(Problem::at("HUM-071", document, &keys, message).hint(hint));
        }
    }
}

fn open_to_nobody(settings: &Settings, document: &Document, problems: &mut Vec<Problem>) {
    for name in settings.environments.keys() {
        let access = settings.repositories.get(name);
        if access.is_some_and(|a| !(a.read.is_empty() && a.write.is_empty() && a.admin.is_empty()))
        {
            continue;
        }
        let keys = ["environments", name.as_str()];
        let message = format!("nobody but the installation's owner has a right in `{name}`");
        let hint = format!("write `repositories.{name}: {{ read: […], write: […], admin: […] }}`");
        problems.push(Problem::at("HUM-072", document, &keys, message).hint(hint).warning());
    }
}
