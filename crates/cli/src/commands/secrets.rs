//! `humdrum secrets`: keys and passwords in a folder, in the staged change or in the whole history, by gitleaks' rule files.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use humdrum_evidence::secret::ignore::Known;
use humdrum_evidence::secret::source::{self, Scanned, SourceError};
use humdrum_evidence::secret::{Leak, Options, RuleSet, Scanner, report};
use humdrum_model::finding::{FindingKind, ScanReport};

use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

mod hook;

/// Where rules are looked for when `--config` names none, as gitleaks does.
const CONFIG_VARIABLE: &str = "GITLEAKS_CONFIG";
const CONFIG_NAME: &str = ".gitleaks.toml";
const IGNORE_NAME: &str = ".gitleaksignore";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Secrets {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    scan: Scan,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a hook that scans what is staged before every commit; never overwrites another one.
    InstallHook {
        /// Anywhere in the repository.
        #[arg(default_value = ".", value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Scan {
    /// The folder, or a file.
    #[arg(default_value = ".", value_name = "PATH")]
    path: PathBuf,
    /// Look at what the next commit will add.
    #[arg(long, conflicts_with = "history")]
    staged: bool,
    /// Look at every commit of the repository.
    #[arg(long)]
    history: bool,
    /// A rule file in gitleaks' form; default: $GITLEAKS_CONFIG, else .gitleaks.toml in PATH, else the shipped rules.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An earlier report (`--json`, or gitleaks' JSON); what it has is not told again.
    #[arg(long, short, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Fingerprints to leave out, beside the .gitleaksignore in PATH.
    #[arg(long, value_name = "FILE")]
    ignore: Option<PathBuf>,
    /// How the findings are written.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// Where to; standard output without it.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How often encoded text is decoded again.
    #[arg(long, value_name = "N", default_value_t = Options::default().decode_depth, value_parser = depth)]
    max_decode_depth: usize,
    /// Tell lines with `gitleaks:allow` too.
    #[arg(long)]
    ignore_gitleaks_allow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A line for each finding.
    Text,
    /// A report for gates and baselines.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// gitleaks' JSON report.
    Gitleaks,
}

/// Deepest decoding that may be asked for.
const DECODE_DEPTH_MAX: usize = 32;

fn depth(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|depth| *depth <= DECODE_DEPTH_MAX)
        .ok_or_else(|| format!("it is not a number from 0 to {DECODE_DEPTH_MAX}"))
}

impl Secrets {
    pub(crate) fn run(self, _places: &Places, ui: &Ui) -> Outcome {
        match self.what {
            Some(What::InstallHook { folder }) => hook::install(&folder, ui),
            None => self.scan.run(ui),
        }
    }
}

impl Scan {
    fn run(self, ui: &Ui) -> Outcome {
        let (set, config) = self.rules(ui)?;
        let known = self.known(ui)?;
        let options = Options {
            decode_depth: self.max_decode_depth,
            ignore_allow_comments: self.ignore_gitleaks_allow,
        };
        let scanner = Scanner::new(set, options);
        let scanned = if self.history {
            source::scan_history(&scanner, &self.path)
        } else if self.staged {
            source::scan_staged(&scanner, &self.path)
        } else {
            source::scan_tree(&scanner, &self.path)
        };
        let mut scanned = scanned.map_err(|error| failed(&error))?;
        for (what, bytes) in &scanned.too_large {
            ui.remark(format!(
                "not looked at: {what} has {bytes} bytes, more than {}",
                source::FILE_BYTES_MAX
            ));
        }
        // A rule file shows what secrets look like, and a baseline where they are.
        let own: Vec<String> = [config, self.baseline.clone()]
            .into_iter()
            .flatten()
            .filter_map(|path| self.inside(&path))
            .collect();
        let all = scanned.leaks.len();
        scanned.leaks.retain(|leak| !own.contains(&leak.path) && !known.knows(leak));
        self.tell(&scanner, &scanned, all - scanned.leaks.len(), ui)
    }

    /// A path as findings have it.
    fn inside(&self, path: &Path) -> Option<String> {
        let folder = self.path.canonicalize().ok()?;
        let path = path.canonicalize().ok()?;
        Some(path.strip_prefix(folder).ok()?.to_string_lossy().into_owned())
    }

    /// The rules, and the file that they are from.
    fn rules(&self, ui: &Ui) -> Result<(RuleSet, Option<PathBuf>), Failure> {
        let variable =
            std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let beside = self.path.join(CONFIG_NAME);
        let path = self.config.clone().or(variable).or_else(|| beside.is_file().then_some(beside));
        let Some(path) = path else { return Ok((RuleSet::shipped(), None)) };
        let text = read(&path, |what| {
            Failure::new(Exit::BadInput, "secret-rules", what)
                .next("name a rule file in gitleaks' form")
        })?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let open = |name: &str| {
            // gitleaks looks where it was started; beside the file is where people put it.
            let beside = folder.join(name);
            let found = if Path::new(name).is_file() { PathBuf::from(name) } else { beside };
            std::fs::read_to_string(found).map_err(|error| error.to_string())
        };
        let name = path.display().to_string();
        let set = RuleSet::parse(&name, &text, &open).map_err(|error| {
            let place = format!("{}:{}:{}", error.file, error.line, error.column);
            let failure =
                Failure::new(Exit::BadInput, "secret-rules", format!("`{name}` cannot be used"));
            let next =
                error.hint.clone().unwrap_or_else(|| "docs/secrets.md describes every key".into());
            failure.why(error.what.clone()).at(place).next(next)
        })?;
        for remark in &set.remarks {
            ui.remark(remark);
        }
        Ok((set, Some(path)))
    }

    fn known(&self, ui: &Ui) -> Result<Known, Failure> {
        let mut known = Known::default();
        let beside = self.path.join(IGNORE_NAME);
        let files = self.ignore.clone().into_iter().chain(beside.is_file().then_some(beside));
        for path in files {
            let text = read(&path, |what| {
                Failure::new(Exit::BadInput, "secret-ignore", what)
                    .next("name a file of fingerprints")
            })?;
            for (line, text) in known.add_ignore_file(&text) {
                ui.remark(format!(
                    "{}:{line}: `{text}` is no fingerprint and names nothing",
                    path.display()
                ));
            }
        }
        if let Some(path) = &self.baseline {
            let next = "write one with `humdrum secrets --json > FILE`";
            let text = read(path, |what| {
                Failure::new(Exit::BadInput, "secret-baseline", what).next(next)
            })?;
            known.add_baseline(&text).map_err(|error| {
                let what = format!("`{}` cannot be a baseline", path.display());
                Failure::new(Exit::BadInput, "secret-baseline", what).cause(&error).next(next)
            })?;
        }
        Ok(known)
    }

    fn tell(&self, scanner: &Scanner, scanned: &Scanned, known: usize, ui: &Ui) -> Outcome {
        let leaks = &scanned.leaks;
        let form = if ui.json && self.format == Form::Text { Form::Json } else { self.format };
        let version = env!("CARGO_PKG_VERSION");
        let text = match form {
            Form::Text => leaks.iter().map(|leak| line(leak, ui) + "\n").collect(),
            Form::Json => {
                let report = ScanReport {
                    kind: FindingKind::Secret,
                    scanner: format!("humdrum {version}"),
                    at: humdrum_control::clock::now(),
                    data_as_of: None,
                    failed: None,
                    findings: leaks.iter().map(Leak::finding).collect(),
                };
                serde_json::to_string(&report).expect("a report holds only texts and numbers")
                    + "\n"
            }
            Form::Sarif => report::sarif(version, scanner.rules(), leaks).to_string() + "\n",
            Form::Gitleaks => report::gitleaks(leaks).to_string() + "\n",
        };
        match &self.output {
            Some(path) => std::fs::write(path, &text).map_err(|error| {
                let what = format!("`{}` cannot be written", path.display());
                Failure::new(Exit::Failed, "output-file", what)
                    .cause(&error)
                    .next("name another file")
            })?,
            None if text.is_empty() => {}
            None => ui.raw(text.trim_end_matches('\n')),
        }
        let texts = if self.history {
            "blobs"
        } else if self.staged {
            "changes"
        } else {
            "files"
        };
        let beside =
            if known > 0 { format!(", {known} known ones left out") } else { String::new() };
        let count = match leaks.len() {
            0 => "no secrets".into(),
            1 => "1 secret".into(),
            many => format!("{many} secrets"),
        };
        ui.remark(format!("{count} in {} {texts}{beside}", scanned.texts));
        Ok(if leaks.is_empty() { Exit::Ok } else { Exit::Refused })
    }
}

fn line(leak: &Leak, ui: &Ui) -> String {
    let place = if leak.start_line > 0 {
        format!("{}:{}", leak.path, leak.start_line)
    } else {
        leak.path.clone()
    };
    let commit = leak.commit.as_ref().map_or(String::new(), |commit| format!("  commit {commit}"));
    let shown = if leak.start_line > 0 { format!(" {}", leak.redacted()) } else { String::new() };
    let what = leak.description.trim_end_matches('.');
    format!(
        "{}  {}  {what}{shown}{commit}",
        ui.tone(Tone::Strong, &place),
        ui.tone(Tone::Bad, &leak.rule)
    )
}

fn read(path: &Path, failure: impl FnOnce(String) -> Failure) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| failure(format!("`{}` cannot be read", path.display())).cause(&error))
}

fn failed(error: &SourceError) -> Failure {
    let what = "the scan could not be done, so nothing is known";
    match error {
        SourceError::NoRepository { path } => {
            let what = format!("`{}` is in no git repository", path.display());
            Failure::new(Exit::BadInput, "not-a-repository", what).next("git init")
        }
        SourceError::Unreadable { .. } => Failure::new(Exit::BadInput, "secret-scan", what)
            .cause(error)
            .next("name a path that exists and can be read"),
        SourceError::NoGit(_) => {
            Failure::new(Exit::Failed, "secret-scan", what).cause(error).next("install git")
        }
        _ => Failure::new(Exit::Failed, "secret-scan", what).cause(error).next("git fsck"),
    }
}
