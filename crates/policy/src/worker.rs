//! Evaluates in a process of its own, bounded by the kernel: a policy that loops or eats memory ends that process, and denies.
//!
//! Time inside of a regular expression or a built-in cannot be bounded from within, and an allocator's limit would be everybody's.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use humdrum_model::gate::{Facts, GateSettings, ScanMode};
use humdrum_model::verdict::PolicyVerdict;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::error::PolicyError;
use crate::policies::Policies;
use crate::source::Sources;

/// Largest answer, bytes: as many sentences as one evaluation may have.
const ANSWER_MAX: u64 = 256 << 20;
/// Between looks whether the process ended.
const LOOK: Duration = Duration::from_millis(2);
/// Exit status of a worker that could not even read what it was asked.
const BAD_QUESTION: i32 = 2;

/// How much one evaluation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Processor time, s.
    pub processor_s: u64,
    /// Wall clock: far more, since a busy machine is not the policy's fault.
    pub wall: Duration,
    /// Data of the process, bytes.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // 5,000 findings take a hundredth of this, and 60 s is what a gate has.
        Self { processor_s: 3, wall: Duration::from_secs(30), memory: 512 << 20 }
    }
}

/// Asks the policies of a folder.
#[derive(Debug, Clone)]
pub struct Evaluator {
    /// The program and its arguments that end in [`serve`].
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// `DATA/policies`; where it does not exist only the shipped policies count.
    pub folder: PathBuf,
    pub limits: Limits,
}

#[derive(Serialize)]
struct Question<'a> {
    folder: &'a Path,
    facts: &'a Facts,
}

#[derive(Deserialize)]
struct Asked {
    folder: PathBuf,
    facts: Facts,
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub verdict: PolicyVerdict,
    /// The settings that the data holds; the defaults where it cannot be read.
    pub settings: GateSettings,
    /// What findings did.
    pub vulnerability_scan: ScanMode,
    pub tests: usize,
}

impl Answer {
    fn refusal(error: &PolicyError, facts: &Facts) -> Self {
        Self {
            verdict: error.verdict(facts.at),
            settings: GateSettings::default(),
            vulnerability_scan: facts.vulnerability_scan,
            tests: 0,
        }
    }

    /// Facts with this answer: what the gates decide on.
    #[must_use]
    pub fn apply(self, facts: Facts) -> Facts {
        Facts {
            policy: Some(self.verdict),
            settings: self.settings,
            vulnerability_scan: self.vulnerability_scan,
            ..facts
        }
    }
}

impl Evaluator {
    /// With this very program as the worker; it must call [`worker_main`] before anything else.
    pub fn of_this_program(folder: PathBuf) -> Self {
        Self {
            // Also after the file was replaced by an upgrade: the worker is always what this process is.
            program: "/proc/self/exe".into(),
            arguments: vec![WORKER.into()],
            folder,
            limits: Limits::default(),
        }
    }

    /// Evaluates facts; blocks until the worker has answered or was ended. Whatever goes wrong is a verdict that admits nothing.
    pub fn evaluate(&self, facts: &Facts) -> Answer {
        self.ask(facts).unwrap_or_else(|error| Answer::refusal(&error, facts))
    }

    fn ask(&self, facts: &Facts) -> Result<Answer, PolicyError> {
        let crashed = |why: String| PolicyError::Crashed { why };
        let question = serde_json::to_vec(&Question { folder: &self.folder, facts })
            .map_err(|error| crashed(error.to_string()))?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(self.limits.processor_s.to_string())
            .arg(self.limits.memory.to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| crashed(format!("{}: {error}", self.program.display())))?;
        let mut stdin = child.stdin.take().expect("was piped");
        let stdout = child.stdout.take().expect("was piped");
        let stderr = child.stderr.take().expect("was piped");
        // A worker that ended early leaves a broken pipe; how it ended says more.
        let writer = std::thread::spawn(move || stdin.write_all(&question));
        let reader = std::thread::spawn(move || read(stdout, ANSWER_MAX));
        let complaint = std::thread::spawn(move || read(stderr, 4_096));
        let status = self.wait(&mut child)?;
        let _ = writer.join();
        let answer = reader.join().unwrap_or_default();
        let complaint = complaint.join().unwrap_or_default();
        if status.success() {
            return serde_json::from_slice(&answer).map_err(|error| crashed(error.to_string()));
        }
        Err(self.ended(status, &String::from_utf8_lossy(&complaint)))
    }

    fn wait(&self, child: &mut Child) -> Result<std::process::ExitStatus, PolicyError> {
        let crashed = |error: std::io::Error| PolicyError::Crashed { why: error.to_string() };
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(crashed)? {
                return Ok(status);
            }
            if begun.elapsed() > self.limits.wall {
                let _ = child.kill();
                let _ = child.wait();
                return Err(PolicyError::Time { seconds: self.limits.wall.as_secs() });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How a worker came to its end, from the signal and its last words.
    fn ended(&self, status: std::process::ExitStatus, complaint: &str) -> PolicyError {
        use std::os::unix::process::ExitStatusExt as _;
        let signal = status.signal();
        let is = |wanted: rustix::process::Signal| signal == Some(wanted.as_raw());
        if is(rustix::process::Signal::XCPU) || is(rustix::process::Signal::KILL) {
            return PolicyError::Time { seconds: self.limits.processor_s };
        }
        if complaint.contains("memory allocation of") || complaint.contains("Resource temporarily")
        {
            return PolicyError::Memory { mib: self.limits.memory >> 20 };
        }
        let last = complaint.lines().last().unwrap_or("it said nothing").to_owned();
        PolicyError::Crashed { why: format!("{status}: {last}") }
    }
}

fn read(mut from: impl Read, max: u64) -> Vec<u8> {
    let mut bytes = vec![];
    let _ = from.by_ref().take(max).read_to_end(&mut bytes);
    // The rest is read and forgotten, so that a talkative worker is not blocked for ever.
    let _ = std::io::copy(&mut from, &mut std::io::sink());
    bytes
}

/// The first argument of a program that is to be the worker.
pub const WORKER: &str = "__policy";

/// Serves and gives the exit status, if this process was started as a worker.
pub fn worker_main() -> Option<u8> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (first, limits) = arguments.split_first()?;
    (first == WORKER).then(|| {
        let status = serve(limits, std::io::stdin().lock(), std::io::stdout().lock());
        u8::try_from(status).unwrap_or(1)
    })
}

/// The worker: bounds itself, reads a question, writes the answer, and gives its exit status.
/// `limits`: the two last arguments, seconds and bytes.
pub fn serve(limits: &[String], mut question: impl Read, mut answer: impl Write) -> i32 {
    let numbers: Vec<u64> = limits.iter().filter_map(|limit| limit.parse().ok()).collect();
    let [seconds, bytes] = numbers[..] else { return BAD_QUESTION };
    let bound = |resource, limit: u64| {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit + 1) })
    };
    // Unbounded it must not run: a policy could take the machine with it.
    if bound(Resource::Cpu, seconds).is_err()
        || bound(Resource::Data, bytes).is_err()
        || bound(Resource::Core, 0).is_err()
    {
        return BAD_QUESTION;
    }
    let mut text = String::new();
    if question.read_to_string(&mut text).is_err() {
        return BAD_QUESTION;
    }
    let Ok(asked) = serde_json::from_str::<Asked>(&text) else { return BAD_QUESTION };
    drop(text);
    let said = evaluate(&asked.folder, asked.facts);
    let written = serde_json::to_writer(&mut answer, &said).is_ok() && answer.flush().is_ok();
    i32::from(!written)
}

/// Loads the policies of a folder and asks them, in this process.
pub fn evaluate(folder: &Path, mut facts: Facts) -> Answer {
    let loaded = Sources::read(folder).and_then(|sources| Policies::load(&sources));
    match loaded {
        Ok(mut policies) => {
            facts.settings = policies.settings().clone();
            // The stricter of the two: nothing in the policies' data weakens the settings.
            let own = facts.settings.vulnerability_scan.get(facts.environment.as_str());
            facts.vulnerability_scan =
                facts.vulnerability_scan.max(own.copied().unwrap_or_default());
            Answer {
                verdict: policies.evaluate(&facts),
                vulnerability_scan: facts.vulnerability_scan,
                settings: facts.settings,
                tests: policies.tests(),
            }
        }
        Err(error) => Answer::refusal(&error, &facts),
    }
}
