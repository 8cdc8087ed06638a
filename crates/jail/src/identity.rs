//! Who the jail's processes are: namespaces, id maps, capabilities, resource limits.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CpuSet, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, sched_getaffinity, sched_setaffinity, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::spec::{Limits, Network, Spec, User};
use crate::wire::{InStep, Step};

/// What a command that is uid 0 inside keeps when the caller is root outside: enough to run a server that expects to
/// be root, nothing that reaches devices, the kernel, tracing or the network's set-up.
const ROOT_KEEPS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Leaves the caller's namespaces, for what this process starts. True when a user namespace was needed for it.
///
/// The mount namespace is the inside stage's own: turning to another root would turn this process too, which still
/// needs the host's control groups.
pub(crate) fn enter_namespaces(spec: &Spec) -> Result<bool, Step> {
    let mut flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if spec.network == Network::Isolated {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    if rustix::process::geteuid().is_root() && unshare(flags).is_ok() {
        return Ok(false);
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(flags | CloneFlags::CLONE_NEWUSER)
        .step("making a user namespace and those below it")?;
    map_ids(spec.user, uid, gid)?;
    keep_rights_over_exec()?;
    Ok(true)
}

/// Leaves the supervisor's mount namespace.
pub(crate) fn enter_mount_namespace() -> Result<(), Step> {
    unshare(CloneFlags::CLONE_NEWNS).step("making a mount namespace")
}

/// The one mapping an unprivileged user may write: the user inside is the caller outside.
fn map_ids(inside: User, uid: Uid, gid: Gid) -> Result<(), Step> {
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).step(format!("writing /proc/self/{file}"))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{} {} 1", inside.uid, uid.as_raw()))?;
    write("gid_map", format!("{} {} 1", inside.gid, gid.as_raw()))
}

/// The inside stage is a new program and (as a rule) not uid 0 in the user namespace, so the rights that came with the
/// namespace survive its start only as ambient ones. [`give_up_rights`] ends them.
fn keep_rights_over_exec() -> Result<(), Step> {
    let mut sets = capabilities(None).step("reading capabilities")?;
    sets.inheritable = sets.permitted;
    set_capabilities(None, sets).step("making capabilities inheritable")?;
    let needed = [
        CapabilitySet::SYS_ADMIN,
        CapabilitySet::NET_ADMIN,
        CapabilitySet::SETUID,
        CapabilitySet::SETGID,
        CapabilitySet::DAC_OVERRIDE,
        CapabilitySet::CHOWN,
        CapabilitySet::SETPCAP,
    ];
    for one in needed {
        configure_capability_in_ambient_set(one, true).step("keeping a capability over exec")?;
    }
    Ok(())
}

/// Becomes the jail's user for good: no groups, no capabilities, none to be had from set-user-id files.
///
/// At the weaker rungs a caller who is not root stays who it is.
pub(crate) fn give_up_rights(user: User) -> Result<(), Step> {
    set_no_new_privs(true).step("setting no_new_privs")?;
    let uid = Uid::from_raw(user.uid);
    let gid = Gid::from_raw(user.gid);
    if may_change_user() {
        if fs::read_to_string("/proc/self/setgroups").is_ok_and(|word| word.trim() == "allow") {
            set_thread_groups(&[]).step("dropping groups")?;
        }
        keep_only(ROOT_KEEPS)?;
        set_thread_res_gid(gid, gid, gid).step(format!("becoming group {}", user.gid))?;
        set_thread_res_uid(uid, uid, uid).step(format!("becoming user {}", user.uid))?;
    }
    clear_ambient_capability_set().step("dropping ambient capabilities")?;
    let mut sets = capabilities(None).step("reading capabilities")?;
    sets.inheritable = CapabilitySet::empty();
    if user.uid != 0 {
        (sets.effective, sets.permitted) = (CapabilitySet::empty(), CapabilitySet::empty());
    }
    set_capabilities(None, sets).step("dropping capabilities")
}

fn may_change_user() -> bool {
    capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETUID | CapabilitySet::SETGID))
}

/// Takes everything else out of the bounding set, which is what a uid 0 command gets back at its start.
fn keep_only(kept: CapabilitySet) -> Result<(), Step> {
    for number in 0..64 {
        let Some(one) = CapabilitySet::from_bits(1 << number) else { continue };
        let known = !one.is_empty() && capability_exists(one);
        if known && !kept.contains(one) {
            rustix::thread::remove_capability_from_bounding_set(one)
                .step("taking a capability out of reach")?;
        }
    }
    Ok(())
}

fn capability_exists(one: CapabilitySet) -> bool {
    rustix::thread::capability_is_in_bounding_set(one).unwrap_or(false)
}

/// Sets the limits that a process carries itself. With `by_cgroup` the group limits memory and processes, for which
/// the resource limits are the poorer stand-in (each process, each user).
pub(crate) fn limit_resources(limits: &Limits, by_cgroup: bool) -> Result<(), Step> {
    let set = |resource, value: u64, name: &str| {
        setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
            .step(format!("limiting {name} to {value}"))
    };
    set(Resource::Core, 0, "core dumps")?;
    if let Some(files) = limits.open_files {
        set(Resource::Nofile, files, "open files")?;
    }
    if let Some(bytes) = limits.file_size_bytes {
        set(Resource::Fsize, bytes, "file size")?;
    }
    if let Some(count) = limits.visible_cpus {
        show_processors(count).step(format!("showing {count} processors"))?;
    }
    if by_cgroup {
        return Ok(());
    }
    if let Some(bytes) = limits.memory_bytes {
        set(Resource::As, bytes, "address space")?;
    }
    if let Some(pids) = limits.pids {
        set(Resource::Nproc, pids.into(), "processes")?;
    }
    Ok(())
}

fn show_processors(count: u32) -> rustix::io::Result<()> {
    let mut all = sched_getaffinity(None)?;
    let mut left = count.max(1);
    for number in 0..CpuSet::MAX_CPU {
        if all.is_set(number) && left == 0 {
            all.unset(number);
        }
        left -= u32::from(all.is_set(number) && left > 0);
    }
    sched_setaffinity(None, &all)
}
