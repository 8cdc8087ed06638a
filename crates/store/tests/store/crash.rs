//! kill -9 of a process that commits: everything it had reported as accepted is there afterwards.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use futures::executor::block_on;
use humdrum_store::{RunFilter, Store, open};

use crate::build::{claimed, commit, effect, event, lines, result};

/// Tells a process of this test binary that it is the one to be killed, and where its data is.
const FOLDER: &str = "HUMDRUM_TEST_CRASH_FOLDER";
const COMMITTERS: u64 = 8;
const ROUNDS: u64 = 4;
/// Reports that the parent waits for before it kills; each round a different number, so that the kill falls elsewhere.
const REPORTS_MIN: usize = 150;

#[test]
fn what_was_accepted_survives_kill_9() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return commit_until_killed(Path::new(&folder));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut accepted = Vec::new();
    for round in 0..ROUNDS {
        accepted.extend(kill_after(dir.path(), REPORTS_MIN + 37 * round as usize));
        let opened = open(dir.path()).unwrap();
        assert_eq!(opened.boot_epoch, 2 * (round + 1));
        block_on(check(&opened.store, &accepted));
    }
}

/// Runs the child, kills it after some reports, and answers every report that it got out.
fn kill_after(folder: &Path, reports: usize) -> Vec<(String, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::what_was_accepted_survives_kill_9", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut accepted = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // A report that was cut by the kill has no full stop.
        let Some(report) = line.strip_prefix("accepted ").and_then(|rest| rest.strip_suffix(" ."))
        else {
            continue;
        };
        let (run, version) = report.split_once(' ').unwrap();
        accepted.push((run.to_owned(), version.parse().unwrap()));
        if accepted.len() == reports {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(accepted.len() >= reports, "the child ended after {} reports", accepted.len());
    accepted
}

fn commit_until_killed(folder: &Path) {
    let opened = open(folder).unwrap();
    let round = opened.boot_epoch;
    let store = &opened.store;
    let committers = (0..COMMITTERS).map(|number| async move {
        let mut run = claimed(store, &format!("run-{round}-{number}")).await;
        loop {
            let next_version = run.version + 1;
            let key = |version: u64| format!("{}/{version}", run.id);
            let mut next = commit(&run, next_version as i64);
            next.events = vec![event(next_version)];
            next.effects = vec![effect(&key(next_version))];
            next.results =
                (run.version > 0).then(|| result(&key(run.version), "done")).into_iter().collect();
            next.lines = vec![lines("blocks", next_version, &["{}"])];
            run.version = store.commit(next).await.unwrap().version;
            // One write for the whole line: the pipe takes it at once or not at all.
            let report = format!("\naccepted {} {} .\n", run.id, run.version);
            std::io::stdout().lock().write_all(report.as_bytes()).unwrap();
        }
    });
    block_on(futures::future::join_all(committers));
}

async fn check(store: &dyn Store, accepted: &[(String, u64)]) {
    let rows = store.verify_chain().await.unwrap();
    let mut events = 0;
    for run in store.runs(RunFilter::default()).await.unwrap() {
        let reported =
            accepted.iter().filter(|(id, _)| *id == run.id).map(|(_, version)| *version).max();
        assert!(
            run.version >= reported.unwrap_or(0),
            "{}: version {} of {reported:?}",
            run.id,
            run.version
        );
        // Each version brought one event, one effect and one line: a commit is there as a whole or not at all.
        let numbers: Vec<u64> =
            store.events(run.id.clone(), 0, 0).await.unwrap().iter().map(|row| row.seq).collect();
        assert!(numbers.iter().copied().eq(1..=run.version), "{}: {numbers:?}", run.id);
        let effects = store.effects(run.id.clone()).await.unwrap();
        assert_eq!(effects.len() as u64, run.version);
        let open = effects.iter().filter(|effect| effect.status == "intended").count() as u64;
        assert_eq!(open, run.version.min(1));
        assert_eq!(
            store.lines(run.id.clone(), "blocks".into(), 0, 0).await.unwrap().len() as u64,
            run.version
        );
        events += run.version;
    }
    assert_eq!(rows, events);
    for (id, _) in accepted {
        assert!(store.run(id.clone()).await.unwrap().is_some(), "{id}");
    }
}
