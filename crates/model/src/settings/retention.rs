//! How long an environment keeps artifacts, as people write it: `7 days`, `1 year`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::manifest::QuantityError;

/// Longest retention: 100 years. Who wants more leaves it out.
pub const RETENTION_MAX_MS: i64 = 100 * YEAR_MS;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A year has 365 days: retention is counted, not looked up in a calendar.
const YEAR_MS: i64 = 365 * DAY_MS;

/// Units with the words that people use for them.
const UNITS: [(i64, &[&str]); 5] = [
    (HOUR_MS, &["hour", "hours", "h"]),
    (DAY_MS, &["day", "days", "d"]),
    (7 * DAY_MS, &["week", "weeks", "w"]),
    (30 * DAY_MS, &["month", "months"]),
    (YEAR_MS, &["year", "years", "y"]),
];

/// A span of days: `7 days`, `6 months`, `1 year`. A month has 30 days, a year 365; at least one hour, at most 100 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Retention(i64);

impl Retention {
    /// The span in ms.
    pub const fn ms(self) -> i64 {
        self.0
    }
}

impl FromStr for Retention {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fail = |why: &str| QuantityError {
            what: "retention",
            text: text.chars().take(60).collect(),
            why: why.into(),
        };
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at(digits);
        let number: i64 =
            number.parse().map_err(|_| fail("write it like `7 days`, `6 months` or `1 year`"))?;
        let unit = unit.trim_start();
        let (ms, _) = UNITS.iter().find(|(_, words)| words.contains(&unit)).ok_or_else(|| {
            fail("the unit must be hours, days, weeks, months (30 days) or years (365 days)")
        })?;
        match number.checked_mul(*ms) {
            Some(0) => Err(fail("it must be more than 0; leave it out to keep everything")),
            Some(ms) if ms <= RETENTION_MAX_MS => Ok(Self(ms)),
            _ => Err(fail("it must be at most 100 years; leave it out to keep everything")),
        }
    }
}

impl fmt::Display for Retention {
    /// Canonical text: the largest of year, day and hour that keeps it exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, word) = match self.0 {
            ms if ms % YEAR_MS == 0 => (ms / YEAR_MS, "year"),
            ms if ms % DAY_MS == 0 => (ms / DAY_MS, "day"),
            ms => (ms / HOUR_MS, "hour"),
        };
        write!(f, "{count} {word}{}", if count == 1 { "" } else { "s" })
    }
}

impl TryFrom<String> for Retention {
    type Error = QuantityError;
    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl From<Retention> for String {
    fn from(retention: Retention) -> String {
        retention.to_string()
    }
}

impl schemars::JsonSchema for Retention {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Retention".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "retention", "examples": ["7 days"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, days, canonical) in [
            ("7 days", 7, "7 days"),
            ("7d", 7, "7 days"),
            (" 30 days ", 30, "30 days"),
            ("1 year", 365, "1 year"),
            ("2 weeks", 14, "14 days"),
            ("6 months", 180, "180 days"),
            ("24 hours", 1, "1 day"),
            ("730 days", 730, "2 years"),
        ] {
            let retention: Retention = text.parse().unwrap();
            assert_eq!(retention.ms(), days * DAY_MS, "{text}");
            assert_eq!(retention.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(retention));
        }
        assert_eq!("36 hours".parse::<Retention>().unwrap().to_string(), "36 hours");
        for bad in
            ["", "7", "days", "0 days", "-1 day", "1.5 years", "101 years", "7 Days", "9e9 days"]
        {
            assert!(bad.parse::<Retention>().is_err(), "{bad}");
        }
        assert!("9223372036854775807 years".parse::<Retention>().is_err());
    }
}
