//! A deterministic simulator: the real engine in virtual time, against a model of the service, the network, the disk,
//! the clocks and a user.
//!
//! `World` is everything there is; `books` is what can be known of the engine from outside; `judge` and `answers` are
//! the rules that it must not break. Everything random comes from one seed.

#![expect(unreachable_pub, reason = "the module is private to each program that takes it in, its own parts are not")]

mod answers;
mod blows;
mod books;
mod chance;
mod disk;
mod facts;
mod files;
mod hands;
mod judge;
mod keyring;
mod moment;
mod others;
mod report;
mod run;
mod service;
mod user;
mod weather;
mod world;

pub use report::Report;
pub use run::simulate;
