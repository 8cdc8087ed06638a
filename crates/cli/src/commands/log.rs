//! `humdrum log`: what a build said, or what the instances of a service say, once or as it comes; and the chain of all events.

mod chain;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use humdrum_control::view::{ShipView, StatusView};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use super::block_on;
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

/// How often a followed log is asked for: soon enough for a reader, seldom enough for control.
const PAUSE: Duration = Duration::from_millis(500);
/// Lines looked at in each step of following: what a loud service says in a pause.
const FOLLOWED: u32 = 2_000;
/// The most that control answers with.
const LINES_MAX: u32 = 10_000;

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// A ship (s-…), a deployment (d-…), service/environment, or `last` for the newest ship.
    #[arg(required_unless_present_any = ["verify", "export"])]
    what: Option<String>,
    /// How many of the last lines.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=LINES_MAX as i64))]
    lines: u32,
    /// Go on until the ship is over, or until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Check that no event was changed, removed or moved: of this installation, or of an exported FILE (`-` is standard input).
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["what", "follow", "lines", "export"])]
    verify: Option<Option<PathBuf>>,
    /// Write every event to FILE (`-` is standard output), one JSON line each, checked on the way.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["what", "follow", "lines"])]
    export: Option<PathBuf>,
}

/// One line of an instance, as its shim wrote it.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    /// Unix ms.
    t: i64,
    stream: &'a str,
    #[serde(borrow)]
    line: std::borrow::Cow<'a, str>,
    instance: &'a str,
}

impl Log {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        match (&self.verify, &self.export) {
            (Some(Some(file)), _) => return chain::verify_file(file, ui),
            (Some(None), _) => return chain::verify(&Client::of(places)?, ui),
            (None, Some(file)) => return chain::export(&Client::of(places)?, file, ui),
            (None, None) => {}
        }
        let client = Client::of(places)?;
        block_on(async {
            let what = match self.what.as_deref() {
                None | Some("last") => last(&client).await?,
                Some(other) => named(other)?,
            };
            let text = ask(&client, &what, self.lines).await?;
            let mut seen = ordered(&text);
            seen.iter().for_each(|line| print(line, ui));
            if self.follow {
                follow(&client, &what, &mut seen, ui).await?;
            }
            Ok(Exit::Ok)
        })
    }
}

/// Only what may stand in a path, so that a stray character is refused here and by its name.
fn named(what: &str) -> Result<String, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '.' | '_');
    if !what.is_empty() && what.chars().all(plain) {
        return Ok(what.to_owned());
    }
    let why = format!("`{what}` is neither a ship, a deployment nor service/environment");
    Err(Failure::new(Exit::BadInput, "no-log", why).next("humdrum status"))
}

async fn last(client: &Client) -> Result<String, Failure> {
    let status: StatusView = client.get("/api/v1/status").await?;
    let none =
        || Failure::new(Exit::BadInput, "no-log", "nothing was shipped yet").next("humdrum ship");
    status.ships.first().map(|ship| ship.id.clone()).ok_or_else(none)
}

async fn ask(client: &Client, what: &str, lines: u32) -> Result<String, Failure> {
    client.text(&format!("/api/v1/logs/{what}?lines={lines}")).await
}

async fn follow(
    client: &Client,
    what: &str,
    seen: &mut Vec<String>,
    ui: &Ui,
) -> Result<(), Failure> {
    loop {
        // Asked before the lines are, so that the last lines of a ship that ended are still shown.
        let over = what.starts_with("s-") && is_over(client, what).await?;
        let now = ordered(&ask(client, what, FOLLOWED).await?);
        fresh(seen, &now).iter().for_each(|line| print(line, ui));
        *seen = now;
        if over || reader_left() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn is_over(client: &Client, ship: &str) -> Result<bool, Failure> {
    let view: ShipView = client.get(&format!("/api/v1/ships/{ship}")).await?;
    Ok(view.outcome.is_some())
}

/// Whether standard output is a pipe that nobody reads any more.
fn reader_left() -> bool {
    let out = std::io::stdout();
    let mut fds = [PollFd::new(&out, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
        && fds[0].revents().contains(PollFlags::ERR)
}

fn time_of(line: &str) -> Option<i64> {
    serde_json::from_str::<Line<'_>>(line).ok().map(|line| line.t)
}

/// The lines of both slots together, oldest first; a build's log is in order already.
fn ordered(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_by_cached_key(|line| time_of(line).unwrap_or(0));
    lines
}

/// The lines of `now` that were not among `before`. Both are the end of one growing log.
fn fresh<'a>(before: &[String], now: &'a [String]) -> Vec<&'a String> {
    let timed = now.first().or(before.first()).is_some_and(|line| time_of(line).is_some());
    if !timed {
        // Lines of a build may repeat, so the place decides: the longest end of `before` with which `now` begins.
        let overlap = (0..=before.len())
            .find(|from| now.starts_with(&before[*from..]))
            .map_or(0, |from| before.len() - from);
        return now[overlap..].iter().collect();
    }
    let mut known: HashMap<&str, usize> = HashMap::new();
    before.iter().for_each(|line| *known.entry(line).or_default() += 1);
    // What is older than the window we had was shown before or never asked for.
    let oldest = before.first().and_then(|line| time_of(line)).unwrap_or(i64::MIN);
    let new = now.iter().filter(|line| match known.get_mut(line.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => time_of(line).is_none_or(|t| t >= oldest),
    });
    new.collect()
}

fn print(line: &str, ui: &Ui) {
    match serde_json::from_str::<Line<'_>>(line) {
        Ok(read) if !ui.json => {
            let time = Timestamp::from_millisecond(read.t)
                .map(|t| format!("{t:.3}"))
                .unwrap_or_else(|_| read.t.to_string());
            let mark = if read.stream == "stderr" { "!" } else { "|" };
            let head = ui.tone(Tone::Quiet, &format!("{time} {} {mark}", read.instance));
            ui.raw(&format!("{head} {}", read.line));
        }
        _ => ui.raw(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_growing_build_log_is_shown_once() {
        #[rustfmt::skip]
        let cases = [
            // before   now          new
            ("",        "a b",       "a b"),
            ("a b",     "a b",       ""),
            ("a b",     "a b c",     "c"),
            ("a a",     "a a a",     "a"),
            ("a b c",   "b c d",     "d"),
            ("a b",     "c d",       "c d"),
        ];
        for (before, now, expected) in cases {
            let now = lines(now);
            let new: Vec<_> = fresh(&lines(before), &now).into_iter().cloned().collect();
            assert_eq!(new, lines(expected), "{before} then {now:?}");
        }
    }

    #[test]
    fn instances_that_say_the_same_at_the_same_time_are_both_shown() {
        let line = |t: i64, instance: &str| {
            format!(r#"{{"t":{t},"stream":"stdout","line":"up","instance":"{instance}","run":1}}"#)
        };
        let before = vec![line(5, "a"), line(6, "a")];
        // An older line of the other slot came into the window, and two new ones.
        let now = vec![line(4, "b"), line(5, "a"), line(6, "a"), line(6, "a"), line(6, "b")];
        let new: Vec<_> = fresh(&before, &now).into_iter().cloned().collect();
        assert_eq!(new, [line(6, "a"), line(6, "b")]);
    }

    #[test]
    fn both_slots_are_put_in_order() {
        let line = |t: i64| format!(r#"{{"t":{t},"stream":"stdout","line":"x","instance":"i"}}"#);
        let text = [line(3), line(1), line(2)].join("\n");
        assert_eq!(ordered(&text), [line(1), line(2), line(3)]);
    }
}
