//! Secret scans from the outside: the shipped rules on samples, and the whole beside gitleaks.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

mod gitleaks;
mod repository;
mod rules;
mod samples;
