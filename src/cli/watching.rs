//! What can happen while somebody watches: an answer, a signal, another size of the terminal, or nothing.
//!
//! Owns: waiting for all of that at once. Refuses to know what is watched. Invariant: the agent is asked once at a time,
//! and answers when there is something to tell; what changes with time alone wakes nobody but us.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::api::Request;
use crate::client::{Client, ClientError, Reply};

/// Something that happened.
#[derive(Debug)]
pub(super) enum News {
    /// The agent has answered, or it cannot.
    Answer(Result<Reply, ClientError>),
    /// So much time has passed.
    Time,
    /// Enough, says the user or the system.
    Enough,
    /// The terminal may have another size.
    Resized,
    /// The user wants the terminal for something else; see [`Feed::suspend`].
    Suspended,
}

/// Where news come from.
pub(super) trait Feed {
    /// Asks the agent after this pause; its answer will be news.
    fn ask(&mut self, request: Request, pause: Duration, patience: Duration);

    /// Waits for news.
    fn next(&mut self, most: Duration) -> News;

    /// Stops until the user wants to see it again.
    fn suspend(&self);

    /// Columns and lines of the terminal now.
    fn size(&self) -> (usize, usize);
}

/// The real one: an agent, a terminal, signals.
pub(super) struct SystemFeed {
    client: Client,
    news: Receiver<News>,
    tell: Sender<News>,
}

impl SystemFeed {
    /// Listens to signals from now on.
    pub(super) fn new(client: &Client) -> io::Result<Self> {
        let (tell, news) = channel();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH])?;
        let of_signals = tell.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                let news = match signal {
                    SIGWINCH => News::Resized,
                    SIGTSTP => News::Suspended,
                    _ => News::Enough,
                };
                if of_signals.send(news).is_err() {
                    return;
                }
            }
        });
        Ok(Self { client: client.clone(), news, tell })
    }
}

impl Feed for SystemFeed {
    fn ask(&mut self, request: Request, pause: Duration, patience: Duration) {
        let (client, tell) = (self.client.clone(), self.tell.clone());
        // Left behind at the end: the process does not wait for it.
        std::thread::spawn(move || {
            if !pause.is_zero() {
                // Nobody ever says anything here, so that the deadline is the event.
                let (_nobody, silence) = channel::<()>();
                let _ = silence.recv_timeout(pause);
            }
            let _ = tell.send(News::Answer(client.send(&request, patience)));
        });
    }

    fn next(&mut self, most: Duration) -> News {
        match self.news.recv_timeout(most) {
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout) => News::Time,
            // We hold a sender ourselves.
            Err(RecvTimeoutError::Disconnected) => News::Enough,
        }
    }

    fn suspend(&self) {
        // What it does by itself: there is no other way to stop, and nobody to tell that it failed.
        let _ = emulate_default_handler(SIGTSTP);
    }

    fn size(&self) -> (usize, usize) {
        size()
    }
}

/// Columns and lines of the terminal on standard output; the usual ones if it does not say.
pub(super) fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let (columns, lines) = size.map_or((0, 0), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
    (if columns == 0 { USUAL.0 } else { columns }, if lines == 0 { USUAL.1 } else { lines })
}

const USUAL: (usize, usize) = (80, 24);
