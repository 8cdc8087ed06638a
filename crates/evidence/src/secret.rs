//! Secrets in text: gitleaks' rule files run over files, changes and whole histories, and findings that never show the secret.
//!
//! [`config`] reads rules, [`scanner`] runs them over texts, [`source`] brings the texts: the one part of this crate that reads files
//! and asks the `git` program. docs/secrets.md says where this differs from gitleaks, and why.

mod anchor;
pub mod config;
mod decode;
pub mod fragment;
pub mod ignore;
mod leak;
pub mod pattern;
mod place;
pub mod report;
pub mod rule;
pub mod scanner;
pub mod source;

pub use config::{ConfigError, RuleSet};
pub use leak::Leak;
pub use scanner::{Fragment, Options, Scanner};
