//! Credentials over HTTP on this machine, for programs that speak the container protocol of the AWS SDKs or look for an
//! instance's metadata.
//!
//! Owns: the listeners, who is let in, and the words of both protocols. Refuses to know where credentials come from: the
//! agent's standing endpoints ask its engine, and that of `exec` asks the agent. Invariants: nothing is answered that may
//! come from a browser or through a proxy; a secret is handed to who has shown one that was handed out before, and an
//! endpoint for instances, which cannot ask for one, has one target and is there only because the settings say so.

mod answer;
mod desk;
mod door;
mod guesses;
mod imds;
mod ledger;
mod rules;
mod standing;
mod token;

pub use desk::{PATH, Source, Tokens};
pub use door::{Desk, serve};
pub use imds::{Metadata, Role};
pub use ledger::{Entry, Ledger, LedgerError, Words};
pub use standing::Endpoints;
pub use token::{Mark, Token};
