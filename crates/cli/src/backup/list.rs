//! Which files of a data folder a backup takes, beside databases and blobs.

use std::io;
use std::path::{Path, PathBuf};

/// What is made anew, or belongs to this moment: sockets and pids, unpacked images and their instances, build caches, logs. Control has its
/// own way, and so have the registry's blobs.
const LEFT_OUT: [&str; 7] = ["run", "agent", "builds", "logs", "control", "registry", "edge"];
/// Of the edge its tables, not its counters.
const EDGE_TABLES: &str = "edge/routes";
/// Of the registry what a check moved aside.
const DAMAGED: &str = "registry/damaged";

/// Plain files of `data` that belong into a backup, relative to it, in order.
pub(crate) fn plain(data: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let name = entry?.file_name();
        if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
            walk(data, Path::new(&name), &mut found)?;
        }
    }
    for folder in [EDGE_TABLES, DAMAGED] {
        if data.join(folder).is_dir() {
            walk(data, Path::new(folder), &mut found)?;
        }
    }
    found.sort();
    Ok(found)
}

fn walk(data: &Path, path: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let meta = match std::fs::symlink_metadata(data.join(path)) {
        // Replaced or removed while we looked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    if meta.is_dir() {
        for entry in std::fs::read_dir(data.join(path))? {
            walk(data, &path.join(entry?.file_name()), found)?;
        }
    } else if meta.is_file() && !is_passing(path) {
        found.push(path.to_owned());
    }
    Ok(())
}

/// Halves of a write, locks, and SQLite's side files.
fn is_passing(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ends = [".new", ".lock", ".partial", "-wal", "-shm", "-journal"];
    name == "LOCK" || name.contains(".new-") || ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_anew_is_taken() {
        let data = tempfile::tempdir().unwrap();
        for path in [
            "token",
            "address",
            "keys/signing.key",
            "keys/signing.key.new-7",
            "edge/routes/shop.json",
            "edge/blocks/x",
            "control/humdrum.db",
            "run/up.pid",
            "agent/units/x",
            "logs/control.log",
            "registry/registry.db",
            "registry/damaged/repairs.jsonl",
            "later/settings.yaml",
            "later/LOCK",
        ] {
            let path = data.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found = plain(data.path()).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        let wanted = [
            "address",
            "edge/routes/shop.json",
            "keys/signing.key",
            "later/settings.yaml",
            "registry/damaged/repairs.jsonl",
            "token",
        ];
        assert_eq!(names, wanted);
    }
}
