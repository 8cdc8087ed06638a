//! Quantities as people write them: `10s`, `512MiB`, `0.5` cores, `2.5` percent. Each is checked once, here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest duration a manifest may ask for: 90 days. A longer wait is a typing error more often than a wish.
pub const DURATION_MAX_MS: u64 = 90 * 24 * 3_600_000;

/// Why a text is not the quantity that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {why}")]
pub struct QuantityError {
    pub what: &'static str,
    pub text: String,
    pub why: String,
}

fn error(what: &'static str, text: &str, why: impl Into<String>) -> QuantityError {
    QuantityError { what, text: text.into(), why: why.into() }
}

/// A span of time with a unit: `200ms`, `10s`, `3m`, `1h 30m`, `2 days`.
///
/// Read by `jiff`'s friendly format; whole milliseconds, at most [`DURATION_MAX_MS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Millis(u64);

impl Millis {
    /// A duration of this many milliseconds.
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    /// A duration of this many seconds.
    pub const fn seconds(s: u64) -> Self {
        Self(s * 1_000)
    }

    /// The milliseconds.
    pub const fn ms(self) -> u64 {
        self.0
    }
}

impl FromStr for Millis {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        const WHAT: &str = "duration";
        let trimmed = text.trim();
        if trimmed == "0" {
            return Ok(Self(0));
        }
        if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(error(
                WHAT,
                text,
                format!("it has no unit; write `{trimmed}s` or `{trimmed}m`"),
            ));
        }
        let duration = jiff::fmt::friendly::SpanParser::new()
            .parse_span(trimmed)
            .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()))
            .map_err(|_| error(WHAT, text, "write it like `200ms`, `10s`, `3m`, `1h 30m`"))?;
        let ms = u64::try_from(duration.as_millis())
            .map_err(|_| error(WHAT, text, "it must not be negative"))?;
        if duration.subsec_nanos() % 1_000_000 != 0 {
            return Err(error(WHAT, text, "parts of a millisecond are not kept"));
        }
        if ms > DURATION_MAX_MS {
            return Err(error(WHAT, text, "it must be at most 90 days"));
        }
        Ok(Self(ms))
    }
}

impl fmt::Display for Millis {
    /// Canonical text: the largest units that keep it exact, `1h 30m`, `1s 500ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        let mut first = true;
        for (unit, size) in
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
        {
            let count = rest / size;
            if count > 0 {
                write!(f, "{}{count}{unit}", if first { "" } else { " " })?;
                first = false;
                rest %= size;
            }
        }
        Ok(())
    }
}

/// A number of bytes with a unit: `512MiB`, `1GiB`, `64KiB`; `MB` and the like count in thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl Size {
    /// A size of this many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        const WHAT: &str = "size";
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|_| error(WHAT, text, "write a whole number and a unit, like `512MiB`"))?;
        let unit = unit.trim();
        if unit.is_empty() {
            return Err(error(WHAT, text, "it has no unit; write it like `512MiB` or `1GiB`"));
        }
        let (_, size) =
            SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(
                || error(WHAT, text, "the unit must be B, KiB, MiB, GiB, TiB, KB, MB, GB or TB"),
            )?;
        let bytes =
            number.checked_mul(*size).ok_or_else(|| error(WHAT, text, "it is too large"))?;
        if bytes == 0 {
            return Err(error(WHAT, text, "it must be more than 0"));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Size {
    /// Canonical text: the largest binary unit that keeps it exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZE_UNITS.iter().filter(|(name, size)| name.contains('i') || *size == 1);
        for (name, size) in binary {
            if self.0.is_multiple_of(*size) && self.0 > 0 {
                return write!(f, "{}{name}", self.0 / size);
            }
        }
        write!(f, "{}B", self.0)
    }
}

macro_rules! text_quantity {
    ($name:ident, $format:literal, $example:literal) => {
        impl TryFrom<String> for $name {
            type Error = QuantityError;
            fn try_from(text: String) -> Result<Self, QuantityError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $format, "examples": [$example] })
            }
        }
    };
}

text_quantity!(Millis, "duration", "10s");
text_quantity!(Size, "size", "512MiB");

/// A share of the traffic in percent, more than 0 and at most 100, kept in hundredths of a percent.
///
/// One part is one part of the edge's [`WEIGHT_TOTAL`](crate::route::WEIGHT_TOTAL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(u32);

impl Percent {
    /// All of the traffic.
    pub const ALL: Self = Self(10_000);

    /// From hundredths of a percent (1 to 10 000): the edge's parts.
    pub fn from_parts(parts: u32) -> Result<Self, QuantityError> {
        if (1..=Self::ALL.0).contains(&parts) {
            return Ok(Self(parts));
        }
        Err(error(
            "percentage",
            &(f64::from(parts) / 100.0).to_string(),
            "it must be from 0.01 to 100",
        ))
    }

    /// Parts of [`WEIGHT_TOTAL`](crate::route::WEIGHT_TOTAL): 1 % is 100.
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// The share, 0 to 1, as the judge takes it.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = QuantityError;
    fn try_from(value: f64) -> Result<Self, QuantityError> {
        let parts = value * 100.0;
        if !(0.01..=100.0).contains(&value) {
            return Err(error("percentage", &value.to_string(), "it must be from 0.01 to 100"));
        }
        // 0.07 * 100 is 7.000000000000001: closer than a thousandth of a part is the same number.
        if (parts - parts.round()).abs() > 1e-3 {
            return Err(error("percentage", &value.to_string(), "the finest step is 0.01"));
        }
        Ok(Self(parts.round() as u32))
    }
}

impl From<Percent> for f64 {
    fn from(value: Percent) -> f64 {
        f64::from(value.0) / 100.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(*self))
    }
}

/// Processor time in cores: `2`, `0.5`; kept in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Cores(u64);

impl Cores {
    /// Thousandths of a core.
    pub const fn millis(self) -> u64 {
        self.0
    }
}

impl TryFrom<f64> for Cores {
    type Error = QuantityError;
    fn try_from(value: f64) -> Result<Self, QuantityError> {
        if !(0.01..=1_024.0).contains(&value) {
            return Err(error(
                "number of cores",
                &value.to_string(),
                "it must be from 0.01 to 1024",
            ));
        }
        Ok(Self((value * 1_000.0).round() as u64))
    }
}

impl From<Cores> for f64 {
    fn from(value: Cores) -> f64 {
        value.0 as f64 / 1_000.0
    }
}

macro_rules! number_quantity {
    ($name:ident, $format:literal, $max:literal) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "number", "format": $format, "minimum": 0.01, "maximum": $max })
            }
        }
    };
}

number_quantity!(Percent, "percent", 100);
number_quantity!(Cores, "cores", 1024);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_units_and_written_canonically() {
        for (text, ms, canonical) in [
            ("10s", 10_000, "10s"),
            ("200ms", 200, "200ms"),
            ("3m", 180_000, "3m"),
            ("90m", 5_400_000, "1h 30m"),
            ("1h 30m", 5_400_000, "1h 30m"),
            ("2 days", 172_800_000, "2d"),
            ("1.5s", 1_500, "1s 500ms"),
            ("0s", 0, "0s"),
            ("0", 0, "0s"),
        ] {
            let parsed: Millis = text.parse().unwrap();
            assert_eq!(parsed.ms(), ms, "{text}");
            assert_eq!(parsed.to_string(), canonical, "{text}");
            assert_eq!(canonical.parse::<Millis>().unwrap(), parsed);
        }
        for bad in ["", "10", "ten seconds", "-3s", "1.5", "91 days", "1us", "1 month"] {
            assert!(bad.parse::<Millis>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        for (text, bytes, canonical) in [
            ("512MiB", 512 << 20, "512MiB"),
            ("1024 MiB", 1 << 30, "1GiB"),
            ("1gib", 1 << 30, "1GiB"),
            ("10MB", 10_000_000, "10000000B"),
            ("1000B", 1000, "1000B"),
        ] {
            let parsed: Size = text.parse().unwrap();
            assert_eq!((parsed.bytes(), parsed.to_string().as_str()), (bytes, canonical), "{text}");
        }
        for bad in ["", "512", "MiB", "1.5GiB", "5 parsecs", "0B", "99999999999TiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_keep_two_digits() {
        for (value, parts) in [(1.0, 100), (0.01, 1), (0.07, 7), (33.33, 3333), (100.0, 10_000)] {
            assert_eq!(Percent::try_from(value).unwrap().parts(), parts);
        }
        for bad in [0.0, 0.005, 1.001, 100.01, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Percent::try_from(bad).is_err(), "{bad}");
        }
    }
}
