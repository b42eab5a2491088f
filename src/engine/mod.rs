//! The heart: who is signed in, who refreshes what and when, and what everybody is told.
//!
//! Owns every secret. Refuses to know clocks, sockets, files, randomness: [`State`] is handed events with the time they
//! happen at, and hands back effects; [`run`] carries those out. Invariants: at most one call up per key; every question
//! is answered once; what is valid is served while everything else fails, and what is expired is never served.

mod abandoned;
mod adopt;
mod assume;
mod attempt;
mod brought;
mod browser_flow;
mod cached;
mod callbacks;
mod console;
mod decisions;
mod device_flow;
mod event;
mod expiry;
mod files;
mod handle;
mod headline;
mod lane;
mod latch;
mod notices;
mod on_demand;
mod outage;
mod portal;
mod publish;
mod refresh;
mod refreshing;
mod reloading;
mod request;
mod rest;
mod run;
mod select;
mod session;
mod shelf;
mod sign_in;
mod sign_out;
mod slot;
mod state;
mod status;
mod storage;
#[cfg(test)]
mod tests;
mod words;

pub use event::{
    Agent, CacheTicket, Configuration, Effect, Event, Flight, PortalKey, Purpose, SignInId, Ticket, Unread, WaiterId,
    Write,
};
pub use handle::{Handle, Question, Questions};
pub use notices::{News, Notice};
pub use run::{Ended, Order, World, run};
pub use shelf::Shelved;
pub use state::State;
