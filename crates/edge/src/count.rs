//! Counters of one worker for one table: plain numbers, because nobody else touches them until they are taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use humdrum_model::block::{Cell, latency_bucket};

/// The lowest bucket (about 1 µs), as `latency_bucket` defines it.
const LOWEST: i32 = -346;
/// Buckets up to one hour, and one more for +Inf.
const BUCKETS: usize = 1_104;

/// How a request that was assigned to an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The head of an answer came after this time.
    Answered { after: Duration, error: bool },
    /// No answer came: refused, reset, timed out, or the caller left first.
    Unanswered,
}

/// The counts of one instance in the running block.
#[derive(Debug)]
pub(crate) struct Count {
    pub(crate) instance: Arc<str>,
    pub(crate) arm: Arc<str>,
    requests: u64,
    errors: u64,
    latency: Box<[u32]>,
}

impl Count {
    pub(crate) fn new(instance: Arc<str>, arm: Arc<str>) -> Self {
        Self { instance, arm, requests: 0, errors: 0, latency: vec![0; BUCKETS].into() }
    }

    #[inline]
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.requests += 1;
        let bucket = match outcome {
            Outcome::Answered { after, error } => {
                self.errors += u64::from(error);
                place(latency_bucket(after.as_secs_f64() * 1e3))
            }
            Outcome::Unanswered => {
                self.errors += 1;
                BUCKETS - 1
            }
        };
        self.latency[bucket] += 1;
    }

    /// Hands the counts over and starts again from zero.
    pub(crate) fn take(&mut self) -> Cell {
        let mut latency = BTreeMap::new();
        if self.requests > 0 {
            for (at, n) in self.latency.iter_mut().enumerate().filter(|(_, n)| **n > 0) {
                latency.insert(bucket_at(at), u64::from(std::mem::take(n)));
            }
        }
        Cell {
            instance: self.instance.to_string(),
            arm: self.arm.to_string(),
            requests: std::mem::take(&mut self.requests),
            errors: std::mem::take(&mut self.errors),
            latency,
        }
    }
}

fn place(bucket: i32) -> usize {
    if bucket == i32::MAX {
        return BUCKETS - 1;
    }
    (bucket.max(LOWEST) - LOWEST) as usize % (BUCKETS - 1)
}

fn bucket_at(place: usize) -> i32 {
    if place == BUCKETS - 1 { i32::MAX } else { place as i32 + LOWEST }
}

/// Adds cells of the same instance and arm together; order of first appearance.
pub(crate) fn merge(into: &mut Vec<Cell>, cells: Vec<Cell>) {
    for cell in cells {
        match into.iter_mut().find(|c| c.instance == cell.instance && c.arm == cell.arm) {
            None => into.push(cell),
            Some(known) => {
                known.requests += cell.requests;
                known.errors += cell.errors;
                for (bucket, n) in cell.latency {
                    *known.latency.entry(bucket).or_default() += n;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_has_a_place_of_its_own() {
        for ms in [0.0, 0.001, 0.5, 1.0, 17.8, 1_000.0, 3_599_999.0] {
            assert_eq!(bucket_at(place(latency_bucket(ms))), latency_bucket(ms), "{ms}");
        }
        assert_eq!(bucket_at(place(latency_bucket(1e9))), i32::MAX);
    }

    #[test]
    fn taken_counts_start_again_and_sum_up() {
        let mut count = Count::new("i1".into(), "canary".into());
        count.add(Outcome::Answered { after: Duration::from_millis(5), error: false });
        count.add(Outcome::Answered { after: Duration::from_millis(5), error: true });
        count.add(Outcome::Unanswered);
        let mut cells = vec![count.take()];
        count.add(Outcome::Unanswered);
        merge(&mut cells, vec![count.take()]);
        assert_eq!((cells[0].requests, cells[0].errors), (4, 3));
        assert_eq!(cells[0].latency.values().sum::<u64>(), 4);
        assert_eq!(cells[0].latency[&i32::MAX], 2);
        assert_eq!(count.take().requests, 0);
    }
}
