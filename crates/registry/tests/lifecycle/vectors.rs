//! The outcomes that ECR documents, and the states it documents in words.

use humdrum_registry::lifecycle::{Act, Image, Policy, Protected, evaluate};
use serde_json::json;

use super::{DAY_MS, NOW_MS, days, image, more_than, policy, prefixes, rule};

fn acted(policy: &Policy, images: &[Image], act: Act) -> Vec<(String, i64)> {
    let decisions = evaluate(policy, images, &Protected::new(), NOW_MS);
    let acted = decisions.into_iter().filter(|decision| decision.action == act);
    acted.map(|decision| (decision.image, decision.rule.unwrap_or(0))).collect()
}

fn expired(policy: &Policy, images: &[Image]) -> Vec<(String, i64)> {
    acted(policy, images, Act::Expire)
}

fn names(list: &[(&str, i64)]) -> Vec<(String, i64)> {
    list.iter().map(|(name, rule)| ((*name).to_owned(), *rule)).collect()
}

#[test]
fn v1_two_rules_by_prefix() {
    let images = [
        image("A", &["beta-1", "prod-1"], 10),
        image("B", &["beta-2", "prod-2"], 9),
        image("C", &["beta-3"], 8),
    ];
    let rules =
        [rule(1, prefixes(&["prod"], more_than(1))), rule(2, prefixes(&["beta"], more_than(1)))];
    assert_eq!(expired(&policy(&rules), &images), names(&[("A", 1)]));
}

#[test]
fn v2_the_same_rules_in_the_other_order() {
    let images = [
        image("A", &["beta-1", "prod-1"], 10),
        image("B", &["beta-2", "prod-2"], 9),
        image("C", &["beta-3"], 8),
    ];
    let rules =
        [rule(1, prefixes(&["beta"], more_than(1))), rule(2, prefixes(&["prod"], more_than(1)))];
    assert_eq!(expired(&policy(&rules), &images), names(&[("A", 1), ("B", 1)]));
}

#[test]
fn v3_all_prefixes_must_be_met_by_age() {
    let images = [
        image("A", &["alpha-1"], 12),
        image("B", &["beta-1"], 11),
        image("C", &["alpha-2", "beta-2"], 10),
        image("D", &["alpha-3"], 4),
        image("E", &["beta-3"], 3),
        image("F", &["alpha-4", "beta-4"], 2),
    ];
    let rules = [rule(1, prefixes(&["alpha", "beta"], days("sinceImagePushed", 5)))];
    assert_eq!(expired(&policy(&rules), &images), names(&[("C", 1)]));
}

#[test]
fn v4_all_prefixes_must_be_met_by_count() {
    let images = [
        image("A", &["alpha-1", "beta-1", "gamma-1"], 10),
        image("B", &["alpha-2", "beta-2"], 9),
        image("C", &["alpha-3", "beta-3", "gamma-2"], 8),
    ];
    let rules = [rule(1, prefixes(&["alpha", "beta"], more_than(1)))];
    assert_eq!(expired(&policy(&rules), &images), names(&[("A", 1), ("B", 1)]));
}

#[test]
fn v5_any_image() {
    let images = [
        image("A", &["alpha-1"], 4),
        image("B", &["beta-1"], 3),
        image("C", &[], 2),
        image("D", &["alpha-2"], 1),
    ];
    let any = json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1 });
    assert_eq!(expired(&policy(&[rule(1, any)]), &images), names(&[("A", 1), ("B", 1), ("C", 1)]));
}

#[test]
fn v6_three_rules_with_any_last() {
    let images = [
        image("A", &["alpha-1", "beta-1"], 4),
        image("B", &[], 3),
        image("C", &["alpha-2"], 2),
        image("D", &["git hash"], 1),
        image("E", &[], 1),
    ];
    let untagged = json!({ "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1 });
    let any = json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1 });
    // The last image is pushed a little later, as in the documented example.
    let mut images = images;
    images[4].pushed_ms += 1000;
    let rules = [rule(1, prefixes(&["alpha"], more_than(1))), rule(2, untagged), rule(3, any)];
    assert_eq!(expired(&policy(&rules), &images), names(&[("A", 1), ("B", 2), ("D", 3)]));
}

#[test]
fn a_list_and_its_children_count_once() {
    // Observed with ECR: 26 pushes are an index, two children and 23 others; keep 20 expires 4 of the 24 that rank.
    let mut images: Vec<_> = (0..23).map(|i| image(&format!("I{i:02}"), &["v"], 30 - i)).collect();
    images.push(image("INDEX", &["v-multi"], 1));
    for child in ["CHILD1", "CHILD2"] {
        images.push(Image { listed_by: vec!["INDEX".into()], ..image(child, &[], 1) });
    }
    let any = json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 20 });
    let any = policy(&[rule(1, any)]);
    assert_eq!(expired(&any, &images), names(&[("I00", 1), ("I01", 1), ("I02", 1), ("I03", 1)]));
    // Once the list is gone its children are images like others.
    images.retain(|image| image.digest != "INDEX");
    assert_eq!(expired(&any, &images).len(), 5);
}

#[test]
fn evidence_goes_with_its_subject() {
    let images = [
        image("OLD", &["v1"], 40),
        Image { subject: Some("OLD".into()), ..image("OLD-SBOM", &[], 1) },
        image("NEW", &["v2"], 2),
        Image { subject: Some("NEW".into()), ..image("NEW-SIG", &[], 400) },
        Image { subject: Some("LATER".into()), ..image("EARLY-SIG", &[], 400) },
    ];
    let untagged = json!({ "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1 });
    let rules = [rule(1, prefixes(&["v"], days("sinceImagePushed", 30))), rule(2, untagged)];
    assert_eq!(expired(&policy(&rules), &images), names(&[("OLD", 1), ("OLD-SBOM", 0)]));
}

#[test]
fn pull_time_moves_to_the_archive_and_time_there_expires() {
    let archive = json!({ "rules": [
        { "rulePriority": 1, "selection": { "tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90 },
          "action": { "type": "transition", "targetStorageClass": "archive" } },
        { "rulePriority": 2, "selection": { "tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 365 },
          "action": { "type": "expire" } } ] });
    let policy = Policy::parse(&archive.to_string()).unwrap();
    let ago = |days: i64| Some(NOW_MS - days * DAY_MS);
    let images = [
        Image { pulled_ms: ago(1), ..image("PULLED", &["v"], 400) },
        Image { pulled_ms: ago(91), ..image("FORGOTTEN", &["v"], 400) },
        image("NEVER", &["v"], 91),
        image("NEW", &["v"], 89),
        Image { activated_ms: ago(10), pulled_ms: ago(200), ..image("RESTORED", &["v"], 400) },
        Image { archived: true, archived_ms: ago(366), ..image("ARCHIVED", &["v"], 900) },
        Image { archived: true, archived_ms: ago(364), ..image("STAYS", &["v"], 900) },
    ];
    assert_eq!(acted(&policy, &images, Act::Archive), names(&[("FORGOTTEN", 1), ("NEVER", 1)]));
    assert_eq!(expired(&policy, &images), names(&[("ARCHIVED", 2)]));
}

#[test]
fn a_restored_image_ranks_by_its_restore() {
    let images = [
        Image { activated_ms: Some(NOW_MS), ..image("RESTORED", &["v"], 400) },
        image("OLD", &["v"], 10),
    ];
    let rules = [rule(1, prefixes(&["v"], more_than(1)))];
    assert_eq!(expired(&policy(&rules), &images), names(&[("OLD", 1)]));
    let rules = [rule(1, prefixes(&["v"], days("sinceImagePushed", 9)))];
    assert_eq!(expired(&policy(&rules), &images), names(&[("OLD", 1)]));
}

#[test]
fn older_than_is_strict() {
    let rules = policy(&[rule(1, prefixes(&["v"], days("sinceImagePushed", 5)))]);
    assert!(expired(&rules, &[image("A", &["v"], 5)]).is_empty());
    let older = Image { pushed_ms: NOW_MS - 5 * DAY_MS - 1, ..image("A", &["v"], 5) };
    assert_eq!(expired(&rules, &[older]), names(&[("A", 1)]));
}

#[test]
fn patterns_select_like_prefixes_with_wildcards() {
    let tagged = |list: &[&str]| json!({ "tagStatus": "tagged", "tagPatternList": list, "countType": "imageCountMoreThan", "countNumber": 1 });
    let images = [
        image("A", &["team-prod-1"], 3),
        image("B", &["prod-2", "eu"], 2),
        image("C", &["prod-3", "eu"], 1),
    ];
    assert_eq!(expired(&policy(&[rule(1, tagged(&["prod*", "eu"]))]), &images), names(&[("B", 1)]));
    let loose = policy(&[rule(1, tagged(&["*prod*"]))]);
    assert_eq!(expired(&loose, &images), names(&[("A", 1), ("B", 1)]));
}

#[test]
fn the_preview_says_why_also_for_what_is_in_use() {
    let images = [
        image("A", &["v1"], 9),
        image("B", &["v2"], 8),
        image("C", &["v3"], 7),
        image("OTHER", &["x"], 7),
    ];
    let protected = Protected::from([("A".into(), vec!["production runs it".into()])]);
    let rules = policy(&[rule(7, prefixes(&["v"], more_than(1)))]);
    let decisions = evaluate(&rules, &images, &protected, NOW_MS);
    let seen: Vec<_> = decisions
        .iter()
        .map(|decision| (decision.action, decision.asked, decision.reason.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (
                Act::Keep,
                Act::Expire,
                "would expire, protected because production runs it; rule 7: number 3 of 3 images tagged `v`…, newest first; 1 are kept"
            ),
            (
                Act::Expire,
                Act::Expire,
                "rule 7: number 2 of 3 images tagged `v`…, newest first; 1 are kept"
            ),
            (
                Act::Keep,
                Act::Keep,
                "kept by rule 7: number 1 of 3 images tagged `v`…, newest first; 1 are kept"
            ),
            (Act::Keep, Act::Keep, "no rule is about it"),
        ]
    );
}
