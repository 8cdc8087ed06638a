//! A machine of one's own for a test: home, data folder, repository; and the program in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A temporary home with a data folder and a folder `repo`; all of it goes with the value.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The last line of the output, which `--json` makes one object.
    pub(crate) fn json(&self) -> Value {
        let last = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("hum").tempdir().unwrap();
        std::fs::create_dir(folder.path().join("repo")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.path().join("repo")
    }

    /// Writes a file of the repository.
    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.repo().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> &Self {
        let mut command = Command::new("git");
        let person = ["-c", "user.name=Test", "-c", "user.email=test@example.com"];
        let quiet = ["-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"];
        command.args(person).args(quiet).args(arguments).current_dir(self.repo());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for date in ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"] {
            command.env(date, "2026-03-01T12:00:00Z"); // So that commits have the same id in every run.
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        self
    }

    /// Makes the repository and its first commit.
    pub(crate) fn commit(&self, message: &str) -> &Self {
        if !self.repo().join(".git").exists() {
            self.git(&["init", "-q"]);
        }
        self.git(&["add", "."]).git(&["commit", "-q", "-m", message])
    }

    /// The program with this stage's home and data, and nothing else of the host but its toolchains.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_humdrum"));
        command.args(arguments).current_dir(self.repo()).stdin(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.path().join("home")).env("HUMDRUM_DATA", self.data());
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        for (name, usual) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
            let folder = std::env::var_os(name).map_or_else(|| home.join(usual), PathBuf::from);
            if folder.is_dir() && name == "RUSTUP_HOME" {
                command.env(name, folder);
            }
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Starts control alone, as `humdrum up` does, and waits until it answers.
    pub(crate) fn control(&self) -> Control {
        let log = std::fs::File::create(self.path().join("control.log")).unwrap();
        let mut command = self.command(&["role", "control", "--listen", "127.0.0.1:0"]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let control = Control { child };
        let answers = until(|| (self.run(&["status", "--json"]).code == 0).then_some(()));
        let log = || std::fs::read_to_string(self.path().join("control.log")).unwrap_or_default();
        assert!(answers.is_some(), "control does not answer: {}", log());
        control
    }
}

/// A running control; killed with the value.
pub(crate) struct Control {
    child: Child,
}

impl Control {
    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks again until there is an answer, or [`SOON`] is over.
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A service whose only file is ready in the repository, so that its build takes no time.
pub(crate) const READY: &str = "\
service: shop
owner: team-shop
build:
  files: { /app/run.sh: run.sh }
run: { command: [/app/run.sh], port: 18080, instances: 1 }
environments:
  production: {}
";
