//! Go: `go.mod` with `go.sum`.
//!
//! From Go 1.17 on, `go.mod` lists every module that the build needs, but not which of them needs which: only what the service
//! asks for itself is an edge. `go.sum` hashes a module's file tree (`h1:`), not an archive, so the value is kept as a property.

use std::collections::BTreeMap;

use super::{
    Companions, Ecosystem, Graph, LockError, Package, SourceFile, bad_name, malformed, text,
};
use crate::purl::{self, Parts};

pub const GOLANG: Ecosystem =
    Ecosystem { name: "golang", is_lock: |name| name == "go.mod", companions: &["go.sum"], read };

/// From this minor version of Go 1 on, `go.mod` lists indirect modules too.
const COMPLETE_SINCE: u32 = 17;

#[derive(Default)]
struct Module<'a> {
    go: Option<&'a str>,
    required: Vec<Requirement<'a>>,
    replaced: Vec<Replacement<'a>>,
}

struct Requirement<'a> {
    path: &'a str,
    version: &'a str,
    indirect: bool,
}

struct Replacement<'a> {
    path: &'a str,
    /// Any version when none.
    version: Option<&'a str>,
    new_path: &'a str,
    /// None for a folder.
    new_version: Option<&'a str>,
}

fn read(file: &SourceFile<'_>, companions: &Companions<'_>) -> Result<Graph, LockError> {
    let module = parse(file, text(file)?)?;
    let sums = match companions.find("go.sum") {
        Some(sums) => Some(parse_sums(&sums)?),
        None => None,
    };
    let mut graph = Graph::default();
    graph
        .unknown
        .push(format!("`{}` does not tell which module needs which indirect module", file.path));
    if !lists_indirect(module.go) {
        graph
            .unknown
            .push(format!("`{}` is from before Go 1.17 and lists direct modules only", file.path));
    }
    if sums.is_none() && !module.required.is_empty() {
        graph
            .unknown
            .push(format!("`{}` has no go.sum beside it, so no hashes are known", file.path));
    }
    for requirement in &module.required {
        let index = graph.packages.len();
        graph.packages.push(package(file, requirement, &module.replaced, sums.as_ref())?);
        if !requirement.indirect {
            graph.roots.insert(index);
        }
    }
    Ok(graph)
}

fn lists_indirect(go: Option<&str>) -> bool {
    let mut numbers =
        go.unwrap_or("1.16").split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    major > 1 || minor >= COMPLETE_SINCE
}

fn package(
    file: &SourceFile<'_>,
    requirement: &Requirement<'_>,
    replaced: &[Replacement<'_>],
    sums: Option<&BTreeMap<(&str, &str), &str>>,
) -> Result<Package, LockError> {
    let replacement = replaced.iter().find(|replacement| {
        replacement.path == requirement.path
            && replacement.version.is_none_or(|version| version == requirement.version)
    });
    let (path, version, local) = match replacement {
        Some(Replacement { new_path, new_version: Some(version), .. }) => {
            (*new_path, *version, false)
        }
        // A folder keeps the name of what it replaces.
        Some(_) => (requirement.path, requirement.version, true),
        None => (requirement.path, requirement.version, false),
    };
    let (namespace, name) = purl::split_path(path);
    let parts = Parts { namespace, name, version: Some(version), qualifiers: &[] };
    let purl = purl::purl("golang", &parts).map_err(bad_name(file))?;
    let mut package = Package::new(purl, path, Some(version.to_owned()));
    package.local = local;
    if let Some(sum) = sums.and_then(|sums| sums.get(&(path, version))).filter(|_| !local) {
        package.properties.insert("go.sum", (*sum).to_owned());
    }
    if let Some(replacement) = replacement {
        let target = replacement.new_path;
        let replaces = format!("{} {} by {target}", requirement.path, requirement.version);
        package.properties.insert("go.mod:replace", replaces);
    }
    Ok(package)
}

/// Reads directives, single and in blocks. Unknown directives are for other tools and are skipped.
fn parse<'a>(file: &SourceFile<'_>, text: &'a str) -> Result<Module<'a>, LockError> {
    let mut module = Module::default();
    let mut block: Option<&str> = None;
    for (number, line) in text.lines().enumerate() {
        let (code, comment) = line.split_once("//").unwrap_or((line, ""));
        let words: Vec<&str> =
            code.split_whitespace().map(|word| word.trim_matches(['"', '`'])).collect();
        let (directive, rest) = match (block, words.as_slice()) {
            (_, []) => continue,
            (Some(_), [")"]) => {
                block = None;
                continue;
            }
            (None, [directive, "("]) => {
                block = Some(directive);
                continue;
            }
            (Some(directive), rest) => (directive, rest),
            (None, [directive, rest @ ..]) => (*directive, rest),
        };
        match (directive, rest) {
            ("go", [version]) => module.go = Some(version),
            ("require", [path, version]) => {
                let indirect = comment.split_whitespace().next() == Some("indirect");
                module.required.push(Requirement { path, version, indirect });
            }
            ("replace", rest) => {
                let replacement = replacement(rest).ok_or_else(|| {
                    malformed(file, format!("line {}: `replace` is not understood", number + 1))
                })?;
                module.replaced.push(replacement);
            }
            ("go" | "require", _) => {
                return Err(malformed(
                    file,
                    format!("line {}: `{directive}` is not understood", number + 1),
                ));
            }
            _ => {}
        }
    }
    Ok(module)
}

/// `old [version] => new [version]`.
fn replacement<'a>(words: &[&'a str]) -> Option<Replacement<'a>> {
    let arrow = words.iter().position(|word| *word == "=>")?;
    let (path, version) = match &words[..arrow] {
        [path] => (*path, None),
        [path, version] => (*path, Some(*version)),
        _ => return None,
    };
    let (new_path, new_version) = match &words[arrow + 1..] {
        [path] => (*path, None),
        [path, version] => (*path, Some(*version)),
        _ => return None,
    };
    Some(Replacement { path, version, new_path, new_version })
}

/// Module and version to the hash of the module's tree; the hashes of `go.mod` files alone are left out.
fn parse_sums<'a>(
    file: &SourceFile<'a>,
) -> Result<BTreeMap<(&'a str, &'a str), &'a str>, LockError> {
    let mut sums = BTreeMap::new();
    for (number, line) in text(file)?.lines().enumerate() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] => {}
            [path, version, hash] => {
                if !version.ends_with("/go.mod") {
                    sums.insert((*path, *version), *hash);
                }
            }
            _ => return Err(malformed(file, format!("line {} has not three words", number + 1))),
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_and_old_files_are_understood() {
        let text = "module a\ngo 1.16\nrequire x.org/a/v2 v2.0.0 // indirect\nrequire (\n\tx.org/b v1.0.0\n\tx.org/c v1.0.0\n)\n\
                    replace x.org/b v1.0.0 => ../b\nreplace x.org/c => y.org/c v1.1.0\nretract v0.0.1\n";
        let file = SourceFile { path: "go.mod", bytes: text.as_bytes() };
        let graph = read(&file, &Companions { folder: "", files: &[] }).unwrap();
        let purls: Vec<(&str, bool)> =
            graph.packages.iter().map(|package| (package.purl.as_str(), package.local)).collect();
        assert_eq!(
            purls,
            [
                ("pkg:golang/x.org/a/v2@v2.0.0", false),
                ("pkg:golang/x.org/b@v1.0.0", true),
                ("pkg:golang/y.org/c@v1.1.0", false),
            ]
        );
        assert_eq!(graph.roots, [1, 2].into());
        assert_eq!(graph.unknown.len(), 3);
    }

    #[test]
    fn bad_lines_are_named() {
        let file = SourceFile { path: "go.mod", bytes: b"module a\nrequire x.org/a" };
        let error = read(&file, &Companions { folder: "", files: &[] }).unwrap_err();
        assert_eq!(error.to_string(), "`go.mod` is malformed: line 2: `require` is not understood");
    }
}
