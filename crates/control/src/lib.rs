//! The loop: load, decide, append, act, observe.
