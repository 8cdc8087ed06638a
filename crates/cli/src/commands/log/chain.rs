//! `humdrum log --verify` and `--export`: the hash chain over all events, checked here and not by the one who tells it.
//!
//! An export needs neither Humdrum nor its store to be checked: docs/events.md says how.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use humdrum_control::store::chain::{ChainBreak, Head, parse_line};
use humdrum_model::report::counted;
use serde_json::json;

use crate::client::Client;
use crate::commands::block_on;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::unusable;
use crate::ui::{Tone, Ui};

/// Events asked for at once; an event may be as large as the state of a run.
const PAGE: u32 = 200;
/// Longest line of an export that is read, bytes: more than the largest event with everything in it escaped.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Checks every event of the running installation.
pub(super) fn verify(client: &Client, ui: &Ui) -> Outcome {
    let head = block_on(walk(client, |_| Ok(())))?;
    say(&head, "the event log of this installation", ui);
    Ok(Exit::Ok)
}

/// Writes every event to a file, or to standard output for `-`. What is written verifies.
pub(super) fn export(client: &Client, file: &Path, ui: &Ui) -> Outcome {
    if file == Path::new("-") {
        block_on(walk(client, |line| {
            ui.raw(line);
            Ok(())
        }))?;
        return Ok(Exit::Ok);
    }
    // Beside the target, so that a broken export never replaces a whole one.
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let fails = |error: io::Error| unusable(file, &error);
    let mut out = io::BufWriter::new(File::create(partial).map_err(fails)?);
    let walked = block_on(walk(client, |line| writeln!(out, "{line}").map_err(fails)));
    let kept = walked.and_then(|head| {
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(fails)?;
        std::fs::rename(partial, file).map_err(fails)?;
        Ok(head)
    });
    if kept.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(partial);
    }
    say(&kept?, &format!("exported to {}", file.display()), ui);
    ui.line(format!("next: humdrum log --verify {}", file.display()));
    Ok(Exit::Ok)
}

/// Checks a file that was exported earlier, here or elsewhere.
pub(super) fn verify_file(file: &Path, ui: &Ui) -> Outcome {
    let name = file.display().to_string();
    let head = if file == Path::new("-") {
        verify_lines(&name, io::stdin().lock())?
    } else {
        verify_lines(&name, BufReader::new(File::open(file).map_err(|e| unusable(file, &e))?))?
    };
    say(&head, &name, ui);
    Ok(Exit::Ok)
}

fn say(head: &Head, what: &str, ui: &Ui) {
    let hash = hex(&head.hash);
    ui.document(&json!({ "verified": true, "events": head.pos, "hash": hash, "what": what }));
    let whole = ui.tone(Tone::Good, "The chain is whole");
    ui.line(format!("{whole}: {} from the first one on, {what}.", counted(head.pos, "event")));
    ui.line(format!("Hash of the last one: {hash}"));
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Follows the chain over the API from its first event, giving each line to `each`.
async fn walk(
    client: &Client,
    mut each: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<Head, Failure> {
    let mut head = Head::START;
    loop {
        let page = client.text(&format!("/api/v1/chain?after={}&limit={PAGE}", head.pos)).await?;
        if page.is_empty() {
            return Ok(head);
        }
        for line in page.lines() {
            let place = || format!("position {} of the event log", head.pos + 1);
            head = follow(head, line).map_err(|broken| failure(&broken, place()))?;
            each(line)?;
        }
    }
}

fn verify_lines(name: &str, mut lines: impl BufRead) -> Result<Head, Failure> {
    let mut head = Head::START;
    for number in 1_u64.. {
        let place = || format!("{name}:{number}");
        let mut line = String::new();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).map_err(|error| {
            Failure::new(Exit::BadInput, "chain-file", format!("`{name}` cannot be read"))
                .cause(&error)
                .at(place())
                .next("humdrum log --export FILE")
        })?;
        if read == 0 {
            break;
        }
        head = follow(head, line.trim_end_matches('\n'))
            .map_err(|broken| failure(&broken, place()))?;
    }
    if head.pos == 0 {
        let what = format!("`{name}` holds no event");
        return Err(Failure::new(Exit::BadInput, "chain-file", what)
            .at(name)
            .next("humdrum log --export FILE"));
    }
    Ok(head)
}

fn follow(head: Head, line: &str) -> Result<Head, ChainBreak> {
    let row = parse_line(line).map_err(|why| ChainBreak {
        pos: head.pos + 1,
        why: format!("the line cannot be read: {why}"),
    })?;
    head.follow(&row)
}

fn failure(broken: &ChainBreak, place: String) -> Failure {
    let what = format!("the event chain breaks at position {}", broken.pos);
    Failure::new(Exit::Failed, "chain-broken", what)
        .why(broken.why.clone())
        .at(place)
        .next("compare with an earlier export; everything before that position is unchanged")
}
