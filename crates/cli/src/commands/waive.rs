//! `humdrum waive RULE|FINGERPRINT`: an exception with an owner, a reason and an end.

use clap::Args;
use humdrum_api::routes::waivers::WaiverWish;
use humdrum_control::clock::now;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::Ui;
use crate::wish::Wish;

#[derive(Debug, Args)]
pub(crate) struct Waive {
    /// A rule (`vulnerability-critical`), a finding's fingerprint, an advisory (`CVE-2026-1234`), or `hotfix` for what the policies let a hotfix skip.
    subject: String,
    /// `*` for every service.
    #[arg(long)]
    service: String,
    /// `*` for every environment.
    #[arg(long, visible_alias = "env")]
    environment: String,
    /// When it ends: `14d`, `2h`, `2026-12-31` or a time with zone. It lapses by itself.
    #[arg(long)]
    until: String,
    /// Everybody who meets the waiver reads this.
    #[arg(long)]
    reason: String,
}

impl Waive {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let until = end(&self.until, now())?;
        let named = |error: humdrum_model::name::NameError| {
            Failure::new(Exit::BadInput, "name", error.to_string())
        };
        let service = (self.service != "*").then(|| self.service.parse()).transpose();
        let environment = (self.environment != "*").then(|| self.environment.parse()).transpose();
        let wish = Wish::new(places, ui, self.reason)?;
        let body = WaiverWish {
            subject: self.subject,
            service: service.map_err(named)?,
            environment: environment.map_err(named)?,
            until,
            wish: wish.body.clone(),
        };
        wish.send_body("/api/v1/waivers", &body)
    }
}

/// A length of time from now, a day (its beginning, UTC), or a moment.
fn end(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let bad = || {
        Failure::new(Exit::BadInput, "time", format!("`{text}` is no end of a waiver"))
            .next("14d, 2h, 2026-12-31 or 2026-12-31T18:00:00Z")
    };
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return day.to_zoned(TimeZone::UTC).map(|day| day.timestamp()).map_err(|_| bad());
    }
    let unit = text.chars().last().ok_or_else(bad)?;
    let number: i64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| bad())?;
    let minutes = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        _ => return Err(bad()),
    };
    let length = number.checked_mul(minutes).filter(|length| *length > 0).ok_or_else(bad)?;
    now.checked_add(SignedDuration::from_mins(length)).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_lengths_days_or_moments() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let cases = [
            ("14d", Some("2026-12-05T12:00:00Z")),
            ("2h", Some("2026-11-21T14:00:00Z")),
            ("90m", Some("2026-11-21T13:30:00Z")),
            ("2026-12-31", Some("2026-12-31T00:00:00Z")),
            ("2026-12-31T18:00:00+01:00", Some("2026-12-31T17:00:00Z")),
            ("14", None),
            ("-3d", None),
            ("soon", None),
            ("", None),
            ("99999999999999999d", None),
        ];
        for (text, expected) in cases {
            let found = end(text, now).ok().map(|end| end.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
