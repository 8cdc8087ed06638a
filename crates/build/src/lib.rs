//! Builders: source checkout, sandboxed steps, reproducible OCI images.
//!
//! A commit, a [`plan::BuildPlan`] and the toolchains of this host go in; [`image::Built`] comes out: the bytes of an OCI
//! image and the facts that provenance states about it. The library blocks; call it from a thread that may.
//! It decides nothing about releases and signs nothing.

pub mod base_image;
pub mod builder;
pub mod compare;
pub mod detect;
mod from_manifest;
pub mod host;
pub mod image;
pub mod junit;
pub mod layer;
pub mod layout;
pub mod log;
pub mod mask;
pub mod plan;
pub mod repo;
pub mod sandbox;
pub mod toolchain;
pub mod tree;
