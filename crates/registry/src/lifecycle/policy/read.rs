//! From JSON to rules: structure, kinds and ranges, then what one rule may combine.

use serde_json::{Map, Value};

use super::{
    ARCHIVE_DAYS_MIN, Count, Policy, PolicyError, RULES_MAX, Rule, RuleAction, Selection,
    StorageClass, TagStatus, WILDCARDS_MAX, keys, listed,
};

pub(super) fn document(document: &Map<String, Value>) -> Result<Policy, PolicyError> {
    keys(document, "", &["rules"], &[])?;
    let rules = array(&document["rules"], "/rules")?;
    if rules.is_empty() {
        return Err(PolicyError::new(
            "/rules",
            "array is too short: must have at least 1 elements but instance has 0 elements",
        ));
    }
    if rules.len() > RULES_MAX {
        let why = format!(
            "array is too long: must have at most {RULES_MAX} elements but instance has {} elements",
            rules.len()
        );
        return Err(PolicyError::new("/rules", why));
    }
    let rules =
        rules.iter().enumerate().map(|(index, value)| rule(value, &format!("/rules/{index}")));
    Ok(Policy { rules: rules.collect::<Result<_, _>>()? })
}

fn rule(value: &Value, at: &str) -> Result<Rule, PolicyError> {
    let object = object(value, at)?;
    keys(object, at, &["rulePriority", "selection", "action"], &["description"])?;
    let priority = number(&object["rulePriority"], &format!("{at}/rulePriority"), 1)?;
    let description = match object.get("description") {
        Some(value) => Some(text(value, &format!("{at}/description"))?.to_owned()),
        None => None,
    };
    let action = action(&object["action"], &format!("{at}/action"))?;
    let selection = selection(&object["selection"], &format!("{at}/selection"))?;
    fits(&selection, action, at)?;
    Ok(Rule { priority, description, selection, action })
}

fn action(value: &Value, at: &str) -> Result<RuleAction, PolicyError> {
    let object = object(value, at)?;
    keys(object, at, &["type"], &["targetStorageClass"])?;
    let kind = choice(&object["type"], &format!("{at}/type"), &["expire", "transition"])?;
    let target = match object.get("targetStorageClass") {
        Some(value) => Some(choice(value, &format!("{at}/targetStorageClass"), &["archive"])?),
        None => None,
    };
    match (kind, target) {
        ("expire", None) => Ok(RuleAction::Expire),
        ("expire", Some(_)) => Err(PolicyError::new(
            at,
            "object instance has properties which are not allowed by the schema: ([\"targetStorageClass\"])",
        )
        .hint("`targetStorageClass` belongs to the type `transition`")),
        (_, Some(_)) => Ok(RuleAction::Transition),
        (_, None) => Err(PolicyError::new(
            at,
            "object has missing required properties ([\"targetStorageClass\"])",
        )
        .hint("a transition names where to: `\"targetStorageClass\": \"archive\"`")),
    }
}

fn selection(value: &Value, at: &str) -> Result<Selection, PolicyError> {
    let object = object(value, at)?;
    let optional = ["tagPatternList", "tagPrefixList", "storageClass", "countUnit"];
    keys(object, at, &["tagStatus", "countType", "countNumber"], &optional)?;
    let tags = tag_status(object, at)?;
    let class = match object.get("storageClass") {
        Some(value) => {
            Some(choice(value, &format!("{at}/storageClass"), &["archive", "standard"])?)
        }
        None => None,
    };
    if let Some(unit) = object.get("countUnit") {
        choice(unit, &format!("{at}/countUnit"), &["days"])?;
    }
    let days = number(&object["countNumber"], &format!("{at}/countNumber"), 1)?;
    let count = count(object, at, days)?;
    let class = match (count, class) {
        (Count::Transitioned(_), Some("archive")) => StorageClass::Archive,
        (Count::Transitioned(_), _) => {
            return Err(PolicyError::new(
                at,
                "storageClass must be archive when countType is sinceImageTransitioned",
            )
            .hint("write `\"storageClass\": \"archive\"`"));
        }
        (_, Some("archive")) => {
            return Err(PolicyError::new(
                format!("{at}/storageClass"),
                "storageClass must be standard unless countType is sinceImageTransitioned",
            )
            .hint("leave `storageClass` out, or count by `sinceImageTransitioned`"));
        }
        _ => StorageClass::Standard,
    };
    Ok(Selection { tags, class, count })
}

fn count(object: &Map<String, Value>, at: &str, number: i64) -> Result<Count, PolicyError> {
    let kind = text(&object["countType"], &format!("{at}/countType"))?;
    let since = match kind {
        "imageCountMoreThan" if object.contains_key("countUnit") => {
            return Err(PolicyError::new(
                at,
                "countUnit must not be specified when countType is imageCountMoreThan",
            )
            .hint("leave `countUnit` out"));
        }
        "imageCountMoreThan" => return Ok(Count::MoreThan(number)),
        "sinceImagePushed" => Count::Pushed(number),
        "sinceImagePulled" => Count::Pulled(number),
        "sinceImageTransitioned" => Count::Transitioned(number),
        _ => {
            let why = "instance failed to match exactly one schema (matched 0 out of 2)";
            return Err(PolicyError::new(format!("{at}/countType"), why).hint(
                "countType is imageCountMoreThan, sinceImagePushed, sinceImagePulled or sinceImageTransitioned",
            ));
        }
    };
    if !object.contains_key("countUnit") {
        let why = "object has missing required properties ([\"countUnit\"])";
        return Err(PolicyError::new(at, why).hint("write `\"countUnit\": \"days\"`"));
    }
    Ok(since)
}

fn tag_status(object: &Map<String, Value>, at: &str) -> Result<TagStatus, PolicyError> {
    let at_status = format!("{at}/tagStatus");
    let status = choice(&object["tagStatus"], &at_status, &["any", "tagged", "untagged"])?;
    let list = |key: &str| match object.get(key) {
        Some(value) => texts(value, &format!("{at}/{key}")).map(Some),
        None => Ok(None),
    };
    let (patterns, prefixes) = (list("tagPatternList")?, list("tagPrefixList")?);
    match (status, patterns, prefixes) {
        ("tagged", Some(patterns), None) => {
            let stars = |pattern: &String| pattern.matches('*').count() > WILDCARDS_MAX;
            if let Some(index) = patterns.iter().position(stars) {
                let why = format!(
                    "tag pattern \"{}\" has more than {WILDCARDS_MAX} wildcards",
                    patterns[index]
                );
                return Err(PolicyError::new(format!("{at}/tagPatternList/{index}"), why));
            }
            Ok(TagStatus::Patterns(patterns))
        }
        ("tagged", None, Some(prefixes)) => Ok(TagStatus::Prefixes(prefixes)),
        ("tagged", ..) => Err(PolicyError::new(
            at,
            "tagged requires exactly one of tagPatternList and tagPrefixList",
        )),
        ("untagged", None, None) => Ok(TagStatus::Untagged),
        (_, None, None) => Ok(TagStatus::Any),
        (status, patterns, _) => {
            let key = if patterns.is_some() { "tagPatternList" } else { "tagPrefixList" };
            let why = format!("{key} must not be specified when tagStatus is {status}");
            Err(PolicyError::new(at, why))
        }
    }
}

/// What the action and the count may not do together.
fn fits(selection: &Selection, action: RuleAction, at: &str) -> Result<(), PolicyError> {
    match (selection.count, action) {
        (Count::Pulled(_), RuleAction::Expire) => Err(PolicyError::new(
            format!("{at}/action"),
            "sinceImagePulled is only supported with the action type transition",
        )
        .hint("move to the archive by pull time, and expire there by sinceImageTransitioned")),
        (Count::Transitioned(_), RuleAction::Transition) => Err(PolicyError::new(
            format!("{at}/action"),
            "sinceImageTransitioned is only supported with the action type expire",
        )),
        (Count::Transitioned(days), _) if days < ARCHIVE_DAYS_MIN => {
            let why = format!(
                "numeric instance is lower than the required minimum (minimum: {ARCHIVE_DAYS_MIN}, found: {days})"
            );
            Err(PolicyError::new(format!("{at}/selection/countNumber"), why)
                .hint("an archived image stays for at least 90 days"))
        }
        _ => Ok(()),
    }
}

fn wrong(value: &Value, at: &str, allowed: &str) -> PolicyError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let why = format!(
        "instance type ({found}) does not match any allowed primitive type (allowed: [\"{allowed}\"])"
    );
    PolicyError::new(at, why)
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, PolicyError> {
    value.as_object().ok_or_else(|| wrong(value, at, "object"))
}

fn array<'a>(value: &'a Value, at: &str) -> Result<&'a [Value], PolicyError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(value, at, "array"))
}

fn text<'a>(value: &'a Value, at: &str) -> Result<&'a str, PolicyError> {
    value.as_str().ok_or_else(|| wrong(value, at, "string"))
}

fn texts(value: &Value, at: &str) -> Result<Vec<String>, PolicyError> {
    let items = array(value, at)?;
    if items.is_empty() {
        let why = "array is too short: must have at least 1 elements but instance has 0 elements";
        return Err(PolicyError::new(at, why));
    }
    let each = items.iter().enumerate().map(|(index, item)| {
        let at = format!("{at}/{index}");
        match text(item, &at)? {
            "" => Err(PolicyError::new(
                at,
                "string \"\" is too short (length: 0, required minimum: 1)",
            )),
            text => Ok(text.to_owned()),
        }
    });
    each.collect()
}

fn choice<'a>(value: &Value, at: &str, known: &[&'a str]) -> Result<&'a str, PolicyError> {
    let found = text(value, at)?;
    known.iter().copied().find(|known| *known == found).ok_or_else(|| {
        let why = format!(
            "instance value ({found}) not found in enum :(possible values: {})",
            listed(known)
        );
        PolicyError::new(at, why)
    })
}

fn number(value: &Value, at: &str, min: i64) -> Result<i64, PolicyError> {
    let number = value.as_i64().ok_or_else(|| wrong(value, at, "integer"))?;
    if number < min {
        let why = format!(
            "numeric instance is lower than the required minimum (minimum: {min}, found: {number})"
        );
        return Err(PolicyError::new(at, why));
    }
    Ok(number)
}
