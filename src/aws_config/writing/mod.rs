//! The AWS config, edited as bytes: one session, or the marked region of one session's profiles.
//!
//! Owns: what may be written, where in the file it goes, and what is written there already. Refuses to know the disk,
//! and why something is written. Invariants: everything outside of what was asked for stays byte for byte, and means
//! what it meant; what is written is read back as it was meant, by the reader of this crate, or nothing is written;
//! nothing is written that any client could take for a command, another section or a comment.

mod document;
mod entry;
mod error;
mod region;
mod session;

pub use entry::{ProfileEntry, Setting, Unwritable, is_plain_path, new_session_name};
pub use error::EditError;
pub use region::{Standing, replace_profiles, standing, taken_names};
pub use session::{SessionText, default_region, session_text, set_session};
#[cfg(test)]
mod tests;
