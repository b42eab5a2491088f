//! The endpoint of one command, in this process: it outlives restarts of the agent and ends with the command.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::container::{self, PATH, Source, Token, Tokens};

/// The endpoint, open until dropped.
pub(super) struct Endpoint {
    url: String,
    _open: oneshot::Sender<()>,
}

impl Endpoint {
    /// Answers with what this source has, at a free port of 127.0.0.1.
    pub(super) fn open<S: Source>(source: S, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let here = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (open, closed) = oneshot::channel::<()>();
        let desk = Arc::new(Tokens::new(source, clock));
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            // Dropped means that the command has ended.
            container::serve(listener, here, desk, async { drop(closed.await) }).await;
            io::Result::Ok(())
        };
        std::thread::Builder::new().name("endpoint".to_owned()).spawn(move || {
            // It can fail before the first request only, which then tells the client.
            let _ = runtime.block_on(serve);
            // A question to the agent that nobody waits for must not keep the process.
            runtime.shutdown_background();
        })?;
        Ok(Self { url: format!("http://{here}{PATH}"), _open: open })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

/// A token for one command.
pub(super) fn token() -> io::Result<Token> {
    Token::random().ok_or_else(|| io::Error::other("the system has no randomness"))
}
