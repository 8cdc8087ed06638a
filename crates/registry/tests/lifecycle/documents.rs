//! Documents: the forms that ECR's guide shows are taken as they are, and every rule of validation refuses with its text.

use humdrum_registry::lifecycle::Policy;
use humdrum_registry::lifecycle::policy::{Count, RuleAction, StorageClass, TagStatus};
use serde_json::{Value, json};

use super::{days, more_than, prefixes, rule};

fn refused(document: &Value) -> (String, String) {
    let error = Policy::parse(&document.to_string()).expect_err(&document.to_string());
    (error.why, error.at)
}

fn selected(selection: Value) -> Value {
    json!({ "rules": [rule(1, selection)] })
}

#[test]
fn the_documented_forms_are_taken() {
    let untagged =
        json!({ "tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1 });
    let any = json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1 });
    let pattern = json!({ "tagStatus": "tagged", "tagPatternList": ["prod*"], "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14 });
    let four = json!({ "tagStatus": "tagged", "tagPatternList": ["*test*1*2*3"], "countType": "imageCountMoreThan", "countNumber": 1 });
    let pulled = json!({ "tagStatus": "tagged", "tagPatternList": ["prod*"], "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 45 });
    let transitioned = json!({ "tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 365 });
    let archive = json!({ "type": "transition", "targetStorageClass": "archive" });
    // Mission row B3, byte for byte.
    let first = r#"{"rules":[{"rulePriority":1,"description":"Keep last 10 production images","selection":{"tagStatus":"tagged","tagPrefixList":["prod-"],"countType":"imageCountMoreThan","countNumber":10},"action":{"type":"expire"}}]}"#;
    let keep_ten = Policy::parse(first).unwrap();
    assert_eq!(keep_ten.rules[0].selection.tags, TagStatus::Prefixes(vec!["prod-".into()]));
    assert_eq!(keep_ten.rules[0].selection.count, Count::MoreThan(10));
    for document in [
        selected(untagged.clone()),
        selected(any.clone()),
        selected(pattern.clone()),
        selected(four),
        json!({ "rules": [rule(1, prefixes(&["prod"], more_than(1))), rule(2, untagged.clone()), rule(9, any.clone())] }),
        json!({ "rules": [{ "rulePriority": 1, "description": "by pull", "selection": pulled, "action": archive.clone() }] }),
        json!({ "rules": [{ "rulePriority": 1, "selection": pattern, "action": archive.clone() }, rule(2, transitioned.clone())] }),
        // `any` is last in its storage class, not in the document.
        json!({ "rules": [{ "rulePriority": 1, "selection": any, "action": archive }, rule(2, transitioned)] }),
        // `standard` may be said.
        selected(
            json!({ "tagStatus": "untagged", "storageClass": "standard", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7 }),
        ),
    ] {
        assert!(Policy::parse(&document.to_string()).is_ok(), "{document}");
    }
}

#[test]
fn rules_are_applied_by_priority_and_gaps_are_fine() {
    let document = json!({ "rules": [rule(20, prefixes(&["b"], more_than(1))), rule(3, prefixes(&["a"], more_than(1)))] });
    let policy = Policy::parse(&document.to_string()).unwrap();
    assert_eq!(policy.rules.iter().map(|rule| rule.priority).collect::<Vec<_>>(), [3, 20]);
    assert_eq!(policy.rules[0].action, RuleAction::Expire);
    assert_eq!(policy.rules[0].selection.class, StorageClass::Standard);
}

#[test]
fn the_message_carries_the_known_prefix() {
    let error = Policy::parse(r#"{"rules":[{"rulePriority":1,"selection":{}}]}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: \
         object has missing required properties ([\"action\"])'"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn structure_and_kinds() {
    let tagged = prefixes(&["a"], more_than(1));
    let with = |key: &str, value: Value| {
        let mut selection = tagged.clone();
        selection[key] = value;
        selected(selection)
    };
    let missing = |key: &str| {
        let mut selection = tagged.clone();
        selection.as_object_mut().unwrap().remove(key);
        selected(selection)
    };
    let acted = |action: Value| json!({ "rules": [{ "rulePriority": 1, "selection": tagged, "action": action }] });
    let at = "/rules/0/selection";
    for (document, why, place) in [
        (json!([]), "Could not map policyString into LifecyclePolicy.", ""),
        (json!({}), r#"object has missing required properties (["rules"])"#, ""),
        (
            json!({ "rules": [], "x": 1 }),
            r#"object instance has properties which are not allowed by the schema: (["x"])"#,
            "",
        ),
        (
            json!({ "rules": [] }),
            "array is too short: must have at least 1 elements but instance has 0 elements",
            "/rules",
        ),
        (
            json!({ "rules": {} }),
            r#"instance type (object) does not match any allowed primitive type (allowed: ["array"])"#,
            "/rules",
        ),
        (
            json!({ "rules": ["x"] }),
            r#"instance type (string) does not match any allowed primitive type (allowed: ["object"])"#,
            "/rules/0",
        ),
        (
            json!({ "rules": [{}] }),
            r#"object has missing required properties (["action", "rulePriority", "selection"])"#,
            "/rules/0",
        ),
        (
            json!({ "rules": [{ "rulePriority": 0, "selection": tagged, "action": { "type": "expire" } }] }),
            "numeric instance is lower than the required minimum (minimum: 1, found: 0)",
            "/rules/0/rulePriority",
        ),
        (
            json!({ "rules": [{ "rulePriority": 1.5, "selection": tagged, "action": { "type": "expire" } }] }),
            r#"instance type (number) does not match any allowed primitive type (allowed: ["integer"])"#,
            "/rules/0/rulePriority",
        ),
        (
            json!({ "rules": [{ "rulePriority": 1, "description": 7, "selection": tagged, "action": { "type": "expire" } }] }),
            r#"instance type (integer) does not match any allowed primitive type (allowed: ["string"])"#,
            "/rules/0/description",
        ),
        (
            acted(json!({})),
            r#"object has missing required properties (["type"])"#,
            "/rules/0/action",
        ),
        (
            acted(json!({ "type": "delete" })),
            r#"instance value (delete) not found in enum :(possible values: ["expire", "transition"])"#,
            "/rules/0/action/type",
        ),
        (
            acted(json!({ "type": "expire", "x": 1 })),
            r#"object instance has properties which are not allowed by the schema: (["x"])"#,
            "/rules/0/action",
        ),
        (
            acted(json!({ "type": "transition" })),
            r#"object has missing required properties (["targetStorageClass"])"#,
            "/rules/0/action",
        ),
        (
            acted(json!({ "type": "transition", "targetStorageClass": "standard" })),
            r#"instance value (standard) not found in enum :(possible values: ["archive"])"#,
            "/rules/0/action/targetStorageClass",
        ),
        (
            acted(json!({ "type": "expire", "targetStorageClass": "archive" })),
            r#"object instance has properties which are not allowed by the schema: (["targetStorageClass"])"#,
            "/rules/0/action",
        ),
        (missing("tagStatus"), r#"object has missing required properties (["tagStatus"])"#, at),
        (missing("countType"), r#"object has missing required properties (["countType"])"#, at),
        (missing("countNumber"), r#"object has missing required properties (["countNumber"])"#, at),
        (
            with("x", json!(1)),
            r#"object instance has properties which are not allowed by the schema: (["x"])"#,
            at,
        ),
        (
            with("tagStatus", json!("all")),
            r#"instance value (all) not found in enum :(possible values: ["any", "tagged", "untagged"])"#,
            "/rules/0/selection/tagStatus",
        ),
        (
            with("countType", json!("sinceCreated")),
            "instance failed to match exactly one schema (matched 0 out of 2)",
            "/rules/0/selection/countType",
        ),
        (
            with("countNumber", json!(0)),
            "numeric instance is lower than the required minimum (minimum: 1, found: 0)",
            "/rules/0/selection/countNumber",
        ),
        (
            with("countNumber", json!("1")),
            r#"instance type (string) does not match any allowed primitive type (allowed: ["integer"])"#,
            "/rules/0/selection/countNumber",
        ),
        (
            with("countUnit", json!("hours")),
            r#"instance value (hours) not found in enum :(possible values: ["days"])"#,
            "/rules/0/selection/countUnit",
        ),
        (
            with("countUnit", json!("days")),
            "countUnit must not be specified when countType is imageCountMoreThan",
            at,
        ),
        (
            with("storageClass", json!("cold")),
            r#"instance value (cold) not found in enum :(possible values: ["archive", "standard"])"#,
            "/rules/0/selection/storageClass",
        ),
        (
            with("tagPrefixList", json!([])),
            "array is too short: must have at least 1 elements but instance has 0 elements",
            "/rules/0/selection/tagPrefixList",
        ),
        (
            with("tagPrefixList", json!([""])),
            "string \"\" is too short (length: 0, required minimum: 1)",
            "/rules/0/selection/tagPrefixList/0",
        ),
    ] {
        assert_eq!(refused(&document), (why.to_owned(), place.to_owned()), "{document}");
    }
}

#[test]
fn what_a_rule_may_not_combine() {
    let at = "/rules/0/selection";
    let archive = json!({ "type": "transition", "targetStorageClass": "archive" });
    let with = |kind: &str, class: Option<&str>, number: i64, action: Value| {
        let mut selection = json!({ "tagStatus": "any", "countType": kind, "countUnit": "days", "countNumber": number });
        if let Some(class) = class {
            selection["storageClass"] = json!(class);
        }
        json!({ "rules": [{ "rulePriority": 1, "selection": selection, "action": action }] })
    };
    let expire = json!({ "type": "expire" });
    for (document, why, place) in [
        (
            selected(
                json!({ "tagStatus": "tagged", "countType": "imageCountMoreThan", "countNumber": 1 }),
            ),
            "tagged requires exactly one of tagPatternList and tagPrefixList",
            at,
        ),
        (
            selected(
                json!({ "tagStatus": "tagged", "tagPrefixList": ["a"], "tagPatternList": ["a"], "countType": "imageCountMoreThan", "countNumber": 1 }),
            ),
            "tagged requires exactly one of tagPatternList and tagPrefixList",
            at,
        ),
        (
            selected(
                json!({ "tagStatus": "untagged", "tagPrefixList": ["a"], "countType": "imageCountMoreThan", "countNumber": 1 }),
            ),
            "tagPrefixList must not be specified when tagStatus is untagged",
            at,
        ),
        (
            selected(
                json!({ "tagStatus": "any", "tagPatternList": ["a"], "countType": "imageCountMoreThan", "countNumber": 1 }),
            ),
            "tagPatternList must not be specified when tagStatus is any",
            at,
        ),
        (
            selected(
                json!({ "tagStatus": "tagged", "tagPatternList": ["test*1*2*3*4*5*6"], "countType": "imageCountMoreThan", "countNumber": 1 }),
            ),
            "tag pattern \"test*1*2*3*4*5*6\" has more than 4 wildcards",
            "/rules/0/selection/tagPatternList/0",
        ),
        (
            selected(
                json!({ "tagStatus": "any", "countType": "sinceImagePushed", "countNumber": 1 }),
            ),
            r#"object has missing required properties (["countUnit"])"#,
            at,
        ),
        (
            with("sinceImagePulled", None, 30, expire.clone()),
            "sinceImagePulled is only supported with the action type transition",
            "/rules/0/action",
        ),
        (
            with("sinceImageTransitioned", None, 90, expire.clone()),
            "storageClass must be archive when countType is sinceImageTransitioned",
            at,
        ),
        (
            with("sinceImageTransitioned", Some("standard"), 90, expire.clone()),
            "storageClass must be archive when countType is sinceImageTransitioned",
            at,
        ),
        (
            with("sinceImageTransitioned", Some("archive"), 89, expire.clone()),
            "numeric instance is lower than the required minimum (minimum: 90, found: 89)",
            "/rules/0/selection/countNumber",
        ),
        (
            with("sinceImageTransitioned", Some("archive"), 90, archive.clone()),
            "sinceImageTransitioned is only supported with the action type expire",
            "/rules/0/action",
        ),
        (
            with("sinceImagePushed", Some("archive"), 90, expire),
            "storageClass must be standard unless countType is sinceImageTransitioned",
            "/rules/0/selection/storageClass",
        ),
    ] {
        assert_eq!(refused(&document), (why.to_owned(), place.to_owned()), "{document}");
    }
}

#[test]
fn what_rules_may_not_do_together() {
    let any = json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1 });
    let untagged =
        json!({ "tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1 });
    let old = json!({ "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1 });
    let rules = |list: &[(i64, &Value)]| {
        let rules: Vec<Value> = list.iter().map(|(p, s)| rule(*p, (*s).clone())).collect();
        json!({ "rules": rules })
    };
    let (a, ab) = (prefixes(&["a"], more_than(1)), prefixes(&["a", "b"], more_than(1)));
    let (ba, a_days) =
        (prefixes(&["b", "a"], more_than(2)), prefixes(&["a"], days("sinceImagePushed", 3)));
    for (document, why, place) in [
        (
            rules(&[(1, &a), (1, &untagged)]),
            "rulePriority must be unique (found 1 twice)",
            "/rules/1/rulePriority",
        ),
        (
            rules(&[(1, &any), (2, &a)]),
            "a rule with tagStatus any must have the highest rulePriority and be evaluated last",
            "/rules/0/rulePriority",
        ),
        (
            rules(&[(1, &any), (2, &any)]),
            "a rule with tagStatus any must have the highest rulePriority and be evaluated last",
            "/rules/0/rulePriority",
        ),
        (
            rules(&[(2, &any), (1, &any)]),
            "only one rule can have tagStatus any",
            "/rules/1/selection",
        ),
        (
            rules(&[(1, &untagged), (2, &old)]),
            "only one rule can select untagged images",
            "/rules/1/selection",
        ),
        (
            rules(&[(1, &ab), (2, &ba)]),
            "tagPrefixList must be unique across rules",
            "/rules/1/selection",
        ),
        (
            rules(&[(1, &a), (2, &a_days)]),
            "tagPrefixList must be unique across rules",
            "/rules/1/selection",
        ),
    ] {
        assert_eq!(refused(&document), (why.to_owned(), place.to_owned()), "{document}");
    }
    assert!(Policy::parse(&rules(&[(1, &a), (2, &ab)]).to_string()).is_ok());
}

#[test]
fn the_limits_are_held() {
    let many = |count: i64| {
        let rules: Vec<_> =
            (1..=count).map(|i| rule(i, prefixes(&[&format!("p{i}-")], more_than(1)))).collect();
        json!({ "rules": rules }).to_string()
    };
    assert!(Policy::parse(&many(50)).is_ok());
    assert_eq!(Policy::parse(&many(51)).unwrap_err().at, "/rules");
    let long = format!("{}{}", many(1), " ".repeat(30_721));
    assert!(Policy::parse(&long).unwrap_err().why.contains("maximum allowed: 30720"));
    let broken = Policy::parse("{\n  \"rules\": [,]}").unwrap_err();
    assert_eq!(broken.at, "line 2, column 13");
}
