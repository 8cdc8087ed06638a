//! Whole builds on this machine: real repositories, real toolchains, real package registries. About a minute.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is its report")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use humdrum_build::builder::{BuildError, BuildRequest, Builder};
use humdrum_build::image::Built;
use humdrum_build::layout::write_layout;
use humdrum_build::log::{Lines, Phase};
use humdrum_build::plan::{BuildPlan, FileMapping, Runtime, TestPlan};
use humdrum_build::repo::{Repo, RepoError};
use humdrum_jail::{Launcher, Rung};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_humdrum-build-launcher");

struct Project {
    scratch: tempfile::TempDir,
    secrets: BTreeMap<String, String>,
    lines: Lines,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Project {
        let scratch = tempfile::tempdir().unwrap();
        let project = Project { scratch, secrets: BTreeMap::new(), lines: Lines::default() };
        std::fs::create_dir(project.repo_path()).unwrap();
        project.git(&["init", "-q", "-b", "main"]);
        project.commit(files);
        project
    }

    fn repo_path(&self) -> PathBuf {
        self.scratch.path().join("repo")
    }

    fn write(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = self.repo_path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    fn commit(&self, files: &[(&str, &str)]) {
        self.write(files);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "a change"]);
    }

    fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b.example"]).args(arguments);
        command.current_dir(self.repo_path()).env("GIT_COMMITTER_DATE", "2026-03-04T05:06:07Z");
        assert!(command.status().unwrap().success(), "git {arguments:?}");
    }

    fn builder(&self) -> Builder {
        Builder::new(Launcher::with_program(LAUNCHER), self.scratch.path().join("scratch"))
    }

    fn request<R>(&self, plan: &BuildPlan, act: impl FnOnce(&BuildRequest<'_>) -> R) -> R {
        let repo = Repo::open(self.repo_path()).unwrap();
        let facts = repo.resolve("HEAD").unwrap();
        let out = self.scratch.path().join("out");
        act(&BuildRequest {
            repo: &repo,
            facts: &facts,
            source: "https://git.example/shop",
            plan,
            secrets: &self.secrets,
            out: &out,
            sink: &self.lines,
        })
    }

    fn build(&self, plan: &BuildPlan) -> Result<Built, BuildError> {
        self.request(plan, |request| self.builder().build(request))
    }

    /// Builds twice, in other places and times, and returns the first of two equal images.
    fn verified(&self, plan: &BuildPlan) -> Built {
        let done = self.request(plan, |request| self.builder().verify(request));
        let done = done.unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        let told: Vec<_> = done.differences.iter().map(ToString::to_string).collect();
        assert_eq!(told, Vec::<String>::new());
        assert_eq!(done.first.build_id, done.second.build_id);
        done.first
    }

    fn log(&self) -> String {
        let lines = self.lines.all();
        lines.iter().map(|(phase, text)| format!("{phase}: {text}\n")).collect()
    }

    /// Unpacks an image and runs its command in a jail that sees nothing else.
    fn run_image(&self, built: &Built, command: &[&str], env: &[(&str, &str)]) -> String {
        let root = self.scratch.path().join("root");
        std::fs::create_dir_all(&root).unwrap();
        for layer in &built.layers {
            let file = flate2::read::GzDecoder::new(std::fs::File::open(&layer.path).unwrap());
            let mut archive = tar::Archive::new(file);
            archive.set_preserve_permissions(true);
            archive.unpack(&root).unwrap();
        }
        let mut spec = humdrum_jail::Spec::new(Rung::Namespaces, command.iter().copied());
        spec.root = humdrum_jail::Root::Folder { path: root, read_only: false };
        let config: serde_json::Value = serde_json::from_slice(&built.config.bytes).unwrap();
        for entry in config["config"]["Env"].as_array().unwrap() {
            let (name, value) = entry.as_str().unwrap().split_once('=').unwrap();
            spec.env.insert(name.into(), value.into());
        }
        spec.env.extend(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        spec.limits.wall_ms = Some(30_000);
        let piped = std::process::Stdio::piped;
        let mut jailed = Launcher::with_program(LAUNCHER).spawn(&spec, piped(), piped()).unwrap();
        let (mut output, mut errors) = (String::new(), String::new());
        std::io::Read::read_to_string(&mut jailed.take_stdout().unwrap(), &mut output).unwrap();
        std::io::Read::read_to_string(&mut jailed.take_stderr().unwrap(), &mut errors).unwrap();
        let ending = jailed.wait().unwrap().ending;
        assert!(ending.is_success(), "{ending}: {errors}");
        output
    }
}

fn plan(files: &[(&str, &str, &str)], command: &[&str]) -> BuildPlan {
    let mapping = |(target, source, layer): &(&str, &str, &str)| FileMapping {
        target: (*target).into(),
        source: (*source).into(),
        layer: (*layer).into(),
    };
    BuildPlan {
        fetch: None,
        run: None,
        files: files.iter().map(mapping).collect(),
        test: None,
        base: None,
        runtime: vec![],
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::new(),
        port: Some(8080),
        user: None,
        labels: BTreeMap::new(),
        limits: Default::default(),
    }
}

#[test]
fn a_rust_service_with_a_dependency_builds_twice_the_same_and_runs_alone() {
    let project = Project::new(&[
        (
            "Cargo.toml",
            "[package]\nname = \"shop\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"=1.0.15\"\n",
        ),
        (
            "src/main.rs",
            "fn main() { let mut b = itoa::Buffer::new(); println!(\"sold {} in {}\", b.format(42), file!()); }\n",
        ),
    ]);
    let locked =
        Command::new("cargo").arg("generate-lockfile").current_dir(project.repo_path()).status();
    assert!(locked.unwrap().success());
    project.commit(&[]);
    let mut plan = plan(&[("/app/shop", "target/debug/shop", "app")], &["/app/shop"]);
    plan.fetch = Some("cargo fetch --locked".into());
    plan.run = Some("cargo build --locked --offline".into());
    let built = project.verified(&plan);
    assert_eq!(project.run_image(&built, &["/app/shop"], &[]), "sold 42 in src/main.rs\n");
    assert!(built.materials.toolchains.iter().any(|tool| tool.name == "rustc"));
    assert!(built.materials.lock_files.iter().any(|(name, _)| name == "Cargo.lock"));
    assert!(built.materials.host_files.iter().any(|file| file.path.contains("libc.so")));
    assert_eq!(built.layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["host", "app"]);
}

#[test]
fn a_node_service_with_a_dependency_builds_twice_the_same_and_runs_alone() {
    let project = Project::new(&[
        ("package.json", r#"{"name":"shop","version":"1.0.0","dependencies":{"ms":"2.1.3"}}"#),
        ("server.js", "console.log(require('ms')('2 days'));\n"),
    ]);
    let mut lock = Command::new("npm");
    lock.args(["install", "--package-lock-only", "--ignore-scripts"])
        .current_dir(project.repo_path());
    assert!(lock.output().unwrap().status.success());
    project.commit(&[]);
    let files =
        [("/app/server.js", "server.js", "app"), ("/app/node_modules", "node_modules", "modules")];
    let mut plan = plan(&files, &["node", "/app/server.js"]);
    plan.fetch = Some("npm ci --ignore-scripts".into());
    plan.runtime = vec![Runtime::Node];
    let built = project.verified(&plan);
    assert_eq!(project.run_image(&built, &["node", "/app/server.js"], &[]), "172800000\n");
    let names: Vec<_> = built.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["host", "modules", "app"]);
}

#[test]
fn a_python_service_with_requirements_builds_twice_the_same_and_runs_alone() {
    let project = Project::new(&[
        (
            "requirements.txt",
            "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n",
        ),
        ("main.py", "import json, ssl, threading, six\nprint(six.__version__, json.dumps([1]))\n"),
    ]);
    let files = [("/app/main.py", "main.py", "app"), ("/app/deps", "deps", "deps")];
    let mut plan = plan(&files, &["python3", "/app/main.py"]);
    plan.fetch = Some("python3 -m pip install --no-compile --no-deps --only-binary :all: --target deps --require-hashes -r requirements.txt".into());
    plan.runtime = vec![Runtime::Python3];
    plan.env.insert("PYTHONPATH".into(), "/app/deps".into());
    let built = project.verified(&plan);
    assert_eq!(project.run_image(&built, &["python3", "/app/main.py"], &[]), "1.17.0 [1]\n");
    assert!(built.materials.fetch_environment.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn the_commit_is_built_and_not_the_working_tree_and_attributes_have_no_say() {
    let project = Project::new(&[
        (".gitattributes", "a.txt export-subst\nb.txt export-ignore\n*.crlf eol=crlf\n"),
        ("a.txt", "$Format:%H$\n"),
        ("b.txt", "kept\n"),
        ("c.crlf", "line\n"),
    ]);
    project.write(&[("a.txt", "changed and not committed\n")]);
    let repo = Repo::open(project.repo_path()).unwrap();
    assert!(repo.is_dirty().unwrap());
    let facts = repo.resolve("main").unwrap();
    assert_eq!(facts.time_s, 1_772_600_767);
    assert_eq!(repo.read_file(&facts.commit, "a.txt").unwrap(), b"$Format:%H$\n");
    assert!(matches!(repo.read_file(&facts.commit, "x"), Err(RepoError::NoFile { .. })));
    assert!(matches!(repo.resolve("no-such-branch"), Err(RepoError::NoCommit { .. })));
    let into = project.scratch.path().join("export");
    std::fs::create_dir(&into).unwrap();
    repo.export(&facts, &into).unwrap();
    for (file, text) in [("a.txt", "$Format:%H$\n"), ("b.txt", "kept\n"), ("c.crlf", "line\n")] {
        assert_eq!(std::fs::read_to_string(into.join(file)).unwrap(), text);
    }
}

#[test]
fn submodules_are_refused_by_name() {
    let project = Project::new(&[("a", "")]);
    let head = "1111111111111111111111111111111111111111";
    project.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},lib/sub")]);
    project.git(&["commit", "-q", "-m", "submodule"]);
    let repo = Repo::open(project.repo_path()).unwrap();
    let into = project.scratch.path().join("export");
    let error = repo.export(&repo.resolve("HEAD").unwrap(), &into).unwrap_err();
    assert!(error.to_string().contains("submodule at `lib/sub`"), "{error}");
}

#[test]
fn the_build_has_no_network_and_a_clean_environment() {
    let project = Project::new(&[("a", "")]);
    let mut plan = plan(&[("/app/env", "env.txt", "app")], &["/app/env"]);
    plan.run = Some(
        "env | sort > env.txt; pwd >> env.txt; hostname >> env.txt; umask >> env.txt; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' >> env.txt".into(),
    );
    let built = project.build(&plan).unwrap();
    let app = built.layers.last().unwrap();
    let mut archive =
        tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(&app.path).unwrap()));
    let mut text = String::new();
    for entry in archive.entries().unwrap() {
        std::io::Read::read_to_string(&mut entry.unwrap(), &mut text).unwrap();
    }
    let wanted = [
        "HOME=/home/build",
        "TZ=UTC",
        "LC_ALL=C.UTF-8",
        "SOURCE_DATE_EPOCH=1772600767",
        "/w",
        "build",
        "0022",
    ];
    for line in wanted {
        assert!(text.lines().any(|one| one == line), "no {line} in {text}");
    }
    assert_eq!(text.lines().last(), Some("lo"), "{text}");
    let settings = ["https_proxy=", "HTTPS_PROXY=", "PIP_CERT=", "SSL_CERT_FILE="];
    assert!(!settings.iter().any(|name| text.contains(name)), "{text}");
    assert_eq!(built.rung, Rung::Namespaces);
}

#[test]
fn secrets_do_not_reach_the_log() {
    let mut project = Project::new(&[("a", "")]);
    project.secrets.insert("token".into(), "hunter2-hunter2".into());
    let mut plan = plan(&[("/a", "a", "app")], &["/a"]);
    plan.run =
        Some("echo the token is hunter2-hunter2; printf hunter2-hunter2 | base64 >&2".into());
    project.build(&plan).unwrap();
    let log = project.log();
    assert!(log.contains("build: the token is ***"), "{log}");
    assert!(!log.contains("hunter2") && !log.contains("aHVudGVyMi"), "{log}");
    plan.run = Some("false".into());
    project.secrets.insert("pin".into(), "123".into());
    assert!(matches!(project.build(&plan), Err(BuildError::Secret(_))));
}

#[test]
fn failures_say_what_failed() {
    let project = Project::new(&[("a", "")]);
    let mut plan = plan(&[("/app/shop", "target/shop", "app")], &["/app/shop"]);
    plan.run = Some("mkdir target; touch target/shopd".into());
    let error = project.build(&plan).unwrap_err().to_string();
    assert!(error.contains("no `target/shop` for `/app/shop`; `target` has shopd"), "{error}");

    plan.run = Some("echo first; echo last words >&2; exit 3".into());
    match project.build(&plan).unwrap_err() {
        BuildError::Command { phase: Phase::Build, ending, last_lines } => {
            assert_eq!(ending, "exit code 3");
            assert!(last_lines.contains(&"last words".to_owned()), "{last_lines:?}");
        }
        other => panic!("{other}"),
    }

    plan.run = None;
    plan.files[0].source = "a".into();
    let report = r#"<testsuite><testcase name="pays" classname="cart"><failure message="no"/></testcase><testcase name="b"/></testsuite>"#;
    plan.test = Some(TestPlan {
        run: format!("echo '{report}' > j.xml; exit 1"),
        junit: Some("j.xml".into()),
    });
    let error = project.build(&plan).unwrap_err().to_string();
    assert_eq!(error, "tests failed: exit code 1; 1 of 2 cases: cart::pays");

    plan.test = Some(TestPlan { run: "echo assertion failed; exit 1".into(), junit: None });
    match project.build(&plan).unwrap_err() {
        BuildError::Tests { last_lines, .. } => assert_eq!(last_lines, ["assertion failed"]),
        other => panic!("{other}"),
    }

    plan.test = None;
    plan.run = Some("sleep 60".into());
    plan.limits.time_ms = 300;
    let error = project.build(&plan).unwrap_err().to_string();
    assert_eq!(error, "build failed: killed at its time limit");
}

#[test]
fn a_difference_between_two_builds_is_explained() {
    let project = Project::new(&[("a", "")]);
    let mut plan = plan(&[("/app/stamp", "stamp", "app")], &["/app/stamp"]);
    plan.run = Some("nproc > /dev/null; date +built-%s > stamp".into());
    let done = project.request(&plan, |request| project.builder().verify(request)).unwrap();
    assert_eq!(done.differences.len(), 1);
    let told = done.differences[0].to_string();
    assert!(told.starts_with("layer app, /app/stamp: bytes differ from offset "), "{told}");
}

#[test]
fn a_layout_is_a_base_for_the_next_image_and_every_byte_is_checked() {
    let project = Project::new(&[("a", "one")]);
    let below = project.build(&plan(&[("/a", "a", "app")], &["/a"])).unwrap();
    let layout = project.scratch.path().join("layout");
    write_layout(&below, &layout, "latest").unwrap();
    write_layout(&below, &layout, "latest").unwrap();
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);

    let mut above = plan(&[("/b", "a", "app")], &["/b"]);
    above.base = Some(format!("oci:{}@{}", layout.display(), below.digest()));
    let built = project.verified(&above);
    assert_eq!(built.layers.len(), below.layers.len() + 1);
    assert_eq!(built.layers[0].digest, below.layers[0].digest);
    assert_eq!(built.materials.base.as_ref().unwrap().1, *below.digest());

    corrupt(&layout.join("blobs/sha256").join(below.layers[0].digest.hex()));
    let error = project.build(&above).unwrap_err().to_string();
    assert!(error.contains("has digest sha256:"), "{error}");
    above.base = Some("debian:12".into());
    let error = project.build(&above).unwrap_err().to_string();
    assert!(error.contains("has no digest"), "{error}");
}

fn corrupt(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_base_is_pulled_from_a_registry_by_digest() {
    let project = Project::new(&[("a", "one")]);
    let below = project.build(&plan(&[("/a", "a", "app")], &["/a"])).unwrap();
    let layout = project.scratch.path().join("layout");
    write_layout(&below, &layout, "latest").unwrap();
    let host = serve(layout.join("blobs/sha256"));

    let mut above = plan(&[("/b", "a", "app")], &["/b"]);
    above.base = Some(format!("{host}/team/below@{}", below.digest()));
    let built = project.build(&above).unwrap_or_else(|error| panic!("{error}"));
    let lowest: Vec<_> = built.layers.iter().map(|layer| &layer.digest).take(2).collect();
    assert_eq!(lowest, below.layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>());

    let absent = "0".repeat(64);
    above.base = Some(format!("{host}/team/below@sha256:{absent}"));
    let error = project.build(&above).unwrap_err().to_string();
    assert!(error.contains("does not give manifest"), "{error}");
}

/// The part of the distribution protocol that a pull by digest uses, over the blobs of a layout.
fn serve(blobs: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let blobs = blobs.clone();
            std::thread::spawn(move || answer(stream, &blobs));
        }
    });
    address.to_string()
}

fn answer(mut stream: TcpStream, blobs: &Path) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let media = if path.contains("/manifests/") {
        "application/vnd.oci.image.manifest.v1+json"
    } else {
        "application/octet-stream"
    };
    let found =
        path.rsplit_once("sha256:").and_then(|(_, hex)| std::fs::read(blobs.join(hex)).ok());
    let (status, body) = match (path, found) {
        ("/v2/", _) => ("200 OK", b"{}".to_vec()),
        (_, Some(body)) => ("200 OK", body),
        (_, None) => ("404 Not Found", b"{\"errors\":[]}".to_vec()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
}

#[test]
fn weaker_rungs_build_too_and_say_so() {
    for rung in [Rung::Landlock, Rung::None] {
        let project = Project::new(&[("a", "one")]);
        let mut plan = plan(&[("/b", "b", "app")], &["/b"]);
        plan.run = Some("cp a b; echo x > \"$HOME/x\"; cat \"$HOME/x\"".into());
        let builder = Builder { rung, ..project.builder() };
        let built = project.request(&plan, |request| builder.build(request));
        let built = built.unwrap_or_else(|error| panic!("{rung:?}: {error}\n{}", project.log()));
        assert_eq!(built.rung, rung);
        assert!(built.notes.iter().any(|note| note.contains(rung.label())), "{:?}", built.notes);
    }
}
