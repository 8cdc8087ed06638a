//! The HTTP surface of control.
