//! A year of releases under greedy policies: what is in use anywhere is never expired, and the rest does go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use humdrum_registry::lifecycle::{Act, Image, Policy, Protected, evaluate};
use serde_json::{Value, json};

use super::{DAY_MS, more_than, policy, prefixes, rule};

const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "production"];
/// Releases of each environment to which a person may return.
const KEPT: usize = 3;

/// Numbers from a seed: the same year every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What one environment uses.
#[derive(Default)]
struct Place {
    running: Option<String>,
    canary: Option<String>,
    /// The last releases, newest first.
    former: VecDeque<String>,
}

impl Place {
    fn settle(&mut self) {
        if let Some(next) = self.canary.take()
            && let Some(before) = self.running.replace(next)
        {
            self.former.push_front(before);
            self.former.truncate(KEPT);
        }
    }

    fn uses(&self) -> impl Iterator<Item = (&String, &'static str)> {
        let running = self.running.iter().map(|digest| (digest, "runs it"));
        let canary = self.canary.iter().map(|digest| (digest, "is rolling it out"));
        let former = self.former.iter().map(|digest| (digest, "may return to it"));
        running.chain(canary).chain(former)
    }
}

#[derive(Default)]
struct Fleet {
    images: BTreeMap<String, Image>,
    places: BTreeMap<&'static str, Place>,
    expired: BTreeSet<String>,
}

impl Fleet {
    fn push(&mut self, number: u64, now_ms: i64) -> String {
        let digest = format!("sha256:{number:05}");
        let tag = format!("commit-{number:05}");
        let image = Image {
            digest: digest.clone(),
            tags: vec![tag],
            pushed_ms: now_ms,
            ..Image::default()
        };
        let evidence = Image {
            digest: format!("{digest}-sig"),
            pushed_ms: now_ms,
            subject: Some(digest.clone()),
            ..Image::default()
        };
        self.images.insert(digest.clone(), image);
        self.images.insert(evidence.digest.clone(), evidence);
        digest
    }

    fn protected(&self) -> Protected {
        let mut protected = Protected::new();
        for (name, place) in &self.places {
            for (digest, how) in place.uses() {
                protected.entry(digest.clone()).or_default().push(format!("{name} {how}"));
            }
        }
        protected
    }

    fn promote(&mut self, environment: &'static str, digest: &str) {
        let place = self.places.entry(environment).or_default();
        place.settle();
        place.canary = Some(digest.to_owned());
        let image = self.images.get_mut(digest).expect("what is promoted is there");
        image.tags.push(format!("{environment}-{}", &digest[7..]));
    }

    fn collect(&mut self, policy: &Policy, now_ms: i64) {
        let images: Vec<Image> = self.images.values().cloned().collect();
        let protected = self.protected();
        for decision in evaluate(policy, &images, &protected, now_ms) {
            if decision.action == Act::Expire {
                self.images.remove(&decision.image);
                self.expired.insert(decision.image);
            }
        }
        for (name, place) in &self.places {
            for (digest, how) in place.uses() {
                assert!(self.images.contains_key(digest), "{digest} is gone, and {name} {how}");
                let signature = format!("{digest}-sig");
                assert!(
                    self.images.contains_key(&signature),
                    "{signature} is gone, and {name} {how}"
                );
            }
        }
    }

    fn day(&mut self, dice: &mut Dice, number: &mut u64, now_ms: i64) {
        for _ in 0..1 + dice.below(4) {
            *number += 1;
            let digest = self.push(*number, now_ms);
            if dice.below(3) > 0 {
                self.promote("dev", &digest);
            }
        }
        for (index, chance) in [(1, 3), (2, 9)] {
            // What the environment before has is what may be promoted; sometimes a hotfix, or nothing for weeks.
            let source =
                self.places.get(ENVIRONMENTS[index - 1]).and_then(|place| place.running.clone());
            if dice.below(chance) == 0
                && let Some(digest) = source
            {
                self.promote(ENVIRONMENTS[index], &digest);
            }
        }
        for name in ENVIRONMENTS {
            let Some(place) = self.places.get_mut(name) else { continue };
            match dice.below(12) {
                // A canary fails: what ran before goes on.
                0 => place.canary = None,
                1 => place.settle(),
                // A person returns to any of the kept releases.
                2 if !place.former.is_empty() => {
                    let index = dice.below(place.former.len() as u64) as usize;
                    let back = place.former.remove(index).expect("the index is inside");
                    assert!(self.images.contains_key(&back), "{back} cannot be returned to");
                    place.canary = Some(back);
                }
                _ => {}
            }
        }
    }
}

fn greedy() -> Vec<Vec<Value>> {
    let any = |count: Value| {
        let mut selection = json!({ "tagStatus": "any" });
        selection.as_object_mut().unwrap().extend(count.as_object().unwrap().clone());
        selection
    };
    let old = |days: i64| super::days("sinceImagePushed", days);
    vec![
        vec![rule(1, any(more_than(1)))],
        vec![rule(1, any(old(1)))],
        vec![rule(1, prefixes(&["commit-"], more_than(1)))],
        vec![rule(1, prefixes(&["production-"], more_than(1))), rule(2, any(old(7)))],
        vec![
            rule(1, prefixes(&["production-"], old(1))),
            rule(2, prefixes(&["dev-"], more_than(1))),
            rule(3, any(more_than(2))),
        ],
    ]
}

#[test]
fn a_year_of_releases_never_loses_what_is_in_use() {
    for (index, rules) in greedy().into_iter().enumerate() {
        let policy = policy(&rules);
        for seed in 0..4 {
            let (mut fleet, mut dice, mut number) = (Fleet::default(), Dice(seed * 7919 + 1), 0);
            for day in 0..365 {
                let now_ms = day * DAY_MS;
                fleet.day(&mut dice, &mut number, now_ms);
                fleet.collect(&policy, now_ms + DAY_MS / 2);
            }
            let gone = fleet.expired.len();
            let left = fleet.images.len();
            assert!(gone > 1000, "policy {index}, seed {seed}: only {gone} expired, {left} left");
        }
    }
}
