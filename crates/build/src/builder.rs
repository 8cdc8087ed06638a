//! The way from a commit to an image: check out, fetch, build, test, pack. Each step says what it does in the log.

mod error;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use humdrum_jail::{Launcher, Rung, best, probe};
use humdrum_model::name::{Commit, Digest};
use jiff::Timestamp;

use crate::base_image::{self, Base};
use crate::compare::{Difference, differences};
use crate::host::{self, Completion, HostFile};
use crate::image::{Built, Materials, build_id, config, manifest};
use crate::junit::{self, TestReport};
use crate::layer::{LayerBlob, write};
use crate::log::{LogSink, Phase};
use crate::mask::Masker;
use crate::plan::{BuildPlan, LAYER_DEFAULT, TestPlan};
use crate::repo::{CommitFacts, Repo, RepoError};
use crate::sandbox::settings::HostSettings;
use crate::sandbox::{Ran, Sandbox};
use crate::toolchain::{self, Toolchain};
use crate::tree::Tree;
pub use error::BuildError;

/// Lock files that are recorded when the commit has them at its root.
const LOCK_FILES: [&str; 9] = [
    "Cargo.lock",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "go.sum",
    "go.mod",
    "requirements.txt",
    "poetry.lock",
    "uv.lock",
    "yarn.lock",
];

/// Builds on this host.
#[derive(Debug, Clone)]
pub struct Builder {
    /// Starts jails.
    pub launcher: Launcher,
    /// How strong they are: the strongest that the host permits, or a weaker one that was asked for.
    pub rung: Rung,
    /// The folder for checkouts and caches of running builds.
    pub scratch: PathBuf,
    /// How many processors commands can see; all without it.
    pub visible_cpus: Option<u32>,
}

/// One build.
pub struct BuildRequest<'a> {
    /// The repository.
    pub repo: &'a Repo,
    /// The commit.
    pub facts: &'a CommitFacts,
    /// The repository's address in labels and provenance. It must be the same for builds that are to be equal.
    pub source: &'a str,
    /// What to do.
    pub plan: &'a BuildPlan,
    /// Names and values that must not show in the log.
    pub secrets: &'a BTreeMap<String, String>,
    /// The folder for the layers' files; made when missing, kept.
    pub out: &'a Path,
    /// Where the log goes.
    pub sink: &'a dyn LogSink,
}

/// Two builds of one commit and what distinguishes them.
pub struct Verification {
    /// The first.
    pub first: Built,
    /// The second.
    pub second: Built,
    /// Empty when the images are equal byte for byte.
    pub differences: Vec<Difference>,
}

impl Builder {
    /// A builder with the strongest sandbox that this host permits.
    pub fn new(launcher: Launcher, scratch: impl Into<PathBuf>) -> Builder {
        let rung = best(&probe(&launcher));
        Builder { launcher, rung, scratch: scratch.into(), visible_cpus: None }
    }

    /// Builds one commit. Blocks until it is done.
    ///
    /// # Errors
    /// When a step fails; the log has all it said, the error its last lines.
    pub fn build(&self, request: &BuildRequest<'_>) -> Result<Built, BuildError> {
        let started = now();
        if request.plan.base.is_some() && !request.plan.runtime.is_empty() {
            return Err(BuildError::BaseAndRuntime);
        }
        usable(&self.scratch)?;
        usable(request.out)?;
        let scratch = tempfile::Builder::new()
            .prefix("build-")
            .permissions(PermissionsExt::from_mode(0o711)) // The build's user has to pass through.
            .tempdir_in(&self.scratch)
            .map_err(folder(&self.scratch))?;
        let sandbox = Sandbox {
            launcher: self.launcher.clone(),
            rung: self.rung,
            scratch: scratch.path().to_path_buf(),
            found: toolchain::find(),
            limits: request.plan.limits.clone(),
            epoch_s: request.facts.time_s,
            visible_cpus: self.visible_cpus,
        };
        let settings = HostSettings::collect(&sandbox.found);
        let masker = masker(request.secrets, &settings)?;
        let mut work =
            Work { request, sandbox, settings, masker, notes: vec![], limits_by: String::new() };
        let toolchains = work.check_out()?;
        let tests = work.run_commands()?;
        let base = work.base()?;
        work.pack(toolchains, tests, base, started)
    }

    /// Builds a commit twice, in other folders, later, and with fewer processors to be seen, and compares.
    ///
    /// # Errors
    /// When one of the builds fails.
    pub fn verify(&self, request: &BuildRequest<'_>) -> Result<Verification, BuildError> {
        let (one, two) = (request.out.join("first"), request.out.join("second-build"));
        let first = self.build(&BuildRequest { out: &one, ..*request })?;
        wait_for_next_second();
        let other = Builder {
            scratch: self.scratch.join("another-folder"),
            visible_cpus: Some(1),
            ..self.clone()
        };
        let second = other.build(&BuildRequest { out: &two, ..*request })?;
        let differences = differences(&first, &second).map_err(folder(request.out))?;
        Ok(Verification { first, second, differences })
    }
}

struct Work<'a> {
    request: &'a BuildRequest<'a>,
    sandbox: Sandbox,
    settings: HostSettings,
    masker: Masker,
    notes: Vec<String>,
    limits_by: String,
}

impl Work<'_> {
    fn say(&self, phase: Phase, text: &str) {
        self.request.sink.line(phase, text);
    }

    fn check_out(&mut self) -> Result<Vec<Toolchain>, BuildError> {
        let facts = self.request.facts;
        self.say(Phase::Prepare, &format!("commit {} {}", facts.commit.short(), facts.subject));
        self.sandbox.prepare().map_err(folder(&self.sandbox.scratch))?;
        self.request.repo.export(facts, &self.sandbox.work()).map_err(BuildError::Checkout)?;
        self.sandbox.hand_over().map_err(folder(&self.sandbox.scratch))?;
        if self.sandbox.rung != Rung::Namespaces {
            let label = self.sandbox.rung.label();
            self.notes.push(format!("the sandbox is weaker than namespaces: {label}"));
        }
        let plan = self.request.plan;
        if plan.fetch.is_none() && plan.run.is_none() && plan.test.is_none() {
            return Ok(vec![]); // Nothing runs, so no toolchain can matter.
        }
        let output = self.sandbox.ask(&toolchain::version_script()).map_err(BuildError::Sandbox)?;
        let toolchains = toolchain::read_versions(&output, &self.sandbox.found);
        for tool in &toolchains {
            self.say(Phase::Prepare, &format!("{}: {}", tool.name, tool.version));
        }
        Ok(toolchains)
    }

    fn run_commands(&mut self) -> Result<Option<TestReport>, BuildError> {
        let plan = self.request.plan;
        if let Some(command) = &plan.fetch {
            let ran = self.run(Phase::Fetch, command, true)?;
            self.settings.remove_places(&self.sandbox.scratch.join("home"));
            succeeded(Phase::Fetch, ran)?;
        }
        if let Some(command) = &plan.run {
            let ran = self.run(Phase::Build, command, false)?;
            succeeded(Phase::Build, ran)?;
        }
        plan.test.as_ref().map_or(Ok(None), |test| self.test(test))
    }

    fn run(&mut self, phase: Phase, command: &str, network: bool) -> Result<Ran, BuildError> {
        let settings = network.then_some(&self.settings);
        let (sandbox, sink) = (&self.sandbox, self.request.sink);
        let ran = sandbox
            .run(phase, command, settings, sink, &self.masker)
            .map_err(BuildError::Sandbox)?;
        self.limits_by.clone_from(&ran.notes.limits_by);
        for note in &ran.notes.not_enforced {
            if !self.notes.contains(note) {
                self.notes.push(note.clone());
            }
        }
        Ok(ran)
    }

    fn test(&mut self, test: &TestPlan) -> Result<Option<TestReport>, BuildError> {
        let ran = self.run(Phase::Test, &test.run, false)?;
        let report = test.junit.as_ref().map(|file| junit::read(&self.sandbox.work(), file));
        let failed_cases = matches!(&report, Some(Ok(report)) if report.failures > 0);
        if !ran.outcome.ending.is_success() || failed_cases {
            let report = report.and_then(Result::ok);
            let ending = ran.outcome.ending.to_string();
            return Err(BuildError::Tests { ending, report, last_lines: ran.last_lines });
        }
        let report = report.transpose().map_err(BuildError::Report)?;
        if let Some(report) = &report {
            let text = format!(
                "{} cases passed, {} skipped",
                report.cases - report.skipped,
                report.skipped
            );
            self.say(Phase::Test, &text);
        }
        Ok(report)
    }

    fn base(&self) -> Result<Option<Base>, BuildError> {
        let Some(name) = &self.request.plan.base else { return Ok(None) };
        self.say(Phase::Pack, &format!("base {name}"));
        base_image::fetch(name, &self.sandbox.work(), self.request.out)
            .map(Some)
            .map_err(BuildError::Base)
    }

    fn pack(
        &mut self,
        toolchains: Vec<Toolchain>,
        tests: Option<TestReport>,
        base: Option<Base>,
        started: Timestamp,
    ) -> Result<Built, BuildError> {
        let (request, plan) = (self.request, self.request.plan);
        let groups = self.groups()?;
        let completion = self.complete(&groups, base.is_none())?;
        self.notes.extend(completion.notes.iter().cloned());
        let mut layers = base.as_ref().map(|base| base.layers.clone()).unwrap_or_default();
        if !completion.tree.is_empty() {
            layers.push(self.write(host::LAYER_NAME, &completion.tree)?);
        }
        for (name, tree) in &groups {
            layers.push(self.write(name, tree)?);
        }
        let base_digest = base.as_ref().map(|base| base.digest.clone());
        let plan_digest = plan.digest();
        let rung = self.sandbox.rung;
        let id =
            build_id(&request.facts.commit, &plan_digest, &toolchains, base_digest.as_ref(), rung);
        let config = config(
            plan,
            request.facts,
            request.source,
            base.as_ref(),
            &layers,
            &completion.path_folders,
        );
        let manifest = manifest(&config, &layers, request.facts);
        self.say(Phase::Pack, &format!("image {}", manifest.digest));
        let fetched = plan.fetch.is_some();
        let materials = Materials {
            toolchains,
            fetch_environment: if fetched { self.settings.names() } else { vec![] },
            fetch_files: if fetched { self.settings.file_names() } else { vec![] },
            base: base.map(|base| (base.reference, base.digest)),
            host_files: host_files(&completion)?,
            lock_files: self.lock_files(&request.facts.commit)?,
            plan: Some(plan_digest),
        };
        let (notes, limits_by) = (std::mem::take(&mut self.notes), self.limits_by.clone());
        let commit = request.facts.commit.clone();
        let finished = now();
        Ok(Built {
            build_id: id,
            commit,
            manifest,
            config,
            layers,
            started,
            finished,
            rung,
            limits_by,
            materials,
            tests,
            notes,
        })
    }

    /// The files of the service by layer: alphabetically, but the default one last, since it changes most often.
    fn groups(&self) -> Result<Vec<(String, Tree)>, BuildError> {
        let mut groups: BTreeMap<(bool, String), Tree> = BTreeMap::new();
        for file in &self.request.plan.files {
            let tree = groups.entry((file.layer == LAYER_DEFAULT, file.layer.clone())).or_default();
            tree.add_output(&self.sandbox.work(), &file.source, &file.target)
                .map_err(BuildError::Pack)?;
        }
        Ok(groups.into_iter().map(|((_, name), tree)| (name, tree)).collect())
    }

    fn complete(&self, groups: &[(String, Tree)], alone: bool) -> Result<Completion, BuildError> {
        if !alone {
            return Ok(Completion::default());
        }
        let mut app = Tree::default();
        for (path, node) in groups.iter().flat_map(|(_, tree)| tree.iter()) {
            app.add(path, node.clone()).map_err(BuildError::Pack)?;
        }
        host::complete(&app, &self.request.plan.runtime, &self.request.plan.command)
            .map_err(BuildError::Host)
    }

    fn write(&self, name: &str, tree: &Tree) -> Result<LayerBlob, BuildError> {
        let out = self.request.out;
        let time = self.request.facts.time_s.max(0).unsigned_abs();
        let layer =
            write(name, tree, time, &out.join(format!("{name}.layer"))).map_err(folder(out))?;
        let text = format!("layer {name}: {} files, {} bytes", tree.iter().count(), layer.size);
        self.say(Phase::Pack, &text);
        Ok(layer)
    }

    fn lock_files(&self, commit: &Commit) -> Result<Vec<(String, Digest)>, BuildError> {
        let mut found = Vec::new();
        for name in LOCK_FILES {
            match self.request.repo.read_file(commit, name) {
                Ok(bytes) => found.push((name.to_owned(), Digest::of(&bytes))),
                Err(RepoError::NoFile { .. }) => {}
                Err(error) => return Err(BuildError::Checkout(error)),
            }
        }
        Ok(found)
    }
}

fn succeeded(phase: Phase, ran: Ran) -> Result<(), BuildError> {
    if ran.outcome.ending.is_success() {
        return Ok(());
    }
    let ending = ran.outcome.ending.to_string();
    Err(BuildError::Command { phase, ending, last_lines: ran.last_lines })
}

fn host_files(completion: &Completion) -> Result<Vec<HostFile>, BuildError> {
    let owners = host::owners(&completion.files);
    let mut files = Vec::new();
    for path in &completion.files {
        let (digest, _) = crate::layer::digest_file(path).map_err(folder(path))?;
        let package = owners.get(path).cloned();
        files.push(HostFile { path: path.display().to_string(), digest, package });
    }
    Ok(files)
}

/// Client settings can hold logins; what looks like one is masked as well as it can be.
fn masker(
    secrets: &BTreeMap<String, String>,
    settings: &HostSettings,
) -> Result<Masker, BuildError> {
    let secret_name = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["token", "password", "auth", "secret", "key"].iter().any(|sign| name.contains(sign))
    };
    let logins = settings.env.iter().filter_map(|(name, value)| {
        let login = value.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
        let password = login.and_then(|(login, _)| login.split_once(':')).map(|(_, word)| word);
        let value = if secret_name(name) { Some(value.as_str()) } else { password };
        Some((name.as_str(), value.filter(|value| value.len() >= crate::mask::SECRET_BYTES_MIN)?))
    });
    let named = secrets.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(Masker::new(named.chain(logins))?)
}

fn usable(path: &Path) -> Result<(), BuildError> {
    std::fs::create_dir_all(path).map_err(folder(path))
}

fn folder(path: &Path) -> impl Fn(std::io::Error) -> BuildError {
    move |source| BuildError::Folder { path: path.to_path_buf(), source }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp::new(seconds, since.subsec_nanos().cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Most leaks of time have a second's resolution, so the second build must not fall into the first one's.
fn wait_for_next_second() {
    std::thread::sleep(std::time::Duration::from_millis(1_100));
}
