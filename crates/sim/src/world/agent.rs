//! The fake agent: starts what it is told, with fences, and reports what became of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use humdrum_model::unit::{InstanceState, InstanceStatus, UnitSpec, UnitStatus};

use crate::cast::Cast;
use crate::queue::{Life, Turn};
use crate::rng::Rng;

/// An ended instance is started again after this, ms.
const BACK_OFF_MS: i64 = 200;

#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub units: BTreeMap<String, Unit>,
    lives: u64,
    port: u16,
}

#[derive(Debug)]
pub(crate) struct Unit {
    pub spec: UnitSpec,
    pub instances: Vec<Instance>,
    /// Most unwished ends of one instance, and whether at some time fewer than half were ready after all had been: what guardrails may say.
    pub ends_max: u32,
    pub was_half_down: bool,
    was_up: bool,
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub index: u32,
    pub life: u64,
    pub addr: SocketAddr,
    pub state: InstanceState,
    pub restarts: u32,
    pub last_exit: Option<String>,
}

impl Unit {
    pub(crate) fn ready(&self) -> usize {
        self.instances.iter().filter(|instance| instance.state == InstanceState::Ready).count()
    }

    pub(crate) fn wanted(&self) -> usize {
        self.spec.instances as usize
    }

    fn notice(&mut self) {
        let (ready, wanted) = (self.ready(), self.wanted());
        self.was_up |= ready >= wanted;
        self.was_half_down |= self.was_up && ready * 2 < wanted;
    }
}

/// Later changes that an order causes.
pub(crate) type Turns = Vec<(i64, Turn)>;

impl Agent {
    /// Takes a wish unless a newer one was taken. `None`: refused by the fence.
    pub(crate) fn ensure(
        &mut self,
        now: i64,
        spec: &UnitSpec,
        cast: &Cast,
        rng: &mut Rng,
    ) -> Option<Turns> {
        if let Some(unit) = self.units.get(&spec.unit)
            && (spec.fence, spec.generation) < (unit.spec.fence, unit.spec.generation)
        {
            return None;
        }
        let same = self.units.get(&spec.unit).is_some_and(|unit| same_work(&unit.spec, spec));
        if same {
            let unit = self.units.get_mut(&spec.unit).expect("it was found just now");
            unit.spec = spec.clone();
            return Some(vec![]);
        }
        let mut turns = Vec::new();
        let instances = (0..spec.instances)
            .map(|index| self.start(now, spec, index, cast, rng, &mut turns))
            .collect();
        let unit = Unit {
            spec: spec.clone(),
            instances,
            ends_max: 0,
            was_half_down: false,
            was_up: false,
        };
        self.units.insert(spec.unit.clone(), unit);
        Some(turns)
    }

    fn start(
        &mut self,
        now: i64,
        spec: &UnitSpec,
        index: u32,
        cast: &Cast,
        rng: &mut Rng,
        turns: &mut Turns,
    ) -> Instance {
        self.lives += 1;
        self.port = self.port.wrapping_add(1) % 20_000;
        let life = self.lives;
        let character = cast.of(&spec.labels.commit);
        let mut turn = |at: i64, to: Life| {
            turns.push((at, Turn::Instance { unit: spec.unit.clone(), index, life, to }));
        };
        let jitter = rng.between(0, 100);
        if let Some(ms) = character.ready_ms {
            turn(now + ms + jitter, Life::Ready);
        }
        if let Some(ms) = character.crashes_ms {
            turn(now + ms + jitter, Life::Crashed);
        }
        if let Some(ms) = character.sickens_ms {
            turn(now + ms + jitter, Life::Sick);
        }
        Instance {
            index,
            life,
            addr: SocketAddr::from(([127, 0, 0, 1], 30_000 + self.port)),
            state: InstanceState::Starting,
            restarts: 0,
            last_exit: None,
        }
    }

    /// A change inside; `true` when the picture changed. More changes may follow.
    pub(crate) fn turn(
        &mut self,
        now: i64,
        turn: &Turn,
        cast: &Cast,
        rng: &mut Rng,
    ) -> Option<Turns> {
        let Turn::Instance { unit: name, index, life, to } = turn else { return None };
        let spec = self.units.get(name)?.spec.clone();
        let unit = self.units.get_mut(name)?;
        let found = unit.instances.iter_mut().find(|it| it.index == *index && it.life == *life)?;
        let mut turns = Vec::new();
        match to {
            Life::Ready if found.state == InstanceState::Starting => {
                found.state = InstanceState::Ready;
            }
            Life::Sick if found.state == InstanceState::Ready => {
                found.state = InstanceState::Unhealthy;
                found.last_exit = Some("health checks fail".into());
            }
            Life::Crashed if found.state != InstanceState::BackingOff => {
                found.state = InstanceState::BackingOff;
                found.restarts += 1;
                found.last_exit = Some("exit 1".into());
                unit.ends_max = unit.ends_max.max(found.restarts);
                let again = Life::Again;
                let turn =
                    Turn::Instance { unit: name.clone(), index: *index, life: *life, to: again };
                turns.push((now + BACK_OFF_MS, turn));
            }
            Life::Again if found.state == InstanceState::BackingOff => {
                let (restarts, exit) = (found.restarts, found.last_exit.clone());
                let fresh = self.start(now, &spec, *index, cast, rng, &mut turns);
                let unit = self.units.get_mut(name)?;
                let place = unit.instances.iter_mut().find(|it| it.index == *index)?;
                *place = Instance { restarts, last_exit: exit, ..fresh };
            }
            _ => return None,
        }
        self.units.get_mut(name)?.notice();
        Some(turns)
    }

    pub(crate) fn status(&self, unit: &str) -> UnitStatus {
        let Some(found) = self.units.get(unit) else {
            return UnitStatus {
                unit: unit.into(),
                fence: 0,
                generation: 0,
                instances: vec![],
                problem: None,
            };
        };
        let release = &found.spec.labels.release;
        let instances = found.instances.iter().map(|it| InstanceStatus {
            name: format!("{unit}.{}.{}", &release[..10.min(release.len())], it.index),
            index: it.index,
            pid: None,
            addr: it.addr,
            state: it.state,
            since_ms: 0,
            restarts: it.restarts,
            last_exit: it.last_exit.clone(),
            last_lines: vec![],
            notes: vec![],
        });
        UnitStatus {
            unit: unit.into(),
            fence: found.spec.fence,
            generation: found.spec.generation,
            instances: instances.collect(),
            problem: None,
        }
    }

    /// Loses its data and everything it ran.
    pub(crate) fn forget(&mut self) {
        self.units.clear();
    }

    /// One running instance, chosen by a number.
    pub(crate) fn victim(&self, pick: u64) -> Option<Turn> {
        let all: Vec<_> = self
            .units
            .iter()
            .flat_map(|(name, unit)| unit.instances.iter().map(move |it| (name, it)))
            .collect();
        let (unit, it) = all.get((pick % all.len().max(1) as u64) as usize)?;
        Some(Turn::Instance {
            unit: (*unit).clone(),
            index: it.index,
            life: it.life,
            to: Life::Crashed,
        })
    }
}

/// A new number or fence alone restarts nothing.
fn same_work(a: &UnitSpec, b: &UnitSpec) -> bool {
    UnitSpec { fence: 0, generation: 0, ..a.clone() }
        == UnitSpec { fence: 0, generation: 0, ..b.clone() }
}
