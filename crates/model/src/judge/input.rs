//! One block as the judge takes it: typed, validated, and the same thing as its JSON line.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::error::InputError;

/// Longest accepted line, bytes: a thousand cells with full histograms, or a configuration with its history.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// Most cells of one block. F5 costs `cells × canary cells²` steps.
pub const CELLS_MAX: usize = 1_000;
/// Most canary cells of one block.
pub const CANARY_CELLS_MAX: usize = 200;
/// Most requests of one cell: a million per second in a block of 10 s.
pub const REQUESTS_MAX: u64 = 10_000_000;
/// Most buckets of one cell: base 1.0202 from a microsecond to an hour has 1,104.
pub const BUCKETS_MAX: usize = 2_000;
/// Longest name of an instance, bytes.
pub const INSTANCE_BYTES_MAX: usize = 256;
/// Latest accepted `t`, s: thirty thousand years, so that Unix time is welcome.
pub const T_MAX: f64 = 1e12;

/// The start of a block in seconds. Whole numbers and fractions are told apart, because the text of `t` is part of
/// the key of the thinning draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Seconds {
    Whole(u64),
    Fraction(f64),
}

impl Seconds {
    pub fn from_ms(ms: u64) -> Self {
        if ms.is_multiple_of(1_000) {
            Self::Whole(ms / 1_000)
        } else {
            Self::Fraction(ms as f64 / 1_000.0)
        }
    }

    pub fn value(self) -> f64 {
        match self {
            Self::Whole(s) => s as f64,
            Self::Fraction(s) => s,
        }
    }
}

impl fmt::Display for Seconds {
    /// The shortest text that reads back as the same number, an exponent below 0.0001, as Python writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(s) => write!(f, "{s}"),
            Self::Fraction(s) if s > 0.0 && s < 1e-4 => {
                let text = format!("{s:e}");
                let (digits, exponent) =
                    text.split_once("e-").expect("below 1 the exponent is negative");
                write!(f, "{digits}e-{exponent:0>2}")
            }
            Self::Fraction(s) => write!(f, "{s:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    /// Reads the digits themselves: the JSON reader's own fractions may be off by a bit, and then the key would be too.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        let text = raw.get();
        let bad = || {
            let shown: String = text.chars().take(40).collect();
            de::Error::custom(format!("`{shown}` is not a number of seconds from 0 to {T_MAX:e}"))
        };
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(bad());
        }
        let time = match text.parse::<u64>() {
            Ok(whole) => Self::Whole(whole),
            Err(_) => Self::Fraction(text.parse().map_err(|_| bad())?),
        };
        if time.value() <= T_MAX { Ok(time) } else { Err(bad()) }
    }
}

/// Which of the two compared sides an instance is on. A paired baseline is a baseline too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    Canary,
    Baseline,
}

/// Requests by latency: (upper bound in ms, count), ascending, not cumulative; the last bound may be `+Inf`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram(Vec<(f64, u64)>);

impl Histogram {
    /// Sorts the buckets and refuses bounds that are equal, negative or no number.
    pub fn new(mut buckets: Vec<(f64, u64)>) -> Result<Self, InputError> {
        if buckets.len() > BUCKETS_MAX {
            return Err(InputError::TooManyBuckets { found: buckets.len() });
        }
        if let Some((bound, _)) = buckets.iter().find(|(b, _)| b.is_nan() || *b < 0.0) {
            return Err(InputError::BadBound { bound: bound.to_string() });
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let Some(pair) = buckets.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(InputError::SameBound { bound: bound_text(pair[0].0) });
        }
        let total = buckets.iter().try_fold(0_u64, |sum, (_, n)| sum.checked_add(*n));
        if total.is_none_or(|sum| sum > REQUESTS_MAX) {
            return Err(InputError::TooManyRequests { found: total.unwrap_or(u64::MAX) });
        }
        Ok(Self(buckets))
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, n)| n).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn buckets(&self) -> &[(f64, u64)] {
        &self.0
    }

    /// Requests in buckets above `bound` ms. A bucket whose bound is equal up to rounding is not above.
    pub fn above(&self, bound: f64) -> u64 {
        let limit = bound * (1.0 + 1e-6);
        self.0.iter().filter(|(b, _)| *b > limit).map(|(_, n)| n).sum()
    }
}

fn bound_text(bound: f64) -> String {
    if bound == f64::INFINITY { "+Inf".into() } else { bound.to_string() }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(bound, n)| (bound_text(*bound), n)))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct HistogramVisitor;
        impl<'de> Visitor<'de> for HistogramVisitor {
            type Value = Histogram;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of bucket upper bounds in ms (the last `+Inf`) to counts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Histogram, A::Error> {
                let mut buckets = Vec::new();
                while let Some((key, count)) = map.next_entry::<String, u64>()? {
                    let bound = parse_bound(&key).map_err(de::Error::custom)?;
                    buckets.push((bound, count));
                    if buckets.len() > BUCKETS_MAX {
                        break;
                    }
                }
                Histogram::new(buckets).map_err(de::Error::custom)
            }
        }
        from.deserialize_map(HistogramVisitor)
    }
}

fn parse_bound(key: &str) -> Result<f64, InputError> {
    let bad = || InputError::BadBound { bound: key.chars().take(40).collect() };
    match key {
        "+Inf" => Ok(f64::INFINITY),
        // Rust also reads `inf`, `nan` and `infinity`; a bound is digits.
        _ if !key.starts_with(|c: char| c.is_ascii_digit()) => Err(bad()),
        _ => key.parse::<f64>().ok().filter(|b| b.is_finite()).ok_or_else(bad),
    }
}

/// One instance in one block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeCell {
    pub instance: String,
    pub arm: Arm,
    /// Requests assigned to the instance, answered or not.
    pub requests: u64,
    /// Answers 500–599 and requests without an answer.
    pub errors: u64,
    /// Required when latency is one of the metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Histogram>,
}

/// One block of the judge: what both arms did in `block_s` seconds. Cells are sorted by instance.
///
/// A block without the cells of an arm says that this arm's counts are missing, never that they are zero.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeBlock {
    t: Seconds,
    stage: usize,
    cells: Vec<JudgeCell>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBlock {
    t: Seconds,
    stage: usize,
    #[serde(deserialize_with = "objects")]
    cells: Vec<JudgeCell>,
}

/// Reads `T` from a JSON object only: a derived reader takes an array of the fields' values too.
pub(super) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        from.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Reads a list of objects.
pub(super) fn objects<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let objects: Vec<Object<T>> = Vec::deserialize(from)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

impl JudgeBlock {
    /// Validates the cells by themselves; whether stage and time fit is for the judge, which knows the blocks before.
    pub fn new(t: Seconds, stage: usize, mut cells: Vec<JudgeCell>) -> Result<Self, InputError> {
        if cells.len() > CELLS_MAX {
            return Err(InputError::TooManyCells { found: cells.len() });
        }
        let canary = cells.iter().filter(|c| c.arm == Arm::Canary).count();
        if canary > CANARY_CELLS_MAX {
            return Err(InputError::TooManyCanaryCells { found: canary });
        }
        cells.iter().try_for_each(check_cell)?;
        cells.sort_by(|a, b| a.instance.cmp(&b.instance));
        if let Some(pair) = cells.windows(2).find(|pair| pair[0].instance == pair[1].instance) {
            return Err(InputError::SameInstance { instance: pair[0].instance.clone() });
        }
        Ok(Self { t, stage, cells })
    }

    /// Reads one line: `{"t":0,"stage":0,"cells":[{"instance":…,"arm":…,"requests":…,"errors":…}]}`.
    pub fn parse(line: &str) -> Result<Self, InputError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(InputError::LineTooLong { found: line.len() });
        }
        let Object(raw): Object<RawBlock> = serde_json::from_str(line).map_err(InputError::json)?;
        Self::new(raw.t, raw.stage, raw.cells)
    }

    /// The line that parses to this block again.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a block holds only strings and finite numbers")
    }

    /// Start of the block.
    pub fn t(&self) -> Seconds {
        self.t
    }

    /// Index into the configured stages.
    pub fn stage(&self) -> usize {
        self.stage
    }

    pub fn cells(&self) -> &[JudgeCell] {
        &self.cells
    }

    pub(super) fn arm(&self, arm: Arm) -> Vec<&JudgeCell> {
        self.cells.iter().filter(|c| c.arm == arm).collect()
    }
}

fn check_cell(cell: &JudgeCell) -> Result<(), InputError> {
    if cell.instance.is_empty() || cell.instance.len() > INSTANCE_BYTES_MAX {
        return Err(InputError::BadInstance { found: cell.instance.len() });
    }
    if cell.requests > REQUESTS_MAX {
        return Err(InputError::TooManyRequests { found: cell.requests });
    }
    if cell.errors > cell.requests {
        return Err(InputError::MoreErrorsThanRequests {
            instance: cell.instance.clone(),
            errors: cell.errors,
            requests: cell.requests,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_as_in_the_key_of_the_draws() {
        let cases = [
            ("0", "0"),
            ("10", "10"),
            ("10.0", "10.0"),
            ("0.2", "0.2"),
            ("1e3", "1000.0"),
            ("0.00001", "1e-05"),
            ("1.5e-7", "1.5e-07"),
            ("1763683200.25", "1763683200.25"),
            ("928.6744506199136", "928.6744506199136"),
        ];
        for (json, text) in cases {
            let t: Seconds = serde_json::from_str(json).unwrap();
            assert_eq!(t.to_string(), text);
        }
        assert_eq!(Seconds::from_ms(1_200).to_string(), "1.2");
        assert_eq!(Seconds::from_ms(3_000).to_string(), "3");
    }

    #[test]
    fn bad_lines_are_refused_by_name() {
        let cell = |text: &str| format!(r#"{{"t":0,"stage":0,"cells":[{text}]}}"#);
        let cases = [
            (String::from("{"), "EOF while parsing"),
            (String::from("[]"), "expected an object"),
            (cell(r#"["a","canary",1,0]"#), "expected an object"),
            (String::from("NaN"), "expected value"),
            (String::from(r#"{"t":0,"stage":0}"#), "missing field `cells`"),
            (String::from(r#"{"t":-1,"stage":0,"cells":[]}"#), "number of seconds"),
            (String::from(r#"{"t":1e400,"stage":0,"cells":[]}"#), "number of seconds"),
            (String::from(r#"{"t":"0","stage":0,"cells":[]}"#), "number of seconds"),
            (String::from(r#"{"t":0,"stage":-1,"cells":[]}"#), "invalid value"),
            (String::from(r#"{"t":0,"stage":0,"cells":[],"x":1}"#), "unknown field `x`"),
            (String::from(r#"{"t":0,"t":1,"stage":0,"cells":[]}"#), "duplicate field `t`"),
            (
                cell(r#"{"instance":"a","arm":"mirror","requests":1,"errors":0}"#),
                "unknown variant `mirror`",
            ),
            (cell(r#"{"instance":"a","arm":"canary","requests":1,"errors":-1}"#), "invalid value"),
            (
                cell(r#"{"instance":"a","arm":"canary","requests":1.5,"errors":0}"#),
                "floating point",
            ),
            (cell(r#"{"instance":"a","arm":"canary","requests":1}"#), "missing field `errors`"),
            (
                cell(r#"{"instance":"","arm":"canary","requests":1,"errors":0}"#),
                "name of an instance",
            ),
            (
                cell(r#"{"instance":"a","arm":"canary","requests":1,"errors":2}"#),
                "2 errors of 1 requests",
            ),
            (
                cell(r#"{"instance":"a","arm":"canary","requests":99999999,"errors":2}"#),
                "99999999 requests",
            ),
            (
                cell(
                    r#"{"instance":"a","arm":"canary","requests":1,"errors":0,"latency":{"x":1}}"#,
                ),
                "bucket bound `x`",
            ),
            (
                cell(
                    r#"{"instance":"a","arm":"canary","requests":1,"errors":0,"latency":{"1":1,"1.0":1}}"#,
                ),
                "bucket bound `1`",
            ),
            (
                cell(
                    r#"{"instance":"a","arm":"canary","requests":1,"errors":0,"latency":{"nan":1}}"#,
                ),
                "bucket bound `nan`",
            ),
        ];
        for (line, expected) in cases {
            let error = JudgeBlock::parse(&line).expect_err(&line).to_string();
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains("at line"), "the caller names the line: {error}");
        }
        let twice = r#"{"instance":"a","arm":"canary","requests":1,"errors":0},{"instance":"a","arm":"baseline","requests":1,"errors":0}"#;
        assert!(JudgeBlock::parse(&cell(twice)).unwrap_err().to_string().contains("`a` twice"));
    }

    #[test]
    fn a_line_reads_back_as_the_same_block() {
        let line = concat!(
            r#"{"t":0.2,"stage":1,"cells":[{"instance":"b","arm":"baseline","requests":2,"errors":0,"#,
            r#""latency":{"1":1,"17.8109":0,"+Inf":1}},{"instance":"c","arm":"canary","requests":1,"errors":1}]}"#
        );
        assert_eq!(JudgeBlock::parse(line).unwrap().to_line(), line);
    }
}
