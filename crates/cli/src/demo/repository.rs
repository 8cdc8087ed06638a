//! The sample repository: a real git repository with a real service in Rust, standard library only.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exit::{Exit, Failure};

const MAIN: &str = include_str!("../../../../examples/demo-shop/src/main.rs");
const CARGO: &str = include_str!("../../../../examples/demo-shop/Cargo.toml.txt");
const LOCK: &str = include_str!("../../../../examples/demo-shop/Cargo.lock.txt");
const MANIFEST: &str = include_str!("../../../../examples/demo-shop/humdrum.yaml");

/// The repository in the demo's folder.
pub(crate) struct Sample {
    pub(crate) folder: PathBuf,
}

/// What a commit makes of the service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Character {
    pub(crate) message: &'static str,
    pub(crate) greeting: &'static str,
    /// Of a thousand requests.
    pub(crate) errors: u32,
    pub(crate) slow: u32,
}

impl Sample {
    /// Writes the files; `ports` of dev, staging and production.
    pub(crate) fn make(folder: &Path, ports: [u16; 3]) -> Result<Self, Failure> {
        let sample = Self { folder: folder.to_owned() };
        let manifest = MANIFEST
            .replace("8081", &ports[0].to_string())
            .replace("8082", &ports[1].to_string())
            .replace("port: 8080", &format!("port: {}", ports[2]));
        for (name, text) in [
            ("Cargo.toml", CARGO),
            ("Cargo.lock", LOCK),
            ("humdrum.yaml", &manifest),
            (".gitignore", "/target\n"),
        ] {
            sample.write(name, text)?;
        }
        sample.git(&["init", "--quiet", "--initial-branch=main"])?;
        Ok(sample)
    }

    /// Commits a release of this character.
    pub(crate) fn commit(&self, character: Character) -> Result<(), Failure> {
        let main = MAIN
            .replace("hello from the first release", character.greeting)
            .replace(
                "ERRORS_PER_THOUSAND: u64 = 10",
                &format!("ERRORS_PER_THOUSAND: u64 = {}", character.errors),
            )
            .replace(
                "SLOW_PER_THOUSAND: u64 = 0",
                &format!("SLOW_PER_THOUSAND: u64 = {}", character.slow),
            );
        self.write("src/main.rs", &main)?;
        self.git(&["add", "--all"])?;
        self.git(&[
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.org",
            "-c",
            "commit.gpgsign=false",
            "commit",
            "--quiet",
            "--message",
            character.message,
        ])
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.folder.join(name);
        let made = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text));
        made.map_err(|error| crate::places::unusable(&path, &error))
    }

    fn git(&self, arguments: &[&str]) -> Result<(), Failure> {
        let output = Command::new("git").arg("-C").arg(&self.folder).args(arguments).output();
        let output = output.map_err(|error| {
            Failure::new(Exit::Failed, "git", "git cannot be started")
                .cause(&error)
                .next("install git")
        })?;
        if output.status.success() {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, "git", format!("git {} failed", arguments.join(" ")))
            .why(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
