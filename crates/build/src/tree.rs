//! The files of an image layer before they are packed: absolute paths with normalised kinds, modes and owners.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// The most entries of one image.
pub const ENTRIES_MAX: usize = 500_000;

/// One thing in a layer. The owner is always root, and there is no other mode than these, so that what a build host
/// happened to set cannot show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder; the mode is 0755 or, for `/tmp`, 01777.
    Folder {
        /// Whether everybody may write, with the sticky bit.
        shared: bool,
    },
    /// A file of the host.
    File {
        /// Where its bytes are.
        source: PathBuf,
        /// Whether it can be executed (0755) or not (0644).
        program: bool,
    },
    /// A small file with these bytes.
    Text(Vec<u8>),
    /// A symbolic link.
    Link(PathBuf),
}

/// Entries by path in the image, which also is the order in which they are packed. A folder stands before what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<PathBuf, Node>,
}

/// Why files cannot go into an image. Each completes "cannot pack the image: …".
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The build did not make what the manifest names.
    #[error("the build made no `{source_path}` for `{target}`; {near}")]
    Missing {
        /// What was expected, relative to the checkout.
        source_path: String,
        /// Its place in the image.
        target: String,
        /// What is there instead.
        near: String,
    },
    /// A path of the plan leaves the checkout, by `..` or through a link.
    #[error("`{path}` leads out of the checkout")]
    SourceEscapes {
        /// The path.
        path: String,
    },
    /// A link that would lead out of the image, or to a place that only the build had.
    #[error("link `{link}` points to `{to}`, {why}")]
    LinkEscapes {
        /// The link in the image.
        link: PathBuf,
        /// What it says.
        to: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A path in the image that is not absolute and plain.
    #[error("`{target}` is not an absolute path without `.` and `..`")]
    BadTarget {
        /// The path.
        target: String,
    },
    /// A socket, pipe or device.
    #[error("`{path}` is neither file, folder nor link")]
    Special {
        /// The file.
        path: PathBuf,
    },
    /// Two different things for one path.
    #[error("`{path}` would be two things in the image: {first} and {second}")]
    Conflict {
        /// The path.
        path: PathBuf,
        /// What is there.
        first: String,
        /// What should be there too.
        second: String,
    },
    /// More than [`ENTRIES_MAX`] entries.
    #[error("the image has more than {ENTRIES_MAX} files")]
    TooMany,
    /// A file cannot be read.
    #[error("`{path}` cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Tree {
    /// Entries in packing order.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Node)> {
        self.entries.iter().map(|(path, node)| (path.as_path(), node))
    }

    /// What is at a path.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        self.entries.get(path)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds one entry and the folders above it.
    ///
    /// # Errors
    /// When something else is there already.
    pub fn add(&mut self, path: &Path, node: Node) -> Result<(), TreeError> {
        if let Some(parent) = path.parent() {
            self.add_folders(parent)?;
        }
        if self.entries.len() >= ENTRIES_MAX {
            return Err(TreeError::TooMany);
        }
        match self.entries.get(path) {
            None => {
                self.entries.insert(path.to_path_buf(), node);
                Ok(())
            }
            Some(there) if *there == node => Ok(()),
            Some(Node::Folder { .. }) if matches!(node, Node::Folder { .. }) => Ok(()),
            Some(there) => Err(TreeError::Conflict {
                path: path.to_path_buf(),
                first: there.words(),
                second: node.words(),
            }),
        }
    }

    fn add_folders(&mut self, path: &Path) -> Result<(), TreeError> {
        if path.parent().is_none() || matches!(self.entries.get(path), Some(Node::Folder { .. })) {
            return Ok(()); // The root itself is no entry.
        }
        self.add(path, Node::Folder { shared: false })
    }

    /// Adds `source` of the checkout, with all below it, as `target`.
    ///
    /// # Errors
    /// When it is missing, leads out of the checkout or holds what no image can.
    pub fn add_output(
        &mut self,
        checkout: &Path,
        source: &str,
        target: &str,
    ) -> Result<(), TreeError> {
        let place = plain_target(target)?;
        let relative = Path::new(source);
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !relative.components().all(plain) {
            return Err(TreeError::SourceEscapes { path: source.to_owned() });
        }
        let found = checkout.join(relative);
        let Ok(real) = found.canonicalize() else {
            return Err(TreeError::Missing {
                source_path: source.to_owned(),
                target: target.to_owned(),
                near: near(checkout, relative),
            });
        };
        let unreadable = |source| TreeError::Unreadable { path: found.clone(), source };
        if !real.starts_with(checkout.canonicalize().map_err(unreadable)?) {
            return Err(TreeError::SourceEscapes { path: source.to_owned() });
        }
        self.add_all(&real, &place)
    }

    fn add_all(&mut self, source: &Path, place: &Path) -> Result<(), TreeError> {
        let unreadable =
            |error| TreeError::Unreadable { path: source.to_path_buf(), source: error };
        let meta = std::fs::symlink_metadata(source).map_err(unreadable)?;
        if meta.is_symlink() {
            let to = std::fs::read_link(source).map_err(unreadable)?;
            check_link(place, &to)?;
            return self.add(place, Node::Link(to));
        }
        if meta.is_file() {
            let program = meta.permissions().mode() & 0o111 != 0;
            return self.add(place, Node::File { source: source.to_path_buf(), program });
        }
        if !meta.is_dir() {
            return Err(TreeError::Special { path: source.to_path_buf() });
        }
        if place.parent().is_some() {
            self.add(place, Node::Folder { shared: false })?;
        }
        for entry in std::fs::read_dir(source).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            self.add_all(&entry.path(), &place.join(entry.file_name()))?;
        }
        Ok(())
    }
}

impl Node {
    fn words(&self) -> String {
        match self {
            Node::Folder { .. } => "a folder".into(),
            Node::File { source, .. } => format!("the file `{}`", source.display()),
            Node::Text(_) => "a file of Humdrum".into(),
            Node::Link(to) => format!("a link to `{}`", to.display()),
        }
    }
}

fn plain_target(target: &str) -> Result<PathBuf, TreeError> {
    let path = Path::new(target);
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(plain) {
        return Err(TreeError::BadTarget { target: target.to_owned() });
    }
    Ok(path.components().collect())
}

/// A link may point anywhere in the image, but not above its root, and not to folders that only the build had.
fn check_link(link: &Path, to: &Path) -> Result<(), TreeError> {
    let escape = |why| TreeError::LinkEscapes { link: link.into(), to: to.into(), why };
    if to.starts_with(crate::sandbox::WORK) || to.starts_with(crate::sandbox::HOME) {
        return Err(escape("a folder that only the build has"));
    }
    let mut depth = if to.is_absolute() { 0 } else { link.components().count() - 2 };
    for part in to.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth == 0 => return Err(escape("above the image's root")),
            Component::ParentDir => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

/// What is in the nearest folder that exists, for the message about a missing output.
fn near(checkout: &Path, relative: &Path) -> String {
    const NAMES_SHOWN: usize = 8;
    let existing = relative.ancestors().skip(1).find(|path| checkout.join(path).is_dir());
    let folder = existing.unwrap_or(Path::new(""));
    let entries = std::fs::read_dir(checkout.join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let shown =
        if folder.as_os_str().is_empty() { ".".into() } else { folder.display().to_string() };
    if names.is_empty() {
        return format!("`{shown}` is empty");
    }
    let more = names.len().saturating_sub(NAMES_SHOWN);
    names.truncate(NAMES_SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("`{shown}` has {}{tail}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_judged_by_where_they_lead_in_the_image() {
        #[rustfmt::skip]
        let cases = [
            ("/app/a",      "b",                true),
            ("/app/a",      "../b",             true),
            ("/app/a",      "../../b",          false),
            ("/a",          "../b",             false),
            ("/app/x/a",    "../../usr/bin/b",  true),
            ("/app/a",      "/usr/bin/b",       true),
            ("/app/a",      "/../b",            false),
            ("/app/a",      "/w/target/b",      false),
            ("/app/a",      "/home/build/x",    false),
        ];
        for (link, to, expected) in cases {
            assert_eq!(
                check_link(Path::new(link), Path::new(to)).is_ok(),
                expected,
                "{link} -> {to}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_near() {
        let checkout = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(checkout.path().join("target/release")).unwrap();
        std::fs::write(checkout.path().join("target/release/shopd"), "").unwrap();
        let mut tree = Tree::default();
        #[rustfmt::skip]
        let cases = [
            ("target/release/shop", "/app/shop", "the build made no `target/release/shop` for `/app/shop`; `target/release` has shopd"),
            ("../x", "/app/x", "`../x` leads out of the checkout"),
            ("/etc/passwd", "/app/x", "`/etc/passwd` leads out of the checkout"),
            ("target", "app", "`app` is not an absolute path without `.` and `..`"),
        ];
        for (source, target, expected) in cases {
            let error = tree.add_output(checkout.path(), source, target).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        std::os::unix::fs::symlink("/etc", checkout.path().join("out")).unwrap();
        let error = tree.add_output(checkout.path(), "out", "/app").unwrap_err();
        assert_eq!(error.to_string(), "`out` leads out of the checkout");
    }

    #[test]
    fn folders_above_are_added_and_conflicts_refused() {
        let mut tree = Tree::default();
        tree.add(Path::new("/usr/lib/a"), Node::Text(vec![1])).unwrap();
        let paths: Vec<_> = tree.iter().map(|(path, _)| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/usr", "/usr/lib", "/usr/lib/a"]);
        tree.add(Path::new("/lib"), Node::Link("usr/lib".into())).unwrap();
        assert!(tree.add(Path::new("/lib/b"), Node::Text(vec![])).is_err());
    }
}
