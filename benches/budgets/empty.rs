//! The reference for the shim: what any Rust program costs before its first line.
fn main() {}
