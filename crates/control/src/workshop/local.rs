//! The builder of this machine: one build at a time, in the strongest sandbox that the machine permits, signed with the installation's key.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use humdrum_build::base_image::LAYER_NAME;
use humdrum_build::builder::{BuildError, BuildRequest, Builder};
use humdrum_build::image::Built;
use humdrum_build::log::{LogSink, Phase};
use humdrum_build::mask::Masker;
use humdrum_build::repo::{CommitFacts, Repo};
use humdrum_build::sandbox::Sandbox;
use humdrum_build::sandbox::settings::HostSettings;
use humdrum_build::toolchain;
use humdrum_evidence::key::PrivateKey;
use humdrum_evidence::provenance::BuilderMode;
use humdrum_evidence::scan::image::ImageFacts;
use humdrum_model::manifest::{FILE_NAME, Manifest};
use humdrum_model::report::Report;
use humdrum_model::ship::{BuildFacts, BuildFailure, EnvStop, ShipRequest};
use tokio::sync::Semaphore;

use super::scan::{Layers, LayersError, secret_report};
use super::{Logs, Promoted, Workshop, publish};
use crate::Pending;
use crate::artifacts::Artifacts;
use crate::deploy::config_of;
use crate::world::real::url;

/// Builds at a time: a build uses every core it is given.
const BUILDS: usize = 1;
/// Lines of a failed step that a report quotes.
const QUOTED: usize = 5;
/// Longest log that is read back, bytes; older lines are in the file.
const LOG_READ_MAX: u64 = 4 << 20;

/// Opens the signing key. It is not kept in memory between builds.
pub type KeySource = Box<dyn Fn() -> Result<PrivateKey, String> + Send + Sync>;

/// Builds here.
pub struct Local {
    builder: Builder,
    artifacts: Arc<dyn Artifacts>,
    key: KeySource,
    mode: BuilderMode,
    version: &'static str,
    outputs: PathBuf,
    logs: PathBuf,
    layers: Layers,
    turn: Semaphore,
}

impl Local {
    /// `folder`: scratch and outputs. `logs`: one file for each ship.
    pub fn new(
        builder: Builder,
        artifacts: Arc<dyn Artifacts>,
        key: KeySource,
        mode: BuilderMode,
        version: &'static str,
        folder: &Path,
        logs: PathBuf,
    ) -> Self {
        let outputs = folder.join("outputs");
        let layers = Layers::new(folder.join("scans"));
        let turn = Semaphore::new(BUILDS);
        Self { builder, artifacts, key, mode, version, outputs, logs, layers, turn }
    }

    async fn build_one(
        &self,
        ship: &str,
        request: &ShipRequest,
    ) -> Result<BuildFacts, BuildFailure> {
        let _turn = self
            .turn
            .acquire()
            .await
            .map_err(|_| fail("stopping", "The builder is being stopped.", None))?;
        let out = self.outputs.join(ship);
        let log = LogFile::open(&self.logs, ship)
            .map_err(|error| fail("log", format!("The log cannot be written: {error}."), None))?;
        let (builder, task_request, task_out) =
            (self.builder.clone(), request.clone(), out.clone());
        let made =
            tokio::task::spawn_blocking(move || make(&builder, &task_request, &task_out, &log))
                .await;
        let made = made.map_err(|error| {
            fail(
                "bug",
                format!("The build broke off inside Humdrum: {error}."),
                Some("humdrum doctor"),
            )
        })?;
        let result = match made {
            Ok(made) => self.publish(request, made).await,
            Err(failure) => Err(*failure),
        };
        // What was published is in the registry; what failed is of no use.
        let _ = std::fs::remove_dir_all(&out);
        result
    }

    /// What the base image holds, when there is one, and what a container of the whole image sees.
    fn contents(&self, built: &Built) -> Result<(Option<ImageFacts>, ImageFacts), LayersError> {
        let base = built.layers.iter().filter(|layer| layer.name == LAYER_NAME);
        let base = built.materials.base.is_some().then(|| self.layers.image(base)).transpose()?;
        Ok((base, self.layers.image(built.layers.iter())?))
    }

    async fn publish(&self, request: &ShipRequest, made: Made) -> Result<BuildFacts, BuildFailure> {
        let key = tokio::task::block_in_place(|| (self.key)());
        let key =
            key.map_err(|why| fail("signing-key", format!("{why}."), Some("humdrum doctor")))?;
        let (base_contents, whole) = tokio::task::block_in_place(|| self.contents(&made.built))
            .map_err(|error| {
                let what = format!("The image could not be looked into: {error}.");
                let next = "check that `build.base` names an image of Linux layers";
                fail("image-contents", what, Some(next))
            })?;
        let scans = [secret_report(&whole, made.built.finished)];
        let input = publish::Input {
            built: &made.built,
            facts: &made.facts,
            manifest: (&made.manifest_path, &made.manifest_bytes),
            request,
            locks: &made.locks,
            tests_declared: made.manifest.test.is_some(),
            mode: &self.mode,
            version: self.version,
            key: &key,
            base_contents: base_contents.as_ref(),
            scans: &scans,
        };
        let published = publish::publish(self.artifacts.as_ref(), &input).await;
        let published = published.map_err(|error| {
            fail(
                "publish",
                format!("The artifact could not be published: {error}."),
                Some("humdrum doctor"),
            )
        })?;
        let stop = |plan: humdrum_model::manifest::EnvironmentPlan| EnvStop {
            name: plan.name,
            verify: plan.verify.map(|verify| verify.run),
        };
        Ok(BuildFacts {
            build_id: made.built.build_id.clone(),
            artifact: published.artifact,
            owner: made.manifest.owner.clone(),
            config: config_of(&made.manifest),
            environments: made.manifest.plans().into_iter().map(stop).collect(),
            evidence: published.evidence,
            rung: made.built.rung.label().into(),
            level: format!("SLSA build level {}", self.mode.slsa_level()),
            started: made.built.started,
            finished: made.built.finished,
        })
    }
}

impl Workshop for Local {
    fn build<'a>(
        &'a self,
        ship: &'a str,
        request: &'a ShipRequest,
    ) -> Pending<'a, Result<BuildFacts, BuildFailure>> {
        Box::pin(self.build_one(ship, request))
    }

    fn promote<'a>(&'a self, promoted: &'a Promoted) -> Pending<'a, Result<(), String>> {
        Box::pin(async move {
            let key = tokio::task::block_in_place(|| (self.key)())?;
            let published = publish::promotion(
                self.artifacts.as_ref(),
                promoted,
                &self.mode,
                self.version,
                &key,
            )
            .await;
            published.map_err(|error| error.to_string())
        })
    }

    fn command<'a>(
        &'a self,
        log: &'a str,
        request: &'a ShipRequest,
        run: &'a str,
        addr: SocketAddr,
    ) -> Pending<'a, Result<(), String>> {
        Box::pin(async move {
            let sink = LogFile::open(&self.logs, log)
                .map_err(|error| format!("the log cannot be written: {error}"))?;
            let (builder, request, run) = (self.builder.clone(), request.clone(), run.to_owned());
            let ran = tokio::task::spawn_blocking(move || {
                run_command(&builder, &request, &run, addr, &sink)
            })
            .await;
            ran.map_err(|error| format!("the command broke off inside humdrum: {error}"))?
        })
    }
}

impl Logs for Local {
    fn read<'a>(&'a self, id: &'a str, lines: u32) -> Pending<'a, Result<String, String>> {
        Box::pin(async move {
            let path = LogFile::path(&self.logs, id);
            let text = tokio::task::spawn_blocking(move || tail(&path, lines)).await;
            text.map_err(|error| error.to_string())?
                .map_err(|error| format!("there is no log of `{id}`: {error}"))
        })
    }
}

/// What a build came to, before it is published.
struct Made {
    built: Built,
    facts: CommitFacts,
    manifest: Manifest,
    manifest_path: String,
    manifest_bytes: Vec<u8>,
    locks: Vec<(String, Vec<u8>)>,
}

fn fail(code: &str, sentence: impl Into<String>, next: Option<&str>) -> BuildFailure {
    let report = Report::new([sentence.into()]);
    BuildFailure {
        code: code.into(),
        report: if let Some(next) = next { report.next(next) } else { report },
    }
}

/// Blocks until the commit is an image in `out`.
fn make(
    builder: &Builder,
    request: &ShipRequest,
    out: &Path,
    log: &LogFile,
) -> Result<Made, Box<BuildFailure>> {
    let repo = Repo::open(&request.repository).map_err(|error| {
        fail("repository", format!("The repository cannot be read: {error}."), None)
    })?;
    let facts = repo
        .resolve(request.commit.as_str())
        .map_err(|error| fail("commit", format!("The commit cannot be read: {error}."), None))?;
    let manifest_path = Path::new(&request.folder).join(FILE_NAME).display().to_string();
    let manifest_bytes = repo.read_file(&facts.commit, &manifest_path).map_err(|error| {
        fail(
            "manifest-missing",
            format!("Commit {} has no {manifest_path}: {error}.", facts.commit.short()),
            Some("humdrum init"),
        )
    })?;
    let manifest = parse(&manifest_path, &manifest_bytes)?;
    let plan = humdrum_build::plan::BuildPlan::from_manifest(&manifest);
    let secrets = BTreeMap::new();
    let source = format!("file://{}", request.repository);
    let ask = BuildRequest {
        repo: &repo,
        facts: &facts,
        source: &source,
        plan: &plan,
        secrets: &secrets,
        out,
        sink: log,
    };
    let built = builder.build(&ask).map_err(|error| build_failure(&error))?;
    let mut locks = Vec::new();
    for path in
        repo.files(&facts.commit).map_err(|error| fail("repository", error.to_string(), None))?
    {
        if humdrum_evidence::ecosystem::is_wanted(&path) {
            let bytes = repo
                .read_file(&facts.commit, &path)
                .map_err(|error| fail("repository", error.to_string(), None))?;
            locks.push((path, bytes));
        }
    }
    Ok(Made { built, facts, manifest, manifest_path, manifest_bytes, locks })
}

fn parse(path: &str, bytes: &[u8]) -> Result<Manifest, Box<BuildFailure>> {
    let text = String::from_utf8_lossy(bytes);
    Manifest::parse(&text).map_err(|problems| {
        let mut sentences: Vec<String> = problems
            .iter()
            .take(2)
            .map(|problem| {
                format!("{path}:{}:{}: {}.", problem.line, problem.column, problem.message)
            })
            .collect();
        if problems.len() > 2 {
            sentences.push(format!("There are {} problems in all.", problems.len()));
        }
        Box::new(BuildFailure {
            code: "manifest".into(),
            report: Report::new(sentences).next("humdrum plan"),
        })
    })
}

fn build_failure(error: &BuildError) -> Box<BuildFailure> {
    let (code, lines) = match error {
        BuildError::Command { last_lines, .. } => ("build-failed", last_lines.clone()),
        BuildError::Tests { last_lines, .. } => ("tests-failed", last_lines.clone()),
        BuildError::Pack(_) => ("output-missing", vec![]),
        BuildError::Host(_) => ("host-incomplete", vec![]),
        BuildError::Base(_) | BuildError::BaseAndRuntime => ("base-image", vec![]),
        BuildError::Checkout(_) => ("commit", vec![]),
        _ => ("build-failed", vec![]),
    };
    let mut sentences = vec![format!("No image was made: {error}.")];
    let quoted: Vec<_> = lines.iter().rev().take(QUOTED).rev().map(String::as_str).collect();
    if !quoted.is_empty() {
        sentences.push(format!("Its last words: {}", quoted.join(" | ")));
    }
    sentences.extend(error.hint().map(|hint| format!("Hint: {hint}.")));
    Box::new(BuildFailure { code: code.into(), report: Report::new(sentences) })
}

/// Runs a command in a checkout of the commit, with the network of this machine; dependencies are fetched first where the manifest says how.
fn run_command(
    builder: &Builder,
    request: &ShipRequest,
    run: &str,
    addr: SocketAddr,
    log: &LogFile,
) -> Result<(), String> {
    let repo = Repo::open(&request.repository).map_err(|error| error.to_string())?;
    let facts = repo.resolve(request.commit.as_str()).map_err(|error| error.to_string())?;
    let path = Path::new(&request.folder).join(FILE_NAME).display().to_string();
    let manifest = repo
        .read_file(&facts.commit, &path)
        .ok()
        .and_then(|bytes| Manifest::parse(&String::from_utf8_lossy(&bytes)).ok());
    let fetch = manifest.as_ref().and_then(|manifest| manifest.build.fetch.clone());
    std::fs::create_dir_all(&builder.scratch).map_err(|error| error.to_string())?;
    let scratch = tempfile::Builder::new()
        .prefix("verify-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o711)) // The command's user has to pass through.
        .tempdir_in(&builder.scratch)
        .map_err(|error| error.to_string())?;
    let plan = manifest.as_ref().map(humdrum_build::plan::BuildPlan::from_manifest);
    let sandbox = Sandbox {
        launcher: builder.launcher.clone(),
        rung: builder.rung,
        scratch: scratch.path().to_path_buf(),
        found: toolchain::find(),
        limits: plan.map(|plan| plan.limits).unwrap_or_default(),
        epoch_s: facts.time_s,
        visible_cpus: None,
    };
    sandbox.prepare().map_err(|error| error.to_string())?;
    repo.export(&facts, &sandbox.work()).map_err(|error| error.to_string())?;
    sandbox.hand_over().map_err(|error| error.to_string())?;
    let settings = HostSettings::collect(&sandbox.found);
    let masker = Masker::new([]).map_err(|error| error.to_string())?;
    let script = format!("export HUMDRUM_URL={}\n{run}", url(addr));
    for (phase, command) in
        fetch.map(|fetch| (Phase::Fetch, fetch)).into_iter().chain([(Phase::Test, script)])
    {
        let ran = sandbox
            .run(phase, &command, Some(&settings), log, &masker)
            .map_err(|error| error.to_string())?;
        if !ran.outcome.ending.is_success() {
            let words: Vec<_> =
                ran.last_lines.iter().rev().take(QUOTED).rev().map(String::as_str).collect();
            return Err(format!(
                "{phase} ended with {}; its last words: {}",
                ran.outcome.ending,
                words.join(" | ")
            ));
        }
    }
    Ok(())
}

/// The log of a ship: lines as they come, `phase text`.
struct LogFile(Mutex<std::fs::File>);

impl LogFile {
    fn path(folder: &Path, id: &str) -> PathBuf {
        let safe: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        folder.join(format!("{safe}.log"))
    }

    fn open(folder: &Path, id: &str) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let file =
            std::fs::OpenOptions::new().create(true).append(true).open(Self::path(folder, id))?;
        Ok(Self(Mutex::new(file)))
    }
}

impl LogSink for LogFile {
    fn line(&self, phase: Phase, text: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not fail a build that needs no more room.
        let _ = writeln!(file, "{phase} {text}");
    }
}

fn tail(path: &Path, lines: u32) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_READ_MAX)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines as usize);
    Ok(all[from..].iter().map(|line| format!("{line}\n")).collect())
}
