//! What the fuzzer drives: one function for each place where bytes from outside come in.
//!
//! Owns: the list of targets and what each asserts about any input; for what is private to a module, that module has a
//! `fuzz.rs` of its own. Refuses to know who calls: `fuzz/` under cargo-fuzz, or the tests here, over the committed
//! corpus and a short run of mutations. Compiled for tests and with the feature `fuzzing` only. Invariant: a target
//! reads no clock that matters, no network and no file, so that an input that fails once always fails.

mod aws;
#[cfg(test)]
pub(crate) mod dice;
mod socket;
#[cfg(test)]
mod tests;
mod words;

pub use crate::cli::fuzz::document;
pub use crate::client::fuzz::answer;
pub use crate::server::fuzz::connection;
pub use crate::store::fuzz::record;
pub use crate::upstream::fuzz::service;
pub use aws::{config, link, settings};
pub use socket::request;
pub use words::words;

/// A function that takes any bytes and panics when a property does not hold.
pub type Target = fn(&[u8]);

/// Every target by its name: that of its program in `fuzz/fuzz_targets` and of its corpus in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 10] = [
    ("answer", answer),
    ("config", config),
    ("connection", connection),
    ("document", document),
    ("link", link),
    ("record", record),
    ("request", request),
    ("service", service),
    ("settings", settings),
    ("words", words),
];

/// Whether a text can be shown as a part of one line: nothing in it steers a terminal or begins a new line.
pub(crate) fn is_one_line(text: &str) -> bool {
    !text.chars().any(|character| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202e}'))
}

/// The two sides of the first of these bytes; all on the one side where there is none.
pub(crate) fn halves(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|byte| *byte == separator);
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + 1..]))
}
