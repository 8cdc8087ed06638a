//! The manifest `humdrum.yaml`.
