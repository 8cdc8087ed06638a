//! Approvals: which roles must agree, how many of each, never the author, and not for ever.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// So many people of a role must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// `team-lead`, `sre`, `security`, `product`: a key of `roles`.
    pub role: String,
    /// How many different people.
    #[serde(default = "one")]
    pub count: u32,
    /// Empty: every environment.
    #[serde(default)]
    pub environments: Vec<String>,
    /// An approval counts for so many hours.
    #[serde(default = "day")]
    pub hours: u32,
}

fn one() -> u32 {
    1
}

/// A day: what was looked at yesterday is another change today.
fn day() -> u32 {
    24
}

/// Somebody agreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: String,
    pub at: Timestamp,
}

/// A rule that is not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lacking {
    pub role: String,
    pub needed: u32,
    pub given: u32,
    /// Who could.
    pub members: Vec<String>,
    /// Why approvals that exist do not count: `ada is the author`.
    pub not_counted: Vec<String>,
}

/// Which rules are not met. One person counts once for each role they have, but never twice for one.
/// Without a known author nobody can be shown not to be the author, so nothing counts.
pub fn lacking(
    rules: &[ApprovalRule],
    roles: &BTreeMap<String, Vec<String>>,
    given: &[Approval],
    author: Option<&str>,
    environment: &str,
    now: Timestamp,
) -> Vec<Lacking> {
    let for_here = |rule: &&ApprovalRule| {
        rule.environments.is_empty() || rule.environments.iter().any(|own| own == environment)
    };
    let mut found = vec![];
    for rule in rules.iter().filter(for_here) {
        let members = roles.get(&rule.role).cloned().unwrap_or_default();
        let mut people = BTreeSet::new();
        let mut not_counted = vec![];
        for approval in given.iter().filter(|approval| members.contains(&approval.by)) {
            let age_ms = now.as_millisecond() - approval.at.as_millisecond();
            if author.is_none() {
                not_counted.push(format!("{}: the author is not known", approval.by));
            } else if author == Some(approval.by.as_str()) {
                not_counted.push(format!("{} is the author", approval.by));
            } else if age_ms < 0 {
                not_counted.push(format!("{} approved in the future", approval.by));
            } else if age_ms >= i64::from(rule.hours) * 3_600_000 {
                not_counted
                    .push(format!("{}'s approval is older than {} h", approval.by, rule.hours));
            } else {
                people.insert(approval.by.as_str());
            }
        }
        let given = u32::try_from(people.len()).unwrap_or(u32::MAX);
        if given < rule.count {
            found.push(Lacking {
                role: rule.role.clone(),
                needed: rule.count,
                given,
                members,
                not_counted,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, rules, approvals, author, environment, and what lacks: needed and given.
    type Case = (
        &'static str,
        Vec<ApprovalRule>,
        Vec<Approval>,
        Option<&'static str>,
        &'static str,
        Vec<(u32, u32)>,
    );

    #[test]
    fn n_of_m_with_roles_never_the_author_and_not_for_ever() {
        let at = |hours: i64| Timestamp::from_second(hours * 3600).unwrap();
        let rule = |role: &str, count| ApprovalRule {
            role: role.into(),
            count,
            environments: vec!["production".into()],
            hours: 24,
        };
        let people =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let roles = BTreeMap::from([
            ("sre".to_owned(), people(&["ada", "bob", "eve"])),
            ("lead".to_owned(), people(&["bob"])),
        ]);
        let given = |list: &[(&str, i64)]| {
            list.iter()
                .map(|(by, hour)| Approval { by: (*by).into(), at: at(*hour) })
                .collect::<Vec<_>>()
        };
        #[rustfmt::skip]
        let cases: [Case; 9] = [
            ("nobody",         vec![rule("sre", 2)], given(&[]),                       Some("ada"), "production", vec![(2, 0)]),
            ("two",            vec![rule("sre", 2)], given(&[("bob", 30), ("eve", 30)]), Some("ada"), "production", vec![]),
            ("one twice",      vec![rule("sre", 2)], given(&[("bob", 30), ("bob", 31)]), Some("ada"), "production", vec![(2, 1)]),
            ("the author",     vec![rule("sre", 1)], given(&[("ada", 30)]),            Some("ada"), "production", vec![(1, 0)]),
            ("author unknown", vec![rule("sre", 1)], given(&[("bob", 30)]),            None,        "production", vec![(1, 0)]),
            ("too old",        vec![rule("sre", 1)], given(&[("bob", 8)]),             Some("ada"), "production", vec![(1, 0)]),
            ("from the future", vec![rule("sre", 1)], given(&[("bob", 33)]),           Some("ada"), "production", vec![(1, 0)]),
            ("two roles",      vec![rule("sre", 1), rule("lead", 1)], given(&[("bob", 31)]), Some("ada"), "production", vec![]),
            ("elsewhere",      vec![rule("sre", 2)], given(&[]),                       Some("ada"), "staging", vec![]),
        ];
        for (name, rules, given, author, environment, expected) in cases {
            let found = lacking(&rules, &roles, &given, author, environment, at(32));
            let found: Vec<_> = found.iter().map(|lack| (lack.needed, lack.given)).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
