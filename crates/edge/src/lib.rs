//! The data plane: splits, drains, counts.
