//! The folders in which the loader looks for libraries: those of `/etc/ld.so.conf` and the built-in ones.

use std::path::{Path, PathBuf};

/// Included files may include others; a circle ends here.
const DEPTH_MAX: usize = 8;

/// Folders in the loader's order.
pub(crate) struct SearchPath {
    folders: Vec<PathBuf>,
}

impl SearchPath {
    /// The folders of this host.
    pub(crate) fn of_host() -> SearchPath {
        let mut folders = Vec::new();
        read(Path::new("/etc/ld.so.conf"), &mut folders, 0);
        let built_in = built_in().into_iter().filter(|folder| folder.is_dir());
        folders.extend(built_in);
        SearchPath { folders }
    }

    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Whether the loader looks there without its cache.
    pub(crate) fn is_default(&self, library: &Path) -> bool {
        library.parent().is_some_and(|folder| built_in().iter().any(|one| one == folder))
    }
}

/// Compiled into the loaders of Debian (multiarch), Fedora and Alpine.
fn built_in() -> Vec<PathBuf> {
    let arch = std::env::consts::ARCH;
    let multi = format!("{arch}-linux-gnu");
    let names = [
        format!("/lib/{multi}"),
        format!("/usr/lib/{multi}"),
        "/lib64".into(),
        "/usr/lib64".into(),
        "/lib".into(),
        "/usr/lib".into(),
    ];
    names.map(PathBuf::from).to_vec()
}

fn read(file: &Path, folders: &mut Vec<PathBuf>, depth: usize) {
    let Ok(text) = std::fs::read_to_string(file) else { return };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            if depth < DEPTH_MAX {
                included(Path::new(pattern.trim()))
                    .iter()
                    .for_each(|f| read(f, folders, depth + 1));
            }
        } else if line.starts_with('/') {
            folders.push(line.into());
        }
    }
}

/// The files of `include /etc/ld.so.conf.d/*.conf`, in order of their names.
fn included(pattern: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) =
        (pattern.parent(), pattern.file_name().and_then(|n| n.to_str()))
    else {
        return vec![];
    };
    let Some((head, tail)) = name.split_once('*') else { return vec![pattern.to_path_buf()] };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(head) && name.ends_with(tail)
    };
    let mut files: Vec<_> = entries.filter(fits).collect();
    files.sort();
    files
}
