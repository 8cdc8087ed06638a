//! Committed transitions per second: 64 runs at once, each commit fenced, with one event and one recorded effect result, on SQLite
//! with `synchronous=FULL`. In the same run, for comparison: plain rusqlite with one transaction for each event.
//!
//! `cargo bench -p humdrum-store` prints the median and the spread of 5 interleaved rounds. The folder is `BENCH_DIR`, else the system's
//! folder for temporary files: on a disk in memory the figures mean nothing, as no sync has a price there.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use humdrum_store::{
    Commit, EffectResult, NewEffect, NewRun, RunRow, SqliteStore, Store, Wait, open,
};
use rusqlite::Connection;
use tokio::task::JoinSet;

const ROUNDS: usize = 5;
const RUNS: usize = 64;
const COMMITS_PER_RUN: usize = 300;
const BASELINE_COMMITS: usize = 500;
/// With the row's other columns about 220 bytes, as an event of a rollout has.
const BODY: &str = r#"{"step":3,"share":2500,"until_ms":1795219200000,"reason":"the stage has ruled out a ratio of 2.0"}"#;
/// The target that the project has set itself, commits per second.
const TARGET: f64 = 10_000.0;

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[expect(clippy::print_stdout, reason = "the figures are the purpose of a benchmark")]
fn main() -> Fallible<()> {
    let parent = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(parent)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let store = Arc::new(open(&dir.path().join("store"))?.store);
    let baseline = open_baseline(&dir.path().join("baseline.db"))?;
    let runs = runtime.block_on(claim_runs(&store))?;
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        plain.push(per_second(BASELINE_COMMITS, commit_plainly(&baseline, round)?));
        ours.push(per_second(
            RUNS * COMMITS_PER_RUN,
            runtime.block_on(commit_round(&store, &runs, round))?,
        ));
    }
    let rows = runtime.block_on(store.verify_chain())?;
    assert_eq!(rows as usize, ROUNDS * RUNS * COMMITS_PER_RUN, "every commit has its event");
    let (median, text) = summary(&mut ours);
    println!("humdrum, {RUNS} runs at once    {text} commits/s (target {TARGET:.0})");
    println!("rusqlite, one at a time     {} commits/s", summary(&mut plain).1);
    println!(
        "each humdrum commit: fence, 1 event in the hash chain, 1 effect result; {rows} events verified"
    );
    if median < TARGET {
        return Err(format!("{median:.0} commits/s are below the target of {TARGET:.0}").into());
    }
    Ok(())
}

fn per_second(commits: usize, took: Duration) -> f64 {
    commits as f64 / took.as_secs_f64()
}

fn summary(rates: &mut [f64]) -> (f64, String) {
    rates.sort_by(f64::total_cmp);
    let median = rates[rates.len() / 2];
    (median, format!("{median:>8.0} median ({:.0} to {:.0})", rates[0], rates[rates.len() - 1]))
}

async fn claim_runs(store: &SqliteStore) -> Fallible<Vec<RunRow>> {
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let id = format!("run-{number}");
        let run = NewRun {
            id: id.clone(),
            kind: "rollout".into(),
            subject: "shop/production".into(),
            state_version: 1,
            state: BODY.into(),
            wait: Wait::At { ms: 0 },
            at_ms: 0,
        };
        store.create(run).await?;
        runs.push(
            store
                .claim_one(id, "bench".into(), 0, i64::MAX, false)
                .await?
                .ok_or("a fresh run is free")?,
        );
    }
    Ok(runs)
}

/// Intents first, outside of the measured time; then every run commits as fast as it is answered.
async fn commit_round(
    store: &Arc<SqliteStore>,
    runs: &[RunRow],
    round: usize,
) -> Fallible<Duration> {
    for run in runs {
        let mut intents = transition(run, version_at(round));
        intents.effects = (0..COMMITS_PER_RUN).map(|n| intent(&key(run, round, n))).collect();
        store.commit(intents).await?;
    }
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for run in runs {
        let (store, run) = (Arc::clone(store), run.clone());
        tasks.spawn(async move {
            for n in 0..COMMITS_PER_RUN {
                let mut next = transition(&run, version_at(round) + 1 + n as u64);
                next.events = vec![("StepEntered".into(), BODY.into())];
                next.results = vec![EffectResult {
                    key: key(&run, round, n),
                    status: "done".into(),
                    response: "{}".into(),
                }];
                store.commit(next).await?;
            }
            Fallible::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(start.elapsed())
}

/// Each earlier round has made one commit with intents and one for each result.
fn version_at(round: usize) -> u64 {
    (round * (COMMITS_PER_RUN + 1)) as u64
}

fn key(run: &RunRow, round: usize, n: usize) -> String {
    format!("{}/weight/{round}.{n}", run.id)
}

fn intent(key: &str) -> NewEffect {
    NewEffect {
        key: key.into(),
        kind: "weight".into(),
        target: "edge".into(),
        request: "{}".into(),
    }
}

fn transition(run: &RunRow, version: u64) -> Commit {
    Commit {
        run: run.id.clone(),
        epoch: run.epoch,
        version,
        now_ms: 0,
        actor: "control".into(),
        state_version: 1,
        state: BODY.into(),
        wait: Wait::At { ms: 10_000 },
        events: vec![],
        effects: vec![],
        results: vec![],
        consumed: vec![],
        signals: vec![],
        runs: vec![],
        documents: vec![],
        lines: vec![],
        release: false,
    }
}

fn open_baseline(path: &Path) -> Fallible<Connection> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.execute_batch(
        "CREATE TABLE event (pos INTEGER PRIMARY KEY, run TEXT, seq INTEGER, kind TEXT, body TEXT, UNIQUE (run, seq))",
    )?;
    Ok(conn)
}

fn commit_plainly(conn: &Connection, round: usize) -> Fallible<Duration> {
    let mut insert = conn.prepare(
        "INSERT INTO event (run, seq, kind, body) VALUES ('run-1', ?1, 'StepEntered', ?2)",
    )?;
    let start = Instant::now();
    for n in 0..BASELINE_COMMITS {
        insert.execute((round * BASELINE_COMMITS + n, BODY))?;
    }
    Ok(start.elapsed())
}
