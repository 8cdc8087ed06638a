//! Builders: source checkout, sandboxed steps, reproducible OCI images.
