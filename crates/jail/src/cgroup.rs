//! Control groups, version 2 or 1, where this process may make one; the limits of a whole tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::spec::Limits;

/// The folder below the hierarchy's root (v2) or below our own group (v1) in which jails get their groups.
const PARENT: &str = "humdrum";
/// The period of the processor limit, in microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// The control group of one jail.
pub(crate) struct Group {
    version: Version,
    /// One folder (v2) or one for each controller (v1).
    folders: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Group {
    /// Makes a group with these limits, named after the supervisor's pid, and says which limits nobody will enforce.
    pub(crate) fn make(limits: &Limits, pid: u32) -> (Option<Group>, Vec<String>) {
        if limits.memory_bytes.is_none() && limits.cpu_millis.is_none() && limits.pids.is_none() {
            return (None, vec![]);
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let made = make_v2(&mounts, limits, pid).or_else(|_| make_v1(&mounts, &own, limits, pid));
        match made {
            Ok(group) => (Some(group), vec![]),
            Err(error) => {
                let cpu = limits.cpu_millis.map(|millis| {
                    format!(
                        "cpu limit of {millis} thousandths of a core: no control group ({error})"
                    )
                });
                (None, cpu.into_iter().collect())
            }
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.version {
            Version::V1 => "cgroup v1",
            Version::V2 => "cgroup v2",
        }
    }

    pub(crate) fn add(&self, pid: u32) -> io::Result<()> {
        self.folders.iter().try_for_each(|f| fs::write(f.join("cgroup.procs"), pid.to_string()))
    }

    /// Whether the kernel killed a process of the group for memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = self.read(file).unwrap_or_default();
        let mut counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        counts.any(|count| count.trim() != "0")
    }

    pub(crate) fn memory_bytes_max(&self) -> Option<u64> {
        let file = match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        };
        self.read(file)?.trim().parse().ok()
    }

    fn read(&self, file: &str) -> Option<String> {
        self.folders.iter().find_map(|folder| fs::read_to_string(folder.join(file)).ok())
    }

    /// Removes the group; by then it is empty, as its jail is gone.
    pub(crate) fn remove(self) {
        for folder in &self.folders {
            remove_folder(folder);
        }
    }
}

/// The kernel lets go of the last process a moment after its exit was told; each try yields to it.
fn remove_folder(folder: &Path) {
    for _ in 0..50 {
        match fs::remove_dir(folder) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            _ => return,
        }
    }
}

/// Removes groups of jails whose supervisor was killed before it could.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("jail-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path()); // Fails, as it should, while anything still runs in it.
        }
    }
}

fn make_v2(mounts: &str, limits: &Limits, pid: u32) -> io::Result<Group> {
    let root = mounted(mounts, "cgroup2", None).ok_or_else(|| none("cgroup v2"))?;
    let has = fs::read_to_string(root.join("cgroup.controllers"))?;
    let needed = ["memory", "pids", "cpu"];
    if !needed.iter().all(|one| has.split_whitespace().any(|word| word == *one)) {
        return Err(none("cgroup v2 with memory, pids and cpu"));
    }
    let parent = root.join(PARENT);
    fs::create_dir_all(&parent)?;
    for folder in [&root, &parent] {
        fs::write(folder.join("cgroup.subtree_control"), "+memory +pids +cpu")?;
    }
    sweep(&parent);
    let folder = parent.join(format!("jail-{pid}"));
    fs::create_dir(&folder)?;
    let group = Group { version: Version::V2, folders: vec![folder.clone()] };
    if let Err(error) = set_v2(&folder, limits) {
        group.remove();
        return Err(error);
    }
    Ok(group)
}

fn set_v2(folder: &Path, limits: &Limits) -> io::Result<()> {
    if let Some(bytes) = limits.memory_bytes {
        fs::write(folder.join("memory.max"), bytes.to_string())?;
        // Absent where the kernel has no swap accounting; there is no swap to limit then.
        let _ = fs::write(folder.join("memory.swap.max"), "0");
        fs::write(folder.join("memory.oom.group"), "1")?;
    }
    if let Some(pids) = limits.pids {
        fs::write(folder.join("pids.max"), pids.to_string())?;
    }
    if let Some(millis) = limits.cpu_millis {
        fs::write(folder.join("cpu.max"), format!("{} {PERIOD_US}", quota_us(millis)))?;
    }
    Ok(())
}

fn make_v1(mounts: &str, own: &str, limits: &Limits, pid: u32) -> io::Result<Group> {
    let mut group = Group { version: Version::V1, folders: vec![] };
    #[rustfmt::skip]
    let wanted = [
        ("memory", limits.memory_bytes.map(|b| ("memory.limit_in_bytes", b.to_string()))),
        ("pids",   limits.pids.map(|n| ("pids.max", n.to_string()))),
        ("cpu",    limits.cpu_millis.map(|m| ("cpu.cfs_quota_us", quota_us(m).to_string()))),
    ];
    for (controller, limit) in wanted {
        let Some((file, value)) = limit else { continue };
        if let Err(error) = add_v1(&mut group, mounts, own, controller, (file, &value), pid) {
            group.remove();
            return Err(error);
        }
    }
    Ok(group)
}

fn add_v1(
    group: &mut Group,
    mounts: &str,
    own: &str,
    controller: &str,
    (file, value): (&str, &str),
    pid: u32,
) -> io::Result<()> {
    let root = mounted(mounts, "cgroup", Some(controller))
        .ok_or_else(|| none(&format!("cgroup v1 controller {controller}")))?;
    let parent = root.join(own_path(own, controller)).join(PARENT);
    fs::create_dir_all(&parent)?;
    sweep(&parent);
    let folder = parent.join(format!("jail-{pid}"));
    fs::create_dir(&folder)?;
    group.folders.push(folder.clone());
    fs::write(folder.join(file), value)
}

/// Our own group of a v1 controller, relative to its mount. Lines are `number:controllers:path` (cgroups(7)).
fn own_path(own: &str, controller: &str) -> PathBuf {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let named = fields.next()?.split(',').any(|name| name == controller);
        fields.next().filter(|_| named)
    });
    PathBuf::from(path.unwrap_or("/").trim_start_matches('/'))
}

/// Where a control group hierarchy is mounted, from mountinfo (proc(5)).
fn mounted(mounts: &str, kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = after.split(' ');
        let same_kind = fields.next()? == kind;
        let options = fields.nth(1)?;
        let has = controller.is_none_or(|name| options.split(',').any(|option| option == name));
        let point = before.split(' ').nth(4)?;
        (same_kind && has).then(|| PathBuf::from(point))
    })
}

fn quota_us(millis: u32) -> u64 {
    // The kernel refuses a quota below one millisecond.
    (u64::from(millis) * PERIOD_US / 1000).max(1000)
}

fn none(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{what} is not mounted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 22 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 22 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 22 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn hierarchies_are_found_by_kind_and_controller() {
        #[rustfmt::skip]
        let cases = [
            ("cgroup",  Some("memory"), Some("/sys/fs/cgroup/memory")),
            ("cgroup",  Some("cpu"),    Some("/sys/fs/cgroup/cpu,cpuacct")),
            ("cgroup",  Some("pids"),   None),
            ("cgroup2", None,           Some("/sys/fs/cgroup/unified")),
        ];
        for (kind, controller, expected) in cases {
            assert_eq!(mounted(MOUNTS, kind, controller), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn our_own_group_is_read_per_controller() {
        let own = "4:cpu,cpuacct:/user.slice\n3:memory:/\n0::/init.scope\n";
        assert_eq!(own_path(own, "cpu"), Path::new("user.slice"));
        assert_eq!(own_path(own, "memory"), Path::new(""));
        assert_eq!(own_path(own, "pids"), Path::new(""));
    }
}
