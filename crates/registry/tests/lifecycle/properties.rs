//! What holds for any policy over any images.

use std::collections::{BTreeMap, BTreeSet};

use humdrum_registry::lifecycle::{Act, Image, Policy, Protected, evaluate};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DAY_MS, NOW_MS};

const TAGS: [&str; 6] = ["prod-1", "prod-2", "beta-1", "beta-2", "git", "alpha"];

prop_compose! {
    fn images()(seeds in proptest::collection::vec(
        (proptest::collection::btree_set(0..6_usize, 0..3), 0..60_i64, proptest::option::of(0..60_i64), 0..8_u8, 0..4_usize),
        0..24,
    )) -> Vec<Image> {
        let count = seeds.len();
        let name = |i: usize| format!("sha256:{i:03}");
        seeds.into_iter().enumerate().map(|(i, (tags, age, pulled, kind, other))| {
            // Links go to later images only, as hashes force them to.
            let above = (i + 1 + other < count).then(|| name(i + 1 + other));
            Image {
                digest: name(i),
                tags: tags.into_iter().map(|tag| TAGS[tag].to_owned()).collect(),
                pushed_ms: NOW_MS - age * DAY_MS,
                tagged_ms: None,
                pulled_ms: pulled.map(|days| NOW_MS - days.min(age) * DAY_MS),
                archived: kind == 7,
                archived_ms: (kind == 7).then_some(NOW_MS - 100 * DAY_MS),
                activated_ms: (kind == 6).then_some(NOW_MS - (age / 2) * DAY_MS),
                listed_by: above.iter().filter(|_| kind == 0).cloned().collect(),
                subject: above.filter(|_| kind == 1),
            }
        }).collect()
    }
}

fn selection(kind: u8, number: i64) -> (Value, Value) {
    let expire = json!({ "type": "expire" });
    let archive = json!({ "type": "transition", "targetStorageClass": "archive" });
    match kind {
        0 => (json!({ "countType": "imageCountMoreThan", "countNumber": number }), expire),
        1 => (
            json!({ "countType": "sinceImagePushed", "countUnit": "days", "countNumber": number }),
            expire,
        ),
        2 => (json!({ "countType": "imageCountMoreThan", "countNumber": number }), archive),
        _ => (
            json!({ "countType": "sinceImagePulled", "countUnit": "days", "countNumber": number }),
            archive,
        ),
    }
}

prop_compose! {
    fn policies()(
        tagged in proptest::collection::btree_map(0..6_usize, (0..4_u8, 1..20_i64, any::<bool>()), 1..4),
        untagged in proptest::option::of((0..4_u8, 1..20_i64)),
        any in proptest::option::of((0..4_u8, 1..20_i64)),
        archive in any::<bool>(),
    ) -> Policy {
        const PREFIXES: [&[&str]; 6] = [&["prod"], &["beta"], &["prod", "beta"], &["git"], &["a"], &["prod-1"]];
        let mut rules = vec![];
        let mut add = |mut target: Value, (kind, number): (u8, i64)| {
            let (count, action) = selection(kind, number);
            target.as_object_mut().unwrap().extend(count.as_object().unwrap().clone());
            rules.push(json!({ "rulePriority": rules.len() + 1, "selection": target, "action": action }));
        };
        for (index, (kind, number, pattern)) in tagged {
            let list = PREFIXES[index];
            let stars: Vec<String> = list.iter().map(|text| format!("{text}*")).collect();
            let target = if pattern {
                json!({ "tagStatus": "tagged", "tagPatternList": stars })
            } else {
                json!({ "tagStatus": "tagged", "tagPrefixList": list })
            };
            add(target, (kind, number));
        }
        if let Some(counted) = untagged {
            add(json!({ "tagStatus": "untagged" }), counted);
        }
        if let Some(counted) = any {
            add(json!({ "tagStatus": "any" }), counted);
        }
        if archive {
            let selection = json!({ "tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 90 });
            rules.push(json!({ "rulePriority": 99, "selection": selection, "action": { "type": "expire" } }));
        }
        Policy::parse(&json!({ "rules": rules }).to_string()).unwrap()
    }
}

/// What a decision says apart from its words.
type Said = BTreeMap<String, (Act, Act, Option<i64>, String)>;

fn said(policy: &Policy, images: &[Image], protected: &Protected) -> Said {
    let decisions = evaluate(policy, images, protected, NOW_MS);
    assert_eq!(decisions.len(), images.len());
    decisions.into_iter().map(|d| (d.image, (d.action, d.asked, d.rule, d.reason))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_image_gets_one_answer_and_acts_have_one_rule(policy in policies(), images in images()) {
        let answers = said(&policy, &images, &Protected::new());
        prop_assert_eq!(answers.len(), images.len());
        for image in &images {
            let (action, asked, rule, reason) = &answers[&image.digest];
            prop_assert!(!reason.is_empty());
            prop_assert_eq!(action, asked);
            if *action != Act::Keep {
                // By a rule, or with the subject: never both, never neither.
                let with_subject = image.subject.as_ref().is_some_and(|subject| answers.get(subject).is_some_and(|a| a.0 == Act::Expire));
                prop_assert!(rule.is_some() != with_subject, "{}: {reason}", image.digest);
            }
        }
    }

    #[test]
    fn the_order_of_the_list_means_nothing(policy in policies(), images in images(), seed in any::<u64>()) {
        let mut shuffled = images.clone();
        let mut state = seed | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, (state >> 33) as usize % (i + 1));
        }
        prop_assert_eq!(said(&policy, &images, &Protected::new()), said(&policy, &shuffled, &Protected::new()));
    }

    #[test]
    fn what_is_in_use_is_never_acted_on(policy in policies(), images in images(), used in proptest::collection::btree_set(0..24_usize, 0..8)) {
        let used: BTreeSet<String> = used.into_iter().filter_map(|i| images.get(i)).map(|image| image.digest.clone()).collect();
        let protected: Protected = used.iter().map(|digest| (digest.clone(), vec!["production runs it".to_owned()])).collect();
        let free = said(&policy, &images, &Protected::new());
        let answers = said(&policy, &images, &protected);
        for image in &images {
            let (action, asked, rule, reason) = &answers[&image.digest];
            // Neither it, nor what it lists, nor what is said about it.
            let needed = |digest: &String| used.contains(digest);
            if used.contains(&image.digest) || image.listed_by.iter().any(needed) || image.subject.iter().any(needed) {
                prop_assert_eq!(*action, Act::Keep);
            }
            let rules_ask = image.subject.is_none();
            if used.contains(&image.digest) && rules_ask && free[&image.digest].0 != Act::Keep {
                prop_assert_eq!(asked, &free[&image.digest].0);
                prop_assert!(rule.is_some() && reason.contains("protected because production runs it"), "{reason}");
            }
            // Protection spares; it never makes another image go.
            if *action != Act::Keep {
                prop_assert_eq!(*action, free[&image.digest].0);
            }
        }
    }

    #[test]
    fn no_child_goes_before_its_list_and_no_subject_leaves_evidence(policy in policies(), images in images()) {
        let answers = said(&policy, &images, &Protected::new());
        for image in &images {
            let here = |digest: &String| answers.contains_key(digest);
            if image.subject.is_none() && image.listed_by.iter().any(here) {
                prop_assert_eq!(answers[&image.digest].0, Act::Keep);
            }
            if let Some(subject) = image.subject.as_ref().filter(|subject| here(subject)) {
                prop_assert_eq!(answers[&image.digest].0 == Act::Expire, answers[subject].0 == Act::Expire);
            }
        }
    }

    #[test]
    fn no_document_panics(text in "\\PC{0,120}", cut in 0..200_usize) {
        let _ = Policy::parse(&text);
        let whole = json!({ "rules": [super::rule(1, super::prefixes(&["a"], super::more_than(1)))] }).to_string();
        let _ = Policy::parse(&format!("{}{text}", whole.get(..cut).unwrap_or(&whole)));
    }
}
