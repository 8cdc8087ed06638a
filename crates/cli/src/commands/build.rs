//! `humdrum build`: a commit becomes an image, here; nothing is published, signed or deployed.

pub(crate) mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use humdrum_build::builder::{BuildError, BuildRequest, Builder};
use humdrum_build::compare::Difference;
use humdrum_build::image::{Built, Materials};
use humdrum_build::junit::TestReport;
use humdrum_build::layout::write_layout;
use humdrum_build::log::{LogSink, Phase};
use humdrum_build::plan::BuildPlan;
use humdrum_build::repo::CommitFacts;
use humdrum_build::toolchain::Toolchain;
use humdrum_jail::Launcher;
use serde::Serialize;

use self::source::Source;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::{Places, unusable};
use crate::ui::{Tone, Ui};

/// Cases and lines that a failure names; all of them are in the log above it.
const QUOTED: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Commit, branch or tag; never the dirty tree.
    #[arg(value_name = "REF", default_value = "HEAD")]
    reference: String,
    /// Build twice, in other folders and at another time, and explain any difference.
    #[arg(long)]
    verify: bool,
    /// Write the image to this folder as an OCI layout, which docker, podman and skopeo can read.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    digest: String,
    commit: String,
    service: String,
    build_id: &'a str,
    sandbox: &'static str,
    limits_by: &'a str,
    layers: Vec<Layer<'a>>,
    tests: Option<&'a TestReport>,
    notes: &'a [String],
    materials: &'a Materials,
    started: String,
    finished: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// Only with `--verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reproducible: Option<bool>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    differences: &'a [Difference],
}

#[derive(Debug, Serialize)]
struct Layer<'a> {
    name: &'a str,
    digest: String,
    size: u64,
}

/// Lines of the build as they come, on standard error, so that the result can be piped.
struct Live(Ui);

impl LogSink for Live {
    fn line(&self, phase: Phase, text: &str) {
        let prefix = self.0.tone(Tone::Quiet, &format!("{phase:<7}", phase = phase.to_string()));
        self.0.remark(format!("{prefix} {text}"));
    }
}

/// A folder of this process that goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn make(places: &Places) -> Result<Self, Failure> {
        let path = places.builds().join(format!("cli-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| unusable(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Build {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let source = Source::open(Path::new("."))?;
        let facts = source.commit(&self.reference)?;
        let name = source.manifest_path();
        let parsed = source::parse(&name, &source.manifest_text(&facts)?, ui)?;
        if source.repo.is_dirty().unwrap_or(false) {
            ui.remark(format!(
                "The working tree has changes that are not in commit {}; they are not built.",
                facts.commit.short()
            ));
        }
        places.make()?;
        let scratch = Scratch::make(places)?;
        let builder = Builder::new(Launcher::default(), places.builds());
        let plan = BuildPlan::from_manifest(&parsed.manifest);
        let root = source
            .repo
            .path()
            .canonicalize()
            .map_err(|error| unusable(source.repo.path(), &error))?;
        let address = format!("file://{}", repository_root(&root, &source.below_root).display());
        let secrets = BTreeMap::new();
        let sink = Live(*ui);
        let request = BuildRequest {
            repo: &source.repo,
            facts: &facts,
            source: &address,
            plan: &plan,
            secrets: &secrets,
            out: &scratch.0,
            sink: &sink,
        };
        let done = Done {
            facts: &facts,
            service: parsed.manifest.service.as_str(),
            output: self.output.as_deref(),
            ui,
        };
        if self.verify {
            let both = builder.verify(&request).map_err(|error| failed(&error))?;
            return done.tell(&both.first, Some(&both.differences));
        }
        let built = builder.build(&request).map_err(|error| failed(&error))?;
        done.tell(&built, None)
    }
}

/// The folder that the images' labels name; builds from any subfolder must be equal.
fn repository_root(folder: &Path, below_root: &Path) -> PathBuf {
    let levels = below_root.components().count();
    folder.ancestors().nth(levels).unwrap_or(folder).to_owned()
}

/// What a finished build is told with.
struct Done<'a> {
    facts: &'a CommitFacts,
    service: &'a str,
    output: Option<&'a Path>,
    ui: &'a Ui,
}

impl Done<'_> {
    fn tell(&self, built: &Built, differences: Option<&[Difference]>) -> Outcome {
        if let Some(folder) = self.output {
            write_layout(built, folder, self.facts.commit.short())
                .map_err(|error| unusable(folder, &error))?;
        }
        self.show(built);
        if let Some(found) = differences {
            self.compare(found);
        }
        self.ui.document(&self.report(built, differences));
        let equal = differences.is_none_or(<[_]>::is_empty);
        Ok(if equal { Exit::Ok } else { Exit::Failed })
    }

    fn report<'a>(&self, built: &'a Built, differences: Option<&'a [Difference]>) -> Report<'a> {
        let layer = |layer: &'a humdrum_build::layer::LayerBlob| Layer {
            name: &layer.name,
            digest: layer.digest.to_string(),
            size: layer.size,
        };
        Report {
            digest: built.digest().to_string(),
            commit: built.commit.to_string(),
            service: self.service.to_owned(),
            build_id: &built.build_id,
            sandbox: built.rung.label(),
            limits_by: &built.limits_by,
            layers: built.layers.iter().map(layer).collect(),
            tests: built.tests.as_ref(),
            notes: &built.notes,
            materials: &built.materials,
            started: built.started.to_string(),
            finished: built.finished.to_string(),
            output: self.output.map(|folder| folder.display().to_string()),
            reproducible: differences.map(<[_]>::is_empty),
            differences: differences.unwrap_or_default(),
        }
    }

    fn show(&self, built: &Built) {
        let ui = self.ui;
        let seconds =
            (built.finished.as_millisecond() - built.started.as_millisecond()) as f64 / 1000.0;
        ui.line(format!("Image    {}", ui.tone(Tone::Strong, built.digest().as_str())));
        ui.line(format!("Commit   {} {}", built.commit.short(), self.facts.subject));
        for layer in &built.layers {
            ui.line(format!(
                "Layer    {:<10} {:>10}  {}",
                layer.name,
                size(layer.size),
                layer.digest
            ));
        }
        let limits = if built.limits_by.is_empty() {
            String::new()
        } else {
            format!(", limits by {}", built.limits_by)
        };
        ui.line(format!("Sandbox  {}{limits}, {seconds:.1} s", built.rung.label()));
        if let Some(tests) = &built.tests {
            ui.line(format!(
                "Tests    {} passed, {} skipped",
                tests.cases - tests.skipped - tests.failures,
                tests.skipped
            ));
        }
        for line in materials(&built.materials) {
            ui.line(format!("Made of  {line}"));
        }
        for note in &built.notes {
            ui.line(format!("Note     {note}"));
        }
        if let Some(folder) = self.output {
            ui.line(format!("Written  oci:{}:{}", folder.display(), self.facts.commit.short()));
        }
    }

    fn compare(&self, differences: &[Difference]) {
        let ui = self.ui;
        if differences.is_empty() {
            ui.line(format!(
                "Verified {}",
                ui.tone(Tone::Good, "two builds gave the same image, byte for byte")
            ));
            return;
        }
        ui.line(format!("Verified {}", ui.tone(Tone::Bad, "two builds gave two images")));
        for difference in differences {
            ui.line(format!("  {difference}"));
        }
        ui.line("Usual causes and cures are in docs/builds.md, section \"Verify\".");
    }
}

fn materials(materials: &Materials) -> Vec<String> {
    // Some programs leave their name out of what they say about their version.
    let named = |tool: &Toolchain| {
        let said = tool.version.to_ascii_lowercase().starts_with(&tool.name);
        if said { tool.version.clone() } else { format!("{} {}", tool.name, tool.version) }
    };
    let mut lines: Vec<String> = materials.toolchains.iter().map(named).collect();
    lines.extend(materials.base.iter().map(|(name, digest)| format!("base {name} ({digest})")));
    lines.extend(materials.lock_files.iter().map(|(name, digest)| format!("{name} {digest}")));
    if !materials.host_files.is_empty() {
        lines.push(format!("{} files of this host", materials.host_files.len()));
    }
    if !materials.fetch_environment.is_empty() {
        lines.push(format!("a fetch that was given {}", materials.fetch_environment.join(", ")));
    }
    lines
}

pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, size)| bytes >= *size);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, size)| format!("{:.1} {name}", bytes as f64 / *size as f64),
    )
}

fn failed(error: &BuildError) -> Failure {
    let failure = match error {
        BuildError::Command { phase, ending, last_lines } => {
            let failure = Failure::new(
                Exit::Failed,
                "build-failed",
                format!("the {phase} command failed: {ending}"),
            );
            quote(failure, last_lines)
        }
        BuildError::Tests { ending, report, last_lines } => {
            let failure =
                Failure::new(Exit::Failed, "tests-failed", format!("the tests failed: {ending}"));
            match report.as_ref().filter(|report| report.failures > 0) {
                Some(report) => name_cases(failure, report),
                None => quote(failure, last_lines),
            }
        }
        BuildError::Folder { path, source } => unusable(path, source),
        other => {
            let code = match other {
                BuildError::Pack(_) => "output-missing",
                BuildError::Host(_) => "host-incomplete",
                BuildError::Base(_) | BuildError::BaseAndRuntime => "base-image",
                BuildError::Checkout(_) => "commit",
                BuildError::Sandbox(_) => "sandbox",
                BuildError::Report(_) => "test-report",
                _ => "build-failed",
            };
            Failure::new(Exit::Failed, code, format!("no image was made: {other}"))
        }
    };
    let next = failure.next.clone();
    let usual = "mend what the last lines say, commit it, and build again";
    failure.next(error.hint().or(next).unwrap_or_else(|| usual.into()))
}

fn quote(failure: Failure, lines: &[String]) -> Failure {
    let lines = &lines[lines.len().saturating_sub(QUOTED)..];
    lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .fold(failure, |failure, line| failure.why(line.trim_end()))
}

fn name_cases(failure: Failure, report: &TestReport) -> Failure {
    let more = report.failures.saturating_sub(report.failed.len().min(QUOTED) as u64);
    let failure = report.failed.iter().take(QUOTED).fold(failure, |failure, case| {
        let message = case.message.lines().next().unwrap_or_default().trim();
        failure.why(if message.is_empty() {
            case.name.clone()
        } else {
            format!("{}: {message}", case.name)
        })
    });
    if more > 0 { failure.why(format!("and {more} more cases")) } else { failure }
}
