//! Waivers: permitted exceptions with an owner, a reason and an end. They lapse by themselves; nobody has to remember.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::name::{EnvName, ServiceName};
use crate::report::{Refusal, Report};

/// A waiver ends within this; who needs longer asks again.
pub const DAYS_MAX: i64 = 366;
/// Longest reason and subject, bytes: they are stored with every verdict that they cover.
const TEXT_MAX: usize = 1_000;
/// Waivers in force at once; a gate reads all of them.
const WAIVERS_MAX: usize = 10_000;
/// The subject that opens the hotfix lane: it covers the rules that the settings let a hotfix skip, and nothing else.
pub const HOTFIX: &str = "hotfix";
/// What no waiver covers: a person's hold beats every exception, and stale facts say nothing about waivers either.
pub const NEVER: [&str; 2] = ["held", "facts-stale"];

/// A permitted exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// `w-1`, `w-2` … in the order in which they were granted.
    pub id: String,
    /// A rule (`vulnerability-critical`), a finding's fingerprint, an advisory (`CVE-2026-1234`), or [`HOTFIX`].
    pub subject: String,
    /// Absent: every service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Absent: every environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvName>,
    /// Who answers for it.
    pub owner: String,
    pub reason: String,
    pub since: Timestamp,
    pub until: Timestamp,
}

impl Waiver {
    /// Whether it is in force for a service in an environment at a moment. Its last moment is before `until`.
    pub fn holds_for(&self, service: &str, environment: &EnvName, at: Timestamp) -> bool {
        self.since <= at
            && at < self.until
            && self.service.as_ref().is_none_or(|own| own.as_str() == service)
            && self.environment.as_ref().is_none_or(|own| own == environment)
    }

    /// Where it counts, in words.
    pub fn scope(&self) -> String {
        let service = self.service.as_ref().map_or("every service", ServiceName::as_str);
        let environment = self.environment.as_ref().map_or("every environment", EnvName::as_str);
        format!("{service} in {environment}")
    }
}

/// All waivers in force: one run, so that every change of it is in the chain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WaiverBook {
    pub waivers: BTreeMap<String, Waiver>,
    /// Of the newest id; never used twice.
    pub sequence: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaiverCommand {
    Grant {
        subject: String,
        service: Option<ServiceName>,
        environment: Option<EnvName>,
        by: String,
        reason: String,
        until: Timestamp,
    },
    Revoke {
        id: String,
        by: String,
        why: String,
    },
    /// Time passed.
    Lapse,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaiverEvent {
    WaiverGranted { waiver: Waiver },
    WaiverRevoked { id: String, by: String, why: String },
    WaiverLapsed { id: String, subject: String, at: Timestamp },
}

impl WaiverEvent {
    /// The type name in the feed.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WaiverGranted { .. } => "waiver_granted",
            Self::WaiverRevoked { .. } => "waiver_revoked",
            Self::WaiverLapsed { .. } => "waiver_lapsed",
        }
    }
}

impl WaiverBook {
    /// Grants, revokes or lets lapse. What is over by `now` lapses with every command.
    pub fn decide(
        &self,
        command: &WaiverCommand,
        now: Timestamp,
    ) -> Result<(Vec<WaiverEvent>, Report), Refusal> {
        let mut events: Vec<WaiverEvent> = self
            .waivers
            .values()
            .filter(|waiver| waiver.until <= now)
            .map(|waiver| WaiverEvent::WaiverLapsed {
                id: waiver.id.clone(),
                subject: waiver.subject.clone(),
                at: now,
            })
            .collect();
        let report = match command {
            WaiverCommand::Lapse => Report::default(),
            WaiverCommand::Revoke { id, by, why } => {
                if self.waivers.get(id).is_none_or(|waiver| waiver.until <= now) {
                    return Err(self.unknown(id));
                }
                let (id, by, why) = (id.clone(), by.clone(), why.clone());
                let report =
                    Report::new([format!("Waiver {id} is revoked: its rule counts again.")]);
                events.push(WaiverEvent::WaiverRevoked { id, by, why });
                report
            }
            WaiverCommand::Grant { subject, service, environment, by, reason, until } => {
                self.may_grant(subject, by, reason, *until, now)?;
                let waiver = Waiver {
                    id: format!("w-{}", self.sequence + 1),
                    subject: subject.clone(),
                    service: service.clone(),
                    environment: environment.clone(),
                    owner: by.clone(),
                    reason: reason.clone(),
                    since: now,
                    until: *until,
                };
                let report = Report::new([format!(
                    "Waiver {}: `{subject}` is waived for {} until {}.",
                    waiver.id,
                    waiver.scope(),
                    until.strftime("%F %T UTC")
                )])
                .next(format!("humdrum waivers revoke {}", waiver.id));
                events.push(WaiverEvent::WaiverGranted { waiver });
                report
            }
        };
        Ok((events, report))
    }

    fn unknown(&self, id: &str) -> Refusal {
        let known: Vec<_> = self.waivers.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none is".into() } else { known.join(", ") };
        Refusal::new("no-such-waiver", format!("Waiver `{id}` is not in force; in force: {known}."))
            .next("humdrum waivers list")
    }

    fn may_grant(
        &self,
        subject: &str,
        by: &str,
        reason: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let refuse =
            |code: &str, why: String| Err(Refusal::new(code, why).next("humdrum waive --help"));
        if NEVER.contains(&subject) {
            return refuse(
                "not-waivable",
                format!("`{subject}` cannot be waived; a hold is lifted with `humdrum unhold`."),
            );
        }
        if subject.trim().is_empty() || reason.trim().is_empty() || by.trim().is_empty() {
            return refuse(
                "waiver-incomplete",
                "A waiver needs a subject, an owner and a reason.".into(),
            );
        }
        if subject.len() > TEXT_MAX || reason.len() > TEXT_MAX {
            return refuse(
                "waiver-too-long",
                format!("Subject and reason have at most {TEXT_MAX} bytes each."),
            );
        }
        let last =
            now.checked_add(SignedDuration::from_hours(DAYS_MAX * 24)).unwrap_or(Timestamp::MAX);
        if until <= now || until > last {
            return refuse(
                "waiver-end",
                format!("A waiver ends after now and within {DAYS_MAX} days; {until} does not."),
            );
        }
        if self.waivers.len() >= WAIVERS_MAX {
            return refuse(
                "waivers-full",
                format!("{WAIVERS_MAX} waivers are in force; revoke some first."),
            );
        }
        Ok(())
    }

    pub fn apply(&mut self, event: &WaiverEvent) {
        match event {
            WaiverEvent::WaiverGranted { waiver } => {
                self.sequence += 1;
                self.waivers.insert(waiver.id.clone(), waiver.clone());
            }
            WaiverEvent::WaiverRevoked { id, .. } | WaiverEvent::WaiverLapsed { id, .. } => {
                self.waivers.remove(id);
            }
        }
    }

    /// When the next one lapses.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.waivers.values().map(|waiver| waiver.until).min()
    }

    /// Those in force for a service in an environment at a moment.
    pub fn in_force(&self, service: &str, environment: &EnvName, at: Timestamp) -> Vec<Waiver> {
        let fits = |waiver: &&Waiver| waiver.holds_for(service, environment, at);
        self.waivers.values().filter(fits).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    fn grant(subject: &str, until: Timestamp) -> WaiverCommand {
        WaiverCommand::Grant {
            subject: subject.into(),
            service: Some(ServiceName::new("shop").unwrap()),
            environment: None,
            by: "ada".into(),
            reason: "mended next week".into(),
            until,
        }
    }

    fn run(book: &mut WaiverBook, command: &WaiverCommand, now: Timestamp) -> Vec<WaiverEvent> {
        let (events, _) = book.decide(command, now).unwrap();
        events.iter().for_each(|event| book.apply(event));
        events
    }

    #[test]
    fn a_waiver_lapses_by_itself_and_its_number_is_not_used_again() {
        let mut book = WaiverBook::default();
        run(&mut book, &grant("scan-missing-secret", at(10)), at(0));
        let production = EnvName::new("production").unwrap();
        assert_eq!(book.in_force("shop", &production, at(9)).len(), 1);
        assert!(book.in_force("other", &production, at(9)).is_empty());
        assert!(
            book.in_force("shop", &production, at(10)).is_empty(),
            "also before the timer fires"
        );
        assert_eq!(book.next_end(), Some(at(10)));
        let events = run(&mut book, &WaiverCommand::Lapse, at(10));
        assert!(matches!(&events[..], [WaiverEvent::WaiverLapsed { id, .. }] if id == "w-1"));
        run(&mut book, &grant("CVE-2026-1", at(20)), at(11));
        assert_eq!(book.waivers.keys().collect::<Vec<_>>(), ["w-2"]);
        let revoke =
            WaiverCommand::Revoke { id: "w-2".into(), by: "bob".into(), why: "mended".into() };
        run(&mut book, &revoke, at(12));
        assert!(book.waivers.is_empty());
        assert_eq!(book.decide(&revoke, at(12)).unwrap_err().code, "no-such-waiver");
    }

    #[test]
    fn what_may_not_be_waived_is_refused() {
        let book = WaiverBook::default();
        let far = at(24 * DAYS_MAX + 1);
        let cases = [
            ("held", at(1), "not-waivable"),
            ("facts-stale", at(1), "not-waivable"),
            (" ", at(1), "waiver-incomplete"),
            ("order", at(0), "waiver-end"),
            ("order", far, "waiver-end"),
        ];
        for (subject, until, code) in cases {
            assert_eq!(book.decide(&grant(subject, until), at(0)).unwrap_err().code, code);
        }
    }
}
