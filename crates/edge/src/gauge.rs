//! What all workers of a route share while they serve: turn counters and requests in flight, as plain atomics.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use humdrum_model::name::Slot;
use humdrum_model::route::SlotFlight;

use crate::table::ARMS_MAX;

/// Outlives the tables of its route, so that a new table neither restarts the turns nor forgets open requests.
#[derive(Debug)]
pub(crate) struct Gauges {
    epoch: Instant,
    /// Turns taken of the schedule.
    pub(crate) turns: AtomicU64,
    /// Turns of the instances within each arm.
    pub(crate) arm_turns: [AtomicU64; ARMS_MAX],
    slots: [SlotGauge; 2],
}

#[derive(Debug, Default)]
struct SlotGauge {
    in_flight: AtomicU32,
    /// Ms after `epoch` when the slot last became quiet.
    quiet_from: AtomicU64,
}

impl Gauges {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            turns: AtomicU64::new(0),
            arm_turns: Default::default(),
            slots: Default::default(),
        }
    }

    fn slot(&self, slot: Slot) -> &SlotGauge {
        match slot {
            Slot::A => &self.slots[0],
            Slot::B => &self.slots[1],
        }
    }

    pub(crate) fn enter(&self, slot: Slot) {
        self.slot(slot).in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self, slot: Slot) {
        let gauge = self.slot(slot);
        // Release, so that who reads 0 also sees the time; the time is written first for the same reason.
        if gauge.in_flight.load(Ordering::Relaxed) == 1 {
            gauge.quiet_from.store(self.now_ms(), Ordering::Relaxed);
        }
        if gauge.in_flight.fetch_sub(1, Ordering::Release) == 1 {
            gauge.quiet_from.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// The slot lost its weight now: silence is counted from here.
    pub(crate) fn lost_weight(&self, slot: Slot) {
        self.slot(slot).quiet_from.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.slots.iter().map(|s| s.in_flight.load(Ordering::Relaxed)).sum()
    }

    /// The state of a slot; `weighted` tells whether any arm of it has weight.
    pub(crate) fn flight(&self, slot: Slot, weighted: bool) -> SlotFlight {
        let gauge = self.slot(slot);
        let requests = gauge.in_flight.load(Ordering::Acquire);
        let quiet_ms = if requests > 0 || weighted {
            0
        } else {
            self.now_ms().saturating_sub(gauge.quiet_from.load(Ordering::Relaxed))
        };
        SlotFlight { slot, requests, quiet_ms }
    }

    fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }
}
