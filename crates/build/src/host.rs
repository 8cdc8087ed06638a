//! Makes an image without a base complete: copies from this host what its programs need to start.
//!
//! Loader and shared libraries are found as the loader itself finds them; runtimes come with their standard library.
//! All of it goes into one layer at the paths of the host, links included, and every file is recorded.

mod elf;
mod package;
mod runtime;
mod search;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};

use humdrum_model::name::Digest;
use serde::{Deserialize, Serialize};

use crate::plan::Runtime;
use crate::tree::{Node, Tree, TreeError};
use elf::Needs;
pub use package::{HostPackage, owners};
use search::SearchPath;

/// The name of the layer.
pub const LAYER_NAME: &str = "host";
/// As many links as the kernel follows in one path.
const LINKS_MAX: usize = 40;

/// A file that was copied from this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFile {
    /// Its absolute path, here and in the image.
    pub path: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// The host's package that owns it; none when no package manager knows it.
    pub package: Option<HostPackage>,
}

/// Why an image cannot be completed. Each completes "cannot complete the image from this host: …".
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Libraries or loaders that this host does not have.
    #[error("{}", missing_words(.0))]
    Missing(Vec<MissingLibrary>),
    /// A declared runtime is not installed here.
    #[error("runtime `{name}` is not installed on this host, or cannot say where it is")]
    NoRuntime {
        /// The runtime.
        name: &'static str,
    },
    /// What is to run is not in the image.
    #[error("the command `{command}` is not in the image: no file has that path")]
    NoCommand {
        /// The first word of the command.
        command: String,
    },
    /// Files clash.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file cannot be read.
    #[error("`{path}` cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A library that nobody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingLibrary {
    /// Its name, as the program asks for it.
    pub library: String,
    /// Who asks, by its path in the image.
    pub needed_by: PathBuf,
}

fn missing_words(missing: &[MissingLibrary]) -> String {
    let words: Vec<_> = missing
        .iter()
        .map(|MissingLibrary { library, needed_by }| {
            format!("`{}` needs `{library}`", needed_by.display())
        })
        .collect();
    format!("{}, which neither the image nor this host has", words.join("; "))
}

/// The layer and what is to be known about it.
#[derive(Debug, Clone, Default)]
pub struct Completion {
    /// The layer's files.
    pub tree: Tree,
    /// Files of the host in it, by real path, sorted.
    pub files: Vec<PathBuf>,
    /// Folders to put first into the image's `PATH`.
    pub path_folders: Vec<String>,
    /// Libraries that optional parts ask for in vain.
    pub notes: Vec<String>,
}

/// Completes the layers of `app` (one tree over all) for a command.
///
/// # Errors
/// When something that a program cannot start without is nowhere to be found; all of it is named at once.
pub fn complete(
    app: &Tree,
    runtimes: &[Runtime],
    command: &[String],
) -> Result<Completion, HostError> {
    let mut work = Work::new(app);
    add_minimum(&mut work)?;
    let mut path_folders = Vec::new();
    for one in runtimes {
        path_folders.extend(runtime::add(&mut work, *one)?);
    }
    for (path, node) in app.iter() {
        if let Node::File { source, .. } = node {
            work.queue.push_back(Object {
                place: path.into(),
                file: source.clone(),
                inherited: vec![],
            });
        }
    }
    work.close_over()?;
    clash(app, &work.tree)?;
    check_command(app, &work.tree, command)?;
    let fatal: Vec<_> = std::mem::take(&mut work.missing);
    if !fatal.is_empty() {
        return Err(HostError::Missing(fatal));
    }
    let files = work.files.into_iter().collect();
    Ok(Completion { tree: work.tree, files, path_folders, notes: work.notes })
}

/// A program or library whose needs are still to be found.
struct Object {
    place: PathBuf,
    file: PathBuf,
    /// `DT_RPATH` folders of those who loaded it, which count for it too (ld.so(8)).
    inherited: Vec<PathBuf>,
}

/// The layer while it grows.
pub(crate) struct Work<'a> {
    app: &'a Tree,
    tree: Tree,
    files: BTreeSet<PathBuf>,
    queue: VecDeque<Object>,
    seen: BTreeSet<PathBuf>,
    search: SearchPath,
    missing: Vec<MissingLibrary>,
    notes: Vec<String>,
}

impl<'a> Work<'a> {
    fn new(app: &'a Tree) -> Work<'a> {
        Work {
            app,
            tree: Tree::default(),
            files: BTreeSet::new(),
            queue: VecDeque::new(),
            seen: BTreeSet::new(),
            search: SearchPath::of_host(),
            missing: vec![],
            notes: vec![],
        }
    }

    /// Adds a path of the host with all links on the way, so that it means the same in the image. Returns the real
    /// file.
    pub(crate) fn add(&mut self, path: &Path) -> Result<PathBuf, HostError> {
        let unreadable = |source| HostError::Unreadable { path: path.to_path_buf(), source };
        let mut rest: VecDeque<_> = parts(path);
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            let meta = std::fs::symlink_metadata(&next).map_err(unreadable)?;
            if !meta.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(unreadable(rustix::io::Errno::LOOP.into()));
            }
            let to = std::fs::read_link(&next).map_err(unreadable)?;
            self.tree.add(&next, Node::Link(to.clone()))?;
            if to.is_absolute() {
                at = PathBuf::from("/");
            }
            for part in parts(&to).into_iter().rev() {
                rest.push_front(part);
            }
        }
        self.add_real(&at).map_err(|error| match error {
            HostError::Unreadable { source, .. } => unreadable(source),
            other => other,
        })?;
        Ok(at)
    }

    fn add_real(&mut self, path: &Path) -> Result<(), HostError> {
        let meta = std::fs::metadata(path)
            .map_err(|source| HostError::Unreadable { path: path.into(), source })?;
        if meta.is_dir() {
            self.tree.add(path, Node::Folder { shared: false })?;
            return Ok(());
        }
        use std::os::unix::fs::PermissionsExt;
        let program = meta.permissions().mode() & 0o111 != 0;
        self.tree.add(path, Node::File { source: path.into(), program })?;
        if self.files.insert(path.to_path_buf()) {
            self.queue.push_back(Object {
                place: path.into(),
                file: path.into(),
                inherited: vec![],
            });
        }
        Ok(())
    }

    fn close_over(&mut self) -> Result<(), HostError> {
        while let Some(object) = self.queue.pop_front() {
            if !self.seen.insert(object.place.clone()) {
                continue;
            }
            let needs = elf::read(&object.file)
                .map_err(|source| HostError::Unreadable { path: object.file.clone(), source })?;
            if let Some(needs) = needs {
                self.satisfy(&object, &needs)?;
            }
        }
        Ok(())
    }

    fn satisfy(&mut self, object: &Object, needs: &Needs) -> Result<(), HostError> {
        if !needs.runs_here() {
            // Packages carry prebuilt libraries for other machines; nobody loads them here.
            return Ok(());
        }
        if let Some(loader) = needs.interpreter.as_deref().map(Path::new)
            && self.app.get(loader).is_none()
        {
            if loader.exists() {
                self.add(loader)?;
            } else {
                self.lacks(object, &loader.display().to_string(), true);
            }
        }
        let origin = object.place.parent().unwrap_or(Path::new("/"));
        let own = needs.folders(&needs.rpath, origin);
        let inherited: Vec<_> = own.into_iter().chain(object.inherited.clone()).collect();
        let mut folders = if needs.runpath.is_empty() {
            inherited.clone()
        } else {
            needs.folders(&needs.runpath, origin)
        };
        folders.extend(self.search.folders().iter().cloned());
        for library in &needs.libraries {
            if !self.provide(library, &folders, &inherited, needs)? {
                self.lacks(object, library, needs.interpreter.is_some());
            }
        }
        Ok(())
    }

    /// Finds a library in the image or on the host, and adds it in the second case.
    fn provide(
        &mut self,
        library: &str,
        folders: &[PathBuf],
        inherited: &[PathBuf],
        needs: &Needs,
    ) -> Result<bool, HostError> {
        let named = Path::new(library);
        let candidates: Vec<_> = if named.is_absolute() {
            vec![named.to_path_buf()]
        } else {
            folders.iter().map(|folder| folder.join(library)).collect()
        };
        for path in candidates {
            if self.app.get(&path).is_some() {
                return Ok(true); // It is looked at as a part of the image itself.
            }
            // The build's own folders exist on no host; a folder of that name here would be somebody else's.
            let ours =
                path.starts_with(crate::sandbox::WORK) || path.starts_with(crate::sandbox::HOME);
            if !ours
                && elf::read(&path).ok().flatten().is_some_and(|found| found.same_machine(needs))
            {
                let real = self.add(&path)?;
                if let Some(object) = self.queue.iter_mut().find(|object| object.place == real) {
                    object.inherited = inherited.to_vec();
                }
                if !self.search.is_default(&path) {
                    self.add_cache()?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Libraries outside the loader's built-in folders are found through its cache only.
    fn add_cache(&mut self) -> Result<(), HostError> {
        let cache = Path::new("/etc/ld.so.cache");
        if cache.exists() { self.add(cache).map(drop) } else { Ok(()) }
    }

    fn lacks(&mut self, object: &Object, library: &str, fatal: bool) {
        if fatal {
            let needed_by = object.place.clone();
            self.missing.push(MissingLibrary { library: library.to_owned(), needed_by });
        } else {
            // A library or extension module may be one that is never loaded; a program always needs its own.
            let place = object.place.display();
            self.notes.push(format!("`{place}` asks for `{library}`, which is not in the image"));
        }
    }
}

fn parts(path: &Path) -> VecDeque<std::ffi::OsString> {
    let wanted = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(wanted).collect()
}

/// What nearly every program expects to find, and nothing that names this host.
fn add_minimum(work: &mut Work<'_>) -> Result<(), HostError> {
    let texts = [
        ("/etc/passwd", "root:x:0:0::/root:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"),
        ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ];
    for (path, text) in texts {
        work.tree.add(Path::new(path), Node::Text(text.as_bytes().to_vec()))?;
    }
    work.tree.add(Path::new("/tmp"), Node::Folder { shared: true })?;
    let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if certificates.exists() {
        work.add(certificates)?;
    }
    Ok(())
}

/// A folder of the service over a link of the host would cut the way to the loader.
fn clash(app: &Tree, host: &Tree) -> Result<(), HostError> {
    for (path, node) in host.iter() {
        let Some(there) = app.get(path) else { continue };
        let both_folders = matches!((node, there), (Node::Folder { .. }, Node::Folder { .. }));
        if matches!(node, Node::Link(_)) && !both_folders && node != there {
            return Err(HostError::Tree(TreeError::Conflict {
                path: path.into(),
                first: "a link of the host".into(),
                second: "a file of the service".into(),
            }));
        }
    }
    Ok(())
}

/// Only an absolute command can be checked; a bare name is looked up in `PATH` when it starts.
fn check_command(app: &Tree, host: &Tree, command: &[String]) -> Result<(), HostError> {
    let Some(first) = command.first().filter(|first| first.starts_with('/')) else { return Ok(()) };
    let path = Path::new(first);
    let through_link = path.ancestors().any(|above| matches!(host.get(above), Some(Node::Link(_))));
    if app.get(path).is_some() || host.get(path).is_some() || through_link {
        return Ok(());
    }
    Err(HostError::NoCommand { command: first.clone() })
}
