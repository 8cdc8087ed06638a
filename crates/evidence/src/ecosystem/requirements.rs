//! Python: `requirements*.txt` as `pip` reads it; pins (`==`) with `--hash`, and the `# via` comments that pip-compile and uv write.
//!
//! Without those comments the file has no graph: every line is then something that the service asks for.

use std::collections::BTreeMap;

use super::{
    Companions, Distribution, Ecosystem, Graph, Hash, LockError, Package, Scope, SourceFile,
    bad_name, text,
};
use crate::purl::{self, Parts};

pub const REQUIREMENTS: Ecosystem = Ecosystem {
    name: "requirements",
    is_lock: |name| name.starts_with("requirements") && name.ends_with(".txt"),
    companions: &[],
    read,
};

/// One requirement with the comments that follow it.
struct Line<'a> {
    /// Without continuation marks and comments.
    code: String,
    /// Who needs it, from `# via`.
    via: Vec<&'a str>,
}

fn read(file: &SourceFile<'_>, _: &Companions<'_>) -> Result<Graph, LockError> {
    let mut graph = Graph::default();
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    let lines = lines(text(file)?);
    let mut vias = vec![];
    for line in &lines {
        let Some(requirement) = Requirement::parse(&line.code) else {
            graph.unknown.extend(option(file, &line.code));
            continue;
        };
        if requirement.pin.is_none() && requirement.address.is_none() {
            graph.unknown.push(format!("`{}` does not pin `{}`", file.path, requirement.name));
        }
        by_name.insert(purl::pypi_name(requirement.name), graph.packages.len());
        graph.packages.push(requirement.package(file)?);
        vias.push(&line.via);
    }
    graph.edges_complete = !graph.packages.is_empty() && vias.iter().all(|via| !via.is_empty());
    for (index, via) in vias.into_iter().enumerate() {
        for needs in via {
            // `-r requirements.in` and `project (pyproject.toml)`: the service itself.
            match by_name.get(&purl::pypi_name(needs)) {
                Some(from) if !needs.starts_with('-') && !needs.contains('(') => {
                    graph.add_edge(*from, index)
                }
                _ => drop(graph.roots.insert(index)),
            }
        }
        if via.is_empty() {
            graph.roots.insert(index);
        }
    }
    if !graph.edges_complete {
        graph.unknown.push(format!("`{}` does not tell which package needs which", file.path));
    }
    Ok(graph)
}

/// Joins continued lines; gathers the `# via` comments after each.
fn lines(text: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = vec![];
    let mut open = false;
    let mut in_via = false;
    for raw in text.lines() {
        let (code, comment) = split_comment(raw);
        let code = code.trim();
        if code.is_empty() && !comment.is_empty() {
            let words = comment.trim_start_matches('#').trim();
            // What stands between the requirements belongs to the one above.
            let via =
                words.strip_prefix("via").filter(|rest| rest.is_empty() || rest.starts_with(' '));
            in_via = via.is_some() || (in_via && raw.starts_with(' '));
            if let (true, Some(line)) = (in_via, lines.last_mut()) {
                let names = via.unwrap_or(words).split(',').map(str::trim);
                line.via.extend(names.filter(|name| !name.is_empty()));
            }
            continue;
        }
        in_via = false;
        let continues = code.ends_with('\\');
        let code = code.trim_end_matches('\\').trim();
        match lines.last_mut() {
            Some(line) if open => {
                line.code.push(' ');
                line.code.push_str(code);
            }
            _ if code.is_empty() => {}
            _ => lines.push(Line { code: code.to_owned(), via: vec![] }),
        }
        open = continues;
    }
    lines
}

/// A comment starts at the line's begin or after white space: `#` inside an address is none.
fn split_comment(raw: &str) -> (&str, &str) {
    let starts = |(at, _): &(usize, &str)| *at == 0 || raw[..*at].ends_with(char::is_whitespace);
    match raw.match_indices('#').find(starts) {
        Some((at, _)) => raw.split_at(at),
        None => (raw, ""),
    }
}

/// A line that is no requirement; a sentence where it hides some.
fn option(file: &SourceFile<'_>, code: &str) -> Option<String> {
    let hides = ["-r", "--requirement", "-c", "--constraint", "-e", "--editable"];
    let first = code.split([' ', '=']).next().unwrap_or_default();
    let shown = crate::bundle::shortened(code);
    (hides.contains(&first) || !code.starts_with('-'))
        .then(|| format!("`{}` has the line `{shown}`, which is not followed", file.path))
}

struct Requirement<'a> {
    name: &'a str,
    pin: Option<&'a str>,
    /// `name @ address`.
    address: Option<&'a str>,
    specifier: &'a str,
    marker: Option<&'a str>,
    hashes: Vec<Hash>,
}

impl<'a> Requirement<'a> {
    /// `name[extras]==version ; marker --hash=sha256:…`, or `name @ address`. None for options, paths and bare addresses.
    fn parse(code: &'a str) -> Option<Self> {
        let (code, hashes) = code.split_once(" --").map_or((code, ""), |(code, rest)| (code, rest));
        let name_end = code
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
            .unwrap_or(code.len());
        let (name, rest) = code.split_at(name_end);
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return None;
        }
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(extras) => extras.split_once(']')?.1.trim_start(),
            None => rest,
        };
        if rest.starts_with(['/', ':', '\\']) {
            return None;
        }
        let (specifier, marker) = match rest.split_once(';') {
            Some((specifier, marker)) => (specifier.trim(), Some(marker.trim())),
            None => (rest.trim(), None),
        };
        let exact = specifier.strip_prefix("===").or_else(|| specifier.strip_prefix("=="));
        let pin = exact.map(str::trim).filter(|version| !version.contains([',', '*', ' ']));
        let hashes = hashes
            .split_whitespace()
            .filter_map(|word| word.rsplit_once("hash="))
            .filter_map(|(_, hash)| Hash::from_prefixed(hash));
        let address = specifier.strip_prefix('@').map(str::trim);
        Some(Self { name, pin, address, specifier, marker, hashes: hashes.collect() })
    }

    fn package(&self, file: &SourceFile<'_>) -> Result<Package, LockError> {
        let address = self.address.unwrap_or_default();
        let git = address.starts_with("git+");
        let key = if git { "vcs_url" } else { "download_url" };
        let qualifiers = [(key, address.split('#').next().unwrap_or_default())];
        let name = purl::pypi_name(self.name);
        let parts =
            Parts { namespace: None, name: &name, version: self.pin, qualifiers: &qualifiers };
        let purl = purl::purl("pypi", &parts).map_err(bad_name(file))?;
        let mut package = Package::new(purl, name, self.pin.map(str::to_owned));
        if self.pin.is_none() && self.address.is_none() && !self.specifier.is_empty() {
            package.properties.insert("requirement", self.specifier.to_owned());
        }
        if let Some(marker) = self.marker {
            package.scope = Scope::Optional;
            package.properties.insert("marker", marker.to_owned());
        }
        install_hashes(&mut package, self.hashes.iter().map(|hash| (None, hash.clone())));
        Ok(package)
    }
}

/// One hash is the package's; of several, each is one of the files that it may be installed from.
pub(super) fn install_hashes<'a>(
    package: &mut Package,
    files: impl Iterator<Item = (Option<&'a str>, Hash)>,
) {
    let files: Vec<(Option<&str>, Hash)> = files.collect();
    if let [(None, hash)] = files.as_slice() {
        package.hashes.insert(hash.clone());
        return;
    }
    for (name, hash) in files {
        let checksum =
            format!("{}:{}", hash.algorithm.to_ascii_lowercase().replace('-', ""), hash.hex);
        let (key, value) = match name {
            Some(name) => ("file_name", name),
            None => ("checksum", checksum.as_str()),
        };
        let url =
            purl::with_qualifier(&package.purl, key, value).unwrap_or_else(|| package.purl.clone());
        package.distributions.push(Distribution { url, hashes: [hash].into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str) -> Graph {
        let file = SourceFile { path: "requirements.txt", bytes: text.as_bytes() };
        read(&file, &Companions { folder: "", files: &[] }).unwrap()
    }

    #[test]
    fn each_kind_of_line_is_understood() {
        #[rustfmt::skip]
        let cases = [
            ("Zope.Interface==7.0.3",                   Some("pkg:pypi/zope-interface@7.0.3")),
            ("uvicorn[standard]==0.30 # web",           Some("pkg:pypi/uvicorn@0.30")),
            ("idna === 3.7 ; python_version<'4'",       Some("pkg:pypi/idna@3.7")),
            ("idna>=3,<4",                              Some("pkg:pypi/idna")),
            ("idna==3.*",                               Some("pkg:pypi/idna")),
            ("a @ git+https://example.com/a@00ff#egg=a", Some("pkg:pypi/a?vcs_url=git%2Bhttps:%2F%2Fexample.com%2Fa%4000ff")),
            ("-e .",                                    None),
            ("./wheels/a.whl",                          None),
            ("https://example.com/a.whl",               None),
            ("--index-url https://example.com/",        None),
            ("# only a comment",                        None),
        ];
        for (line, purl) in cases {
            let graph = graph(line);
            assert_eq!(graph.packages.first().map(|package| package.purl.as_str()), purl, "{line}");
        }
    }

    #[test]
    fn what_is_not_followed_is_said() {
        let graph = graph("-r base.txt\n-e .\n--index-url https://example.com/\nidna>=3\n");
        assert_eq!(
            graph.unknown,
            [
                "`requirements.txt` has the line `-r base.txt`, which is not followed",
                "`requirements.txt` has the line `-e .`, which is not followed",
                "`requirements.txt` does not pin `idna`",
                "`requirements.txt` does not tell which package needs which",
            ]
        );
    }

    #[test]
    fn one_hash_is_the_packages_and_several_are_its_files() {
        let [one, two] = ["11", "22"].map(|byte| byte.repeat(32));
        let single = graph(&format!("a==1 --hash=sha256:{one}"));
        assert_eq!(single.packages[0].hashes.len(), 1);
        let several = graph(&format!(
            "a==1 \\\n    --hash=sha256:{one} \\\n    --hash=sha256:{two}\n    # via b\nb==1\n    # via -r x.in\n"
        ));
        let urls: Vec<&str> =
            several.packages[0].distributions.iter().map(|file| file.url.as_str()).collect();
        assert_eq!(
            urls,
            [
                format!("pkg:pypi/a@1?checksum=sha256:{one}"),
                format!("pkg:pypi/a@1?checksum=sha256:{two}")
            ]
        );
        assert_eq!(several.edges, [(1, [0].into())].into());
        assert_eq!(several.roots, [1].into());
        assert!(several.edges_complete);
    }
}
