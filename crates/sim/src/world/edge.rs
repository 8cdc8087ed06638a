//! The fake edge: absolute tables with fences, requests in flight, and slots that drain.

use std::collections::BTreeMap;

use humdrum_model::name::Slot;
use humdrum_model::route::{RouteStatus, RouteTable, SlotFlight};

use crate::queue::Turn;
use crate::rng::Rng;

#[derive(Debug, Default)]
pub(crate) struct Edge {
    pub routes: BTreeMap<String, Route>,
}

#[derive(Debug)]
pub(crate) struct Route {
    pub table: RouteTable,
    pub a: Flight,
    pub b: Flight,
}

/// The requests of one slot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flight {
    pub weight: u32,
    pub in_flight: u32,
    /// When its weight fell to 0; none while it has weight, and when it never had any.
    pub zero_since: Option<i64>,
    /// When its last request ended, with weight 0.
    pub quiet_since: Option<i64>,
}

impl Flight {
    /// How long nothing has been in flight, ms.
    pub(crate) fn quiet_ms(&self, now: i64) -> i64 {
        if self.weight > 0 || self.in_flight > 0 {
            return 0;
        }
        self.quiet_since.map_or(1_000_000, |since| now - since)
    }
}

impl Route {
    pub(crate) fn flight(&self, slot: Slot) -> &Flight {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    fn flight_mut(&mut self, slot: Slot) -> &mut Flight {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }
}

impl Edge {
    /// Puts a table in force unless a newer one is. `None`: refused by the fence.
    pub(crate) fn ensure(
        &mut self,
        now: i64,
        table: &RouteTable,
        rng: &mut Rng,
    ) -> Option<Vec<(i64, Turn)>> {
        if let Some(route) = self.routes.get(&table.route)
            && (table.fence, table.generation) < (route.table.fence, route.table.generation)
        {
            return None;
        }
        let route = self.routes.entry(table.route.clone()).or_insert_with(|| Route {
            table: table.clone(),
            a: Flight::default(),
            b: Flight::default(),
        });
        route.table = table.clone();
        let mut turns = Vec::new();
        for slot in [Slot::A, Slot::B] {
            let weight =
                table.arms.iter().filter(|arm| arm.slot == slot).map(|arm| arm.weight).sum();
            let flight = route.flight_mut(slot);
            if weight > 0 {
                let in_flight = 1 + rng.below(4) as u32;
                *flight = Flight { weight, in_flight, ..Flight::default() };
            } else if flight.weight > 0 {
                *flight = Flight { weight, zero_since: Some(now), ..*flight };
                let turn = Turn::Drained { route: table.route.clone(), slot, since: now };
                turns.push((now + open_for(rng), turn));
            }
        }
        Some(turns)
    }

    /// The open requests of a slot end; `true` when they did.
    pub(crate) fn turn(&mut self, now: i64, turn: &Turn) -> bool {
        let Turn::Drained { route, slot, since } = turn else { return false };
        let Some(route) = self.routes.get_mut(route) else { return false };
        let flight = route.flight_mut(*slot);
        if flight.zero_since != Some(*since) {
            return false; // It had weight again since.
        }
        flight.in_flight = 0;
        flight.quiet_since = Some(now);
        true
    }

    pub(crate) fn status(&self, now: i64, name: &str) -> Option<RouteStatus> {
        let route = self.routes.get(name)?;
        let flights = [Slot::A, Slot::B].map(|slot| {
            let flight = route.flight(slot);
            let quiet_ms = u64::try_from(flight.quiet_ms(now)).unwrap_or(0);
            SlotFlight { slot, requests: flight.in_flight, quiet_ms }
        });
        Some(RouteStatus {
            route: name.into(),
            fence: route.table.fence,
            generation: route.table.generation,
            in_flight: flights.to_vec(),
            problem: None,
        })
    }

    /// Loses its data: connections end with it.
    pub(crate) fn forget(&mut self) {
        self.routes.clear();
    }
}

/// Most requests are short, some are downloads, a few outlast every drain time.
fn open_for(rng: &mut Rng) -> i64 {
    match rng.below(10) {
        0..7 => rng.between(5, 300),
        7 | 8 => rng.between(300, 2_500),
        _ => rng.between(5_000, 15_000),
    }
}
