//! Why there is no image, in the words of the person who waits for it.

use std::path::PathBuf;

use humdrum_jail::JailError;

use crate::base_image::BaseError;
use crate::host::HostError;
use crate::junit::{JunitError, TestReport};
use crate::log::Phase;
use crate::mask::TooShort;
use crate::repo::RepoError;
use crate::tree::TreeError;

/// Why there is no image. Each completes "cannot build commit …: …".
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The commit cannot be read or written out.
    #[error("the commit cannot be checked out: {0}")]
    Checkout(#[source] RepoError),
    /// A jail cannot be made.
    #[error("the sandbox cannot be made: {0}")]
    Sandbox(#[source] JailError),
    /// A command failed.
    #[error("{phase} failed: {ending}")]
    Command {
        /// Fetch or build.
        phase: Phase,
        /// How it ended.
        ending: String,
        /// Its last lines, masked.
        last_lines: Vec<String>,
    },
    /// Tests failed.
    #[error("tests failed: {ending}{}", named(.report.as_ref()))]
    Tests {
        /// How the command ended.
        ending: String,
        /// What the report says, if there is one.
        report: Option<TestReport>,
        /// The command's last lines, masked.
        last_lines: Vec<String>,
    },
    /// The tests passed and the report they should have written cannot be read.
    #[error("the test report cannot be read: {0}")]
    Report(#[source] JunitError),
    /// Outputs cannot be packed.
    #[error("the image cannot be packed: {0}")]
    Pack(#[source] TreeError),
    /// The image cannot be completed from this host.
    #[error("the image cannot be completed from this host: {0}")]
    Host(#[source] HostError),
    /// The base image cannot be used.
    #[error("the base image cannot be used: {0}")]
    Base(#[source] BaseError),
    /// `runtime` copies the host's libraries, which would replace the base's own.
    #[error("`base` and `runtime` exclude each other: take a base that has the runtime")]
    BaseAndRuntime,
    /// A secret cannot be masked.
    #[error(transparent)]
    Secret(#[from] TooShort),
    /// The scratch or output folder cannot be used.
    #[error("`{path}` cannot be used")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl BuildError {
    /// What the person can do next, if there is something that helps more often than not.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Command { phase: Phase::Build, last_lines, .. } if tried_network(last_lines) => {
                Some("the build has no network: download in `build.fetch`".into())
            }
            Self::Pack(TreeError::Missing { .. }) => Some(
                "`build.files` names the path after `build.run`, relative to the repository".into(),
            ),
            Self::Host(HostError::Missing(_)) => Some(
                "install the library on this host, link it statically, or name a `build.base`"
                    .into(),
            ),
            Self::Host(HostError::NoRuntime { name }) => {
                Some(format!("install {name}, or name a `build.base`"))
            }
            _ => None,
        }
    }
}

fn tried_network(lines: &[String]) -> bool {
    let signs = [
        "offline",
        "resolve host",
        "network is unreachable",
        "EAI_AGAIN",
        "No matching distribution",
    ];
    lines.iter().any(|line| {
        signs.iter().any(|sign| line.to_ascii_lowercase().contains(&sign.to_ascii_lowercase()))
    })
}

fn named(report: Option<&TestReport>) -> String {
    const NAMED_MAX: usize = 5;
    let Some(report) = report.filter(|report| report.failures > 0) else { return String::new() };
    let names: Vec<_> =
        report.failed.iter().take(NAMED_MAX).map(|case| case.name.as_str()).collect();
    let more = report.failures.saturating_sub(names.len() as u64);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("; {} of {} cases: {}{tail}", report.failures, report.cases, names.join(", "))
}
