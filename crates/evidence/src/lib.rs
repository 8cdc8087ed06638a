//! Bytes in, facts out: SBOM, signatures, provenance.
