//! One run's task: the `select!` loop that linearises everything that happens to it. Each arm calls one named function.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use humdrum_model::report::{Refusal, Report};
use humdrum_model::run::{Command, Effect, Event, Message, STATE_VERSION, State};
use humdrum_store::{Commit, EffectResult, NewEffect, NewSignal, RunRow, SignalRow, StoreError};
use tokio::sync::mpsc;

use super::effects::{Ended, Hands};
use super::{ATTEMPTS_MAX, Answer, Engine, Input, Snapshot, lock, wait_of};
use crate::clock::{now, now_ms};
use crate::crash;

/// A failed commit (disk full …) is tried again after this.
const RETRY: Duration = Duration::from_millis(500);

struct Task {
    engine: Engine,
    id: String,
    subject: String,
    epoch: u64,
    version: u64,
    next_seq: u64,
    created_ms: i64,
    state: State,
    hands: Hands,
}

/// Why a task ends.
enum Over {
    /// Another process has the run, or it is done.
    Left,
    Stopped,
}

/// Runs until the run is over, is another's, or the process stops.
pub(super) async fn run(engine: Engine, row: RunRow, mailbox: mpsc::Receiver<Input>) {
    let state = match State::read(row.state_version, &row.state) {
        Ok(state) if row.attempts <= ATTEMPTS_MAX || engine.is_steady() => state,
        Ok(state) if !has_open_effects(&engine, &row).await => state,
        Ok(state) => {
            return quarantine(
                &engine,
                &row,
                Some(state),
                "it failed too often without a step forward",
            );
        }
        Err(error) => return quarantine(&engine, &row, None, &error.to_string()),
    };
    let hands = Hands::new(engine.clone(), row.id.clone(), row.epoch);
    let mut task = Task {
        id: row.id,
        subject: row.subject,
        epoch: row.epoch,
        version: row.version,
        next_seq: row.next_seq,
        created_ms: row.created_ms,
        state,
        hands,
        engine,
    };
    task.publish(row.updated_ms);
    task.work(mailbox, row.attempts).await;
}

/// Whether something of the run was under way when its process ended. Who only waits cannot have been the reason.
async fn has_open_effects(engine: &Engine, row: &RunRow) -> bool {
    let rows = engine.store().effects(row.id.clone()).await;
    rows.map_or(true, |rows| rows.iter().any(|effect| effect.status == "intended"))
}

fn quarantine(engine: &Engine, row: &RunRow, state: Option<State>, why: &str) {
    tracing::error!(run = row.id, why, "run is quarantined");
    let Some(state) = state else { return };
    let snapshot = Snapshot::of(row, state, Some(why.into()));
    lock(&engine.shared.snapshots).insert(row.id.clone(), snapshot);
}

impl Task {
    async fn work(&mut self, mut mailbox: mpsc::Receiver<Input>, attempts: u32) {
        if self.begin(attempts).await.is_err() {
            return self.leave();
        }
        let stop = self.engine.shared.stop.clone();
        loop {
            let wake = self.until_wake();
            let step = tokio::select! {
                () = stop.cancelled() => Err(Over::Stopped),
                input = mailbox.recv() => match input {
                    Some(input) => self.on_input(input).await,
                    None => Err(Over::Left),
                },
                () = tokio::time::sleep(wake) => self.on_time().await,
            };
            if step.is_err() {
                return self.leave();
            }
        }
    }

    fn leave(&mut self) {
        self.hands.drop_all();
        self.engine.forget(&self.id);
    }

    fn until_wake(&self) -> Duration {
        let at = self.state.awaits().and_then(|(at, _)| at);
        let ms = at.map_or(i64::from(u32::MAX), |at| at.as_millisecond() - now_ms());
        // Never busy: a timer that fired and changed nothing is asked again after a moment.
        Duration::from_millis(ms.clamp(20, i64::from(u32::MAX)) as u64)
    }

    /// After a start: signals that waited, effects whose outcome is unknown, and the time that passed.
    async fn begin(&mut self, attempts: u32) -> Result<(), Over> {
        let version = self.version;
        let rows = self.persist(|task| task.engine.store().effects(task.id.clone())).await?;
        self.hands.know(rows);
        self.on_signals().await?;
        self.on_time().await?;
        self.reconcile().await?;
        // Who only waits has done nothing that could end the process: the restarts were for something else, and must not add up.
        if attempts > 1 && version == self.version && self.hands.is_idle() {
            self.commit(vec![], vec![], None).await?;
        }
        Ok(())
    }

    async fn on_input(&mut self, input: Input) -> Result<(), Over> {
        match input {
            Input::Tell(command) => self.on_command(&command).await,
            Input::Signals => self.on_signals().await,
            Input::EffectEnded { key, result } => self.on_effect(key, result).await,
        }
    }

    async fn on_time(&mut self) -> Result<(), Over> {
        match self.state.tick() {
            Some(tick) => self.on_command(&tick).await,
            None => Ok(()),
        }
    }

    async fn on_effect(&mut self, key: String, result: Ended) -> Result<(), Over> {
        match result {
            // Something else told it first: the effect has its result, the command may still say more.
            Ended::Done { command, .. } if !self.hands.is_open(&key) => {
                self.on_command(&command).await
            }
            Ended::Done { command, response } => {
                let decided = self.decide(&command);
                let (events, _) = decided.unwrap_or_default();
                let done = EffectResult { key: key.clone(), status: "done".into(), response };
                self.hands.finished(&key);
                self.commit(events, vec![done], None).await
            }
            Ended::Told { command } => self.on_command(&command).await,
            // A wish that was replaced says nothing about who owns the run.
            Ended::Stale { .. } if !self.hands.is_open(&key) => Ok(()),
            Ended::Stale { why } => {
                tracing::warn!(run = self.id, why, "another process has taken over");
                Err(Over::Left)
            }
        }
    }

    async fn on_signals(&mut self) -> Result<(), Over> {
        let waiting = self.persist(|task| task.engine.store().signals(task.id.clone())).await?;
        for signal in waiting {
            self.on_signal(&signal).await?;
        }
        Ok(())
    }

    /// A wish is answered exactly once: its consumption, the events and the refusal are one transaction.
    async fn on_signal(&mut self, signal: &SignalRow) -> Result<(), Over> {
        let decided = match serde_json::from_str::<Command>(&signal.body) {
            Ok(command) => self.decide(&command),
            Err(error) => {
                Err(Refusal::new("unreadable", format!("The command cannot be read: {error}.")))
            }
        };
        let answer = match &decided {
            Ok((_, report)) => Answer::Done(report.clone()),
            Err(refusal) => Answer::Refused(refusal.clone()),
        };
        let refusal = decided.as_ref().err().cloned();
        let (events, _) = decided.unwrap_or_default();
        self.commit(events, vec![], Some((signal, refusal))).await?;
        if let Some(sender) = lock(&self.engine.shared.answers).remove(&signal.id) {
            let _ = sender.send(answer);
        }
        Ok(())
    }

    async fn on_command(&mut self, command: &Command) -> Result<(), Over> {
        match self.decide(command) {
            Ok((events, _)) if events.is_empty() => Ok(()),
            Ok((events, _)) => self.commit(events, vec![], None).await,
            Err(refusal) => {
                tracing::debug!(run = self.id, code = refusal.code, "observation refused");
                Ok(())
            }
        }
    }

    /// A decision that panics is a bug of ours: it is contained here, and the run is left alone after a few tries.
    fn decide(&self, command: &Command) -> Result<(Vec<Event>, Report), Refusal> {
        let decide = AssertUnwindSafe(|| self.state.decide(command, now()));
        std::panic::catch_unwind(decide).unwrap_or_else(|_| {
            tracing::error!(run = self.id, ?command, "a decision panicked");
            Err(Refusal::new(
                "bug",
                "The decision failed inside Humdrum; the run was left as it was.",
            )
            .next("humdrum doctor"))
        })
    }

    async fn commit(
        &mut self,
        events: Vec<Event>,
        mut results: Vec<EffectResult>,
        signal: Option<(&SignalRow, Option<Refusal>)>,
    ) -> Result<(), Over> {
        let mut next = self.state.clone();
        events.iter().for_each(|event| next.apply(event));
        let wanted = next.wanted();
        let (intents, superseded) = self.hands.plan(&wanted);
        results.extend(superseded.into_iter().map(|key| EffectResult {
            key,
            status: "superseded".into(),
            response: String::new(),
        }));
        let name = point_name(&self.state, &events, &results);
        let commit = self.compose(&next, &events, &intents, results, signal);
        crash::point(&format!("before-commit {name}"));
        let committed = self.persist(|task| task.engine.store().commit(commit.clone())).await?;
        crash::point(&format!("after-commit {name}"));
        self.version = committed.version;
        self.next_seq += commit.events.len() as u64;
        self.state = next;
        self.publish(commit.now_ms);
        self.wake_receivers(&commit).await;
        self.hands.start(wanted);
        if matches!(commit.wait, humdrum_store::Wait::Done) && self.hands.is_idle() {
            return Err(Over::Left);
        }
        Ok(())
    }

    fn compose(
        &self,
        next: &State,
        events: &[Event],
        intents: &[Effect],
        results: Vec<EffectResult>,
        signal: Option<(&SignalRow, Option<Refusal>)>,
    ) -> Commit {
        let body = |value: &dyn erased::Json| value.json();
        let mut rows: Vec<(String, String)> =
            events.iter().map(|event| (event.kind().to_owned(), body(event))).collect();
        let mut signals = Vec::new();
        for (index, event) in events.iter().enumerate() {
            let unique = format!("{}#{}", self.id, self.next_seq + index as u64);
            signals.extend(
                event.messages(&unique).into_iter().flat_map(|message| self.address(message)),
            );
        }
        let actor = signal
            .as_ref()
            .map_or_else(|| "humdrum".to_owned(), |(signal, _)| signal.actor.clone());
        let mut consumed = Vec::new();
        if let Some((signal, refusal)) = signal {
            consumed.push(signal.id.clone());
            if let Some(refusal) = refusal {
                let command = serde_json::from_str::<Command>(&signal.body).ok();
                let message = command.and_then(|command| command.refused(&refusal));
                signals.extend(message.into_iter().flat_map(|message| self.address(message)));
                let refused = serde_json::json!({ "command": signal.body, "refusal": refusal });
                rows.push(("command_refused".into(), refused.to_string()));
            }
        }
        let effects = intents
            .iter()
            .map(|effect| NewEffect {
                key: effect.key(),
                kind: effect.kind().into(),
                target: effect.target(),
                request: body(effect),
            })
            .collect();
        Commit {
            run: self.id.clone(),
            epoch: self.epoch,
            version: self.version,
            now_ms: now_ms(),
            actor,
            state_version: STATE_VERSION,
            state: next.write(),
            wait: wait_of(next),
            events: rows,
            effects,
            results,
            consumed,
            signals,
            runs: vec![],
            documents: vec![],
            lines: vec![],
            release: false,
        }
    }

    /// Turns a message into signals; "every placement" is looked up here.
    fn address(&self, message: Message) -> Vec<NewSignal> {
        let signal = |run: String, dedup: String, command: &Command| NewSignal {
            id: format!("{run}/{dedup}"),
            run,
            dedup_key: dedup,
            body: erased::Json::json(command),
            actor: "humdrum".into(),
            at_ms: now_ms(),
        };
        match message {
            Message::To { run, dedup, command } => vec![signal(run, dedup, &command)],
            Message::HoldPlaced { dedup, hold } => {
                let placements = self
                    .engine
                    .snapshots()
                    .into_iter()
                    .filter(|run| matches!(*run.state, State::Placement(_)));
                let command =
                    Command::Placement(humdrum_model::rollout::Command::HoldPlaced { hold });
                placements.map(|run| signal(run.id, dedup.clone(), &command)).collect()
            }
        }
    }

    async fn wake_receivers(&self, commit: &Commit) {
        for signal in &commit.signals {
            // Not awaited here: two runs that write to each other must not wait for each other.
            let (engine, run) = (self.engine.clone(), signal.run.clone());
            self.engine.shared.tracker.spawn(async move { engine.nudge(&run).await });
        }
    }

    /// Starts what is wanted and not under way; after a start this observes before it acts.
    async fn reconcile(&mut self) -> Result<(), Over> {
        let wanted = self.state.wanted();
        if self.hands.is_settled(&wanted) {
            self.hands.start(wanted);
            return Ok(());
        }
        self.commit(vec![], vec![], None).await
    }

    /// Waits out a full disk; a fence that does not match ends the task.
    async fn persist<T, F>(&self, call: F) -> Result<T, Over>
    where
        F: for<'a> Fn(&'a Self) -> humdrum_store::Pending<'a, T>,
    {
        loop {
            match call(self).await {
                Ok(value) => return Ok(value),
                Err(StoreError::Stale { .. } | StoreError::Closed) => return Err(Over::Left),
                Err(error) if !may_pass(&error) => {
                    tracing::error!(run = self.id, %error, "the run is put down; it is taken up again from its last commit");
                    return Err(Over::Left);
                }
                Err(error) => {
                    tracing::error!(run = self.id, %error, "nothing can be recorded; trying again");
                    tokio::select! {
                        () = self.engine.shared.stop.cancelled() => return Err(Over::Stopped),
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
    }

    fn publish(&self, updated_ms: i64) {
        let snapshot = Snapshot {
            id: self.id.clone(),
            subject: self.subject.clone(),
            epoch: self.epoch,
            version: self.version,
            created_ms: self.created_ms,
            updated_ms,
            state: Arc::new(self.state.clone()),
            quarantined: None,
        };
        lock(&self.engine.shared.snapshots).insert(self.id.clone(), snapshot);
        self.engine.shared.changes.send_modify(|count| *count += 1);
    }
}

/// Whether the same request may be accepted later: a full disk gets room, a wrong request stays wrong.
fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Full | StoreError::Database { .. })
}

/// Names a commit by what it records, so that the same point of a story has the same name in every run of it.
fn point_name(state: &State, events: &[Event], results: &[EffectResult]) -> String {
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    let ends: HashMap<&str, usize> = results.iter().fold(HashMap::new(), |mut counts, result| {
        let kind = result.key.rsplit('/').nth(1).unwrap_or_default();
        *counts.entry(kind).or_default() += 1;
        counts
    });
    let mut ends: Vec<&str> = ends.into_keys().collect();
    ends.sort_unstable();
    let step = match state {
        State::Placement(placement) => placement
            .rollout
            .as_ref()
            .map_or_else(|| "idle".into(), |rollout| format!("step {}", rollout.at)),
        State::Ship(_) | State::Holds(_) | State::Waivers(_) => String::new(),
    };
    format!("{} {step} [{}] ({})", state.kind(), kinds.join(","), ends.join(","))
}

/// JSON of any of our plain types.
mod erased {
    pub(super) trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("plain data always serialises")
        }
    }
}
