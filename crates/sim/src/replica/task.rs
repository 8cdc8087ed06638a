//! One run's task, as `humdrum_control::engine::task`: everything that happens to a run goes through here, one after another.

use std::rc::Rc;

use humdrum_model::report::{Refusal, Report};
use humdrum_model::run::{Command, Effect, Event, Message, STATE_VERSION, State};
use humdrum_model::ship::ShipCommand;
use humdrum_store::{
    Commit, EffectResult, NewEffect, NewSignal, RunRow, SignalRow, Store, StoreError,
};

use super::hands::Hands;
use super::{Over, wait_of};
use crate::invariant::{Broken, Recorded};
use crate::people::Point;
use crate::queue::{Ended, Happening, Input, Process, Worker};
use crate::stage::{Stage, now_ready};

#[derive(Debug)]
pub(crate) struct Task {
    pub id: String,
    pub epoch: u64,
    pub version: u64,
    pub next_seq: u64,
    pub state: Rc<State>,
    pub hands: Hands,
    pub wake_at: Option<i64>,
    pub wake_token: u64,
    /// Wake-ups in a row that left the timer in the past.
    pub spins: u32,
}

/// A wish of the store, and why it was refused, if it was.
type Heard<'a> = (&'a SignalRow, Option<Refusal>);

impl Task {
    pub(crate) fn new(row: &RunRow, state: State) -> Self {
        Self {
            id: row.id.clone(),
            epoch: row.epoch,
            version: row.version,
            next_seq: row.next_seq,
            state: Rc::new(state),
            hands: Hands::default(),
            wake_at: None,
            wake_token: 0,
            spins: 0,
        }
    }
}

impl Stage {
    /// After a start: signals that waited, effects whose outcome is unknown, and the time that passed.
    pub(crate) fn begin(&mut self, process: Process, task: &mut Task) -> Result<(), Over> {
        task.hands.know(now_ready(self.store.effects(task.id.clone())).unwrap_or_default());
        self.on_signals(process, task)?;
        self.on_time(process, task)?;
        self.reconcile(process, task)
    }

    pub(crate) fn input(&mut self, process: Process, run: &str, input: Input) {
        let known = self.replicas[process.replica].tasks.contains_key(run);
        if matches!(input, Input::Signals) && !known {
            // A run that another process left behind is taken at once: a person does not wait for a look.
            return self.take(process, run);
        }
        self.with_task(process, run, |stage, task| match input {
            Input::Tell(command) => stage.on_command(process, task, &command),
            Input::Signals => stage.on_signals(process, task),
            Input::Effect { key, ended } => stage.on_effect(process, task, &key, ended),
        });
    }

    pub(crate) fn on_time(&mut self, process: Process, task: &mut Task) -> Result<(), Over> {
        match task.state.tick() {
            Some(tick) => self.on_command(process, task, &tick),
            None => Ok(()),
        }
    }

    fn on_effect(
        &mut self,
        process: Process,
        task: &mut Task,
        key: &str,
        ended: Ended,
    ) -> Result<(), Over> {
        match ended {
            // What was replaced meanwhile has its result already; what it saw is still worth hearing.
            Ended::Done { command, .. } if !task.hands.open.contains_key(key) => {
                self.seen.count("event", "answer of a replaced effect");
                self.on_command(process, task, &command)
            }
            Ended::Done { command, response } => {
                let (events, _) = self.decide(process, task, &command).unwrap_or_default();
                let done = EffectResult { key: key.into(), status: "done".into(), response };
                task.hands.finished(key);
                self.commit(process, task, &command, events, vec![done], None)
            }
            // A newer order of this very process was faster: nobody else has the run.
            Ended::Stale if !task.hands.open.contains_key(key) => Ok(()),
            Ended::Stale => {
                self.say(|_| format!("control {} was overtaken in {}", process.replica, task.id));
                Err(Over::Left)
            }
        }
    }

    fn on_signals(&mut self, process: Process, task: &mut Task) -> Result<(), Over> {
        for signal in now_ready(self.store.signals(task.id.clone())).unwrap_or_default() {
            self.on_signal(process, task, &signal)?;
        }
        Ok(())
    }

    /// A wish is answered exactly once: its consumption, the events and the refusal are one transaction.
    fn on_signal(
        &mut self,
        process: Process,
        task: &mut Task,
        signal: &SignalRow,
    ) -> Result<(), Over> {
        let command: Command = serde_json::from_str(&signal.body)
            .expect("every signal of a history was written by it");
        let decided = self.decide(process, task, &command);
        let refusal = decided.as_ref().err().cloned();
        let (events, report) = decided.unwrap_or_default();
        match &refusal {
            Some(refusal) => {
                self.seen.count("refusal", &refusal.code);
                self.say(|_| {
                    format!("{}: refused to {}: {}", task.id, signal.actor, refusal.report.text())
                });
            }
            None if !report.sentences.is_empty() && signal.actor != "humdrum" => {
                self.say(|_| format!("{}: answer to {}: {}", task.id, signal.actor, report.text()));
            }
            None => {}
        }
        self.commit(process, task, &command, events, vec![], Some((signal, refusal.clone())))?;
        if let Some(worker) = self.replicas[process.replica].answers.remove(&signal.id) {
            self.admit_answered(worker, refusal);
        }
        Ok(())
    }

    pub(crate) fn on_command(
        &mut self,
        process: Process,
        task: &mut Task,
        command: &Command,
    ) -> Result<(), Over> {
        match self.decide(process, task, command) {
            Ok((events, _)) if !events.is_empty() => {
                self.commit(process, task, command, events, vec![], None)
            }
            _ => Ok(()),
        }
    }

    fn decide(
        &mut self,
        process: Process,
        task: &Task,
        command: &Command,
    ) -> Result<(Vec<Event>, Report), Refusal> {
        let wall = self.wall(process.replica);
        task.state.decide(command, wall)
    }

    fn commit(
        &mut self,
        process: Process,
        task: &mut Task,
        command: &Command,
        events: Vec<Event>,
        mut results: Vec<EffectResult>,
        heard: Option<Heard<'_>>,
    ) -> Result<(), Over> {
        let mut next = (*task.state).clone();
        events.iter().for_each(|event| next.apply(event));
        let wanted = next.wanted();
        let (intents, superseded) = task.hands.plan(&wanted);
        let replaced =
            |key| EffectResult { key, status: "superseded".into(), response: String::new() };
        results.extend(superseded.into_iter().map(replaced));
        let commit = self.compose(process, task, &next, &events, &intents, results, heard);
        self.point(process.replica, Point::BeforeCommit)?;
        let (signals, now_ms) = (commit.signals.clone(), commit.now_ms);
        let recorded = events.len() + usize::from(commit.events.len() > events.len());
        self.write(task, commit)?;
        let before = std::mem::replace(&mut task.state, Rc::new(next));
        task.version += 1;
        task.next_seq += recorded as u64;
        self.publish(&task.id, task.state.clone());
        self.count_events(&events);
        self.say_events(&task.id, &events);
        let record = Recorded {
            run: &task.id,
            command,
            events: &events,
            before: &before,
            after: &task.state,
            wall_ms: now_ms,
        };
        let broken =
            self.ledger.committed(self.now, &record, &self.world, &self.published, &self.store);
        self.breaks(broken);
        self.point(process.replica, Point::AfterCommit)?;
        for signal in signals {
            let to = signal.run;
            self.nudge(process, &to);
        }
        self.start_effects(process, task, wanted);
        if task.state.awaits().is_none() && task.hands.open.is_empty() {
            return Err(Over::Left);
        }
        Ok(())
    }

    /// A stale writer must be refused; anything else that the store refuses is a bug of the loop.
    fn write(&mut self, task: &Task, commit: Commit) -> Result<(), Over> {
        let epoch = self.ledger.epoch(&task.id);
        match now_ready(self.store.commit(commit)) {
            Ok(_) => {
                let broken = crate::invariant::v8_commit_is_present(&task.id, task.epoch, epoch);
                self.breaks(broken);
                Ok(())
            }
            Err(StoreError::Stale { .. }) => {
                self.seen.count("event", "stale commit refused");
                self.say(|_| {
                    format!(
                        "{}: a commit with epoch {} is refused, the run has {epoch}",
                        task.id, task.epoch
                    )
                });
                Err(Over::Left)
            }
            Err(error) => {
                self.breaks(Some(Broken::new(
                    "V8",
                    format!("{}: the store refuses: {error}", task.id),
                )));
                Err(Over::Left)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one transaction, as in production")]
    fn compose(
        &mut self,
        process: Process,
        task: &Task,
        next: &State,
        events: &[Event],
        intents: &[Effect],
        results: Vec<EffectResult>,
        heard: Option<Heard<'_>>,
    ) -> Commit {
        let mut rows: Vec<(String, String)> =
            events.iter().map(|event| (event.kind().to_owned(), json(event))).collect();
        let mut messages = Vec::new();
        for (index, event) in events.iter().enumerate() {
            let unique = format!("{}#{}", task.id, task.next_seq + index as u64);
            messages.extend(event.messages(&unique));
        }
        let mut consumed = Vec::new();
        let actor = heard.as_ref().map_or("humdrum", |(signal, _)| &signal.actor).to_owned();
        if let Some((signal, refusal)) = heard {
            consumed.push(signal.id.clone());
            if let Some(refusal) = refusal {
                let body = serde_json::json!({ "command": signal.body, "refusal": refusal });
                rows.push(("command_refused".into(), body.to_string()));
                if let Ok(command) = serde_json::from_str::<Command>(&signal.body) {
                    messages.extend(command.refused(&refusal));
                }
            }
        }
        let at_ms = self.wall_ms(process.replica);
        let effects = intents.iter().map(|effect| NewEffect {
            key: effect.key(),
            kind: effect.kind().into(),
            target: effect.target(),
            request: json(effect),
        });
        Commit {
            run: task.id.clone(),
            epoch: task.epoch,
            version: task.version,
            now_ms: at_ms,
            actor,
            state_version: STATE_VERSION,
            state: next.write(),
            wait: wait_of(next),
            events: rows,
            effects: effects.collect(),
            results,
            consumed,
            signals: messages.into_iter().flat_map(|it| self.address(it, at_ms)).collect(),
            runs: vec![],
            documents: vec![],
            lines: vec![],
            release: false,
        }
    }

    /// Turns a message into signals. "Every placement" are those that the store knows, whoever drives them.
    fn address(&self, message: Message, at_ms: i64) -> Vec<NewSignal> {
        let signal = |run: &str, dedup: String, command: &Command| NewSignal {
            id: format!("{run}/{dedup}"),
            run: run.into(),
            dedup_key: dedup,
            body: json(command),
            actor: "humdrum".into(),
            at_ms,
        };
        match message {
            Message::To { run, dedup, command } => vec![signal(&run, dedup, &command)],
            Message::HoldPlaced { dedup, hold } => {
                let command =
                    Command::Placement(humdrum_model::rollout::Command::HoldPlaced { hold });
                self.placements().map(|(run, _)| signal(run, dedup.clone(), &command)).collect()
            }
        }
    }

    pub(crate) fn publish(&mut self, run: &str, state: Rc<State>) {
        self.published.insert(run.to_owned(), state);
    }

    /// Says that signals wait.
    pub(crate) fn nudge(&mut self, process: Process, run: &str) {
        let input = Input::Signals;
        self.queue.push(self.now + 1, Happening::Input { process, run: run.to_owned(), input });
    }

    fn start_effects(&mut self, process: Process, task: &mut Task, wanted: Vec<Effect>) {
        for key in task.hands.start(wanted) {
            let worker = Worker { process, run: task.id.clone(), epoch: task.epoch, key };
            self.queue.push(self.now + 2, Happening::Begin { worker, tries: 0 });
        }
    }

    /// Starts what is wanted and not under way.
    fn reconcile(&mut self, process: Process, task: &mut Task) -> Result<(), Over> {
        let wanted = task.state.wanted();
        let (intents, superseded) = task.hands.plan(&wanted);
        if intents.is_empty() && superseded.is_empty() {
            self.start_effects(process, task, wanted);
            return Ok(());
        }
        // As in production: `plan` has taken the intents in, and the commit below must write them.
        for effect in &intents {
            task.hands.open.remove(&effect.key());
        }
        for key in &superseded {
            task.hands.finished.remove(key);
            task.hands.open.insert(key.clone(), true);
        }
        let tick = task.state.tick().unwrap_or(Command::Ship(ShipCommand::Tick));
        self.commit(process, task, &tick, vec![], vec![], None)
    }
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data always serialises")
}
