//! Packages against advisories: findings, and what could not be told.
//!
//! Advisories about one package that are aliases of each other are one finding. What cannot be compared is a finding too, marked
//! "perhaps affected": a person can waive it or state by VEX that it is none, and nobody can overlook it.

use std::collections::{BTreeMap, BTreeSet};

use humdrum_model::finding::{Finding, FindingKind, ScanReport};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::coordinates::{self, Coordinates};
use super::inventory::Package;
use super::osv::{Advisory, Affected};
use super::range::{Covered, covers, lowest_fix};
use super::shard::{Shard, ShardError, Source};
use crate::version::Scheme;

/// The open shards, by ecosystem.
pub type Database<S> = BTreeMap<String, Shard<S>>;

/// Where a person reads about an advisory.
const LINK: &str = "https://osv.dev/vulnerability/";

/// What the scan is told from outside.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    pub packages: &'a [Package],
    pub at: Timestamp,
    /// Older advisories make the scan a failed one.
    pub max_age: SignedDuration,
    /// Name and version of this scanner.
    pub scanner: &'a str,
}

/// The answer. `report.failed` says why it may not be used as evidence of being clean.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    pub report: ScanReport,
    /// Packages that were looked up.
    pub assessed: usize,
    /// Packages that no advisory can be about, and why.
    pub not_assessed: Vec<NotAssessed>,
    /// The data that was used, by ecosystem.
    pub data: Vec<Data>,
}

/// A package that was not looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NotAssessed {
    /// Its package URL, or its name where it has none.
    pub package: String,
    pub why: String,
}

/// The advisories of an ecosystem that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Data {
    pub ecosystem: String,
    pub as_of: Timestamp,
    /// Records that the import could not read.
    pub unreadable: u64,
}

/// A package that is looked up.
struct Wanted<'a> {
    purl: &'a str,
    coordinates: Coordinates,
}

/// Advisories about one package that are one and the same thing.
#[derive(Default)]
struct Group {
    names: BTreeSet<String>,
    hits: Vec<Hit>,
}

struct Hit {
    advisory: Advisory,
    covered: Covered,
}

/// Matches packages against advisories. Errors are those of a shard that cannot be read.
pub fn find<S: Source>(
    question: &Question<'_>,
    database: &mut Database<S>,
) -> Result<Answer, ShardError> {
    let (wanted, mut not_assessed) = wanted(question.packages);
    let mut failures = vec![];
    let mut data = vec![];
    let ecosystems: BTreeSet<_> = wanted.iter().map(|one| one.coordinates.ecosystem).collect();
    for ecosystem in ecosystems {
        match database.get(ecosystem) {
            None => failures.push(format!("no advisories of {ecosystem} were imported")),
            Some(shard) => {
                failures.extend(too_old(ecosystem, shard.head.as_of, question));
                data.push(Data {
                    ecosystem: ecosystem.to_owned(),
                    as_of: shard.head.as_of,
                    unreadable: shard.head.unreadable,
                });
            }
        }
    }
    let (mut findings, mut assessed) = (vec![], 0);
    for one in &wanted {
        match database.get_mut(one.coordinates.ecosystem) {
            Some(shard) => {
                findings.extend(of_package(one, shard)?);
                assessed += 1;
            }
            None => not_assessed.push(NotAssessed {
                package: one.purl.to_owned(),
                why: format!("no advisories of {} were imported", one.coordinates.ecosystem),
            }),
        }
    }
    findings.sort_by(|a: &Finding, b| {
        let key = |f: &Finding| (f.package.clone(), f.rule.clone());
        b.severity.cmp(&a.severity).then_with(|| key(a).cmp(&key(b)))
    });
    not_assessed.sort();
    not_assessed.dedup();
    let report = ScanReport {
        kind: FindingKind::Vulnerability,
        scanner: question.scanner.to_owned(),
        at: question.at,
        data_as_of: data.iter().map(|one: &Data| one.as_of).min(),
        failed: (!failures.is_empty()).then(|| failures.join("; ")),
        findings,
    };
    Ok(Answer { report, assessed, not_assessed, data })
}

/// Sorted by ecosystem and name, so that each block of a shard is unpacked once.
fn wanted(packages: &[Package]) -> (Vec<Wanted<'_>>, Vec<NotAssessed>) {
    let (mut wanted, mut not_assessed, mut seen) = (vec![], vec![], BTreeSet::new());
    for package in packages {
        let Some(purl) = package.purl.as_deref() else {
            let why = "it has no package URL".to_owned();
            not_assessed.push(NotAssessed { package: package.name.clone(), why });
            continue;
        };
        if !seen.insert(purl) {
            continue;
        }
        match coordinates::of_purl(purl) {
            Ok(mut coordinates) => {
                let version = coordinates.version.take().or_else(|| package.version.clone());
                coordinates.version = version.filter(|version| !version.is_empty());
                wanted.push(Wanted { purl, coordinates });
            }
            Err(why) => {
                not_assessed.push(NotAssessed { package: purl.to_owned(), why: why.to_string() });
            }
        }
    }
    let key = |one: &Wanted<'_>| (one.coordinates.ecosystem, one.coordinates.names.clone());
    wanted.sort_by_cached_key(key);
    (wanted, not_assessed)
}

fn too_old(ecosystem: &str, as_of: Timestamp, question: &Question<'_>) -> Option<String> {
    let age = question.at.duration_since(as_of);
    let days = |span: SignedDuration| format!("{:.1}", span.as_secs_f64() / 86_400.0);
    (age > question.max_age).then(|| {
        let (age, limit) = (days(age), days(question.max_age));
        format!("the advisories of {ecosystem} are {age} days old; the limit is {limit}")
    })
}

fn of_package<S: Source>(
    one: &Wanted<'_>,
    shard: &mut Shard<S>,
) -> Result<Vec<Finding>, ShardError> {
    let scheme = Scheme::of_ecosystem(one.coordinates.ecosystem);
    let mut groups: Vec<Group> = vec![];
    let mut seen = BTreeSet::new();
    for name in &one.coordinates.names {
        for mut advisory in shard.find(name)? {
            advisory.affected.retain(|part| one.coordinates.release.accepts(&part.ecosystem));
            let covered = covered(&advisory, scheme, one.coordinates.version.as_deref());
            if covered != Covered::No && seen.insert(advisory.id.clone()) {
                join(&mut groups, Hit { advisory, covered });
            }
        }
    }
    Ok(groups.iter().map(|group| group.finding(one, scheme)).collect())
}

fn covered(advisory: &Advisory, scheme: Option<Scheme>, version: Option<&str>) -> Covered {
    let Some(version) = version else {
        // Every version is affected at some time, so one that is not stated may be, too.
        let why = "the SBOM states no version".to_owned();
        return if advisory.affected.is_empty() { Covered::No } else { Covered::Perhaps(why) };
    };
    let mut all = Covered::No;
    for affected in &advisory.affected {
        match covers(affected, scheme, version) {
            Covered::Yes => return Covered::Yes,
            Covered::No => {}
            perhaps => all = perhaps,
        }
    }
    all
}

/// Puts a hit into the group that shares a name with it; it may make one of several.
fn join(groups: &mut Vec<Group>, hit: Hit) {
    let mut joined = Group::default();
    joined.names.insert(hit.advisory.id.clone());
    joined.names.extend(hit.advisory.aliases.iter().cloned());
    let shared = groups.extract_if(.., |group| !group.names.is_disjoint(&joined.names));
    let shared: Vec<Group> = shared.collect();
    for group in shared {
        joined.names.extend(group.names);
        joined.hits.extend(group.hits);
    }
    joined.hits.push(hit);
    groups.push(joined);
}

impl Group {
    fn finding(&self, one: &Wanted<'_>, scheme: Option<Scheme>) -> Finding {
        // GitHub's record, where there is one, is the most read; else the first by name.
        let rank = |hit: &&Hit| (!hit.advisory.id.starts_with("GHSA-"), hit.advisory.id.clone());
        let main = self.hits.iter().min_by_key(rank).expect("a group is made with a hit");
        let rating = self.hits.iter().map(|hit| hit.advisory.rating).reduce(|a, b| a.worse(b));
        let rating = rating.unwrap_or(main.advisory.rating);
        let summaries = std::iter::once(main).chain(&self.hits);
        let summary = summaries.filter_map(|hit| hit.advisory.summary.clone()).next();
        let summary = summary.unwrap_or_else(|| format!("advisory {}", main.advisory.id));
        let certain = self.hits.iter().any(|hit| hit.covered == Covered::Yes);
        let doubt = self.hits.iter().find_map(|hit| match &hit.covered {
            Covered::Perhaps(why) if !certain => Some(why),
            _ => None,
        });
        let title = match doubt {
            Some(why) => format!("perhaps affected ({why}): {summary}"),
            None => summary,
        };
        let rule = main.advisory.id.clone();
        Finding {
            kind: FindingKind::Vulnerability,
            aliases: self.names.iter().filter(|name| **name != rule).cloned().collect(),
            severity: rating.severity,
            score: rating.score,
            title,
            fingerprint: self.fingerprint(one),
            package: Some(one.purl.to_owned()),
            fixed_in: self.fixed_in(one, scheme),
            place: None,
            link: Some(format!("{LINK}{rule}")),
            rule,
        }
    }

    fn fixed_in(&self, one: &Wanted<'_>, scheme: Option<Scheme>) -> Option<String> {
        let affected: Vec<&Affected> =
            self.hits.iter().flat_map(|hit| &hit.advisory.affected).collect();
        lowest_fix(&affected, scheme?, one.coordinates.version.as_deref()?)
    }

    /// Of the vulnerability and the package without version: an update that does not mend it is no new finding. The first CVE id
    /// names the vulnerability where there is one, so that another database's record of it changes nothing.
    fn fingerprint(&self, one: &Wanted<'_>) -> String {
        let cve = self.names.iter().find(|name| name.starts_with("CVE-"));
        let named = cve.or_else(|| self.names.first()).map(String::as_str).unwrap_or_default();
        let Coordinates { ecosystem, names, .. } = &one.coordinates;
        let text = format!("vulnerability\0{named}\0{ecosystem}\0{}", names.join("\0"));
        hex::encode(Sha256::digest(text))
    }
}
