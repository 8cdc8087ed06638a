//! Windows: times in which nothing is deployed (freeze), or in which only then is deployed (deploy). A small part of iCalendar's recurrence rules.
//!
//! Times are in UTC or at a fixed offset: the model has no time zone database, and a gate must not change its mind with one.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest window, hours: a year. Evaluation looks back so far.
const HOURS_MAX: u32 = 366 * 24;

/// What a window does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// Nothing is deployed while it is open.
    Freeze,
    /// Where an environment has any of these, deployments happen only while one is open.
    Deploy,
}

/// A recurring or single span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub name: String,
    pub kind: WindowKind,
    /// Empty: every environment.
    #[serde(default)]
    pub environments: Vec<String>,
    /// RFC 5545 recurrence: `FREQ=WEEKLY;BYDAY=FR,SA`. Absent: once, at `from`. Known parts: FREQ (DAILY, WEEKLY, MONTHLY, YEARLY),
    /// INTERVAL, BYDAY, BYMONTH, BYMONTHDAY, UNTIL.
    #[serde(default)]
    pub rrule: Option<String>,
    /// First start: `2026-12-18T17:00`, or with an offset `2026-12-18T17:00+01:00`. Without one it is UTC.
    pub from: String,
    /// How long each one is, hours.
    pub hours: u32,
    /// Who answers for it.
    pub owner: String,
    pub reason: String,
}

/// A window cannot be understood; then it counts as closed to deployments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("window `{name}`: {why}")]
pub struct WindowError {
    pub name: String,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

struct Rule {
    frequency: Frequency,
    interval: i32,
    days: Vec<Weekday>,
    months: Vec<i8>,
    month_days: Vec<i8>,
    until: Option<Date>,
}

impl Window {
    /// The span that is open at a moment: its start and its end.
    ///
    /// # Errors
    /// When the start or the rule cannot be read: which part, and what is known.
    pub fn open_at(&self, now: Timestamp) -> Result<Option<(Timestamp, Timestamp)>, WindowError> {
        let fail = |why: String| WindowError { name: self.name.clone(), why };
        if self.hours == 0 || self.hours > HOURS_MAX {
            return Err(fail(format!("`hours: {}` is not 1 to {HOURS_MAX}", self.hours)));
        }
        let (first, time, zone) = start(&self.from).map_err(&fail)?;
        let rule = self.rrule.as_deref().map(Rule::parse).transpose().map_err(&fail)?;
        let length = SignedDuration::from_hours(i64::from(self.hours));
        let today = now.to_zoned(zone.clone()).date();
        let back = i64::from(self.hours / 24) + 1;
        for days in 0..=back {
            let Ok(day) = today.checked_sub(SignedDuration::from_hours(days * 24)) else { break };
            if day < first {
                break;
            }
            let starts = rule.as_ref().map_or(day == first, |rule| rule.starts_on(day, first));
            if !starts {
                continue;
            }
            let Ok(begin) = day.to_datetime(time).to_zoned(zone.clone()) else { continue };
            let begin = begin.timestamp();
            let end = begin.checked_add(length).unwrap_or(Timestamp::MAX);
            if begin <= now && now < end {
                return Ok(Some((begin, end)));
            }
        }
        Ok(None)
    }

    pub fn is_for(&self, environment: &str) -> bool {
        self.environments.is_empty() || self.environments.iter().any(|own| own == environment)
    }
}

fn start(text: &str) -> Result<(Date, Time, TimeZone), String> {
    let bad = || format!("`from: {text}` is not like 2026-12-18T17:00 or 2026-12-18T17:00+01:00");
    let (local, offset) = match text.get(10..).and_then(|tail| tail.find(['+', '-', 'Z'])) {
        Some(at) => text.split_at(10 + at),
        None => (text, "Z"),
    };
    let (date, time) = local.split_once('T').ok_or_else(bad)?;
    let date: Date = date.parse().map_err(|_| bad())?;
    let time: Time = time.parse().map_err(|_| bad())?;
    let zone = if offset == "Z" {
        TimeZone::UTC
    } else {
        let (sign, rest) = offset.split_at(1);
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
        let hours: i32 = hours.parse().map_err(|_| bad())?;
        let minutes: i32 = minutes.parse().map_err(|_| bad())?;
        let seconds = (hours * 60 + minutes) * 60 * if sign == "-" { -1 } else { 1 };
        TimeZone::fixed(Offset::from_seconds(seconds).map_err(|_| bad())?)
    };
    Ok((date, time, zone))
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let mut frequency = None;
        let mut rule = Self {
            frequency: Frequency::Daily,
            interval: 1,
            days: vec![],
            months: vec![],
            month_days: vec![],
            until: None,
        };
        let text = text.strip_prefix("RRULE:").unwrap_or(text);
        for part in text.split(';') {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("`{part}` in rrule has no value"))?;
            let bad = || format!("`{part}` in rrule is not understood");
            match key {
                "FREQ" => {
                    frequency = Some(match value {
                        "DAILY" => Frequency::Daily,
                        "WEEKLY" => Frequency::Weekly,
                        "MONTHLY" => Frequency::Monthly,
                        "YEARLY" => Frequency::Yearly,
                        _ => return Err(bad()),
                    });
                }
                "INTERVAL" => {
                    rule.interval =
                        value.parse().ok().filter(|every| *every > 0).ok_or_else(bad)?;
                }
                "BYDAY" => {
                    rule.days =
                        value.split(',').map(weekday).collect::<Option<_>>().ok_or_else(bad)?;
                }
                "BYMONTH" => rule.months = numbers(value, 12).ok_or_else(bad)?,
                "BYMONTHDAY" => rule.month_days = numbers(value, 31).ok_or_else(bad)?,
                "UNTIL" => {
                    let date = value.get(..8).ok_or_else(bad)?;
                    rule.until = Some(date.parse().map_err(|_| bad())?);
                }
                _ => {
                    return Err(format!(
                        "`{key}` in rrule is not known; known are FREQ, INTERVAL, BYDAY, BYMONTH, BYMONTHDAY, UNTIL"
                    ));
                }
            }
        }
        rule.frequency = frequency.ok_or("rrule has no FREQ")?;
        Ok(rule)
    }

    /// Whether an occurrence begins on a day. `first`: the day of the first one, from which intervals count.
    fn starts_on(&self, day: Date, first: Date) -> bool {
        if self.until.is_some_and(|until| day > until) {
            return false;
        }
        if !self.months.is_empty() && !self.months.contains(&day.month()) {
            return false;
        }
        if !self.month_days.is_empty() && !self.month_days.contains(&day.day()) {
            return false;
        }
        if !self.days.is_empty() && !self.days.contains(&day.weekday()) {
            return false;
        }
        let days_apart = (day.duration_since(first).as_hours() / 24) as i32;
        let months_apart = (i32::from(day.year()) - i32::from(first.year())) * 12
            + i32::from(day.month())
            - i32::from(first.month());
        match self.frequency {
            Frequency::Daily => days_apart % self.interval == 0,
            Frequency::Weekly => {
                // RFC 5545 counts weeks from Monday (WKST's default).
                let monday = i32::from(first.weekday().to_monday_zero_offset());
                (days_apart + monday) / 7 % self.interval == 0
                    && (!self.days.is_empty() || day.weekday() == first.weekday())
            }
            Frequency::Monthly => {
                months_apart % self.interval == 0
                    && (!self.month_days.is_empty()
                        || !self.days.is_empty()
                        || day.day() == first.day())
            }
            Frequency::Yearly => {
                let same_day = day.day() == first.day() || !self.month_days.is_empty();
                let same_month = day.month() == first.month() || !self.months.is_empty();
                (i32::from(day.year()) - i32::from(first.year())) % self.interval == 0
                    && (!self.days.is_empty() || same_day)
                    && same_month
            }
        }
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    })
}

fn numbers(text: &str, max: i8) -> Option<Vec<i8>> {
    let in_range = |number: &i8| (1..=max).contains(number);
    text.split(',').map(|part| part.parse().ok().filter(in_range)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(rrule: &str, from: &str, hours: u32) -> Window {
        Window {
            name: "w".into(),
            kind: WindowKind::Freeze,
            environments: vec![],
            rrule: (!rrule.is_empty()).then(|| rrule.into()),
            from: from.into(),
            hours,
            owner: "sre".into(),
            reason: "weekend".into(),
        }
    }

    #[test]
    fn windows_open_and_close_when_their_rule_says() {
        #[rustfmt::skip]
        let cases = [
            // rule                               from                      hours  at                      open
            ("",                                  "2026-12-18T17:00",       24, "2026-12-18T16:59:59Z", false),
            ("",                                  "2026-12-18T17:00",       24, "2026-12-18T17:00:00Z", true),
            ("",                                  "2026-12-18T17:00",       24, "2026-12-19T17:00:00Z", false),
            ("",                                  "2026-12-18T17:00+01:00", 1,  "2026-12-18T16:00:00Z", true),
            ("FREQ=WEEKLY;BYDAY=FR",              "2026-01-02T15:00",       66, "2026-11-22T08:00:00Z", true),
            ("FREQ=WEEKLY;BYDAY=FR",              "2026-01-02T15:00",       66, "2026-11-23T09:00:00Z", false),
            ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO",   "2026-11-02T00:00",       24, "2026-11-09T12:00:00Z", false),
            ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO",   "2026-11-02T00:00",       24, "2026-11-16T12:00:00Z", true),
            ("FREQ=DAILY",                        "2026-11-01T22:00",       8,  "2026-11-21T03:00:00Z", true),
            ("FREQ=DAILY",                        "2026-11-01T22:00",       8,  "2026-11-21T06:00:00Z", false),
            ("FREQ=YEARLY;BYMONTH=12",            "2025-12-20T00:00",       300, "2026-12-31T12:00:00Z", true),
            ("FREQ=YEARLY;BYMONTH=12",            "2025-12-20T00:00",       300, "2027-01-01T12:00:00Z", false),
            ("FREQ=MONTHLY;BYMONTHDAY=1,15",      "2026-01-01T00:00",       24, "2026-11-15T23:00:00Z", true),
            ("FREQ=DAILY;UNTIL=20261120T000000Z", "2026-11-01T00:00",       24, "2026-11-21T01:00:00Z", false),
            ("FREQ=DAILY",                        "2026-11-22T00:00",       24, "2026-11-21T12:00:00Z", false),
        ];
        for (rule, from, hours, at, open) in cases {
            let found = window(rule, from, hours).open_at(at.parse().unwrap()).unwrap();
            assert_eq!(found.is_some(), open, "{rule} from {from} for {hours} h at {at}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let now = Timestamp::UNIX_EPOCH;
        #[rustfmt::skip]
        let cases = [
            ("FREQ=HOURLY",           "2026-01-01T00:00", 1, "`FREQ=HOURLY` in rrule is not understood"),
            ("FREQ=MONTHLY;BYDAY=1MO", "2026-01-01T00:00", 1, "`BYDAY=1MO` in rrule is not understood"),
            ("FREQ=DAILY;COUNT=3",    "2026-01-01T00:00", 1, "`COUNT` in rrule is not known"),
            ("INTERVAL=2",            "2026-01-01T00:00", 1, "rrule has no FREQ"),
            ("FREQ=DAILY",            "tomorrow",         1, "`from: tomorrow` is not like"),
            ("FREQ=DAILY",            "2026-01-01T00:00", 0, "`hours: 0` is not 1 to"),
        ];
        for (rule, from, hours, why) in cases {
            let error = window(rule, from, hours).open_at(now).unwrap_err();
            assert!(error.why.contains(why), "{}", error.why);
        }
    }
}
