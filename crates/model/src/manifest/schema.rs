//! The part of JSON Schema that `schemars` writes for the manifest's types, with references and options looked through.

use serde_json::{Map, Value};

use super::yaml::{Kind, Node};

/// A schema with what it refers to: the first layer that knows a keyword wins.
pub(super) struct Schema<'a> {
    layers: Vec<&'a Value>,
}

impl<'a> Schema<'a> {
    pub(super) fn new(schema: &'a Value, root: &'a Value) -> Self {
        let mut layers = vec![schema];
        // `schemars` never nests references or options deeper than this.
        while layers.len() < 8 {
            let last = layers[layers.len() - 1];
            let target = last["$ref"]
                .as_str()
                .and_then(|r| r.strip_prefix("#/$defs/"))
                .map(|name| &root["$defs"][name]);
            // `Option<T>` is written as T or null; what is absent is simply not written.
            let inner = last["anyOf"].as_array().and_then(|variants| match variants.as_slice() {
                [one, null] if null["type"] == "null" => Some(one),
                _ => None,
            });
            match target.or(inner) {
                Some(next) => layers.push(next),
                None => break,
            }
        }
        Self { layers }
    }

    pub(super) fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.layers.iter().find_map(|layer| layer.get(keyword))
    }

    /// The one type other than null.
    pub(super) fn kind(&self) -> Option<&'a str> {
        match self.get("type")? {
            Value::String(kind) => Some(kind),
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null")
            }
            _ => None,
        }
    }

    /// The forms to choose from.
    pub(super) fn variants(&self, root: &'a Value) -> Option<Vec<Schema<'a>>> {
        let last = self.layers[self.layers.len() - 1];
        let variants = last.get("anyOf")?.as_array()?;
        let real = variants.iter().filter(|variant| variant["type"] != "null");
        Some(real.map(|variant| Schema::new(variant, root)).collect())
    }

    /// Allowed texts of an enumeration.
    pub(super) fn choices(&self) -> Option<Vec<&'a str>> {
        if let Some(choices) = self.get("enum") {
            return Some(choices.as_array()?.iter().filter_map(Value::as_str).collect());
        }
        let choices: Vec<_> =
            self.get("oneOf")?.as_array()?.iter().filter_map(|v| v["const"].as_str()).collect();
        (!choices.is_empty()).then_some(choices)
    }

    pub(super) fn properties(&self) -> Option<&'a Map<String, Value>> {
        self.get("properties").and_then(Value::as_object)
    }

    pub(super) fn limit(&self, keyword: &str) -> Option<usize> {
        self.get(keyword).and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok())
    }

    pub(super) fn bound(&self, keyword: &str) -> Option<f64> {
        self.get(keyword).and_then(Value::as_f64)
    }

    /// In words, for "expected …".
    pub(super) fn words(&self) -> &'static str {
        match self.kind() {
            Some("object") => "a map",
            Some("array") => "a list",
            Some("integer") => "a whole number",
            Some("number") => "a number",
            Some("boolean") => "`true` or `false`",
            _ => "a text",
        }
    }
}

/// The form that a value was meant to have: by its kind, then by the keys that it has.
pub(super) fn choose<'s, 'a>(node: &Node, variants: &'s [Schema<'a>]) -> Option<&'s Schema<'a>> {
    let fitting = variants.iter().filter(|variant| match (&node.kind, variant.kind()) {
        (Kind::Map(_), kind) => kind == Some("object"),
        (Kind::List(_), kind) => kind == Some("array"),
        (Kind::Scalar { .. }, kind) => !node.is_null() && !matches!(kind, Some("object" | "array")),
    });
    fitting.max_by_key(|variant| {
        let known = variant.properties();
        let Kind::Map(entries) = &node.kind else { return (0, 0) };
        let hits = entries
            .iter()
            .filter(|entry| known.is_some_and(|known| known.contains_key(&entry.key)));
        (hits.count(), known.map_or(0, Map::len))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::manifest::Manifest;
    use crate::settings::Settings;

    /// What the checker obeys or may ignore; a new keyword must be taught to it first.
    const KEYWORDS: &[&str] = &[
        "$schema",
        "$defs",
        "$ref",
        "title",
        "description",
        "default",
        "examples",
        "type",
        "format",
        "const",
        "enum",
        "oneOf",
        "anyOf",
        "not",
        "required",
        "properties",
        "additionalProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "items",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "exclusiveMinimum",
    ];

    #[test]
    fn the_schema_has_no_keyword_that_the_checker_does_not_know() {
        fn walk(schema: &Value, path: &str) {
            for (keyword, value) in schema.as_object().into_iter().flatten() {
                assert!(KEYWORDS.contains(&keyword.as_str()), "{path} has `{keyword}`");
                match (keyword.as_str(), value) {
                    ("$defs" | "properties", Value::Object(named)) => {
                        named
                            .iter()
                            .for_each(|(name, schema)| walk(schema, &format!("{path}/{name}")));
                    }
                    ("oneOf" | "anyOf", Value::Array(schemas)) => {
                        schemas
                            .iter()
                            .for_each(|schema| walk(schema, &format!("{path}/{keyword}")));
                    }
                    ("items" | "additionalProperties" | "propertyNames" | "not", schema) => {
                        walk(schema, &format!("{path}/{keyword}"));
                    }
                    _ => {}
                }
            }
        }
        walk(Manifest::json_schema(), "manifest");
        walk(Settings::json_schema(), "settings");
    }

    #[test]
    fn every_section_refuses_unknown_keys() {
        for file in [Manifest::json_schema(), Settings::json_schema()] {
            let defs = file["$defs"].as_object().unwrap();
            for (name, schema) in defs.iter().filter(|(_, schema)| schema["type"] == "object") {
                assert_eq!(schema["additionalProperties"], false, "{name}");
            }
        }
    }
}
