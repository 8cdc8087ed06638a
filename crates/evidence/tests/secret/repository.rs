//! A repository made up for a test: files that change from commit to commit, with secrets planted in all the ways people do it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::samples::{SAMPLES, filled};

pub(crate) struct Repository {
    folder: tempfile::TempDir,
    random: StdRng,
    /// Path and content of every file, as the last commit has it.
    files: Vec<(String, Vec<u8>)>,
}

const WORDS: &[&str] = &[
    "fn",
    "let",
    "value",
    "=",
    "key",
    "token",
    "(x)",
    "{",
    "}",
    "return",
    "api",
    ":",
    "\"name\"",
    "// secret of the trade",
    "0x1f",
    "é",
    "password",
    "select",
    "auth",
    "%20",
    "100%",
    "https://example.com/a",
    "internationalization",
    "a_long_identifier_of_something",
];

impl Repository {
    pub(crate) fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Self { folder, random: StdRng::seed_from_u64(seed), files: Vec::new() };
        repository.git(&["init", "-q", "-b", "main", "."]);
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, b"")
    }

    fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "gc.auto=0"])
            .args(arguments)
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn line(&mut self) -> String {
        let count = self.random.random_range(0..9);
        let words: Vec<&str> =
            (0..count).map(|_| WORDS[self.random.random_range(0..WORDS.len())]).collect();
        words.join(" ")
    }

    fn lines(&mut self, count: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..count {
            text.extend(self.line().bytes());
            text.push(b'\n');
        }
        text
    }

    /// A secret of a kind, as it may stand in a file.
    fn secret(&mut self, kind: usize) -> Vec<u8> {
        let sample = filled(SAMPLES[kind % SAMPLES.len()].1, &mut self.random, false);
        match self.random.random_range(0..12) {
            0 => format!("{sample} # gitleaks:allow"),
            1 => base64::engine::general_purpose::STANDARD.encode(format!("x: {sample} ")),
            2 => sample.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            3 => format!("hex {}", hex::encode(format!("{sample} "))),
            4 => format!("{sample}\r"),
            5 => format!("{sample} {sample}"),
            _ => sample,
        }
        .into_bytes()
    }

    fn insert(&mut self, file: usize, what: &[u8]) {
        let starts: Vec<usize> = std::iter::once(0)
            .chain(
                self.files[file]
                    .1
                    .iter()
                    .enumerate()
                    .filter(|(_, byte)| **byte == b'\n')
                    .map(|(at, _)| at + 1),
            )
            .collect();
        let at = starts[self.random.random_range(0..starts.len())];
        let mut line = what.to_vec();
        line.push(b'\n');
        self.files[file].1.splice(at..at, line);
    }

    fn new_file(&mut self, number: usize) {
        let name = match number % 7 {
            0 => format!("src/f{number}.rs"),
            1 => format!("with space/f {number}.txt"),
            2 => format!("ä/ö{number}.md"),
            3 => format!("vendor/modules.txt{number}"),
            4 => format!("quote\"{number}.yaml"),
            5 => format!("package-lock.json/f{number}"),
            _ => format!("f{number}.env"),
        };
        let lines = self.random.random_range(3..60);
        let content = self.lines(lines);
        self.files.push((name, content));
    }

    /// One round of changes: lines, secrets, new, gone and moved files.
    fn change(&mut self, round: usize) {
        if self.files.len() < 6 || round.is_multiple_of(3) {
            self.new_file(round);
        }
        for _ in 0..3 {
            let file = self.random.random_range(0..self.files.len());
            let line = self.line();
            self.insert(file, line.as_bytes());
        }
        for kind in [round * 2, round * 2 + 1] {
            let file = self.random.random_range(0..self.files.len());
            let secret = self.secret(kind);
            self.insert(file, &secret);
        }
        match round % 11 {
            1 => {
                let text = &mut self.files[0].1;
                // The end of a file without the end of its line.
                while text.last() == Some(&b'\n') {
                    text.pop();
                }
            }
            4 => self.files[1].0 = format!("moved/{round}.txt"),
            7 => drop(self.files.remove(2)),
            9 => self.files[3].1.insert(3, 0),
            _ => {}
        }
    }

    /// Makes a history; gives nothing back: what is in it is told by scans.
    pub(crate) fn grow(&mut self, commits: usize) {
        let mut stream: Vec<u8> = Vec::new();
        for round in 0..commits {
            self.change(round);
            write!(
                stream,
                "commit refs/heads/main\nmark :{}\ncommitter T <t@example.com> {} +0000\n",
                round + 1,
                1_700_000_000 + round
            )
            .unwrap();
            let message = format!("change {round}\n\ndiff --git a/x b/x\n+++ b/x\n");
            write!(stream, "data {}\n{message}\ndeleteall\n", message.len()).unwrap();
            for (path, content) in &self.files {
                let quoted = path.replace('\\', "\\\\").replace('"', "\\\"");
                write!(stream, "M 100644 inline \"{quoted}\"\ndata {}\n", content.len()).unwrap();
                stream.extend(content);
                stream.push(b'\n');
            }
        }
        self.git_with(&["fast-import", "--quiet", "--force"], &stream);
        self.git(&["reset", "-q", "--hard", "main"]);
        self.git(&["repack", "-q", "-a", "-d", "-f", "--depth=50"]);
        // A few objects stay outside of packs, and another branch has its own.
        self.git(&["checkout", "-q", "-b", "side", "HEAD~3"]);
        let secret = self.secret(0);
        std::fs::write(self.path().join("side.txt"), secret).unwrap();
        self.git(&["add", "side.txt"]);
        self.git(&["commit", "-q", "-m", "side"]);
        self.git(&["checkout", "-q", "main"]);
        self.git(&["merge", "-q", "--no-edit", "side"]);
    }

    /// Changes the working tree; the caller stages it or not.
    pub(crate) fn edit(&mut self) {
        for round in 1_000..1_030 {
            self.change(round);
        }
        let paragraphs: Vec<u8> =
            (0..3_000).flat_map(|_| [self.lines(4), b"\n".to_vec()].concat()).collect();
        self.files.push(("long.txt".into(), paragraphs));
        let long = self.files.len() - 1;
        for kind in 0..40 {
            let secret = self.secret(kind);
            self.insert(long, &secret);
        }
        self.git(&["rm", "-q", "-r", "."]);
        for (path, mut content) in self.files.clone() {
            // In folders gitleaks takes for text whatever has no known form.
            content.retain(|byte| *byte != 0);
            let path: PathBuf = self.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }
}
