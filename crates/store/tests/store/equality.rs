//! Random histories on SQLite and in memory: every answer and everything readable at the end is the same.
//!
//! The memory store is the model: maps without SQL, threads or transactions, so a fault of one is hardly a fault of both.

use std::fmt::Debug;

use futures::executor::block_on;
use humdrum_store::{Commit, Document, MemoryStore, RunFilter, Store, StoreError, Wait, open};
use proptest::prelude::*;
use proptest::sample::select;

use crate::build::{commit, effect, event, lines, new_run, result, signal};

#[derive(Debug, Clone)]
enum Step {
    Create { run: &'static str, wait: Wait },
    Claim { owner: &'static str, now: i64, limit: u32 },
    ClaimOne { run: &'static str, owner: &'static str, now: i64, steal: bool },
    Renew { owner: &'static str, until: i64 },
    Signal { id: &'static str, run: &'static str, dedup: &'static str },
    Lines { run: &'static str, first: u64, bodies: Vec<&'static str> },
    Put { id: &'static str, body: &'static str },
    Commit { run: &'static str, parts: Parts },
    Restart,
}

/// A commit in small numbers; `behind` makes it stale.
#[derive(Debug, Clone)]
struct Parts {
    behind: bool,
    wait: Wait,
    events: u64,
    effects: Vec<&'static str>,
    results: Vec<(&'static str, &'static str)>,
    consumed: Vec<&'static str>,
    signals: Vec<(&'static str, &'static str, &'static str)>,
    new_run: Option<&'static str>,
    lines: Vec<(u64, Vec<&'static str>)>,
    release: bool,
}

const RUNS: [&str; 3] = ["r1", "r2", "r3"];
const KEYS: [&str; 3] = ["k1", "k2", "k3"];
const IDS: [&str; 4] = ["s1", "s2", "s3", "s4"];

fn wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        (0..60_i64).prop_map(|ms| Wait::At { ms }),
        Just(Wait::For { party: "anna".into() }),
        (0..60_i64).prop_map(|ms| Wait::Both { ms, party: "anna".into() }),
        Just(Wait::Done),
    ]
}

fn parts() -> impl Strategy<Value = Parts> {
    let few = 0..2_usize;
    let bodies = proptest::collection::vec(select(&["a", "b"][..]), 1..3);
    (
        (prop::bool::weighted(0.1), wait(), 0..3_u64, prop::bool::ANY),
        proptest::collection::vec(select(&KEYS[..]), few.clone()),
        proptest::collection::vec((select(&KEYS[..]), select(&["done", "failed"][..])), 0..3),
        proptest::collection::vec(select(&IDS[..]), few.clone()),
        proptest::collection::vec(
            (select(&IDS[..]), select(&RUNS[..]), select(&KEYS[..])),
            few.clone(),
        ),
        proptest::option::weighted(0.2, select(&RUNS[..])),
        proptest::collection::vec((1..5_u64, bodies), few),
    )
        .prop_map(
            |(
                (behind, wait, events, release),
                effects,
                results,
                consumed,
                signals,
                new_run,
                lines,
            )| Parts {
                behind,
                wait,
                events,
                effects,
                results,
                consumed,
                signals,
                new_run,
                lines,
                release,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let run = || select(&RUNS[..]);
    let owner = || select(&["c1", "c2"][..]);
    let bodies = proptest::collection::vec(select(&["a", "b"][..]), 1..3);
    prop_oneof![
        2 => (run(), wait()).prop_map(|(run, wait)| Step::Create { run, wait }),
        3 => (owner(), 0..60_i64, 0..3_u32).prop_map(|(owner, now, limit)| Step::Claim { owner, now, limit }),
        3 => (run(), owner(), 0..60_i64, any::<bool>())
            .prop_map(|(run, owner, now, steal)| Step::ClaimOne { run, owner, now, steal }),
        1 => (owner(), 0..90_i64).prop_map(|(owner, until)| Step::Renew { owner, until }),
        2 => (select(&IDS[..]), run(), select(&KEYS[..])).prop_map(|(id, run, dedup)| Step::Signal { id, run, dedup }),
        1 => (run(), 1..5_u64, bodies).prop_map(|(run, first, bodies)| Step::Lines { run, first, bodies }),
        1 => (select(&KEYS[..]), select(&["1", "2"][..])).prop_map(|(id, body)| Step::Put { id, body }),
        9 => (run(), parts()).prop_map(|(run, parts)| Step::Commit { run, parts }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_answers_as_the_model_does(steps in proptest::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut real = open(dir.path()).unwrap();
        let model = MemoryStore::new();
        prop_assert_eq!(model.restart(), real.boot_epoch);
        for step in steps {
            if matches!(step, Step::Restart) {
                drop(real);
                real = open(dir.path()).unwrap();
                prop_assert_eq!(model.restart(), real.boot_epoch);
                continue;
            }
            let expected = block_on(answer(&model, &step));
            let found = block_on(answer(&real.store, &step));
            prop_assert_eq!(expected, found, "{:?}", step);
        }
        prop_assert_eq!(block_on(content(&model)), block_on(content(&real.store)));
    }
}

fn text<T: Debug>(answer: Result<T, StoreError>) -> String {
    format!("{answer:?}")
}

async fn answer(store: &dyn Store, step: &Step) -> String {
    match step {
        Step::Create { run, wait } => text(store.create(new_run(run, wait.clone())).await),
        Step::Claim { owner, now, limit } => {
            text(store.claim((*owner).into(), *now, 20, *limit).await)
        }
        Step::ClaimOne { run, owner, now, steal } => {
            text(store.claim_one((*run).into(), (*owner).into(), *now, 20, *steal).await)
        }
        Step::Renew { owner, until } => {
            text(store.renew((*owner).into(), RUNS.map(String::from).to_vec(), *until).await)
        }
        Step::Signal { id, run, dedup } => text(store.signal(signal(id, run, dedup)).await),
        Step::Lines { run, first, bodies } => {
            text(store.append_lines((*run).into(), lines("blocks", *first, bodies)).await)
        }
        Step::Put { id, body } => {
            let document = Document { kind: "k".into(), id: (*id).into(), body: (*body).into() };
            text(store.put_document(document).await)
        }
        Step::Commit { run, parts } => match store.run((*run).into()).await.unwrap() {
            Some(row) => {
                text(store.commit(assemble(commit(&row, row.version as i64), parts)).await)
            }
            None => "no run".into(),
        },
        Step::Restart => unreachable!("the caller restarts both"),
    }
}

fn assemble(mut commit: Commit, parts: &Parts) -> Commit {
    if parts.behind {
        commit.epoch += 1;
    }
    commit.wait = parts.wait.clone();
    commit.events = (0..parts.events).map(event).collect();
    commit.effects = parts.effects.iter().map(|key| effect(key)).collect();
    commit.results = parts.results.iter().map(|(key, status)| result(key, status)).collect();
    commit.consumed = parts.consumed.iter().map(|id| (*id).into()).collect();
    commit.signals = parts.signals.iter().map(|(id, run, dedup)| signal(id, run, dedup)).collect();
    commit.runs = parts.new_run.iter().map(|id| new_run(id, Wait::At { ms: 30 })).collect();
    commit.lines =
        parts.lines.iter().map(|(first, bodies)| lines("blocks", *first, bodies)).collect();
    commit.release = parts.release;
    commit
}

/// Everything that the port lets one read, as text.
async fn content(store: &dyn Store) -> Vec<String> {
    let mut all = vec![
        text(store.runs(RunFilter::default()).await),
        text(store.feed(0, 0).await),
        text(store.documents("k".into(), String::new()).await),
        text(store.verify_chain().await),
    ];
    for run in RUNS.map(String::from) {
        all.push(text(store.signals(run.clone()).await));
        all.push(text(store.effects(run.clone()).await));
        all.push(text(store.events(run.clone(), 0, 0).await));
        all.push(text(store.lines(run, "blocks".into(), 0, 0).await));
    }
    all
}
