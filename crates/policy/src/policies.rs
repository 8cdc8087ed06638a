//! Policies that were loaded: parsed, linted, tested, and then asked about facts.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use humdrum_model::gate::{Facts, GateSettings};
use humdrum_model::verdict::{Level, PolicyResult, PolicyVerdict};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};
use serde::Deserialize as _;
use serde_json::Value as Json;

use crate::document::Document;
use crate::error::PolicyError;
use crate::lint::{self, Module};
use crate::shipped::SHIPPED;
use crate::source::Sources;

/// Longest evaluation where no process watches, wall clock: ten times what 5,000 findings take on a slow machine.
pub const EVALUATION_MAX: Duration = Duration::from_secs(10);
/// Units of work between looks at the clock.
const LOOK_EVERY: u32 = 1_000;
/// Sentences of one evaluation; beyond this the policies are wrong, not the release.
const RESULTS_MAX: usize = 100_000;
/// The key of the data that holds [`GateSettings`].
const SETTINGS: &str = "gates";

/// A rule that speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Speaker {
    package: String,
    rule: String,
    level: Level,
}

/// Loaded policies.
pub struct Policies {
    engine: Engine,
    speakers: Vec<Speaker>,
    /// Packages with an `exception` rule.
    excepting: BTreeSet<String>,
    tests: Vec<String>,
    packages: Vec<String>,
    settings: GateSettings,
    digest: String,
}

impl Policies {
    /// The shipped policies and those of an installation. One of the installation replaces the shipped one of the same package.
    /// Its `test_*` rules are run, and all must pass.
    ///
    /// # Errors
    /// When a policy cannot be parsed, calls what is not there, or does not pass its tests, or when data or settings are wrong.
    pub fn load(own: &Sources) -> Result<Self, PolicyError> {
        let mut engine = bounded();
        add(&mut engine, &own.policies)?;
        let own_modules = lint::check(&engine)?;
        let replaced: BTreeSet<&str> =
            own_modules.iter().map(|module| module.package.as_str()).collect();
        let shipped: Vec<(String, String)> = SHIPPED
            .iter()
            .filter(|shipped| !replaced.contains(format!("humdrum.{}", shipped.name).as_str()))
            .map(|shipped| (format!("humdrum/{}.rego", shipped.name), shipped.text.to_owned()))
            .collect();
        add(&mut engine, &shipped)?;
        let modules = lint::check(&engine)?;
        let (data, settings) = data(&own.data)?;
        engine.add_data(data).map_err(|error| PolicyError::Settings {
            file: "data".into(),
            why: error.to_string(),
        })?;
        let all = Sources {
            policies: own.policies.iter().chain(&shipped).cloned().collect(),
            data: own.data.clone(),
        };
        let mut policies = Self::of(engine, &modules, settings, all.digest());
        // Prepared once, so that the copies for each evaluation need not be.
        query(&mut policies.engine, "true")?;
        policies.test()?;
        Ok(policies)
    }

    fn of(engine: Engine, modules: &[Module], settings: GateSettings, digest: String) -> Self {
        let mut speakers = vec![];
        let (mut excepting, mut tests, mut packages) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for module in modules {
            for rule in &module.rules {
                let package = module.package.clone();
                if let Some(level) = level(rule) {
                    packages.insert(package.clone());
                    speakers.push(Speaker { package, rule: rule.clone(), level });
                } else if rule == "exception" {
                    excepting.insert(package);
                } else if rule.starts_with("test_") {
                    tests.insert(format!("data.{package}.{rule}"));
                }
            }
        }
        speakers.sort_by(|a, b| (&a.package, &a.rule).cmp(&(&b.package, &b.rule)));
        speakers.dedup();
        Self {
            engine,
            speakers,
            excepting,
            tests: tests.into_iter().collect(),
            packages: packages.into_iter().collect(),
            settings,
            digest,
        }
    }

    /// What the data tells the gates.
    pub fn settings(&self) -> &GateSettings {
        &self.settings
    }

    /// Packages that have something to say.
    pub fn packages(&self) -> &[String] {
        &self.packages
    }

    /// How many `test_*` rules passed when they were loaded.
    pub fn tests(&self) -> usize {
        self.tests.len()
    }

    /// SHA-256 over all policies and data, hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    fn test(&mut self) -> Result<(), PolicyError> {
        for test in self.tests.clone() {
            let fail = |why: String| PolicyError::Test { test: test.clone(), why };
            let value = self.engine.eval_rule(test.clone());
            match value
                .map_err(|error| fail(PolicyError::of_engine(&error.to_string()).to_string()))?
            {
                Value::Bool(true) => {}
                Value::Undefined => return Err(fail("it is undefined".into())),
                other => return Err(fail(format!("it gives {other}"))),
            }
        }
        Ok(())
    }

    /// What the policies say about facts. Errors are verdicts that admit nothing.
    pub fn evaluate(&mut self, facts: &Facts) -> PolicyVerdict {
        match self.ask(facts) {
            Ok(results) => PolicyVerdict {
                at: facts.at,
                bundle: self.digest.clone(),
                packages: self.packages.clone(),
                results,
                failed: None,
            },
            Err(error) => error.verdict(facts.at),
        }
    }

    fn ask(&mut self, facts: &Facts) -> Result<Vec<PolicyResult>, PolicyError> {
        let document = serde_json::to_string(&Document::of(facts)).map_err(broken)?;
        let input = Value::from_json_str(&document).map_err(broken)?;
        let now_ns = i64::try_from(facts.at.as_nanosecond()).unwrap_or(i64::MAX);
        self.say(input, now_ns)
    }

    /// Asks every rule about any input; `now_ns` is what `time.now_ns()` gives.
    ///
    /// # Errors
    /// When a rule fails, runs too long, or says something that is no sentence.
    pub fn say(&mut self, input: Value, now_ns: i64) -> Result<Vec<PolicyResult>, PolicyError> {
        // An extension cannot be taken back, so that each evaluation has an engine of its own; the parsed policies are shared.
        let mut engine = self.engine.clone();
        let clock = move |_: Vec<Value>| Ok(Value::from(now_ns));
        engine.add_extension("time.now_ns".into(), 0, Box::new(clock)).map_err(broken)?;
        engine.set_input(input);
        let mut said = vec![];
        for (speaker, value) in self.answers(&mut engine)? {
            let excepted = self.excepting.contains(&speaker.package)
                && self.exceptions(&mut engine, &speaker.package)?.contains(stem(&speaker.rule));
            let level = if excepted && speaker.level == Level::Deny {
                Level::Exception
            } else {
                speaker.level
            };
            speak(speaker, level, &value, &mut said)?;
        }
        Ok(said)
    }

    /// The value of every speaking rule, in one query, so that what they share is worked out once.
    fn answers(&self, engine: &mut Engine) -> Result<Vec<(&Speaker, Value)>, PolicyError> {
        let parts: Vec<String> = self
            .speakers
            .iter()
            .map(|speaker| format!("[x | x := data.{}.{}]", speaker.package, speaker.rule))
            .collect();
        if parts.is_empty() {
            return Ok(vec![]);
        }
        let value = query(engine, &format!("[{}]", parts.join(",\n")))?;
        let values = value.as_array().map_err(broken)?;
        let answered = self.speakers.iter().zip(values.iter()).filter_map(|(speaker, found)| {
            Some((speaker, found.as_array().ok()?.first()?.clone()))
        });
        Ok(answered.collect())
    }

    /// Conftest's exceptions: `exception contains ["name"] if …` covers `deny_name` and `violation_name` of its package, `["deny"]` the plain one.
    fn exceptions(
        &self,
        engine: &mut Engine,
        package: &str,
    ) -> Result<BTreeSet<String>, PolicyError> {
        let value = query(engine, &format!("[name | name := data.{package}.exception[_][_]]"))?;
        let names = value.as_array().map_err(broken)?.iter();
        Ok(names.filter_map(|name| name.as_string().ok().map(|name| name.to_string())).collect())
    }
}

fn broken(error: impl std::fmt::Display) -> PolicyError {
    PolicyError::Evaluation { why: error.to_string() }
}

fn bounded() -> Engine {
    let mut engine = Engine::new();
    // A built-in that fails is an error, not "undefined": a denial must not vanish because its input is odd.
    engine.set_strict_builtin_errors(true);
    let check_interval = NonZeroU32::new(LOOK_EVERY).expect("is not 0");
    engine
        .set_execution_timer_config(ExecutionTimerConfig { limit: EVALUATION_MAX, check_interval });
    engine
}

fn add(engine: &mut Engine, files: &[(String, String)]) -> Result<(), PolicyError> {
    for (path, text) in files {
        engine
            .add_policy(path.clone(), text.clone())
            .map_err(|error| PolicyError::of_engine(&error.to_string()))?;
    }
    Ok(())
}

fn query(engine: &mut Engine, text: &str) -> Result<Value, PolicyError> {
    let results = engine.eval_query(text.into(), false).map_err(|error| {
        let text = format!("{error:#}");
        if text.contains("execution exceeded time limit") {
            PolicyError::Time { seconds: EVALUATION_MAX.as_secs() }
        } else {
            PolicyError::Evaluation { why: PolicyError::of_engine(&text).to_string() }
        }
    })?;
    let value = results.result.first().and_then(|result| result.expressions.first());
    value
        .map(|value| value.value.clone())
        .ok_or_else(|| PolicyError::Evaluation { why: "the policies gave no answer".into() })
}

/// Conftest's rule names: `deny`, `violation` and `warn`, with or without `_suffix`.
fn level(rule: &str) -> Option<Level> {
    let (first, rest) = rule.split_once('_').unwrap_or((rule, ""));
    if !rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    match first {
        "deny" | "violation" => Some(Level::Deny),
        "warn" => Some(Level::Warn),
        _ => None,
    }
}

/// What an exception calls a rule: its name without `deny_` or `violation_`.
fn stem(rule: &str) -> &str {
    rule.strip_prefix("deny_").or_else(|| rule.strip_prefix("violation_")).unwrap_or(rule)
}

fn speak(
    speaker: &Speaker,
    level: Level,
    value: &Value,
    said: &mut Vec<PolicyResult>,
) -> Result<(), PolicyError> {
    let shape = |found: String| PolicyError::Shape {
        rule: format!("data.{}.{}", speaker.package, speaker.rule),
        found,
    };
    let items: Vec<&Value> = match value {
        Value::Set(items) => items.iter().collect(),
        Value::Array(items) => items.iter().collect(),
        other => return Err(shape(excerpt(other))),
    };
    for item in items {
        let json = serde_json::to_value(item).map_err(broken)?;
        said.push(sentence(speaker, level, &json).ok_or_else(|| shape(excerpt(item)))?);
        if said.len() > RESULTS_MAX {
            return Err(PolicyError::TooLarge {
                what: "what the policies say".into(),
                max: format!("{RESULTS_MAX} sentences"),
            });
        }
    }
    Ok(())
}

fn sentence(speaker: &Speaker, level: Level, item: &Json) -> Option<PolicyResult> {
    let msg = item.as_str().or_else(|| item.get("msg")?.as_str())?.to_owned();
    let text = |key: &str| item.get(key).and_then(Json::as_str).map(ToOwned::to_owned);
    let names = item.get("names").and_then(Json::as_array).into_iter().flatten();
    Some(PolicyResult {
        level,
        package: speaker.package.clone(),
        rule: text("rule").unwrap_or_else(|| format!("{}/{}", speaker.package, speaker.rule)),
        msg,
        fingerprint: text("fingerprint"),
        names: names.filter_map(Json::as_str).map(ToOwned::to_owned).collect(),
        evidence: text("evidence"),
        since: text("since").and_then(|since| since.parse().ok()),
        owner: text("owner"),
        fix: text("fix"),
    })
}

/// A value for a message: what matters is its kind, not all of it.
fn excerpt(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// All data as one document, and the part of it that is for the gates.
fn data(files: &[(String, String)]) -> Result<(Value, GateSettings), PolicyError> {
    let mut all = Json::Object(serde_json::Map::new());
    let mut settings = GateSettings::default();
    for (path, text) in files {
        let fail = |why: String| PolicyError::Settings { file: path.clone(), why };
        let value = if path.ends_with(".json") {
            serde_json::from_str(text).map_err(|error| fail(error.to_string()))?
        } else {
            let value = Value::from_yaml_str(text).map_err(|error| fail(error.to_string()))?;
            serde_json::to_value(value).map_err(|error| fail(error.to_string()))?
        };
        if value.is_null() {
            continue;
        }
        if let Some(own) = value.get(SETTINGS).filter(|_| !path.contains('/')) {
            settings = GateSettings::deserialize(own).map_err(|error| fail(error.to_string()))?;
        }
        let folders = path.split('/').rev().skip(1);
        let value = folders.fold(value, |inner, folder| serde_json::json!({ folder: inner }));
        merge(&mut all, value).map_err(fail)?;
    }
    let value = serde_json::from_value(all).map_err(broken)?;
    Ok((value, settings))
}

fn merge(into: &mut Json, from: Json) -> Result<(), String> {
    match (into, from) {
        (Json::Object(into), Json::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(own) => merge(own, value).map_err(|why| format!("`{key}`: {why}"))?,
                    None => {
                        into.insert(key, value);
                    }
                }
            }
            Ok(())
        }
        _ => Err("two data files say different things".into()),
    }
}
