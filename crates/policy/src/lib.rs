//! Policies in Rego over facts. The engine is heavy, so it lives alone: facts in, verdict out; no network, no clock but that of the facts.
//!
//! Cryptography and parsing of evidence are done before: a policy sees what was verified, never raw bytes.

pub mod document;
pub mod error;
pub mod lint;
pub mod policies;
pub mod shipped;
pub mod source;
pub mod worker;

pub use self::error::PolicyError;
pub use self::policies::Policies;
pub use self::source::Sources;
