//! Chores of the repository: `cargo xtask tidy` checks the style, `cargo xtask docs` writes the generated pages.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

mod docs;
mod tidy;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The alternate form is the chain of causes without a stack trace: these errors are for the author of a change.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => report(&tidy::check(&tidy::Repository::read(&root)?)?),
        ["docs"] => docs::write(&root),
        ["docs", "--check"] => report(&docs::drift(&tidy::Repository::read(&root)?)),
        _ => bail!("usage: cargo xtask tidy | docs | docs --check"),
    }
}

fn report(findings: &[tidy::Finding]) -> Result<()> {
    for finding in findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { bail!("{} findings", findings.len()) }
}
