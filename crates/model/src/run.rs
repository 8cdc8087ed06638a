//! Runs: the durable state machines, behind one face for the loop, the store and the simulator.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hold::{Hold, HoldBook, HoldCommand, HoldEvent};
use crate::report::{Refusal, Report};
use crate::rollout::{self, Outgoing, Placement};
use crate::ship::{Ship, ShipCommand, ShipEffect, ShipEvent};
use crate::waiver::{WaiverBook, WaiverCommand, WaiverEvent};

/// Version of the stored states; older ones are lifted when they are read.
pub const STATE_VERSION: u32 = 1;

/// Id of the one run that keeps the holds.
pub const HOLDS_RUN: &str = "holds";

/// Id of the one run that keeps the waivers.
pub const WAIVERS_RUN: &str = "waivers";

/// A run's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "state", rename_all = "snake_case")]
pub enum State {
    Placement(Box<Placement>),
    Ship(Box<Ship>),
    Holds(HoldBook),
    Waivers(WaiverBook),
}

/// What may be asked of a run or told to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Placement(rollout::Command),
    Ship(ShipCommand),
    Holds(HoldCommand),
    Waivers(WaiverCommand),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Event {
    Placement(rollout::Event),
    Ship(ShipEvent),
    Holds(HoldEvent),
    Waivers(WaiverEvent),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Effect {
    Placement(rollout::Effect),
    Ship(ShipEffect),
}

/// What an event makes other runs hear; sent in the event's own transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    To {
        run: String,
        dedup: String,
        command: Command,
    },
    /// To every placement there is.
    HoldPlaced {
        dedup: String,
        hold: Hold,
    },
}

/// A run's kind is not what the row says, or its state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("run state has version {found}, this humdrum reads up to {STATE_VERSION}")]
    Newer { found: u32 },
    #[error("run state cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

/// The id of a placement's run.
pub fn placement_run(id: &crate::name::PlacementId) -> String {
    format!("p-{}", id.route())
}

impl State {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Placement(_) => "placement",
            Self::Ship(_) => "ship",
            Self::Holds(_) => "holds",
            Self::Waivers(_) => "waivers",
        }
    }

    pub fn read(version: u32, text: &str) -> Result<Self, StateError> {
        if version > STATE_VERSION {
            return Err(StateError::Newer { found: version });
        }
        serde_json::from_str(text).map_err(StateError::Unreadable)
    }

    pub fn write(&self) -> String {
        serde_json::to_string(self).expect("plain data always serialises")
    }

    /// A command for another kind of run is refused, never guessed at.
    pub fn decide(
        &self,
        command: &Command,
        now: Timestamp,
    ) -> Result<(Vec<Event>, Report), Refusal> {
        match (self, command) {
            (Self::Placement(state), Command::Placement(command)) => {
                let (events, report) = state.decide(command, now)?;
                Ok((events.into_iter().map(Event::Placement).collect(), report))
            }
            (Self::Ship(state), Command::Ship(command)) => {
                let (events, report) = state.decide(command, now)?;
                Ok((events.into_iter().map(Event::Ship).collect(), report))
            }
            (Self::Holds(state), Command::Holds(command)) => {
                let (events, report) = state.decide(command, now)?;
                Ok((events.into_iter().map(Event::Holds).collect(), report))
            }
            (Self::Waivers(state), Command::Waivers(command)) => {
                let (events, report) = state.decide(command, now)?;
                Ok((events.into_iter().map(Event::Waivers).collect(), report))
            }
            _ => Err(Refusal::new(
                "wrong-run",
                format!("A {} does not understand this command.", self.kind()),
            )),
        }
    }

    pub fn apply(&mut self, event: &Event) {
        match (self, event) {
            (Self::Placement(state), Event::Placement(event)) => state.apply(event),
            (Self::Ship(state), Event::Ship(event)) => state.apply(event),
            (Self::Holds(state), Event::Holds(event)) => state.apply(event),
            (Self::Waivers(state), Event::Waivers(event)) => state.apply(event),
            _ => {}
        }
    }

    pub fn wanted(&self) -> Vec<Effect> {
        match self {
            Self::Placement(state) => state.wanted().into_iter().map(Effect::Placement).collect(),
            Self::Ship(state) => state.wanted().into_iter().map(Effect::Ship).collect(),
            Self::Holds(_) | Self::Waivers(_) => vec![],
        }
    }

    /// When to look again and who is awaited; `None` when the run is over.
    pub fn awaits(&self) -> Option<(Option<Timestamp>, String)> {
        match self {
            Self::Placement(state) => Some(state.awaits()),
            Self::Ship(state) => state.awaits(),
            Self::Holds(_) => Some((None, "a person".into())),
            Self::Waivers(book) => Some((book.next_end(), "a person".into())),
        }
    }

    /// The command that tells a run that time passed, where it minds.
    pub fn tick(&self) -> Option<Command> {
        match self {
            Self::Placement(_) => Some(Command::Placement(rollout::Command::Tick)),
            Self::Ship(_) => Some(Command::Ship(ShipCommand::Tick)),
            Self::Holds(_) => None,
            Self::Waivers(_) => Some(Command::Waivers(WaiverCommand::Lapse)),
        }
    }
}

impl Command {
    /// What another run must hear when this command was refused: a ship whose admission a placement did not take would wait for ever.
    pub fn refused(&self, refusal: &Refusal) -> Option<Message> {
        let Self::Placement(rollout::Command::Admit(admission)) = self else { return None };
        let ship = admission.ship.clone()?;
        let index = admission.deployment_id.rsplit_once('-')?.1.parse().ok()?;
        Some(Message::To {
            run: ship,
            dedup: format!("refused/{}", admission.deployment_id),
            command: Self::Ship(ShipCommand::AdmissionRefused { index, refusal: refusal.clone() }),
        })
    }
}

impl Event {
    /// The type name in the feed.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Placement(event) => event.kind(),
            Self::Ship(event) => event.kind(),
            Self::Holds(HoldEvent::HoldPlaced { .. }) => "hold_placed",
            Self::Holds(HoldEvent::HoldLifted { .. }) => "hold_lifted",
            Self::Waivers(event) => event.kind(),
        }
    }

    /// Messages to other runs. `unique` names the event (run and number), so that a repeat is heard once.
    pub fn messages(&self, unique: &str) -> Vec<Message> {
        match self {
            Self::Placement(event) => match event.outgoing() {
                Some(Outgoing::RolloutEnded { ship, ended }) => vec![Message::To {
                    run: ship,
                    dedup: format!("ended/{}", ended.deployment_id),
                    command: Command::Ship(ShipCommand::RolloutEnded { ended }),
                }],
                Some(Outgoing::Hold(command)) => {
                    vec![Message::To {
                        run: HOLDS_RUN.into(),
                        dedup: unique.into(),
                        command: Command::Holds(command),
                    }]
                }
                None => vec![],
            },
            Self::Holds(HoldEvent::HoldPlaced { hold }) => {
                vec![Message::HoldPlaced { dedup: unique.into(), hold: hold.clone() }]
            }
            Self::Ship(_) | Self::Holds(_) | Self::Waivers(_) => vec![],
        }
    }
}

impl Effect {
    pub fn key(&self) -> String {
        match self {
            Self::Placement(effect) => effect.key(),
            Self::Ship(effect) => effect.key(),
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Placement(effect) => effect.kind(),
            Self::Ship(effect) => effect.kind(),
        }
    }

    pub fn target(&self) -> String {
        match self {
            Self::Placement(effect) => effect.target(),
            Self::Ship(effect) => effect.target(),
        }
    }
}
