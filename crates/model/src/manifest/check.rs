//! A tree against a schema: every structural problem at once, each with its place, and the typed value for serde.
//!
//! Knows the part of JSON Schema that `schemars` writes for the types of the manifest and the settings; a test holds the schemas to that part.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

use super::format::{self, shorten};
use super::nearest::nearest;
use super::problem::Problem;
use super::schema::{Schema, choose};
use super::yaml::{Document, Entry, Kind, Node, Place, join};

/// More problems than this help nobody.
const PROBLEMS_MAX: usize = 50;

/// Checks a document; the value is meaningful only when there is no problem. `what` is the file in messages: `the manifest`.
pub(crate) fn against_schema<'a>(
    document: &Document,
    schema: &'a Value,
    what: &'a str,
) -> (Value, Vec<Problem>) {
    let mut checker = Checker { root: schema, what, problems: vec![] };
    let value = checker.node(&document.root, &Schema::new(schema, schema), "");
    checker.problems.truncate(PROBLEMS_MAX);
    (value, checker.problems)
}

struct Checker<'a> {
    root: &'a Value,
    what: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn problem(
        &mut self,
        code: &'static str,
        place: Place,
        path: &str,
        message: String,
        hint: Option<String>,
    ) {
        let mut problem = Problem::new(code, place, path, message);
        problem.hint = hint;
        self.problems.push(problem);
    }

    /// Null stands for "a problem was reported", and is never looked at.
    fn node(&mut self, node: &Node, schema: &Schema<'a>, path: &str) -> Value {
        if self.problems.len() >= PROBLEMS_MAX {
            return Value::Null;
        }
        if let Some(variants) = schema.variants(self.root) {
            return match choose(node, &variants) {
                Some(variant) => self.node(node, variant, path),
                None => self.wrong_kind(node, path, &words_of(&variants)),
            };
        }
        match schema.kind() {
            None if schema.choices().is_none() => self.any(node, path),
            Some("object") => self.map(node, schema, path),
            Some("array") => self.list(node, schema, path),
            _ => self.scalar(node, schema, path),
        }
    }

    fn wrong_kind(&mut self, node: &Node, path: &str, expected: &str) -> Value {
        let name = if path.is_empty() { self.what.to_owned() } else { format!("`{path}`") };
        let (found, hint) = match &node.kind {
            _ if node.is_null() => {
                ("is empty".into(), Some("write a value or remove the key".into()))
            }
            Kind::Scalar { text, plain } => {
                (format!("is `{}`", shorten(text)), scalar_hint(text, *plain, expected))
            }
            Kind::List(_) => ("is a list".into(), None),
            Kind::Map(_) => ("is a map".into(), None),
        };
        let message = format!("{name} {found}; expected {expected}");
        self.problem("HUM-012", node.place, path, message, hint);
        Value::Null
    }

    fn list(&mut self, node: &Node, schema: &Schema<'a>, path: &str) -> Value {
        let Kind::List(items) = &node.kind else { return self.wrong_kind(node, path, "a list") };
        self.length(node.place, path, items.len(), schema, ["minItems", "maxItems"], "entries");
        let Some(item) = schema.get("items") else { return self.any(node, path) };
        let item = Schema::new(item, self.root);
        let values = items
            .iter()
            .enumerate()
            .map(|(i, node)| self.node(node, &item, &format!("{path}[{i}]")));
        Value::Array(values.collect())
    }

    fn map(&mut self, node: &Node, schema: &Schema<'a>, path: &str) -> Value {
        let required =
            schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let entries = match &node.kind {
            Kind::Map(entries) => entries.as_slice(),
            // `dev:` with nothing behind it takes every default.
            _ if node.is_null() && required.is_empty() => &[],
            _ => {
                let before = self.problems.len();
                let null = self.wrong_kind(node, path, "a map");
                if let Some(problem) = self.problems.get_mut(before) {
                    problem.hint = problem.hint.take().or_else(|| key_hint(node, schema));
                }
                return null;
            }
        };
        let properties = schema.properties();
        let others =
            schema.get("additionalProperties").filter(|others| **others != Value::Bool(false));
        let mut seen: HashMap<&str, Place> = HashMap::new();
        let mut out = Map::new();
        for entry in entries {
            let inner = join(path, &entry.key);
            if let Some(first) = seen.insert(&entry.key, entry.place) {
                let message = format!(
                    "`{}` is written twice; the first is in line {}",
                    shorten(&entry.key),
                    first.line
                );
                self.problem("HUM-004", entry.place, &inner, message, None);
                continue;
            }
            let known = properties.and_then(|properties| properties.get(&entry.key));
            let Some(value) = known.or(others) else {
                self.unknown(entry, properties, &inner);
                continue;
            };
            if known.is_none() {
                self.key(entry, schema, &inner);
            }
            let checked = self.node(&entry.value, &Schema::new(value, self.root), &inner);
            out.insert(entry.key.clone(), checked);
        }
        for key in required.iter().filter_map(Value::as_str).filter(|key| !seen.contains_key(key)) {
            let what = if path.is_empty() { self.what.to_owned() } else { format!("`{path}`") };
            self.problem(
                "HUM-011",
                node.place,
                path,
                format!("{what} has no `{key}`"),
                missing_hint(schema, key),
            );
        }
        self.length(
            node.place,
            path,
            entries.len(),
            schema,
            ["minProperties", "maxProperties"],
            "entries",
        );
        self.exclusive(node.place, path, schema, &seen);
        Value::Object(out)
    }

    fn unknown(&mut self, entry: &Entry, properties: Option<&'a Map<String, Value>>, path: &str) {
        let known: Vec<&str> =
            properties.iter().flat_map(|map| map.keys()).map(String::as_str).collect();
        let hint = match nearest(&entry.key, known.iter().copied()) {
            _ if entry.key == "<<" => "merge keys are not used here; write the values out".into(),
            Some(near) => format!("did you mean `{near}`?"),
            None => match self.home_of(&entry.key) {
                Some(section) => format!("`{}` belongs under `{section}`", entry.key),
                None if known.is_empty() => "nothing can be set here".into(),
                None => format!("known here: {}", known.join(", ")),
            },
        };
        let message = format!("unknown key `{}`", shorten(&entry.key));
        self.problem("HUM-010", entry.place, path, message, Some(hint));
    }

    /// The section of the manifest that has this key.
    fn home_of(&self, key: &str) -> Option<&'a str> {
        let sections = self.root["properties"].as_object()?;
        let mut homes = sections.iter().filter(|(_, section)| {
            Schema::new(section, self.root)
                .properties()
                .is_some_and(|known| known.contains_key(key))
        });
        homes.next().map(|(name, _)| name.as_str())
    }

    fn key(&mut self, entry: &Entry, schema: &Schema<'a>, path: &str) {
        let format = schema.get("propertyNames").and_then(|names| names["format"].as_str());
        if let Some(Err(why)) = format.map(|format| format::text(format, &entry.key)) {
            self.problem("HUM-016", entry.place, path, why, None);
        }
    }

    /// `oneOf: [{required: [a]}, …]` and `not: {required: [a, b]}`.
    fn exclusive(
        &mut self,
        place: Place,
        path: &str,
        schema: &Schema<'a>,
        seen: &HashMap<&str, Place>,
    ) {
        let keys_of = |value: &'a Value| -> Vec<&'a str> {
            value["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let alternatives: Vec<&str> = schema
            .get("oneOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .flat_map(keys_of)
            .collect();
        let given: Vec<&str> =
            alternatives.iter().copied().filter(|key| seen.contains_key(key)).collect();
        if !alternatives.is_empty() && given.len() != 1 {
            let found = if given.is_empty() { "none".into() } else { given.join(" and ") };
            let place = given.get(1).map_or(place, |second| seen[second]);
            let message =
                format!("exactly one of {} must be given; found {found}", alternatives.join(", "));
            self.problem("HUM-017", place, path, message, None);
        }
        let together: Vec<&str> = schema.get("not").map(keys_of).unwrap_or_default();
        if !together.is_empty() && together.iter().all(|key| seen.contains_key(key)) {
            let message = format!("only one of {} may be given", together.join(", "));
            self.problem("HUM-017", seen[together[together.len() - 1]], path, message, None);
        }
    }

    fn length(
        &mut self,
        place: Place,
        path: &str,
        found: usize,
        schema: &Schema<'a>,
        limits: [&str; 2],
        of: &str,
    ) {
        let min = schema.limit(limits[0]).filter(|min| found < *min);
        let max = schema.limit(limits[1]).filter(|max| found > *max);
        let message = match (min, max) {
            (Some(min), _) => format!("`{path}` has {found} {of}; it needs at least {min}"),
            (_, Some(max)) => format!("`{path}` has {found} {of}; it may have at most {max}"),
            _ => return,
        };
        self.problem("HUM-015", place, path, message, None);
    }

    fn scalar(&mut self, node: &Node, schema: &Schema<'a>, path: &str) -> Value {
        let Kind::Scalar { text, plain } = &node.kind else {
            return self.wrong_kind(node, path, schema.words());
        };
        if node.is_null() {
            return self.wrong_kind(node, path, schema.words());
        }
        match schema.kind() {
            Some("integer") => match text.parse::<i64>().ok().filter(|_| *plain) {
                Some(number) => {
                    self.number(node, schema, path, number as f64, Number::from(number))
                }
                None => self.wrong_kind(node, path, "a whole number"),
            },
            Some("number") => match text.parse::<f64>().ok().filter(|n| *plain && n.is_finite()) {
                Some(number) => match Number::from_f64(number) {
                    Some(exact) => self.number(node, schema, path, number, exact),
                    None => self.wrong_kind(node, path, "a number"),
                },
                None => self.wrong_kind(node, path, "a number"),
            },
            Some("boolean") => match text.as_str() {
                "true" if *plain => Value::Bool(true),
                "false" if *plain && schema.get("const").is_none() => Value::Bool(false),
                "false" if *plain => self.wrong_kind(node, path, "`true`, or no such key"),
                _ => self.wrong_kind(node, path, "`true` or `false`"),
            },
            _ => self.text(node, schema, path, text),
        }
    }

    fn number(
        &mut self,
        node: &Node,
        schema: &Schema<'a>,
        path: &str,
        number: f64,
        exact: Number,
    ) -> Value {
        let range = [
            ("minimum", "at least", schema.bound("minimum").filter(|b| number < *b)),
            ("maximum", "at most", schema.bound("maximum").filter(|b| number > *b)),
            (
                "exclusiveMinimum",
                "more than",
                schema.bound("exclusiveMinimum").filter(|b| number <= *b),
            ),
        ];
        if let Some((_, words, Some(bound))) =
            range.into_iter().find(|(.., broken)| broken.is_some())
        {
            let message = format!("`{path}` is {exact}; it must be {words} {bound}");
            self.problem("HUM-014", node.place, path, message, None);
            return Value::Null;
        }
        if let Some(Err(why)) =
            schema.get("format").and_then(Value::as_str).map(|f| format::number(f, number))
        {
            self.problem("HUM-016", node.place, path, why, None);
        }
        Value::Number(exact)
    }

    fn text(&mut self, node: &Node, schema: &Schema<'a>, path: &str, text: &str) -> Value {
        if let Some(choices) = schema.choices() {
            if !choices.contains(&text) {
                let hint = match nearest(text, choices.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("allowed: {}", choices.join(", ")),
                };
                let message =
                    format!("`{path}` is `{}`, which is not one of those allowed", shorten(text));
                self.problem("HUM-013", node.place, path, message, Some(hint));
            }
            return Value::String(text.into());
        }
        if let Some(Err(why)) =
            schema.get("format").and_then(Value::as_str).map(|f| format::text(f, text))
        {
            self.problem("HUM-016", node.place, path, why, None);
        }
        self.length(
            node.place,
            path,
            text.chars().count(),
            schema,
            ["minLength", "maxLength"],
            "characters",
        );
        Value::String(text.into())
    }

    /// A value that the manifest only carries: the core schema of YAML 1.2 decides what a plain scalar is.
    fn any(&mut self, node: &Node, path: &str) -> Value {
        match &node.kind {
            Kind::List(items) => {
                let values = items
                    .iter()
                    .enumerate()
                    .map(|(i, node)| self.any(node, &format!("{path}[{i}]")));
                Value::Array(values.collect())
            }
            Kind::Map(entries) => {
                let mut out = Map::new();
                for entry in entries {
                    let inner = join(path, &entry.key);
                    let value = self.any(&entry.value, &inner);
                    if out.insert(entry.key.clone(), value).is_some() {
                        let message = format!("`{}` is written twice", shorten(&entry.key));
                        self.problem("HUM-004", entry.place, &inner, message, None);
                    }
                }
                Value::Object(out)
            }
            Kind::Scalar { text, plain: false } => Value::String(text.clone()),
            Kind::Scalar { .. } if node.is_null() => Value::Null,
            Kind::Scalar { text, .. } => core_scalar(text),
        }
    }
}

fn core_scalar(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    match text.parse::<f64>().ok().filter(|_| numeric).and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.into()),
    }
}

fn words_of(variants: &[Schema<'_>]) -> String {
    let mut words: Vec<&str> = variants.iter().map(Schema::words).collect();
    words.dedup();
    words.join(" or ")
}

/// The way from what was written to what was probably meant.
fn scalar_hint(text: &str, plain: bool, expected: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match expected {
        "a list" if !words.is_empty() => Some(format!("write [{}]", shorten(&words.join(", ")))),
        "a whole number" | "a number" if !plain && text.parse::<f64>().is_ok() => {
            Some("remove the quotes".into())
        }
        "`true` or `false`" if matches!(text.to_ascii_lowercase().as_str(), "yes" | "on") => {
            Some("write `true`".into())
        }
        "`true` or `false`" if matches!(text.to_ascii_lowercase().as_str(), "no" | "off") => {
            Some("write `false`".into())
        }
        _ => None,
    }
}

/// A key that was written as a value: `rollout: all_at_once` for `rollout: { all_at_once: {} }`.
fn key_hint(node: &Node, schema: &Schema<'_>) -> Option<String> {
    let Kind::Scalar { text, .. } = &node.kind else { return None };
    schema.properties()?.contains_key(text.as_str()).then(|| format!("write `{{ {text}: {{}} }}`"))
}

/// What a missing key is for, in the words of its own documentation.
fn missing_hint(schema: &Schema<'_>, key: &str) -> Option<String> {
    let description = schema.properties()?.get(key)?["description"].as_str()?;
    let first = description.split_inclusive(". ").next().unwrap_or(description);
    Some(format!("`{key}`: {}", first.trim()))
}
