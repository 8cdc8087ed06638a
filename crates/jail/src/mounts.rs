//! Puts the jail's file system together and makes it the only one (pivot_root(2)).

use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use crate::files::Inside;
use crate::spec::{Bind, Root, Spec, Symlink, Tmpfs, User};
use crate::wire::{InStep, Step};

/// A folder every host has. A small file system covers it for a moment only; nothing is written to it.
const STAGE: &str = "/tmp";
/// The old root and the new one, seen from the stage.
const OLD: &str = "/old";
const NEW: &str = "/new";
/// Files of the assembled root itself are few and small; what needs room is a bind or a tmpfs of its own.
const ROOT_OPTIONS: &str = "mode=0755,size=16m";
const SHM_BYTES: u64 = 64 << 20;
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Makes the file system of `spec` this process's root. Needs an own mount and pid namespace.
pub(crate) fn enter(spec: &Spec) -> Result<(), Step> {
    leave_for_stage()?;
    match &spec.root {
        Root::Assembled => mount_tmpfs(Path::new(NEW), ROOT_OPTIONS).step("mounting the root")?,
        Root::Folder { path, .. } => mount_bind_recursive(old(path), NEW)
            .step(format!("mounting `{}` as the root", path.display()))?,
    }
    let inside = Inside::open(Path::new(NEW), &old(Path::new("/proc"))).step("opening the root")?;
    if spec.root == Root::Assembled {
        write_plain(&inside, spec)?;
    }
    for one in &spec.tmpfs {
        let step = format!("mounting a tmpfs on `{}`", one.target.display());
        add_tmpfs(&inside, one, spec.user).step(step)?;
    }
    if spec.proc {
        add_proc(&inside)?;
    }
    if spec.dev {
        add_dev(&inside, spec.user)?;
    }
    for bind in &spec.binds {
        add_bind(&inside, bind)?;
    }
    let read_only = !matches!(&spec.root, Root::Folder { read_only: false, .. });
    restrict(Path::new(NEW), read_only).step("restricting the root")?;
    arrive()
}

/// Covers the stage with a small file system and makes that the root; the host's tree hangs below it at `/old`.
fn leave_for_stage() -> Result<(), Step> {
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", private).step("making mounts private")?;
    mount_tmpfs(Path::new(STAGE), "mode=0755,size=1m").step("mounting the stage")?;
    for name in [OLD, NEW] {
        let path = Path::new(STAGE).join(name.trim_start_matches('/'));
        std::fs::create_dir(path).step("making the stage")?;
    }
    chdir(STAGE).step("entering the stage")?;
    pivot_root(".", "old").step("turning to the stage")?;
    chdir("/").step("entering the stage")
}

/// Makes the new root the only one. The old root lies on top of it for a moment and is then let go with all below.
fn arrive() -> Result<(), Step> {
    chdir(NEW).step("entering the root")?;
    pivot_root(".", ".").step("turning to the root")?;
    unmount(".", UnmountFlags::DETACH).step("letting go of the host's files")?;
    chdir("/").step("entering the root")
}

fn old(path: &Path) -> PathBuf {
    Path::new(OLD).join(path.strip_prefix("/").unwrap_or(path))
}

fn mount_tmpfs(target: &Path, options: &str) -> rustix::io::Result<()> {
    let options = CString::new(options).expect("options without a zero byte");
    mount(
        "tmpfs",
        target,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        Some(options.as_c_str()),
    )
}

fn write_plain(inside: &Inside, spec: &Spec) -> Result<(), Step> {
    for Symlink { link, to } in &spec.symlinks {
        inside.link(link, to).step(format!("linking `{}`", link.display()))?;
    }
    for file in &spec.files {
        let step = format!("writing `{}`", file.path.display());
        let made = inside.create(&file.path).step(&step)?;
        std::fs::File::from(made).write_all(file.text.as_bytes()).step(&step)?;
    }
    Ok(())
}

fn add_tmpfs(inside: &Inside, one: &Tmpfs, owner: User) -> rustix::io::Result<()> {
    let point = inside.folder(&one.target)?;
    let Tmpfs { size_bytes, mode, .. } = one;
    let User { uid, gid } = owner;
    let options = format!("mode={mode:o},size={size_bytes},uid={uid},gid={gid}");
    mount_tmpfs(&inside.name_of(&point), &options)
}

fn add_proc(inside: &Inside) -> Result<(), Step> {
    let point = inside.folder(Path::new("/proc")).step("making /proc")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", inside.name_of(&point), "proc", flags, None).step("mounting /proc")
}

fn add_dev(inside: &Inside, owner: User) -> Result<(), Step> {
    let point = inside.folder(Path::new("/dev")).step("making /dev")?;
    // Own devices are bound from the host, so this small file system needs none of its own.
    mount_tmpfs(&inside.name_of(&point), "mode=0755,size=64k").step("mounting /dev")?;
    for name in DEVICES {
        let path = Path::new("/dev").join(name);
        let point = inside.file(&path).step(format!("making `{}`", path.display()))?;
        mount_bind_recursive(old(&path), inside.name_of(&point))
            .step(format!("binding `{}`", path.display()))?;
    }
    let links = [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];
    for (name, number) in links {
        let to = PathBuf::from(format!("/proc/self/fd{number}"));
        inside.link(&Path::new("/dev").join(name), &to).step(format!("linking /dev/{name}"))?;
    }
    let shm = Tmpfs { target: "/dev/shm".into(), size_bytes: SHM_BYTES, mode: 0o1777 };
    add_tmpfs(inside, &shm, owner).step("mounting /dev/shm")?;
    let devices = inside.lookup(Path::new("/dev")).step("opening /dev")?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_remount(inside.name_of(&devices), flags, "").step("restricting /dev")
}

fn add_bind(inside: &Inside, bind: &Bind) -> Result<(), Step> {
    let step = || format!("binding `{}` to `{}`", bind.source.display(), bind.target.display());
    let source = old(&bind.source);
    let is_folder = std::fs::metadata(&source).step(step())?.is_dir();
    let point = if is_folder { inside.folder(&bind.target) } else { inside.file(&bind.target) }
        .step(step())?;
    mount_bind_recursive(&source, inside.name_of(&point)).step(step())?;
    // A second lookup, because the first leads below the mount.
    let mounted = inside.lookup(&bind.target).step(step())?;
    let path = std::fs::read_link(inside.name_of(&mounted)).step(step())?;
    restrict(&path, bind.read_only).step(step())?;
    for below in mounts_below(&path).step(step())? {
        match restrict(&below, bind.read_only) {
            // A mount that nobody here can reach needs no restriction.
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::NOENT) => {}
            done => done.step(format!("restricting `{}`", below.display()))?,
        }
    }
    Ok(())
}

/// Takes set-user-id and devices, and writing when asked, from one mount; keeps the flags that it already has, which
/// in a user namespace must not be taken away.
fn restrict(mounted: &Path, read_only: bool) -> rustix::io::Result<()> {
    let has = statvfs(mounted)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
    if read_only || has.contains(StatVfsMountFlags::RDONLY) {
        flags |= MountFlags::RDONLY;
    }
    #[rustfmt::skip]
    let kept = [
        (StatVfsMountFlags::NOEXEC,     MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME,    MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME,   MountFlags::RELATIME),
    ];
    for (seen, flag) in kept {
        if has.contains(seen) {
            flags |= flag;
        }
    }
    mount_remount(mounted, flags, "")
}

fn mounts_below(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let table = std::fs::read(old(Path::new("/proc/self/mountinfo")))?;
    let points = table.split(|byte| *byte == b'\n').filter_map(mount_point);
    Ok(points.filter(|point| point != path && point.starts_with(path)).collect())
}

/// The fifth field of a line of mountinfo (proc(5)), in which blanks are octal escapes.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let mut name = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\').then(|| after.get(..3)).flatten();
        let value = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        name.push(value.unwrap_or(first));
        rest = if value.is_some() { &after[3..] } else { after };
    }
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        #[rustfmt::skip]
        let cases = [
            ("36 35 98:0 / /mnt rw - ext4 /dev/a rw",          Some("/mnt")),
            (r"36 35 98:0 / /a\040b\134c rw - ext4 /dev/a rw", Some(r"/a b\c")),
            ("36 35",                                          None),
        ];
        for (line, expected) in cases {
            assert_eq!(mount_point(line.as_bytes()), expected.map(PathBuf::from), "{line}");
        }
    }
}
