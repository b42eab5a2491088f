//! The heart: who is signed in, who refreshes what and when, and what everybody is told.
//!
//! Owns every secret. Refuses to know clocks, sockets, files, randomness: it is handed events and hands back effects.

mod handle;

pub use handle::{Handle, Question};
