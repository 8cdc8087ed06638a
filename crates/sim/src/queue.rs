//! What will happen, in the order of true time. Events at one moment keep the order in which they were planned.

use std::collections::BTreeMap;

use humdrum_model::run::{Command, Effect};

use crate::people::Act;

/// A process of control: its place and how often it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub replica: usize,
    pub boot: u64,
}

/// An effect's worker: dead when the process, the run's epoch or the key is not the present one.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub process: Process,
    pub run: String,
    pub epoch: u64,
    pub key: String,
}

/// What an attempt or a look came to, on its way back to the run.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    Done { command: Command, response: String },
    Stale,
}

/// Something for a run's mailbox.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    Tell(Command),
    Signals,
    Effect { key: String, ended: Ended },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookAt {
    Agent,
    Route,
    Judge,
}

/// A change inside the world that nobody asked for.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    /// An instance becomes ready, crashes, restarts or falls ill; `life` names the start it belongs to.
    Instance { unit: String, index: u32, life: u64, to: Life },
    /// The open requests of a slot that has no weight end.
    Drained { route: String, slot: humdrum_model::name::Slot, since: i64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Ready,
    Crashed,
    Again,
    Sick,
}

#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Start {
        replica: usize,
    },
    Keep {
        process: Process,
    },
    Wake {
        process: Process,
        run: String,
        token: u64,
    },
    Input {
        process: Process,
        run: String,
        input: Input,
    },
    Look {
        process: Process,
        run: String,
        at: LookAt,
    },
    /// The worker tries, for the n-th time.
    Begin {
        worker: Worker,
        tries: u32,
    },
    /// A request reaches the world.
    Arrive {
        worker: Worker,
        effect: Box<Effect>,
        sent: i64,
    },
    /// Its answer reaches control.
    Answer {
        worker: Worker,
        ended: Ended,
    },
    /// A submitted command has waited long enough for its answer.
    AnswerLate {
        worker: Worker,
        signal: String,
    },
    World(Turn),
    Person {
        act: Act,
        number: usize,
        tries: u32,
    },
    Fault(usize),
    FaultEnds(usize),
    /// A clock is set right.
    Ease {
        replica: usize,
        by_ms: i64,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    at: BTreeMap<(i64, u64), Happening>,
    order: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: i64, happening: Happening) {
        self.order += 1;
        self.at.insert((at, self.order), happening);
    }

    pub(crate) fn pop(&mut self) -> Option<(i64, Happening)> {
        self.at.pop_first().map(|((at, _), happening)| (at, happening))
    }

    pub(crate) fn next_at(&self) -> Option<i64> {
        self.at.first_key_value().map(|((at, _), _)| *at)
    }
}
