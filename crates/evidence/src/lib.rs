//! Bytes in, facts out: SBOM, provenance, signatures and their verification. No network, clock, global randomness, or files (but for [`secret::source`]).
//!
//! A build hands its facts over ([`sbom::SbomInput`], [`provenance::BuildFacts`]); [`attestation`] makes in-toto statements
//! of them, [`bundle`] signs each into a Sigstore bundle, [`referrer`] into the OCI manifest that hangs it on the image, and
//! [`verify`] says at any later moment whether all of that still holds.

pub mod advisory;
pub mod attestation;
pub mod bundle;
pub mod dsse;
pub mod ecosystem;
pub mod key;
pub mod material;
pub mod provenance;
pub mod purl;
pub mod referrer;
pub mod sbom;
pub mod scan;
pub mod secret;
pub mod statement;
pub mod trust;
pub mod verify;
pub mod version;
