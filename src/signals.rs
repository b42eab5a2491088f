//! The signals that mean something to the agent, as events.
//!
//! Owns: which signals. Refuses to know what is done about them. Invariant: from [`Signals::new`] on none of them ends
//! the process by itself, not the second or the tenth either: a refresh whose result is being saved is not cut off
//! (A§4). Whoever cannot wait has SIGKILL.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: finish, save, exit.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// From now on a limit on the size of files (`ulimit -f`) makes a write fail, as a full disk does, and does not end the
/// process. To be called before the first write.
///
/// # Errors
/// The system refuses a handler.
pub fn survive_file_limits() -> io::Result<()> {
    // Nobody looks at the flag: whose write failed is told so.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// The signals of this process, from now on.
pub struct Signals(signal_hook_tokio::Signals);

impl Signals {
    /// Takes the signals over; must be called on the runtime.
    ///
    /// # Errors
    /// The system refuses a handler or a pipe.
    pub fn new() -> io::Result<Self> {
        signal_hook_tokio::Signals::new([SIGTERM, SIGINT, SIGHUP]).map(Self)
    }

    /// The next one. Nothing is lost if this is dropped before it completes.
    pub async fn next(&mut self) -> Signal {
        loop {
            match self.0.next().await {
                Some(SIGTERM | SIGINT) => return Signal::Stop,
                Some(SIGHUP) => return Signal::Reload,
                Some(_) => {}
                // The stream ends only when it is closed, which nobody does.
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn signals_are_events_and_a_second_one_does_not_kill() {
        let mut signals = Signals::new().unwrap();
        for (raised, expected) in
            [(SIGHUP, Signal::Reload), (SIGTERM, Signal::Stop), (SIGTERM, Signal::Stop), (SIGINT, Signal::Stop)]
        {
            signal_hook::low_level::raise(raised).unwrap();
            assert_eq!(signals.next().await, expected);
        }
    }
}
