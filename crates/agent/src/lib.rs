//! Hands on a host: starts, supervises, stops and reports instances.
