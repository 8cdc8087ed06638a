//! `humdrum advisories match`: findings of one SBOM, for people and as JSON.

use std::path::{Path, PathBuf};

use clap::Args;
use humdrum_control::clock::now;
use humdrum_evidence::advisory::inventory::{SBOM_BYTES_MAX, of_cyclonedx};
use humdrum_evidence::advisory::matching::{Answer, Data, Database, NotAssessed, Question, find};
use humdrum_evidence::advisory::vex::{
    self, Applied, Artifact, Author, Document, Said, Settled, Stated,
};
use humdrum_model::finding::{Finding, ScanReport, Severity};
use humdrum_model::name::Digest;
use jiff::SignedDuration;
use serde::Serialize;

use crate::exit::{Exit, Failure, Outcome};
use crate::places::{Places, unusable};
use crate::roles::secrets;
use crate::ui::{Tone, Ui};

/// Findings are evidence of this program.
const SCANNER: &str = concat!("humdrum ", env!("CARGO_PKG_VERSION"));
/// Packages that could not be assessed are listed for people up to this many.
const LISTED_MAX: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Match {
    /// A CycloneDX SBOM (JSON, 1.2 or newer).
    #[arg(value_name = "FILE")]
    sbom: PathBuf,
    /// Advisories that are older make the answer a failed one.
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = super::age)]
    max_age: SignedDuration,
    /// OpenVEX documents; what they settle is shown with its reason. Can be given several times.
    #[arg(long, value_name = "FILE")]
    vex: Vec<PathBuf>,
    /// What the SBOM describes, as OpenVEX products may name it: a package URL or a digest. Can be given several times.
    #[arg(long, value_name = "NAME")]
    product: Vec<String>,
    /// Write what is known as an OpenVEX document.
    #[arg(long, value_name = "FILE")]
    vex_out: Option<PathBuf>,
}

/// The answer with what OpenVEX documents said.
#[derive(Debug, Serialize)]
struct Output<'a> {
    report: &'a ScanReport,
    settled: &'a [Settled],
    stated: &'a [Stated],
    assessed: usize,
    not_assessed: &'a [NotAssessed],
    data: &'a [Data],
}

impl Match {
    pub(super) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let bytes = read(&self.sbom)?;
        let packages = of_cyclonedx(&bytes).map_err(|error| {
            Failure::new(
                Exit::BadInput,
                "sbom",
                format!("`{}` cannot be matched", self.sbom.display()),
            )
            .cause(&error)
            .next("give a CycloneDX SBOM as JSON")
        })?;
        drop(bytes);
        let at = now();
        let mut database = if places.advisories().exists() {
            let trust = secrets::trust(places)?;
            super::folder(places).open(&trust, at).map_err(|error| super::failure(&error))?
        } else {
            Database::new()
        };
        let question =
            Question { packages: &packages, at, max_age: self.max_age, scanner: SCANNER };
        let mut answer = find(&question, &mut database).map_err(|error| {
            Failure::new(
                Exit::Failed,
                "advisories",
                "the advisories of this installation cannot be used",
            )
            .cause(&error)
            .next("import the exports again: humdrum advisories import PATH --replace")
        })?;
        let documents =
            self.vex.iter().map(|path| document(path)).collect::<Result<Vec<_>, _>>()?;
        let artifact = self.artifact();
        let applied = vex::apply(answer.report.clone(), &artifact, &documents, at);
        answer.report.clone_from(&applied.report);
        if let Some(path) = &self.vex_out {
            let author = Author { name: super::super::me(), at, tooling: SCANNER.into() };
            let written =
                vex::produce(&applied, artifact.purls.first().map(String::as_str), &author);
            std::fs::write(path, written.to_json()).map_err(|error| unusable(path, &error))?;
        }
        show(&answer, &applied, ui);
        ui.document(&Output {
            report: &applied.report,
            settled: &applied.settled,
            stated: &applied.stated,
            assessed: answer.assessed,
            not_assessed: &answer.not_assessed,
            data: &answer.data,
        });
        Ok(match (&answer.report.failed, answer.report.findings.is_empty()) {
            (_, false) => Exit::Refused,
            (Some(_), true) => Exit::Inconclusive,
            (None, true) => Exit::Ok,
        })
    }

    fn artifact(&self) -> Artifact {
        let (digests, purls) =
            self.product.iter().cloned().partition(|name| Digest::new(name.clone()).is_ok());
        Artifact { purls, digests }
    }
}

fn document(path: &Path) -> Result<Document, Failure> {
    let bytes = read(path)?;
    vex::read(&bytes).map_err(|error| {
        Failure::new(Exit::BadInput, "vex", format!("`{}` cannot be applied", path.display()))
            .cause(&error)
            .next("mend the document; none of its statements was applied")
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = vec![];
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(SBOM_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        Failure::new(Exit::BadInput, "sbom", format!("`{}` cannot be read", path.display()))
            .cause(&error)
            .next("humdrum advisories match FILE [--vex FILE]")
    })?;
    Ok(bytes)
}

fn show(answer: &Answer, applied: &Applied, ui: &Ui) {
    for finding in &answer.report.findings {
        show_finding(finding, ui);
        let stated = applied.stated.iter().filter(|one| one.fingerprint == finding.fingerprint);
        stated.for_each(|one| ui.line(format!("  {}", said(&one.said))));
    }
    for one in &applied.settled {
        let package = one.finding.package.as_deref().unwrap_or_default();
        ui.line(format!("{}  {}  {package}", ui.tone(Tone::Good, "settled"), one.finding.rule));
        ui.line(format!("  {}", said(&one.said)));
    }
    for one in answer.not_assessed.iter().take(LISTED_MAX) {
        ui.line(ui.tone(Tone::Quiet, &format!("not assessed: {}: {}", one.package, one.why)));
    }
    if answer.not_assessed.len() > LISTED_MAX {
        let more = answer.not_assessed.len() - LISTED_MAX;
        ui.line(ui.tone(Tone::Quiet, &format!("not assessed: {more} more; --json lists all")));
    }
    for one in &answer.data {
        let unreadable = match one.unreadable {
            0 => String::new(),
            count => format!("; {count} records could not be read at the import"),
        };
        let hours = answer.report.at.duration_since(one.as_of).as_secs_f64() / 3600.0;
        ui.line(format!("{} as of {}, {hours:.1} h old{unreadable}", one.ecosystem, one.as_of));
    }
    let (count, assessed) = (answer.report.findings.len(), answer.assessed);
    let settled = match applied.settled.len() {
        0 => String::new(),
        count => format!(" {count} settled by OpenVEX."),
    };
    let not_assessed = answer.not_assessed.len();
    ui.line(format!(
        "{count} findings in {assessed} packages; {not_assessed} not assessed.{settled}"
    ));
    if let Some(why) = &answer.report.failed {
        ui.line(ui.tone(Tone::Bad, &format!("This is no evidence of being clean: {why}.")));
    }
}

fn show_finding(finding: &Finding, ui: &Ui) {
    let tone = match finding.severity {
        Severity::Critical | Severity::High | Severity::Unknown => Tone::Bad,
        _ => Tone::Strong,
    };
    let severity = format!("{:?}", finding.severity).to_lowercase();
    let score = finding.score.map(|score| format!(" {score:.1}")).unwrap_or_default();
    let names = match finding.aliases.as_slice() {
        [] => finding.rule.clone(),
        aliases => format!("{} ({})", finding.rule, aliases.join(", ")),
    };
    let package = finding.package.as_deref().unwrap_or_default();
    ui.line(format!("{}  {names}  {package}", ui.tone(tone, &format!("{severity}{score}"))));
    ui.line(format!("  {}", finding.title));
    ui.line(match &finding.fixed_in {
        Some(version) => format!("  fixed in {version}"),
        None => "  no fixed version is known".to_owned(),
    });
}

/// `not_affected (vulnerable_code_not_present: "…"), says Team Shop on 2026-11-10`
fn said(said: &Said) -> String {
    let mut reasons: Vec<String> = said.justification.iter().map(word).collect();
    let texts = [&said.impact_statement, &said.action_statement, &said.status_notes];
    reasons.extend(texts.into_iter().flatten().cloned());
    let reasons = match reasons.as_slice() {
        [] => String::new(),
        reasons => format!(" ({})", reasons.join("; ")),
    };
    format!("{}{reasons}, says {} at {}", word(&said.status), said.author, said.at)
}

/// A value as OpenVEX spells it.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
