//! What the demo is made of: a sample repository, and steady traffic that counts every answer.

pub(crate) mod repository;
pub(crate) mod traffic;
