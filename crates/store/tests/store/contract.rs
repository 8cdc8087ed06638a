//! What every implementation of `Store` promises. Each case gets an empty store.

use futures::executor::block_on;
use futures::future::join_all;
use humdrum_store::chain::{Head, verify_lines};
use humdrum_store::{
    Document, MemoryStore, RunFilter, SignalAccepted, Store, StoreError, Wait, export_chain, open,
};

use crate::build::{LEASE_MS, claimed, commit, effect, event, lines, new_run, result, signal};

macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $case() { super::block_on(super::$case(&super::MemoryStore::new())) })*
        }
        mod sqlite {
            $(#[test] fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let opened = super::open(dir.path()).unwrap();
                super::block_on(super::$case(&opened.store))
            })*
        }
    };
}

contract!(
    a_run_is_created_once,
    only_due_runs_are_claimed_in_order,
    a_lease_keeps_others_away_until_it_ends,
    a_steal_takes_a_living_lease,
    renewal_is_only_for_the_owner,
    a_commit_moves_the_run_and_numbers_events,
    a_stale_commit_writes_nothing,
    a_refused_commit_writes_nothing,
    signals_are_accepted_once,
    a_signal_wakes_also_a_done_run,
    an_effect_is_intended_and_finished_once,
    lines_are_kept_once_by_number,
    documents_are_listed_by_prefix,
    runs_are_filtered,
    the_feed_has_no_gap_under_64_committers,
    the_feed_is_exported_and_verifies,
    limits_refuse_before_anything_is_written,
);

async fn a_run_is_created_once(store: &dyn Store) {
    assert!(store.create(new_run("r", Wait::At { ms: 7 })).await.unwrap());
    let mut other = new_run("r", Wait::Done);
    other.state = "changed".into();
    assert!(!store.create(other).await.unwrap());
    let run = store.run("r".into()).await.unwrap().unwrap();
    assert_eq!((run.state.as_str(), run.wait), (r#"{"phase":"new"}"#, Wait::At { ms: 7 }));
    assert_eq!((run.version, run.epoch, run.next_seq, run.created_ms), (0, 0, 1, 500));
    assert!(store.run("other".into()).await.unwrap().is_none());
}

async fn only_due_runs_are_claimed_in_order(store: &dyn Store) {
    let party = || "anna".to_owned();
    for (id, wait) in [
        ("late", Wait::At { ms: 2_001 }),
        ("second", Wait::At { ms: 1_500 }),
        ("first", Wait::Both { ms: 1_000, party: party() }),
        ("third", Wait::At { ms: 2_000 }),
        ("asked", Wait::For { party: party() }),
        ("waits", Wait::For { party: party() }),
        ("done", Wait::Done),
    ] {
        store.create(new_run(id, wait)).await.unwrap();
    }
    store.signal(signal("s1", "asked", "d")).await.unwrap();
    let claim = async |limit| {
        let rows = store.claim("c1".into(), 2_000, LEASE_MS, limit).await.unwrap();
        rows.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert!(claim(0).await.is_empty());
    assert_eq!(claim(2).await, ["asked", "first"]);
    assert_eq!(claim(10).await, ["second", "third"]);
    assert!(claim(10).await.is_empty());
}

async fn a_lease_keeps_others_away_until_it_ends(store: &dyn Store) {
    store.create(new_run("r", Wait::At { ms: 0 })).await.unwrap();
    let claim = async |owner: &str, now| store.claim(owner.into(), now, 100, 5).await.unwrap();
    let first = claim("c1", 1_000).await.remove(0);
    assert_eq!((first.epoch, first.attempts, first.lease_until_ms), (1, 1, Some(1_100)));
    assert_eq!(first.owner.as_deref(), Some("c1"));
    assert!(claim("c2", 1_099).await.is_empty());
    let one = |now| store.claim_one("r".into(), "c2".into(), now, 100, false);
    assert!(one(1_099).await.unwrap().is_none());
    let second = claim("c2", 1_100).await.remove(0);
    assert_eq!((second.epoch, second.attempts), (2, 2));
    // The first owner wakes up late: its epoch is over.
    let stale = store.commit(commit(&first, 1_101)).await;
    assert_eq!(stale.unwrap_err(), StoreError::Stale { run: "r".into() });
    let mut released = commit(&second, 1_102);
    released.release = true;
    store.commit(released).await.unwrap();
    let third = one(1_103).await.unwrap().unwrap();
    assert_eq!((third.epoch, third.attempts, third.version), (3, 1, 1));
}

async fn a_steal_takes_a_living_lease(store: &dyn Store) {
    let owned = claimed(store, "r").await;
    let steal = |steal| store.claim_one("r".into(), "c2".into(), 1_001, LEASE_MS, steal);
    assert!(steal(false).await.unwrap().is_none());
    let stolen = steal(true).await.unwrap().unwrap();
    assert_eq!((stolen.epoch, stolen.owner.as_deref()), (owned.epoch + 1, Some("c2")));
    assert!(store.commit(commit(&owned, 1_002)).await.is_err());
    store.commit(commit(&stolen, 1_002)).await.unwrap();
    let missing = store.claim_one("missing".into(), "c2".into(), 0, LEASE_MS, true).await.unwrap();
    assert!(missing.is_none());
}

async fn renewal_is_only_for_the_owner(store: &dyn Store) {
    claimed(store, "mine").await;
    claimed(store, "stolen").await;
    store.claim_one("stolen".into(), "c2".into(), 1_001, LEASE_MS, true).await.unwrap();
    let ids = ["mine", "stolen", "missing"].map(String::from).to_vec();
    assert_eq!(store.renew("c1".into(), ids, 50_000).await.unwrap(), ["mine"]);
    let until = async |id: &str| store.run(id.into()).await.unwrap().unwrap().lease_until_ms;
    assert_eq!(until("mine").await, Some(50_000));
    assert_eq!(until("stolen").await, Some(1_001 + LEASE_MS));
    // An answer that comes late does not shorten what a newer one gave.
    store.renew("c1".into(), vec!["mine".into()], 40_000).await.unwrap();
    assert_eq!(until("mine").await, Some(50_000));
}

async fn a_commit_moves_the_run_and_numbers_events(store: &dyn Store) {
    let run = claimed(store, "r").await;
    let mut first = commit(&run, 1_001);
    first.events = vec![event(1), event(2)];
    first.wait = Wait::Both { ms: 9, party: "anna".into() };
    let done = store.commit(first).await.unwrap();
    assert_eq!((done.version, done.first_seq, done.feed), (1, 1, Some(2)));
    let run = store.run("r".into()).await.unwrap().unwrap();
    assert_eq!((run.version, run.next_seq, run.attempts, run.updated_ms), (1, 3, 0, 1_001));
    assert_eq!(run.wait, Wait::Both { ms: 9, party: "anna".into() });
    assert_eq!(run.owner.as_deref(), Some("c1"));
    let quiet = store.commit(commit(&run, 1_002)).await.unwrap();
    assert_eq!((quiet.version, quiet.first_seq, quiet.feed), (2, 3, None));
    let events = store.events("r".into(), 1, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].seq, events[0].pos, events[0].epoch, events[0].at_ms), (2, 2, 1, 1_001));
    assert_eq!((events[0].kind.as_str(), events[0].actor.as_str()), ("StepEntered", "control"));
    assert_eq!(events[0].body, r#"{"number": 2}"#);
}

/// Everything that a commit can write, on a run that is another's by then.
async fn a_stale_commit_writes_nothing(store: &dyn Store) {
    let run = claimed(store, "r").await;
    store.signal(signal("s", "r", "d")).await.unwrap();
    for (epoch, version) in [(run.epoch - 1, 0), (run.epoch + 1, 0), (run.epoch, 1)] {
        let mut stale = commit(&run, 1_001);
        (stale.epoch, stale.version) = (epoch, version);
        fill(&mut stale);
        assert_eq!(store.commit(stale).await.unwrap_err(), StoreError::Stale { run: "r".into() });
    }
    let mut missing = commit(&run, 1_001);
    missing.run = "missing".into();
    assert!(matches!(store.commit(missing).await, Err(StoreError::Stale { .. })));
    assert_nothing_written(store).await;
}

/// The last part of the commit is refused, after all others could be written.
async fn a_refused_commit_writes_nothing(store: &dyn Store) {
    let run = claimed(store, "r").await;
    store.signal(signal("s", "r", "d")).await.unwrap();
    store.append_lines("r".into(), lines("other", 1, &["x"])).await.unwrap();
    let mut refused = commit(&run, 1_001);
    fill(&mut refused);
    refused.lines.push(lines("other", 1, &["y"]));
    let error = store.commit(refused).await.unwrap_err();
    assert_eq!(error, StoreError::LineDiffers { run: "r".into(), key: "other".into(), number: 1 });
    assert_nothing_written(store).await;
    // The run itself is as it was, so the right commit still fits.
    let mut right = commit(&run, 1_002);
    fill(&mut right);
    assert_eq!(store.commit(right).await.unwrap().feed, Some(1));
    assert_eq!(store.verify_chain().await.unwrap(), 1);
}

fn fill(commit: &mut humdrum_store::Commit) {
    commit.events = vec![event(1)];
    commit.effects = vec![effect("e")];
    commit.consumed = vec!["s".into()];
    commit.runs = vec![new_run("child", Wait::At { ms: 0 })];
    commit.signals = vec![signal("to-child", "child", "d")];
    commit.documents = vec![Document { kind: "k".into(), id: "i".into(), body: "{}".into() }];
    commit.lines = vec![lines("blocks", 1, &["a"])];
}

async fn assert_nothing_written(store: &dyn Store) {
    let run = store.run("r".into()).await.unwrap().unwrap();
    assert_eq!((run.version, run.next_seq, run.state.as_str()), (0, 1, r#"{"phase":"new"}"#));
    assert!(store.feed(0, 10).await.unwrap().is_empty());
    assert!(store.effects("r".into()).await.unwrap().is_empty());
    assert_eq!(store.signals("r".into()).await.unwrap().len(), 1);
    assert!(store.run("child".into()).await.unwrap().is_none());
    assert!(store.document("k".into(), "i".into()).await.unwrap().is_none());
    assert!(store.lines("r".into(), "blocks".into(), 0, 10).await.unwrap().is_empty());
    assert_eq!(store.verify_chain().await.unwrap(), 0);
}

async fn signals_are_accepted_once(store: &dyn Store) {
    let run = claimed(store, "r").await;
    claimed(store, "other").await;
    let accept = async |id: &str, run: &str, dedup: &str| {
        store.signal(signal(id, run, dedup)).await.unwrap()
    };
    assert_eq!(accept("s1", "r", "d").await, SignalAccepted::New);
    assert_eq!(accept("s2", "r", "d").await, SignalAccepted::Repeated);
    assert_eq!(accept("s1", "r", "e").await, SignalAccepted::Repeated);
    assert_eq!(accept("s3", "other", "d").await, SignalAccepted::New);
    assert_eq!(accept("s4", "missing", "d").await, SignalAccepted::NoSuchRun);
    assert_eq!(accept("s5", "r", "e").await, SignalAccepted::New);
    let waiting = store.signals("r".into()).await.unwrap();
    let ids: Vec<_> = waiting.iter().map(|signal| signal.id.as_str()).collect();
    assert_eq!(ids, ["s1", "s5"]);
    assert_eq!((waiting[0].actor.as_str(), waiting[0].at_ms), ("anna", 900));

    let mut taken = commit(&run, 1_001);
    taken.consumed = vec!["s1".into()];
    store.commit(taken).await.unwrap();
    assert_eq!(store.signals("r".into()).await.unwrap().len(), 1);
    // A wish that was fulfilled is not accepted a second time.
    assert_eq!(accept("s6", "r", "d").await, SignalAccepted::Repeated);

    let run = store.run("r".into()).await.unwrap().unwrap();
    for wrong in ["s1", "s3", "missing"] {
        let mut again = commit(&run, 1_002);
        again.consumed = vec![wrong.into()];
        assert!(matches!(store.commit(again).await, Err(StoreError::Unknown { .. })), "{wrong}");
    }
    let mut lost = commit(&run, 1_002);
    lost.signals = vec![signal("s7", "missing", "d")];
    assert!(matches!(store.commit(lost).await, Err(StoreError::Unknown { what: "run", .. })));
}

async fn a_signal_wakes_also_a_done_run(store: &dyn Store) {
    store.create(new_run("r", Wait::Done)).await.unwrap();
    let claim = async |now| store.claim("c1".into(), now, LEASE_MS, 5).await.unwrap();
    assert!(claim(1_000).await.is_empty());
    store.signal(signal("s", "r", "d")).await.unwrap();
    let run = claim(1_000).await.remove(0);
    let mut answered = commit(&run, 1_001);
    (answered.wait, answered.release, answered.consumed) = (Wait::Done, true, vec!["s".into()]);
    store.commit(answered).await.unwrap();
    assert!(claim(100_000).await.is_empty());
}

async fn an_effect_is_intended_and_finished_once(store: &dyn Store) {
    let mut run = claimed(store, "r").await;
    let other = claimed(store, "other").await;
    let mut intent = commit(&run, 1_001);
    intent.effects = vec![effect("e1"), effect("e2")];
    run.version = store.commit(intent).await.unwrap().version;
    let rows = store.effects("r".into()).await.unwrap();
    assert_eq!(
        (rows[0].key.as_str(), rows[0].status.as_str(), rows[0].at_ms),
        ("e1", "intended", 1_001)
    );
    assert!(rows[0].response.is_none());

    let mut again = commit(&run, 1_002);
    again.effects = vec![effect("e1")];
    let exists = store.commit(again).await.unwrap_err();
    assert_eq!(exists, StoreError::EffectExists { key: "e1".into() });

    let finish = async |run: &humdrum_store::RunRow, key: &str, status: &str| {
        let mut finished = commit(run, 1_003);
        finished.results = vec![result(key, status)];
        store.commit(finished).await.map(|done| done.version)
    };
    run.version = finish(&run, "e1", "done").await.unwrap();
    run.version = finish(&run, "e1", "done").await.unwrap();
    let finished = finish(&run, "e1", "failed").await.unwrap_err();
    assert_eq!(finished, StoreError::EffectFinished { key: "e1".into(), status: "done".into() });
    let unknown = |key: &str| Err(StoreError::Unknown { what: "effect", id: key.into() });
    assert_eq!(finish(&run, "e9", "done").await, unknown("e9"));
    assert_eq!(finish(&other, "e2", "done").await, unknown("e2"));
    assert!(matches!(finish(&run, "e2", "intended").await, Err(StoreError::Invalid { .. })));
    let rows = store.effects("r".into()).await.unwrap();
    assert_eq!((rows[0].status.as_str(), rows[0].response.as_deref()), ("done", Some("\"done\"")));
    assert_eq!(rows[1].status, "intended");
}

async fn lines_are_kept_once_by_number(store: &dyn Store) {
    let run = claimed(store, "r").await;
    let append = async |batch| store.append_lines("r".into(), batch).await;
    assert_eq!(append(lines("blocks", 5, &["a", "b"])).await, Ok(2));
    assert_eq!(append(lines("blocks", 5, &["a", "b", "c"])).await, Ok(1));
    assert_eq!(append(lines("probes", 5, &["x"])).await, Ok(1));
    let differs = StoreError::LineDiffers { run: "r".into(), key: "blocks".into(), number: 6 };
    assert_eq!(append(lines("blocks", 4, &["z", "a", "B"])).await, Err(differs));
    assert!(matches!(append(lines("blocks", 0, &["z"])).await, Err(StoreError::Invalid { .. })));
    let nowhere = store.append_lines("missing".into(), lines("blocks", 1, &["z"])).await;
    assert_eq!(nowhere, Err(StoreError::Unknown { what: "run", id: "missing".into() }));

    let mut cursor = commit(&run, 1_001);
    cursor.lines = vec![lines("blocks", 9, &["e"]), lines("blocks", 7, &["c", "d", "e"])];
    store.commit(cursor).await.unwrap();
    let read = async |after, limit| {
        let rows = store.lines("r".into(), "blocks".into(), after, limit).await.unwrap();
        rows.into_iter().map(|line| format!("{}{}", line.number, line.body)).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 0).await, ["5a", "6b", "7c", "8d", "9e"]);
    assert_eq!(read(6, 2).await, ["7c", "8d"]);
    assert!(read(9, 10).await.is_empty());
}

async fn documents_are_listed_by_prefix(store: &dyn Store) {
    for (kind, id, body) in [
        ("hold", "shop/a", "1"),
        ("hold", "shop/b", "2"),
        ("hold", "shopping", "3"),
        ("other", "shop/c", "4"),
    ] {
        store
            .put_document(Document { kind: kind.into(), id: id.into(), body: body.into() })
            .await
            .unwrap();
    }
    let newer = Document { kind: "hold".into(), id: "shop/a".into(), body: "5".into() };
    store.put_document(newer).await.unwrap();
    let list = async |prefix: &str| store.documents("hold".into(), prefix.into()).await.unwrap();
    let pair = |id: &str, body: &str| (id.to_owned(), body.to_owned());
    assert_eq!(list("shop/").await, [pair("shop/a", "5"), pair("shop/b", "2")]);
    assert_eq!(list("").await.len(), 3);
    assert!(list("shop/_").await.is_empty());
    assert_eq!(store.document("hold".into(), "shop/a".into()).await.unwrap().as_deref(), Some("5"));
    assert!(store.document("hold".into(), "shop/c".into()).await.unwrap().is_none());
}

async fn runs_are_filtered(store: &dyn Store) {
    for (id, kind, subject, wait) in [
        ("b1", "build", "shop", Wait::Done),
        ("r1", "rollout", "shop/dev", Wait::At { ms: 1 }),
        ("a1", "rollout", "shop/production", Wait::Done),
        ("r2", "rollout", "shop/dev", Wait::For { party: "anna".into() }),
    ] {
        let mut run = new_run(id, wait);
        (run.kind, run.subject) = (kind.into(), subject.into());
        store.create(run).await.unwrap();
    }
    let list = async |filter| {
        let rows = store.runs(filter).await.unwrap();
        rows.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    let all = RunFilter::default;
    assert_eq!(list(all()).await, ["b1", "r1", "a1", "r2"]);
    assert_eq!(list(RunFilter { newest_first: true, limit: 2, ..all() }).await, ["r2", "a1"]);
    assert_eq!(list(RunFilter { kind: Some("rollout".into()), ..all() }).await, ["r1", "a1", "r2"]);
    assert_eq!(list(RunFilter { subject: Some("shop/dev".into()), ..all() }).await, ["r1", "r2"]);
    assert_eq!(list(RunFilter { open_only: true, ..all() }).await, ["r1", "r2"]);
    let open_dev = RunFilter {
        kind: Some("rollout".into()),
        subject: Some("shop/dev".into()),
        open_only: true,
        newest_first: true,
        limit: 1,
    };
    assert_eq!(list(open_dev).await, ["r2"]);
}

async fn the_feed_has_no_gap_under_64_committers(store: &dyn Store) {
    const COMMITS: u64 = 8;
    let committers = (0..64).map(|number| async move {
        let mut run = claimed(store, &format!("r{number}")).await;
        for n in 1..=COMMITS {
            let mut next = commit(&run, 1_000 + n as i64);
            next.events = vec![event(2 * n - 1), event(2 * n)];
            // A neighbour that fails in the same group must not take a position.
            let mut stale = next.clone();
            stale.epoch += 1;
            let (done, refused) = futures::join!(store.commit(next), store.commit(stale));
            assert!(matches!(refused, Err(StoreError::Stale { .. })));
            let done = done.unwrap();
            assert_eq!(done.first_seq, 2 * n - 1);
            run.version = done.version;
        }
    });
    join_all(committers).await;
    let total = 64 * COMMITS * 2;
    let feed = store.feed(0, 0).await.unwrap();
    assert!(feed.iter().map(|row| row.pos).eq(1..=total));
    assert_eq!(store.verify_chain().await.unwrap(), total);
    for number in 0..64 {
        let events = store.events(format!("r{number}"), 0, 0).await.unwrap();
        assert!(events.iter().map(|row| row.seq).eq(1..=2 * COMMITS));
    }
}

async fn the_feed_is_exported_and_verifies(store: &dyn Store) {
    let run = claimed(store, "r").await;
    let mut first = commit(&run, 1_001);
    first.events = (1..=2_500).map(event).collect();
    store.commit(first).await.unwrap();
    let mut out = Vec::new();
    let head = export_chain(store, Head::START, &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(verify_lines(Head::START, text.lines()), Ok(head));
    assert_eq!((head.pos, text.lines().count()), (2_500, 2_500));
    let forged = text.replacen(r#"{\"number\": 2000}"#, r#"{\"number\": 2002}"#, 1);
    assert_eq!(verify_lines(Head::START, forged.lines()).unwrap_err().pos, 2_000);
    // An export that goes on from an earlier one.
    let mut run = run;
    run.version = 1;
    let mut second = commit(&run, 1_002);
    second.events = vec![event(2_501)];
    store.commit(second).await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(export_chain(store, head, &mut rest).await.unwrap().pos, 2_501);
    assert_eq!(verify_lines(head, [str::from_utf8(&rest).unwrap().trim()]).unwrap().pos, 2_501);
}

async fn limits_refuse_before_anything_is_written(store: &dyn Store) {
    let run = claimed(store, "r").await;
    let mut many = commit(&run, 1_001);
    many.events = (0..10_001).map(event).collect();
    let mut large = commit(&run, 1_001);
    large.state = " ".repeat(humdrum_store::TEXT_BYTES_MAX + 1);
    let mut silent = commit(&run, 1_001);
    silent.wait = Wait::For { party: String::new() };
    for refused in [many, large, silent] {
        assert!(matches!(store.commit(refused).await, Err(StoreError::Invalid { .. })));
    }
    let nameless = store.create(new_run("", Wait::Done)).await;
    assert!(matches!(nameless, Err(StoreError::Invalid { .. })));
    assert_eq!(store.run("r".into()).await.unwrap().unwrap().version, 0);
    assert!(store.feed(0, 1).await.unwrap().is_empty());
}
