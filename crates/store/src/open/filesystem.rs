//! Which file systems can carry the data: SQLite's WAL needs shared memory between its connections and honest locks, and a lock that
//! another machine does not see would let two control planes run.
//!
//! Numbers: `statfs(2)` and Linux `include/uapi/linux/magic.h`; those marked * are in their file systems' own headers. FUSE has one
//! number for all, so there the type in `/proc/self/mountinfo` decides.

use std::io;
use std::path::Path;

const FUSE: u32 = 0x6573_5546;

const NETWORK: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xfe53_4d42, "SMB 2"),
    (0xff53_4d42, "CIFS"), // *
    (0x0102_1997, "9p"),
    (0x7375_7245, "Coda"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0000_564c, "NCP"),                      // *
    (0x0bd0_0bd0, "Lustre"),                   // *
    (0x0116_1970, "GFS2"),                     // *
    (0x7461_636f, "OCFS2"),                    // *
    (0x2003_0528, "OrangeFS"),                 // *
    (0x4750_4653, "GPFS"),                     // *
    (0x786f_4256, "VirtualBox shared folder"), // *
];

/// FUSE types that are a disk of this machine. Every other one is refused: most are networks, and none promises the locks we need.
const FUSE_LOCAL: &[&str] =
    &["fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.ext2", "fuse.ext4", "fuse.zfs"];

/// The name of the network file system that holds `dir`; `None` for a local one.
pub fn network_kind(dir: &Path) -> io::Result<Option<String>> {
    // The number is 32 bits wide in a field of the machine's word, sign-extended where that is 32 bits too.
    let magic = rustix::fs::statfs(dir)?.f_type as u32;
    let mount_type = match magic {
        FUSE => mount_type(&std::fs::read_to_string("/proc/self/mountinfo")?, &dir.canonicalize()?),
        _ => None,
    };
    Ok(judge(magic, mount_type.as_deref()))
}

fn judge(magic: u32, mount_type: Option<&str>) -> Option<String> {
    if magic == FUSE {
        let kind = mount_type.unwrap_or("fuse");
        return (!FUSE_LOCAL.contains(&kind)).then(|| kind.to_owned());
    }
    NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| (*name).to_owned())
}

/// The type of the mount that holds `path`: the longest mount point that is a prefix, the last one when mounts are stacked (`proc(5)`).
fn mount_type(mountinfo: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mountinfo.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (mount.split(' ').nth(4), source.split(' ').next()) else {
            continue;
        };
        let point = point.replace("\\040", " ");
        let depth = Path::new(&point).components().count();
        if path.starts_with(&point) && best.is_none_or(|(deepest, _)| depth >= deepest) {
            best = Some((depth, kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_named() {
        #[rustfmt::skip]
        let cases = [
            (0x6969,      None,                        Some("NFS")),
            (0xff53_4d42, None,                        Some("CIFS")),
            (0x0102_1997, None,                        Some("9p")),
            (FUSE,        Some("fuse.sshfs"),          Some("fuse.sshfs")),
            (FUSE,        Some("virtiofs"),            Some("virtiofs")),
            (FUSE,        None,                        Some("fuse")),
            (FUSE,        Some("fuse.fuse-overlayfs"), None),
            (0xef53,      None,                        None), // ext4
            (0x0102_1994, None,                        None), // tmpfs
            (0x9123_683e, None,                        None), // btrfs
            (0x5846_5342, None,                        None), // XFS
            (0x794c_7630, None,                        None), // overlayfs
        ];
        for (magic, mount, expected) in cases {
            assert_eq!(judge(magic, mount).as_deref(), expected, "{magic:#x} {mount:?}");
        }
    }

    #[test]
    fn the_deepest_and_latest_mount_counts() {
        let mountinfo = "\
22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
30 22 0:40 / /home/my\\040files rw,nosuid - fuse.sshfs host:/ rw
31 22 0:41 / /home/my\\040files/disk rw - ext4 /dev/vdb rw
32 22 0:42 / /mnt rw - ext4 /dev/vdc rw
33 32 0:43 / /mnt rw - fuse.rclone remote: rw
";
        for (path, expected) in [
            ("/home/my files/x", "fuse.sshfs"),
            ("/home/my files/disk/x", "ext4"),
            ("/home/my filesystem", "ext4"),
            ("/mnt/data", "fuse.rclone"),
        ] {
            assert_eq!(mount_type(mountinfo, Path::new(path)).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn the_disk_of_the_tests_is_local() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(network_kind(dir.path()).unwrap(), None);
    }
}
