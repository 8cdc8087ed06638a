//! `humdrum plan`: what shipping this folder would do, from the manifest of the working tree. It changes nothing.

pub(crate) mod forecast;

use std::path::{Path, PathBuf};

use clap::Args;
use humdrum_control::view::StatusView;
use humdrum_model::gate;
use humdrum_model::hold::{Hold, HoldSubject};
use humdrum_model::manifest::{
    EnvironmentPlan, FILE_NAME, Manifest, OnRegression, Parsed, Problem, Smoke, Strategy,
};
use humdrum_model::report::counted;
use serde::Serialize;

use self::forecast::{ASSUMED_ERROR_PERCENT, ASSUMED_RPS, Assumed, Ladder};
use super::block_on;
use super::build::source::{self, Source, manifest_path, real_folder};
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::{Places, unusable};
use crate::ui::{Tone, Ui};

/// Largest manifest that is read, bytes; the parser's own limit is lower.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Folder of the service.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Requests per second that the times assume.
    #[arg(long, value_name = "N", default_value_t = ASSUMED_RPS, value_parser = rate)]
    rps: f64,
    /// Errors of the present release that the times assume, percent of the requests.
    #[arg(long, value_name = "PERCENT", default_value_t = ASSUMED_ERROR_PERCENT, value_parser = percent)]
    error_rate: f64,
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1e9).ok_or_else(|| "it must be a number from 0 to 1000000000".into())
}

fn percent(text: &str) -> Result<f64, String> {
    number(text.trim_end_matches('%'), 0.0, 100.0)
        .ok_or_else(|| "it must be a percentage from 0 to 100".into())
}

fn number(text: &str, low: f64, high: f64) -> Option<f64> {
    text.parse().ok().filter(|value| (low..=high).contains(value))
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    service: String,
    owner: String,
    /// `committed`, `changed`, `uncommitted`, or `no-repository`.
    state: &'static str,
    commit: Option<String>,
    warnings: Vec<Problem>,
    phases: Vec<Phase>,
    environments: Vec<Environment>,
    gates: Vec<&'static str>,
    approvals: Vec<String>,
    /// Names of secrets; manifests cannot refer to any yet.
    secrets: Vec<String>,
    holds: Holds,
    assumed: Assumed,
}

#[derive(Debug, Serialize)]
struct Phase {
    phase: &'static str,
    does: String,
    network: bool,
}

#[derive(Debug, Serialize)]
struct Environment {
    name: String,
    after: Option<String>,
    /// Absent: allocated once and kept.
    port: Option<u16>,
    host: Option<String>,
    instances: u32,
    approve: bool,
    soak_s: f64,
    smoke: usize,
    verify: Option<String>,
    on_regression: &'static str,
    /// `canary` or `all_at_once`.
    strategy: &'static str,
    ladder: Option<Ladder>,
}

/// What is held now and would be refused.
#[derive(Debug, Serialize)]
struct Holds {
    /// `false`: control does not run, so nobody could be asked.
    asked: bool,
    held: Vec<Hold>,
}

impl Plan {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        real_folder(&self.folder)?;
        let text = read(&self.folder)?;
        let parsed = source::parse(FILE_NAME, &text, ui)?;
        let (state, commit) = compare(&self.folder, &text);
        let assumed = Assumed { rps: self.rps, error_rate: self.error_rate / 100.0 };
        let report =
            self.report(&parsed, state, commit, ask_holds(places, &parsed.manifest), assumed);
        if !ui.json {
            parsed.warnings.iter().for_each(|warning| ui.remark(warning.render(FILE_NAME, &text)));
            show(&report, ui);
        }
        ui.document(&report);
        Ok(Exit::Ok)
    }

    fn report(
        &self,
        parsed: &Parsed,
        state: &'static str,
        commit: Option<String>,
        holds: Holds,
        assumed: Assumed,
    ) -> Report {
        let manifest = &parsed.manifest;
        let plans = manifest.plans();
        Report {
            service: manifest.service.to_string(),
            owner: manifest.owner.clone(),
            state,
            commit,
            warnings: parsed.warnings.clone(),
            phases: phases(manifest),
            approvals: plans
                .iter()
                .filter(|plan| plan.approve)
                .map(|plan| plan.name.to_string())
                .collect(),
            environments: plans.iter().map(|plan| environment(plan, &assumed)).collect(),
            gates: gate::all().into_iter().map(|(name, _)| name).collect(),
            secrets: vec![],
            holds,
            assumed,
        }
    }
}

fn read(folder: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let path = manifest_path(folder);
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path)
        .and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let place = if folder == Path::new(".") {
                String::new()
            } else {
                format!(" {}", folder.display())
            };
            let what = format!("there is no `{}`", path.display());
            Err(Failure::new(Exit::BadInput, "manifest-missing", what)
                .next(format!("humdrum init{place}")))
        }
        Err(error) => Err(unusable(&path, &error)),
    }
}

/// How the manifest that was read stands to the last commit, since that is what would be shipped.
fn compare(folder: &Path, text: &str) -> (&'static str, Option<String>) {
    let Ok(source) = Source::open(folder) else { return ("no-repository", None) };
    let Ok(facts) = source.commit("HEAD") else { return ("uncommitted", None) };
    let commit = Some(facts.commit.to_string());
    match source.manifest_text(&facts) {
        Err(_) => ("uncommitted", commit),
        Ok(committed) if committed != text || source.repo.is_dirty().unwrap_or(false) => {
            ("changed", commit)
        }
        Ok(_) => ("committed", commit),
    }
}

fn phases(manifest: &Manifest) -> Vec<Phase> {
    let build = &manifest.build;
    let phase = |phase, does: String, network| Phase { phase, does, network };
    let mut phases = vec![];
    phases.extend(build.fetch.as_ref().map(|run| phase("fetch", run.clone(), true)));
    phases.extend(build.run.as_ref().map(|run| phase("build", run.clone(), false)));
    phases.extend(manifest.test.as_ref().map(|test| phase("test", test.run.clone(), false)));
    let base = match (&build.base, build.runtime.is_empty()) {
        (Some(base), _) => format!(", over {base}"),
        (None, true) => ", with the libraries they need from this host".into(),
        (None, false) => format!(", with {} and its libraries from this host", runtimes(manifest)),
    };
    phases.push(phase(
        "pack",
        format!("{}{base}", counted(build.files.len() as u64, "path")),
        false,
    ));
    phases.push(phase("evidence", "SBOM, provenance and signature beside the image".into(), false));
    phases
}

fn runtimes(manifest: &Manifest) -> String {
    let words =
        manifest.build.runtime.iter().map(|runtime| format!("{runtime:?}").to_ascii_lowercase());
    words.collect::<Vec<_>>().join(" and ")
}

fn environment(plan: &EnvironmentPlan, assumed: &Assumed) -> Environment {
    let ladder = match &plan.strategy {
        Strategy::Canary(canary) => Some(Ladder::new(plan, canary, assumed)),
        Strategy::AllAtOnce => None,
    };
    Environment {
        name: plan.name.to_string(),
        after: plan.after.as_ref().map(ToString::to_string),
        port: plan.port,
        host: plan.host.clone(),
        instances: plan.instances,
        approve: plan.approve,
        soak_s: plan.soak.ms() as f64 / 1000.0,
        smoke: plan.smoke.iter().map(requests).sum(),
        verify: plan.verify.as_ref().map(|verify| verify.run.clone()),
        on_regression: on_regression(plan),
        strategy: if ladder.is_some() { "canary" } else { "all_at_once" },
        ladder,
    }
}

pub(crate) fn on_regression(plan: &EnvironmentPlan) -> &'static str {
    match plan.on_regression {
        OnRegression::Rollback => "rollback",
        OnRegression::Hold => "hold",
    }
}

fn requests(smoke: &Smoke) -> usize {
    match smoke {
        Smoke::Steps(steps) => steps.len(),
        _ => 1,
    }
}

/// The holds that would keep this service out of one of its environments. A held digest or release cannot be told before the build.
fn ask_holds(places: &Places, manifest: &Manifest) -> Holds {
    let status: Option<StatusView> =
        Client::of(places).ok().and_then(|client| block_on(client.get("/api/v1/status")).ok());
    let Some(status) = status else { return Holds { asked: false, held: vec![] } };
    let names: Vec<_> = manifest.environments.keys().collect();
    let covers = |hold: &Hold| match &hold.subject {
        HoldSubject::Service(name) => *name == manifest.service,
        HoldSubject::Environment(name) => names.contains(&name),
        HoldSubject::Release(id) => {
            let own = status
                .placements
                .iter()
                .filter(|placement| placement.service == manifest.service.as_str());
            own.flat_map(|placement| &placement.history).any(|ended| ended.release.release == id.0)
        }
        HoldSubject::Digest(_) => true,
    };
    Holds { asked: true, held: status.holds.iter().filter(|hold| covers(hold)).cloned().collect() }
}

fn show(report: &Report, ui: &Ui) {
    let short = |commit: &String| commit.chars().take(7).collect::<String>();
    let commit = report.commit.as_ref().map(short).unwrap_or_default();
    let state = match report.state {
        "committed" => format!("as in commit {commit}"),
        "changed" => format!(
            "the working tree, which differs from commit {commit}; `humdrum ship` takes commits"
        ),
        "uncommitted" => "not committed yet; `humdrum ship` takes commits".into(),
        _ => "not in a git repository; `humdrum ship` takes commits".into(),
    };
    ui.line(format!("{} of {}: {state}", ui.tone(Tone::Strong, &report.service), report.owner));
    ui.line("");
    for phase in &report.phases {
        let network = if phase.network { "  (with network)" } else { "" };
        ui.line(format!(
            "  {:<9} {}{network}",
            phase.phase,
            phase.does.lines().next().unwrap_or_default()
        ));
    }
    for (number, environment) in report.environments.iter().enumerate() {
        ui.line("");
        show_environment(number + 1, environment, ui);
    }
    ui.line("");
    ui.line(format!(
        "Gates    {}: each must hold at the moment of every deployment",
        report.gates.join(", ")
    ));
    let approvals = if report.approvals.is_empty() {
        "none".into()
    } else {
        format!("a person, before {}", report.approvals.join(", "))
    };
    ui.line(format!("Approval {approvals}"));
    ui.line("Secrets  none");
    show_holds(&report.holds, ui);
    if report.environments.iter().any(|environment| environment.ladder.is_some()) {
        ui.line(format!("Assumed  {}", report.assumed.words()));
    }
}

fn show_environment(number: usize, environment: &Environment, ui: &Ui) {
    let port = environment.port.map_or_else(
        || "a port that is allocated once and kept".into(),
        |port| format!("port {port}"),
    );
    let host = environment.host.as_ref().map(|host| format!(" for {host}")).unwrap_or_default();
    let after =
        environment.after.as_ref().map(|after| format!(", after {after}")).unwrap_or_default();
    let copies = counted(u64::from(environment.instances), "instance");
    ui.line(format!(
        "{number}. {}  {port}{host}, {copies}{after}",
        ui.tone(Tone::Strong, &environment.name)
    ));
    if environment.approve {
        ui.line("   waits for a person: `humdrum approve`");
    }
    if environment.smoke > 0 {
        ui.line(format!(
            "   smoke: {}, before any weight and again at 100 %",
            counted(environment.smoke as u64, "check")
        ));
    }
    match &environment.ladder {
        None => ui.line("   all at once, after health and smoke checks"),
        Some(ladder) => ladder.show(environment.on_regression, ui),
    }
    if let Some(run) = &environment.verify {
        ui.line(format!("   then `{}` against it", run.lines().next().unwrap_or_default()));
    }
    if environment.soak_s > 0.0 {
        ui.line(format!(
            "   then {} of health before the next environment",
            forecast::span(environment.soak_s)
        ));
    }
}

fn show_holds(holds: &Holds, ui: &Ui) {
    if !holds.asked {
        ui.line("Held     not known: no Humdrum runs here (`humdrum up`)");
        return;
    }
    if holds.held.is_empty() {
        ui.line("Held     nothing that concerns this service");
    }
    for hold in &holds.held {
        ui.line(format!(
            "Held     {} by {}: {}  (`humdrum unhold {}`)",
            hold.subject,
            hold.by,
            hold.why,
            hold.subject.word()
        ));
    }
}
