//! The decision: which image is acted on, by which rule, and why not.
//!
//! All rules look at all images; then they are applied by priority. A rule claims every image that has the tags it asks for, also
//! those it keeps, so no later rule acts on them; but later rules still count them. So an image is acted on by one rule or none.

use std::collections::{HashMap, HashSet};

use super::image::{Image, Protected};
use super::matching::{in_words, tags_match};
use super::policy::{Count, Policy, Rule, RuleAction, StorageClass};

const DAY_MS: i64 = 24 * 3_600_000;

/// What happens to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    Keep,
    Expire,
    Archive,
}

/// The answer for one image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Decision {
    /// Its digest.
    pub image: String,
    /// What happens.
    pub action: Act,
    /// What a rule asked for; differs from `action` only where the image is in use.
    pub asked: Act,
    /// The priority of the rule that claimed it.
    pub rule: Option<i64>,
    /// In words, for the preview and the record.
    pub reason: String,
}

/// Decides over the images of one repository, in their order. Pure; the order of `images` changes no decision.
///
/// Children of an index are neither ranked nor acted on while the index is here; evidence goes with its subject.
pub fn evaluate(
    policy: &Policy,
    images: &[Image],
    protected: &Protected,
    now_ms: i64,
) -> Vec<Decision> {
    decide(Some(policy), images, protected, now_ms, |_| None)
}

/// As [`evaluate`], with a word on images about which no rule is: whether they expire, and why.
pub(super) fn decide(
    policy: Option<&Policy>,
    images: &[Image],
    protected: &Protected,
    now_ms: i64,
    otherwise: impl Fn(&Image) -> Option<(bool, String)>,
) -> Vec<Decision> {
    let held = Held::new(images, protected);
    let mut claims: Vec<Option<Claim>> = images.iter().map(|_| None).collect();
    for rule in policy.into_iter().flat_map(|policy| &policy.rules) {
        apply(rule, images, &held, now_ms, &mut claims);
    }
    for (image, claim) in images.iter().zip(&mut claims) {
        if claim.is_none() && held.ranks(image) {
            *claim = otherwise(image).map(|(expires, why)| Claim {
                rule: None,
                asked: if expires { Act::Expire } else { Act::Keep },
                why,
            });
        }
    }
    let expires = expiring(images, &claims, &held);
    images
        .iter()
        .zip(&claims)
        .map(|(image, claim)| decision(image, claim.as_ref(), &held, &expires))
        .collect()
}

/// What goes: by a rule, or as evidence about what goes, or as evidence about that evidence.
fn expiring<'a>(
    images: &'a [Image],
    claims: &[Option<Claim>],
    held: &Held<'_>,
) -> HashSet<&'a str> {
    let free = || images.iter().zip(claims).filter(|(image, _)| held.reasons(image).is_none());
    let mut gone: HashSet<&str> = free()
        .filter(|(_, claim)| asked(claim.as_ref()) == Act::Expire)
        .map(|(image, _)| image.digest.as_str())
        .collect();
    loop {
        let more: Vec<&str> = free()
            .filter(|(image, _)| image.subject.as_ref().is_some_and(|s| gone.contains(s.as_str())))
            .map(|(image, _)| image.digest.as_str())
            .filter(|digest| !gone.contains(digest))
            .collect();
        if more.is_empty() {
            return gone;
        }
        gone.extend(more);
    }
}

/// Who speaks about an image, and what is asked.
struct Claim {
    rule: Option<i64>,
    asked: Act,
    why: String,
}

fn asked(claim: Option<&Claim>) -> Act {
    claim.map_or(Act::Keep, |claim| claim.asked)
}

fn apply(
    rule: &Rule,
    images: &[Image],
    held: &Held<'_>,
    now_ms: i64,
    claims: &mut [Option<Claim>],
) {
    let class = |image: &Image| match rule.selection.class {
        StorageClass::Standard => !image.archived,
        StorageClass::Archive => image.archived,
    };
    let mut candidates: Vec<usize> = (0..images.len())
        .filter(|&i| class(&images[i]) && held.ranks(&images[i]))
        .filter(|&i| tags_match(&rule.selection, &images[i]))
        .collect();
    if let Count::MoreThan(_) = rule.selection.count {
        // Newest first; images pushed in the same ms are told apart by digest, so that the order of the list means nothing.
        candidates.sort_unstable_by(|&a, &b| {
            let key = |i: usize| (images[i].rank_ms(), images[i].digest.as_str());
            key(b).cmp(&key(a))
        });
    }
    let what = in_words(rule);
    for (rank, &i) in candidates.iter().enumerate() {
        if claims[i].is_some() {
            continue;
        }
        let (acts, why) = judge(rule, &images[i], rank, candidates.len(), now_ms, &what);
        let asked = match rule.action {
            _ if !acts => Act::Keep,
            RuleAction::Expire => Act::Expire,
            RuleAction::Transition => Act::Archive,
        };
        claims[i] = Some(Claim { rule: Some(rule.priority), asked, why });
    }
}

fn judge(
    rule: &Rule,
    image: &Image,
    rank: usize,
    of: usize,
    now_ms: i64,
    what: &str,
) -> (bool, String) {
    let since = |from_ms: i64, days: i64, event: &str| {
        let age_ms = now_ms.saturating_sub(from_ms);
        let age = age_ms.div_euclid(DAY_MS);
        let acts = age_ms > days.saturating_mul(DAY_MS);
        let than = if acts { "more than" } else { "not more than" };
        (acts, format!("{event} {age} days ago, {than} the {days} days of {what}"))
    };
    match rule.selection.count {
        Count::MoreThan(keep) => {
            let acts = i64::try_from(rank).is_ok_and(|rank| rank >= keep);
            let why = format!("number {} of {of} {what}, newest first; {keep} are kept", rank + 1);
            (acts, why)
        }
        Count::Pushed(days) => {
            let event = if image.activated_ms.is_some() { "restored" } else { "pushed" };
            since(image.rank_ms(), days, event)
        }
        Count::Pulled(days) => {
            let event = match image.pulled_ms {
                Some(pulled) if image.activated_ms.is_none_or(|at| pulled >= at) => "last pulled",
                _ if image.activated_ms.is_some() => "never pulled since it was restored",
                _ => "never pulled since it was pushed",
            };
            since(image.used_ms(), days, event)
        }
        Count::Transitioned(days) => {
            since(image.archived_ms.unwrap_or(image.pushed_ms), days, "archived")
        }
    }
}

fn decision(
    image: &Image,
    claim: Option<&Claim>,
    held: &Held<'_>,
    expires: &HashSet<&str>,
) -> Decision {
    let keep = |reason: String| Decision {
        image: image.digest.clone(),
        action: Act::Keep,
        asked: Act::Keep,
        rule: claim.and_then(|claim| claim.rule),
        reason,
    };
    if let Some(subject) = held.subject(image) {
        return match held.reasons(image) {
            None if expires.contains(subject) => Decision {
                action: Act::Expire,
                asked: Act::Expire,
                ..keep(format!("expires with {subject}, which it is evidence about"))
            },
            _ => keep(format!("stays with {subject}, which it is evidence about")),
        };
    }
    if let Some(index) = held.index(image) {
        return keep(format!("listed by the index {index}, which goes first"));
    }
    let Some(claim) = claim else {
        return keep("no rule is about it".into());
    };
    let by = match claim.rule {
        Some(priority) => format!("rule {priority}: {}", claim.why),
        None => format!("retention: {}", claim.why),
    };
    let asked = asked(Some(claim));
    let would = match asked {
        Act::Keep => return keep(format!("kept by {by}")),
        Act::Expire => "would expire",
        Act::Archive => "would be archived",
    };
    match held.reasons(image) {
        Some(reasons) => Decision {
            asked,
            ..keep(format!("{would}, protected because {}; {by}", reasons.join(" and ")))
        },
        None => Decision { action: asked, asked, ..keep(by) },
    }
}

/// What holds images apart from rules: use, indexes and subjects.
struct Held<'a> {
    here: HashSet<&'a str>,
    reasons: HashMap<&'a str, Vec<String>>,
}

impl<'a> Held<'a> {
    fn new(images: &'a [Image], protected: &'a Protected) -> Self {
        let here: HashSet<&str> = images.iter().map(|image| image.digest.as_str()).collect();
        let mut reasons: HashMap<&str, Vec<String>> = protected
            .iter()
            .filter(|(digest, _)| here.contains(digest.as_str()))
            .map(|(digest, why)| (digest.as_str(), why.clone()))
            .collect();
        // What is in use needs what it lists and what is said about it; each round goes one level down.
        loop {
            let mut more: Vec<(&str, String)> = vec![];
            for image in images.iter().filter(|image| !reasons.contains_key(image.digest.as_str()))
            {
                let above = image.listed_by.iter().chain(&image.subject);
                if let Some(above) =
                    above.into_iter().find(|above| reasons.contains_key(above.as_str()))
                {
                    more.push((image.digest.as_str(), format!("{above} needs it")));
                }
            }
            if more.is_empty() {
                return Self { here, reasons };
            }
            reasons.extend(more.into_iter().map(|(digest, why)| (digest, vec![why])));
        }
    }

    fn reasons(&self, image: &Image) -> Option<&[String]> {
        self.reasons.get(image.digest.as_str()).map(Vec::as_slice)
    }

    /// Its subject. Evidence may arrive before its subject does, so one that is not here yet holds it as well.
    fn subject<'i>(&self, image: &'i Image) -> Option<&'i str> {
        image.subject.as_deref()
    }

    fn index<'i>(&self, image: &'i Image) -> Option<&'i str> {
        let mut indexes = image.listed_by.iter().map(String::as_str);
        indexes.find(|index| self.here.contains(index))
    }

    /// Whether rules rank and act on it by itself.
    fn ranks(&self, image: &Image) -> bool {
        image.subject.is_none() && self.index(image).is_none()
    }
}
