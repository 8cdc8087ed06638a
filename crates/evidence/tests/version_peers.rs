//! Each version ordering against the implementation of its own ecosystem: one process for all pairs of an ecosystem.
//!
//! A peer answers `<`, `=`, `>`, or `!` for a pair that it cannot read. What a peer reads must be read here and ordered the same;
//! reading more than the peer is allowed, and docs/versions.md tells where.

#![expect(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

#[path = "version_peers/generate.rs"]
mod generate;

use std::cmp::Ordering;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use humdrum_evidence::version::{Scheme, check, compare};

use crate::generate::{Random, changed, real};

/// Pairs that both sides can read; fewer would mean that the generator writes nonsense.
const COMPARED_MIN: usize = 10_000;
/// Generated pairs of which both are versions; pairs that are not come along.
const READABLE: usize = 12_000;
/// More pairs than this are never needed.
const PAIRS_MAX: usize = 80_000;

/// Every pair of real versions, and generated pairs.
fn pairs(scheme: Scheme, names: &[&str]) -> Vec<(String, String)> {
    let real = real(names);
    let mut pairs = vec![];
    for (index, a) in real.iter().enumerate() {
        pairs.extend(real[index..].iter().map(|b| (a.clone(), b.clone())));
    }
    let mut random = Random(1);
    let mut readable = 0;
    while readable < READABLE && pairs.len() < PAIRS_MAX {
        let (a, b) = pair(scheme, &real, &mut random);
        let is_readable = check(scheme, &a).is_ok() && check(scheme, &b).is_ok();
        readable += usize::from(is_readable);
        pairs.push((a, b));
    }
    pairs
}

/// Two versions, mostly of the same descent.
fn pair(scheme: Scheme, real: &[String], random: &mut Random) -> (String, String) {
    let base = &real[random.below(real.len())];
    let other = if random.below(4) == 0 { &real[random.below(real.len())] } else { base };
    (changed(scheme, base, random), changed(scheme, other, random))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/version_peers")
}

/// The file of a peer that must be there; `install` says how it gets there.
fn need(path: &str, install: &str) {
    assert!(Path::new(path).exists(), "{path} is missing; install it: {install}");
}

/// Runs a peer on all pairs and answers its lines.
fn ask(mut peer: Command, pairs: &[(String, String)], install: &str) -> Vec<String> {
    let spawned =
        peer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child =
        spawned.unwrap_or_else(|error| panic!("{peer:?}: {error}; install it: {install}"));
    let mut stdin = child.stdin.take().unwrap();
    let text: String = pairs.iter().map(|(a, b)| format!("{a}\t{b}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{peer:?} failed: {}; install it: {install}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    // rpm ends what it evaluated with an empty line.
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    assert_eq!(lines.len(), pairs.len(), "{peer:?} answered another number of lines");
    lines
}

/// Compares our answers with the peer's.
fn judge(scheme: Scheme, real: &[&str], peer: Command, install: &str) {
    let pairs = pairs(scheme, real);
    let theirs = ask(peer, &pairs, install);
    let (mut compared, mut differences) = (0, vec![]);
    for ((a, b), theirs) in pairs.iter().zip(&theirs) {
        let ours = match compare(scheme, a, b) {
            Ok(Ordering::Less) => "<",
            Ok(Ordering::Equal) => "=",
            Ok(Ordering::Greater) => ">",
            Err(_) => "!",
        };
        if theirs == "!" {
            continue;
        }
        compared += 1;
        if ours != theirs {
            differences.push(format!("`{a}` {ours} `{b}`, the peer says {theirs}"));
        }
    }
    differences.sort_by_key(String::len);
    let shown = differences.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        differences.is_empty(),
        "{scheme}: {} differences in {compared} pairs\n{shown}",
        differences.len()
    );
    assert!(compared >= COMPARED_MIN, "{scheme}: only {compared} pairs could be compared");
    println!("{scheme}: {compared} pairs, no difference");
}

fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(folder());
    command
}

#[test]
fn debian_orders_as_dpkg() {
    let install = "apt-get install libdpkg-perl";
    judge(Scheme::Debian, &["debian"], program("perl", &["debian.pl"]), install);
}

#[test]
fn rpm_orders_as_rpm() {
    let script = fs::read_to_string(folder().join("rpm.lua")).unwrap();
    let peer = program("rpm", &["--eval", &format!("%{{lua:{script}}}")]);
    judge(Scheme::Rpm, &["rpm"], peer, "apt-get install rpm");
}

#[test]
fn python_orders_as_packaging() {
    let install = "apt-get install python3-packaging";
    need("/usr/lib/python3/dist-packages/packaging/version.py", install);
    judge(Scheme::Pep440, &["pep440"], program("/usr/bin/python3", &["pep440.py"]), install);
}

#[test]
fn npm_orders_as_node_semver() {
    let modules =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/node/node_modules");
    let install = "scripts/test-tools.sh, or npm install --prefix target/tools/node semver@7.8.5";
    need(modules.join("semver/package.json").to_str().unwrap(), install);
    let mut peer = program("node", &["npm.js"]);
    peer.env("NODE_PATH", modules);
    judge(Scheme::Npm, &["semver", "npm"], peer, install);
}

#[test]
fn maven_orders_as_comparable_version() {
    let install = "apt-get install libmaven3-core-java default-jdk-headless";
    let jars = ["/usr/share/java/maven3-artifact.jar", "/usr/share/java/commons-lang3.jar"];
    jars.iter().for_each(|jar| need(jar, install));
    // Compiling without the optimizing compiler is quicker for a second of work.
    let arguments = ["-XX:TieredStopAtLevel=1", "-cp", &jars.join(":"), "Maven.java"];
    judge(Scheme::Maven, &["maven"], program("java", &arguments), install);
}

#[test]
fn rubygems_orders_as_gem_version() {
    judge(
        Scheme::RubyGems,
        &["rubygems"],
        program("ruby", &["rubygems.rb"]),
        "apt-get install ruby",
    );
}

#[test]
fn composer_orders_as_composer_semver() {
    let install = "apt-get install php-cli php-composer-semver";
    need("/usr/share/php/Composer/Semver/autoload.php", install);
    let peer = program("php", &["-d", "include_path=/usr/share/php", "composer.php"]);
    judge(Scheme::Composer, &["composer"], peer, install);
}

#[test]
fn go_orders_as_its_toolchain() {
    let install = "Go 1.25 or newer from https://go.dev/dl";
    let root =
        program("go", &["env", "GOROOT"]).output().unwrap_or_else(|e| panic!("{e}: {install}"));
    let root = String::from_utf8(root.stdout).unwrap();
    let source = Path::new(root.trim()).join("src/cmd/vendor/golang.org/x/mod/semver/semver.go");
    need(source.to_str().unwrap(), install);
    let folder_of_peer = tempfile::tempdir().unwrap();
    let at = folder_of_peer.path();
    fs::create_dir(at.join("semver")).unwrap();
    fs::copy(source, at.join("semver/semver.go")).unwrap();
    fs::copy(folder().join("golang.txt"), at.join("main.go")).unwrap();
    fs::write(at.join("go.mod"), "module peer\n\ngo 1.21\n").unwrap();
    let mut peer = program("go", &["run", "."]);
    peer.current_dir(at).env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
    judge(Scheme::Go, &["go"], peer, install);
}

/// The judge of Cargo's order is the crate that Cargo itself uses.
#[test]
fn cargo_orders_as_the_crate_semver() {
    let pairs = pairs(Scheme::SemVer, &["semver"]);
    let mut compared = 0;
    for (a, b) in &pairs {
        let read = (semver::Version::parse(a), semver::Version::parse(b));
        let (Ok(left), Ok(right)) = read else { continue };
        compared += 1;
        let theirs = left.cmp_precedence(&right);
        assert_eq!(compare(Scheme::SemVer, a, b), Ok(theirs), "`{a}` and `{b}`");
    }
    assert!(compared >= COMPARED_MIN, "only {compared} pairs could be compared");
}
