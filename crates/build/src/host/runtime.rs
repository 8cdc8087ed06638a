//! Node.js and Python of this host: the program, its standard library, and a name under which images find it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{HostError, Work};
use crate::plan::Runtime;
use crate::toolchain;
use crate::tree::Node;

/// Parts of Python's standard library that no service runs, and caches that carry times.
const PYTHON_LEFT_OUT: [&str; 9] = [
    "__pycache__",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "lib2to3",
    "ensurepip",
];

/// Adds a runtime. Returns folders for the image's `PATH`.
pub(super) fn add(work: &mut Work<'_>, runtime: Runtime) -> Result<Vec<String>, HostError> {
    match runtime {
        Runtime::Node => add_node(work),
        Runtime::Python3 => add_python(work),
    }
}

fn add_node(work: &mut Work<'_>) -> Result<Vec<String>, HostError> {
    let missing = || HostError::NoRuntime { name: "node" };
    let program = toolchain::program("node").ok_or_else(missing)?;
    // Distributions build some of Node's own modules as files beside it.
    let question = "const v = process.config.variables; console.log(JSON.stringify({program: process.execPath, \
                    shared: Object.values(v.node_builtin_shareable_builtins || {}).filter(p => p.startsWith && p.startsWith('/'))}))";
    let answer = toolchain::run(&program, &["-e", question]).ok_or_else(missing)?;
    let node: Node20 = serde_json::from_str(&answer).map_err(|_| missing())?;
    work.add(&node.program)?;
    for file in node.shared {
        add_all(work, file.parent().unwrap_or(&file), &["__pycache__"])?;
    }
    Ok(named_folder(&node.program))
}

#[derive(Deserialize)]
struct Node20 {
    program: PathBuf,
    shared: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Python {
    program: PathBuf,
    folders: Vec<PathBuf>,
}

fn add_python(work: &mut Work<'_>) -> Result<Vec<String>, HostError> {
    let missing = || HostError::NoRuntime { name: "python3" };
    let program = toolchain::program("python3").ok_or_else(missing)?;
    let question = "import json, os, sys, sysconfig; p = sysconfig.get_paths(); \
                    print(json.dumps({'program': os.path.realpath(sys.executable), \
                    'folders': sorted({p['stdlib'], p['platstdlib']})}))";
    let answer = toolchain::run(&program, &["-I", "-c", question]).ok_or_else(missing)?;
    let python: Python = serde_json::from_str(&answer).map_err(|_| missing())?;
    work.add(&python.program)?;
    for folder in &python.folders {
        add_all(work, folder, &PYTHON_LEFT_OUT)?;
    }
    // glibc loads it by name when a thread ends, and Python's threads do end.
    for folder in work.search.folders().to_vec() {
        let library = folder.join("libgcc_s.so.1");
        if library.exists() {
            work.add(&library)?;
            break;
        }
    }
    let bin = python.program.parent().unwrap_or(Path::new("/"));
    let plain = bin.join("python3");
    if plain != python.program && work.tree.get(&plain).is_none() {
        let name = python.program.file_name().unwrap_or_default();
        work.tree.add(&plain, Node::Link(PathBuf::from(name)))?;
    }
    // Scripts begin with `/usr/bin/env python3`, or name this path outright.
    let usual = Path::new("/usr/bin/python3");
    if work.tree.get(usual).is_none() {
        work.tree.add(usual, Node::Link(python.program.clone()))?;
    }
    Ok(named_folder(&python.program))
}

fn named_folder(program: &Path) -> Vec<String> {
    let usual = ["/usr/bin", "/usr/local/bin", "/bin"];
    let folder = program.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    if usual.contains(&folder.as_str()) { vec![] } else { vec![folder] }
}

/// Adds a folder with all below it, links as they are.
fn add_all(work: &mut Work<'_>, folder: &Path, left_out: &[&str]) -> Result<(), HostError> {
    let real = work.add(folder)?;
    let unreadable = |source| HostError::Unreadable { path: real.clone(), source };
    for entry in std::fs::read_dir(&real).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // `config-3.11-…` holds the static library for those who compile Python into their program.
        if left_out.contains(&name.as_ref()) || name.starts_with("config-3") {
            continue;
        }
        let path = entry.path();
        if entry.file_type().map_err(unreadable)?.is_dir() {
            add_all(work, &path, left_out)?;
        } else if path.exists() {
            work.add(&path)?;
        }
    }
    Ok(())
}
