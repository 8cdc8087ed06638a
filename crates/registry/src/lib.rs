//! The OCI distribution endpoints.
