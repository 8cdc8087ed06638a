//! `humdrum gate check|test|policies`: what the gates would say, what they say to recorded facts, and which policies there are.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use humdrum_api::routes::gates::{GateAnswer, GateQuestion};
use humdrum_control::clock::now;
use humdrum_model::gate::{self, Facts, GateResult};
use humdrum_model::name::{Digest, EnvName};
use humdrum_policy::shipped::SHIPPED;
use humdrum_policy::worker::Evaluator;
use serde::Serialize;

use super::block_on;
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

/// Largest file of recorded facts, bytes: a scan of a large image has tens of thousands of findings.
const FACTS_BYTES_MAX: u64 = 128 << 20;

#[derive(Debug, Args)]
pub(crate) struct Gate {
    #[command(subcommand)]
    command: GateCommand,
}

#[derive(Debug, Subcommand)]
enum GateCommand {
    /// Ask every gate now, without deploying; exit code 3 when one refuses.
    Check(Check),
    /// Ask the gates about recorded facts, with the policies of this installation or of a folder.
    Test(Test),
    /// List, check or print policies.
    Policies(Policies),
}

#[derive(Debug, Args)]
struct Check {
    /// A commit, branch or tag, a ship, a release, a digest, or `last`.
    #[arg(value_name = "REF", default_value = "last")]
    reference: String,
    /// Where it would go.
    #[arg(long, value_name = "ENVIRONMENT")]
    env: EnvName,
    /// Write the facts to a file, for `humdrum gate test`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Test {
    /// Files that `humdrum gate check --record` wrote.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A policies folder instead of the installation's.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Policies {
    /// Print a shipped policy, to read or to copy into the policies folder and change.
    #[arg(long, value_name = "NAME")]
    print: Option<String>,
    /// A policies folder instead of the installation's.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
}

impl Gate {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        match self.command {
            GateCommand::Check(check) => check.run(places, ui),
            GateCommand::Test(test) => test.run(places, ui),
            GateCommand::Policies(policies) => policies.run(places, ui),
        }
    }
}

impl Check {
    fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let client = Client::of(places)?;
        let question = GateQuestion { reference: meant(&self.reference), environment: self.env };
        let answer: GateAnswer = block_on(client.post("/api/v1/gates/check", &question))?;
        if let Some(file) = &self.record {
            let text =
                serde_json::to_vec_pretty(&answer.facts).expect("plain data always serialises");
            std::fs::write(file, text).map_err(|error| unusable(file, &error))?;
        }
        ui.document(&answer);
        ui.line(format!(
            "Release {} (commit {}) for {}/{}:",
            answer.release,
            answer.commit.get(..8).unwrap_or(&answer.commit),
            answer.service,
            answer.environment
        ));
        show(&answer.results, *ui);
        Ok(verdict(&answer.results, *ui))
    }
}

/// A commit, where the reference names one in this folder's repository; else what was said.
fn meant(reference: &str) -> String {
    let repository = humdrum_build::repo::Repo::open(Path::new("."));
    let commit = repository.ok().and_then(|repository| repository.resolve(reference).ok());
    commit.map_or_else(|| reference.to_owned(), |facts| facts.commit.to_string())
}

#[derive(Serialize)]
struct Tested {
    file: PathBuf,
    refused: bool,
    results: Vec<GateResult>,
}

impl Test {
    fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let evaluator =
            Evaluator::of_this_program(self.policies.unwrap_or_else(|| places.policies()));
        let mut exit = Exit::Ok;
        let mut tested = vec![];
        for file in self.files {
            let facts = recorded(&file)?;
            // Recorded facts are judged at their own moment.
            let (at, environment) = (facts.at, facts.environment.clone());
            let results = gate::check(&evaluator.evaluate(&facts).apply(facts), &environment, at);
            ui.line(format!("{}:", ui.tone(Tone::Strong, &file.display().to_string())));
            show(&results, *ui);
            if verdict(&results, *ui) == Exit::Refused {
                exit = Exit::Refused;
            }
            let refused = results.iter().any(|result| !result.passed);
            tested.push(Tested { file, refused, results });
        }
        ui.document(&tested);
        Ok(exit)
    }
}

fn recorded(file: &Path) -> Result<Facts, Failure> {
    let length = std::fs::metadata(file).map_err(|error| unusable(file, &error))?.len();
    if length > FACTS_BYTES_MAX {
        let what = format!("{} is larger than {} MiB", file.display(), FACTS_BYTES_MAX >> 20);
        return Err(Failure::new(Exit::BadInput, "facts", what));
    }
    let text = std::fs::read(file).map_err(|error| unusable(file, &error))?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(Exit::BadInput, "facts", format!("{} holds no facts", file.display()))
            .why(error.to_string())
            .at(format!("{}:{}:{}", file.display(), error.line(), error.column()))
            .next("humdrum gate check REF --env ENVIRONMENT --record FILE")
    })
}

fn unusable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::BadInput, "facts", format!("{} cannot be used", file.display())).cause(error)
}

#[derive(Serialize)]
struct Listed {
    packages: Vec<String>,
    bundle: String,
    tests: usize,
    folder: PathBuf,
}

impl Policies {
    fn run(self, places: &Places, ui: &Ui) -> Outcome {
        if let Some(name) = self.print {
            return print(&name, *ui);
        }
        let folder = self.policies.unwrap_or_else(|| places.policies());
        // What the policies say does not matter here; that they can be loaded and evaluated does.
        let nowhere = EnvName::new("production").expect("is a name");
        let facts = Facts::unknown(now(), nowhere, Digest::of(b""));
        let answer = Evaluator::of_this_program(folder.clone()).evaluate(&facts);
        if let Some(failed) = answer.verdict.failed {
            return Err(Failure::new(Exit::BadInput, "policies", failed.why)
                .why(failed.code)
                .at(folder.display().to_string())
                .next(failed.fix));
        }
        let listed = Listed {
            packages: answer.verdict.packages,
            bundle: answer.verdict.bundle,
            tests: answer.tests,
            folder,
        };
        ui.document(&listed);
        for package in &listed.packages {
            let shipped = package.strip_prefix("humdrum.");
            let first = shipped
                .and_then(|name| SHIPPED.iter().find(|shipped| shipped.name == name))
                .and_then(|shipped| shipped.text.lines().next())
                .map_or("", |line| line.trim_start_matches("# "));
            ui.line(format!("{package:<26} {first}").trim_end());
        }
        ui.line(format!(
            "{} packages, {} tests passed, bundle {}; own policies: {}",
            listed.packages.len(),
            listed.tests,
            &listed.bundle[..12.min(listed.bundle.len())],
            listed.folder.display()
        ));
        Ok(Exit::Ok)
    }
}

fn print(name: &str, ui: Ui) -> Outcome {
    let short = name.strip_prefix("humdrum.").unwrap_or(name);
    let Some(shipped) = SHIPPED.iter().find(|shipped| shipped.name == short) else {
        let known: Vec<_> = SHIPPED.iter().map(|shipped| shipped.name).collect();
        let what = format!("no shipped policy is called `{name}`; there are: {}", known.join(", "));
        return Err(
            Failure::new(Exit::BadInput, "no-such-policy", what).next("humdrum gate policies")
        );
    };
    ui.document(&serde_json::json!({ "name": shipped.name, "text": shipped.text }));
    ui.raw(shipped.text);
    Ok(Exit::Ok)
}

/// Every gate, one line each; a denial with all that helps to mend it.
pub(crate) fn show(results: &[GateResult], ui: Ui) {
    for result in results {
        let mark = match (result.passed, &result.waived, result.reported) {
            (false, ..) => ui.tone(Tone::Bad, "refuses"),
            (true, Some(_), _) => ui.tone(Tone::Strong, "waived "),
            (true, None, true) => ui.tone(Tone::Strong, "reports"),
            (true, None, false) => ui.tone(Tone::Good, "passes "),
        };
        ui.line(format!("  {mark} {}: {}", result.gate, result.what));
        if let Some(waived) = &result.waived {
            let until = waived.until.strftime("%F %T UTC");
            ui.line(format!(
                "          waived by {} until {until} ({}): {}",
                waived.owner, waived.id, waived.reason
            ));
        }
        if !result.passed {
            details(result, ui);
        }
    }
}

/// The parts of a denial below its first line.
pub(crate) fn details(result: &GateResult, ui: Ui) {
    let since = result.since.map(|since| since.strftime("%F %T UTC").to_string());
    let parts = [
        ("rule", result.code.as_ref()),
        ("evidence", result.evidence.as_ref()),
        ("since", since.as_ref()),
        ("owner", result.owner.as_ref()),
        ("fix", result.fix.as_ref()),
        ("waive", result.waive.as_ref()),
    ];
    for (name, text) in parts {
        if let Some(text) = text {
            ui.line(format!("          {name:<9} {text}"));
        }
    }
}

fn verdict(results: &[GateResult], ui: Ui) -> Exit {
    let refusing = results.iter().filter(|result| !result.passed).count();
    if refusing == 0 {
        ui.line("It would be admitted now; it is asked again when it is promoted.");
        return Exit::Ok;
    }
    ui.line(format!("It would be refused: {refusing} of {} answers deny.", results.len()));
    Exit::Refused
}
