//! The builder of this machine.
