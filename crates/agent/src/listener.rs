//! Who listens on an instance's port? An answer there proves health only when the socket belongs to the instance.
//!
//! The listening sockets come from `/proc/net/tcp` and `tcp6` of the agent's own network namespace, where probes and the edge
//! connect; their owners are the open files of the processes below the instance's shim (proc_net(5), proc_pid_fd(5)).
//! It tells who listens now; it does not watch a port.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// Bytes of one socket table that are read: some four hundred thousand connections.
const TABLE_BYTES_MAX: u64 = 64 << 20;
/// Processes of the machine that are looked at.
const PROCESSES_MAX: usize = 65_536;
/// Open files of one instance that are looked at.
const FILES_MAX: usize = 65_536;
/// `TCP_LISTEN` in the tables.
const LISTEN: &str = "0A";

/// What is known of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    Instance,
    /// A socket that no process of the instance holds; the user id that opened it.
    Foreign {
        uid: u32,
    },
    /// `/proc` does not tell; why.
    Unknown(String),
}

/// A listening socket that a connection to 127.0.0.1 may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    /// The kernel asks lower ones first: the exact address, then any IPv4, then any IPv6.
    rank: u8,
    inode: u64,
    uid: u32,
}

/// Who answers on 127.0.0.1 and `port`. `shim`: the process above everything of the instance; `instance`: its first process,
/// which must be visible for the answer to mean anything.
///
/// Blocks on files of `/proc`, for milliseconds on a machine with many connections.
pub(crate) fn owner(port: u16, shim: u32, instance: u32) -> Owner {
    match look(port, shim, instance) {
        Ok(owner) => owner,
        Err(error) => Owner::Unknown(error.to_string()),
    }
}

fn look(port: u16, shim: u32, instance: u32) -> io::Result<Owner> {
    let listeners = first_asked(&listeners(port)?);
    if listeners.is_empty() {
        return Ok(Owner::Unknown(format!("/proc/net/tcp does not show port {port}")));
    }
    let parents = parents()?;
    let processes = below(shim, &parents);
    let visible = parents.iter().any(|(pid, _)| *pid == instance);
    if !visible || !processes.contains(&instance) {
        return Ok(Owner::Unknown(format!("/proc does not show process {instance}")));
    }
    let mut foreign: HashMap<u64, u32> = listeners.iter().map(|l| (l.inode, l.uid)).collect();
    let mut denied = None;
    let mut files = 0;
    for pid in processes {
        match sockets(pid, &mut files) {
            Ok(found) => foreign.retain(|inode, _| !found.contains(inode)),
            // It ended while we looked.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => denied = Some(format!("/proc/{pid}/fd: {error}")),
        }
        if foreign.is_empty() {
            return Ok(Owner::Instance);
        }
    }
    Ok(match (denied, foreign.into_values().next()) {
        (Some(why), _) => Owner::Unknown(why),
        (None, Some(uid)) => Owner::Foreign { uid },
        (None, None) => Owner::Instance,
    })
}

/// Of sockets that share a port, those that the kernel asks first. All of these answer in turn, so all must be the instance's.
fn first_asked(listeners: &[Listener]) -> Vec<Listener> {
    let first = listeners.iter().map(|listener| listener.rank).min();
    listeners.iter().filter(|listener| Some(listener.rank) == first).copied().collect()
}

fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let mut found = vec![];
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let file = match File::open(table) {
            Ok(file) => file,
            // A kernel without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound && table.ends_with('6') => continue,
            Err(error) => return Err(error),
        };
        let mut lines = BufReader::with_capacity(64 << 10, file.take(TABLE_BYTES_MAX));
        let (mut line, mut bytes) = (String::new(), 0);
        loop {
            line.clear();
            let read = lines.read_line(&mut line)?;
            bytes += read as u64;
            if read == 0 {
                break;
            }
            found.extend(parse(&line, port));
        }
        if bytes >= TABLE_BYTES_MAX {
            return Err(io::Error::other(format!("{table} has more than {TABLE_BYTES_MAX} bytes")));
        }
    }
    Ok(found)
}

/// One line of a table: `sl local rem st queues timer retrnsmt uid timeout inode …`; addresses are words in the host's order.
fn parse(line: &str, port: u16) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let (address, found) = fields.nth(1)?.rsplit_once(':')?;
    if fields.nth(1)? != LISTEN || u16::from_str_radix(found, 16) != Ok(port) {
        return None;
    }
    let rank = rank(address)?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Listener { rank, inode, uid })
}

/// `None` for an address that a connection to 127.0.0.1 never reaches.
fn rank(address: &str) -> Option<u8> {
    let words = (0..address.len()).step_by(8).map(|at| {
        let word = address.get(at..at + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    match (bytes.len(), bytes.strip_prefix(&MAPPED)) {
        (4, _) if bytes == [127, 0, 0, 1] => Some(0),
        (16, Some([127, 0, 0, 1])) => Some(0),
        (4, _) | (16, Some(_)) if bytes.ends_with(&[0; 4]) => Some(1),
        (16, _) if bytes == [0; 16] => Some(2),
        _ => None,
    }
}

/// Every visible process with its parent.
fn parents() -> io::Result<Vec<(u32, u32)>> {
    let mut all = vec![];
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ended while we looked has no parent any more.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        all.extend(parent(&stat).map(|parent| (pid, parent)));
        if all.len() > PROCESSES_MAX {
            return Err(io::Error::other(format!("more than {PROCESSES_MAX} processes")));
        }
    }
    Ok(all)
}

/// Field 4 of `/proc/PID/stat`, counted behind the name, which may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The process and everything that descends from it.
fn below(top: u32, parents: &[(u32, u32)]) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, parent) in parents {
        children.entry(*parent).or_default().push(*pid);
    }
    let (mut found, mut open) = (HashSet::from([top]), vec![top]);
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found
}

/// Inodes of the sockets that a process holds; `files` counts what was looked at.
fn sockets(pid: u32, files: &mut usize) -> io::Result<HashSet<u64>> {
    let mut found = HashSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        *files += 1;
        if *files > FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} open files")));
        }
        let target = match fs::read_link(entry?.path()) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let text = target.to_string_lossy();
        let inode = text.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        found.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn only_sockets_that_loopback_reaches_are_found_and_ranked() {
        let line = |address: &str, state: &str| {
            format!(
                "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 54321 1 0 100 0 0 10 0"
            )
        };
        #[rustfmt::skip]
        let cases = [
            // local address and port 8080                    state  rank
            ("0100007F:1F90",                                 "0A",  Some(0)),
            ("00000000:1F90",                                 "0A",  Some(1)),
            ("00000000000000000000000000000000:1F90",         "0A",  Some(2)),
            ("0000000000000000FFFF00000100007F:1F90",         "0A",  Some(0)),
            ("0000000000000000FFFF000000000000:1F90",         "0A",  Some(1)),
            ("0200007F:1F90",                                 "0A",  None), // 127.0.0.2
            ("00000000000000000000000001000000:1F90",         "0A",  None), // ::1
            ("0100007F:1F91",                                 "0A",  None),
            ("0100007F:1F90",                                 "01",  None), // a connection
            ("nonsense",                                      "0A",  None),
        ];
        for (address, state, rank) in cases {
            let expected = rank.map(|rank| Listener { rank, inode: 54_321, uid: 1_000 });
            assert_eq!(parse(&line(address, state), 8_080), expected, "{address} {state}");
        }
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(parse(heading, 8_080), None);
    }

    #[test]
    fn everything_that_descends_is_found() {
        let parents = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 5)];
        assert_eq!(below(2, &parents), HashSet::from([2, 3, 4]));
        assert_eq!(below(9, &parents), HashSet::from([9]));
        assert_eq!(parent("7 (a) 1 2) S 3 7 7"), Some(3));
    }

    #[test]
    fn a_socket_of_this_process_is_its_own_and_nobody_elses() {
        let me = std::process::id();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        assert_eq!(owner(port, me, me), Owner::Instance);
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(owner(port, other.id(), other.id()), Owner::Foreign { uid });
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(matches!(owner(port, other.id(), other.id()), Owner::Unknown(_)));
        drop(server);
        assert!(matches!(owner(port, me, me), Owner::Unknown(_)), "nobody listens");
    }
}
