//! Bad input and trouble: each gets a clear message and the right code, everybody else goes on being served, and nothing
//! is lost.

mod command_line;
mod configuration;
mod ending;
mod places;
mod requests;
