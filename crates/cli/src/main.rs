//! The only binary: arguments, wiring, exit codes.
fn main() {}
