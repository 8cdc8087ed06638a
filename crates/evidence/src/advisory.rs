//! Published advisories: OSV records in signed shards, matched against the packages of an SBOM, without network.
//!
//! [`osv`] reads records as they are published; [`shard`] keeps those of one ecosystem in one signed, dated file that is opened
//! in a moment and read in blocks; [`coordinates`] says which ecosystem, name and version a package URL means there; [`matching`]
//! makes findings. What cannot be compared becomes a finding that says so, and what has no data makes the scan a failed one:
//! nothing is passed over in silence.

pub mod coordinates;
pub mod inventory;
pub mod matching;
pub mod osv;
pub mod range;
pub mod rating;
pub mod shard;
pub mod vex;
