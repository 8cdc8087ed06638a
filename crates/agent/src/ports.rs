//! The loopback ports of instances: one for each unit and index, kept over restarts of both instance and agent.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::durable;

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("no free port is left in {}–{}", range.start(), range.end())]
    Exhausted { range: RangeInclusive<u16> },
    #[error("the list of ports `{}` cannot be written", path.display())]
    Unwritten { path: PathBuf, source: io::Error },
}

/// Who has which port, on disk.
pub(crate) struct Ports {
    path: PathBuf,
    range: RangeInclusive<u16>,
    held: Mutex<BTreeMap<String, u16>>,
}

impl Ports {
    pub(crate) fn open(path: PathBuf, range: RangeInclusive<u16>) -> io::Result<Self> {
        let held = durable::read_json(&path)?.unwrap_or_default();
        Ok(Self { path, range, held: Mutex::new(held) })
    }

    /// The port that the index has, or 0 when it never had one.
    pub(crate) fn held(&self, unit: &str, index: u32) -> u16 {
        self.lock().get(&key(unit, index)).copied().unwrap_or(0)
    }

    /// A port that nobody listens on now: the one the index had before when it is free, else a new one. The choice is
    /// durable when this returns.
    pub(crate) fn take(&self, unit: &str, index: u32) -> Result<u16, PortError> {
        let mut held = self.lock();
        let key = key(unit, index);
        if let Some(port) = held.get(&key).copied()
            && self.range.contains(&port)
            && is_free(port)
        {
            return Ok(port);
        }
        let port = choose(&self.range, &held, is_free)
            .ok_or_else(|| PortError::Exhausted { range: self.range.clone() })?;
        held.insert(key, port);
        self.store(&held)?;
        Ok(port)
    }

    /// Gives back every port of a unit.
    pub(crate) fn release(&self, unit: &str) -> Result<(), PortError> {
        let mut held = self.lock();
        let prefix = format!("{unit}/");
        held.retain(|key, _| !key.starts_with(&prefix));
        self.store(&held)
    }

    fn store(&self, held: &BTreeMap<String, u16>) -> Result<(), PortError> {
        durable::write_json(&self.path, held)
            .map_err(|source| PortError::Unwritten { path: self.path.clone(), source })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u16>> {
        self.held.lock().expect("nothing panics while it holds the ports")
    }
}

fn key(unit: &str, index: u32) -> String {
    format!("{unit}/{index}")
}

/// Round robin behind the highest port in use, so that a port just given back rests the longest.
fn choose(
    range: &RangeInclusive<u16>,
    held: &BTreeMap<String, u16>,
    free: impl Fn(u16) -> bool,
) -> Option<u16> {
    let after = held.values().copied().filter(|port| range.contains(port)).max();
    let first = after.map_or(*range.start(), |port| port.saturating_add(1));
    (first..=*range.end())
        .chain(*range.start()..first.min(*range.end()))
        .find(|port| !held.values().any(|used| used == port) && free(*port))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_chosen_behind_the_last_and_wrap_round() {
        let held = |ports: &[u16]| -> BTreeMap<String, u16> {
            ports.iter().map(|port| (format!("u/{port}"), *port)).collect()
        };
        #[rustfmt::skip]
        let cases: [(&[u16], &[u16], Option<u16>); 5] = [
            // held     busy    chosen
            (&[],       &[],    Some(10)),
            (&[10],     &[],    Some(11)),
            (&[10],     &[11],  Some(12)),
            (&[11, 12], &[],    Some(10)),
            (&[10, 12], &[11],  None),
        ];
        for (ports, busy, expected) in cases {
            let chosen = choose(&(10..=12), &held(ports), |port| !busy.contains(&port));
            assert_eq!(chosen, expected, "{ports:?} {busy:?}");
        }
    }

    #[test]
    fn a_port_is_kept_until_somebody_else_listens_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ports.json");
        let first = Ports::open(path.clone(), 29_100..=29_400).unwrap().take("a.b.a", 0).unwrap();
        let ports = Ports::open(path, 29_100..=29_400).unwrap();
        assert_eq!(ports.take("a.b.a", 0).unwrap(), first);
        let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert_ne!(ports.take("a.b.a", 0).unwrap(), first);
        drop(stranger);
        ports.release("a.b.a").unwrap();
        assert_eq!(ports.held("a.b.a", 0), 0);
    }
}
