//! Refuses, before anything is evaluated, what the engine would leave undefined: a `deny` that asks an absent built-in would never deny.
//!
//! Which built-ins there are is asked of the engine itself. Only what it has and must not be used is listed here.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Engine;
use serde_json::Value;

use crate::error::{PolicyError, Spot};

/// Built-ins that the engine has and a verdict must not depend on.
const REFUSED: [(&str, &str); 2] = [
    ("rand.intn", "the same facts must give the same verdict"),
    ("uuid.rfc4122", "the same facts must give the same verdict"),
];

/// What a module defines, as far as others can see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    pub file: String,
    /// `main`, `humdrum.scans`.
    pub package: String,
    /// Names of its rules and functions, once each.
    pub rules: BTreeSet<String>,
}

/// A call of a function that is neither a rule's local nor an operator.
struct Call {
    name: String,
    at: Spot,
    module: usize,
}

/// Reads what the modules define, and refuses calls of functions that are not there.
///
/// # Errors
/// [`PolicyError::Builtin`] or [`PolicyError::Function`], with the first place in the order of the files.
pub fn check(engine: &Engine) -> Result<Vec<Module>, PolicyError> {
    let text =
        engine.get_ast_as_json().map_err(|error| PolicyError::of_engine(&error.to_string()))?;
    let trees: Vec<Value> = serde_json::from_str(&text)
        .map_err(|error| PolicyError::Evaluation { why: error.to_string() })?;
    let (mut modules, mut calls, mut imports) = (vec![], vec![], vec![]);
    for (index, tree) in trees.iter().enumerate() {
        let file = tree.pointer("/source/file").and_then(Value::as_str).unwrap_or_default();
        let ast = &tree["ast"];
        let mut module = Module {
            file: file.into(),
            package: path(&ast["package"]["refr"]).unwrap_or_default(),
            rules: BTreeSet::new(),
        };
        for rule in ast["rules"].as_array().into_iter().flatten() {
            let head = rule.pointer("/Spec/head").unwrap_or(&rule["Default"]);
            module.rules.extend(refr(head).and_then(path));
        }
        collect_calls(&ast["rules"], file, index, &mut calls);
        let text = tree.pointer("/source/contents").and_then(Value::as_str).unwrap_or_default();
        imports.push(aliases(&ast["imports"], text));
        modules.push(module);
    }
    let defined: BTreeSet<String> = modules
        .iter()
        .flat_map(|module| {
            module.rules.iter().map(move |rule| format!("data.{}.{rule}", module.package))
        })
        .collect();
    let mut known = BTreeMap::new();
    for call in &calls {
        let own = &modules[call.module];
        if is_defined(&call.name, own, &imports[call.module], &defined) {
            continue;
        }
        let status = known.entry(call.name.clone()).or_insert_with(|| ask(&call.name));
        let (at, name) = (call.at.clone(), call.name.clone());
        match *status {
            Status::There => {}
            Status::Absent
                if name.starts_with("data.") || imports[call.module].contains_key(root(&name)) =>
            {
                return Err(PolicyError::Function { at, name });
            }
            Status::Absent => {
                let why = "this engine does not have it, and its rule would never speak";
                return Err(PolicyError::Builtin { at, name, why });
            }
            Status::Refused(why) => return Err(PolicyError::Builtin { at, name, why }),
        }
    }
    Ok(modules)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    There,
    Absent,
    Refused(&'static str),
}

/// Whether the engine has a built-in: called without arguments, one that is there complains about them or answers.
pub fn ask(name: &str) -> Status {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Status::Refused(why);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if !name.chars().all(plain) {
        return Status::Absent;
    }
    match Engine::new().eval_query(format!("{name}()"), false) {
        Err(error) if error.to_string().contains("could not find function") => Status::Absent,
        // A built-in that gives nothing at all is a stub.
        Ok(results) if results.result.is_empty() && name != "print" => Status::Absent,
        _ => Status::There,
    }
}

fn is_defined(
    name: &str,
    own: &Module,
    imports: &BTreeMap<String, String>,
    defined: &BTreeSet<String>,
) -> bool {
    let full = match name.split_once('.') {
        _ if name.starts_with("data.") => name.to_owned(),
        Some((first, rest)) if imports.contains_key(first) => format!("{}.{rest}", imports[first]),
        None if imports.contains_key(name) => imports[name].clone(),
        _ => format!("data.{}.{name}", own.package),
    };
    defined.contains(&full)
}

fn root(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// What `import data.lib.f as g` makes of `g`.
fn aliases(imports: &Value, text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for import in imports.as_array().into_iter().flatten() {
        let Some(target) = path(&import["refr"]) else { continue };
        if !target.starts_with("data.") {
            continue;
        }
        // The tree has only the place of the alias.
        let place = |key: &str| usize::try_from(import["as"][key].as_u64()?).ok();
        let alias = place("start").zip(place("end")).and_then(|(start, end)| text.get(start..end));
        let alias = alias.map(ToOwned::to_owned);
        let last = target.rsplit('.').next().unwrap_or(&target).to_owned();
        found.insert(alias.unwrap_or(last), target);
    }
    found
}

/// The reference of a rule's head, whatever kind of head it is.
fn refr(head: &Value) -> Option<&Value> {
    if let Some(refr) = head.get("refr") {
        return Some(refr);
    }
    head.as_object()?.values().find_map(|kind| kind.get("refr"))
}

/// A reference without variables as dotted text; a bracketed name counts as a dotted one.
fn path(expression: &Value) -> Option<String> {
    let (kind, inner) = expression.as_object()?.iter().next()?;
    match kind.as_str() {
        "Var" => inner["value"].as_str().map(ToOwned::to_owned),
        "RefDot" => Some(format!("{}.{}", path(&inner["refr"])?, inner["field"][1].as_str()?)),
        "RefBrack" => match inner["index"].pointer("/String/value").and_then(Value::as_str) {
            Some(name) => Some(format!("{}.{name}", path(&inner["refr"])?)),
            // `rule[x]` in a head: the rule's name is what stands before.
            None => path(&inner["refr"]),
        },
        _ => None,
    }
}

fn collect_calls(value: &Value, file: &str, module: usize, calls: &mut Vec<Call>) {
    match value {
        Value::Array(items) => {
            items.iter().for_each(|item| collect_calls(item, file, module, calls));
        }
        Value::Object(fields) => {
            for (key, inner) in fields {
                if key == "Call"
                    && let Some(name) = path(&inner["fcn"])
                {
                    calls.push(Call { name, at: spot(&inner["fcn"], file), module });
                }
                collect_calls(inner, file, module, calls);
            }
        }
        _ => {}
    }
}

/// The start of a reference: its leftmost part.
fn spot(expression: &Value, file: &str) -> Spot {
    let mut part = expression;
    while let Some(inner) = part.pointer("/RefDot/refr").or_else(|| part.pointer("/RefBrack/refr"))
    {
        part = inner;
    }
    let span = part.as_object().and_then(|kinds| kinds.values().next()).map(|inner| &inner["span"]);
    let number = |key: &str| {
        let number = span.and_then(|span| span[key].as_u64());
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
    };
    Spot { file: file.into(), line: number("line"), column: number("col") }
}
