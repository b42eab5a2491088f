//! The port: accepts connections, and can be unplugged and plugged in again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::background::Background;
use super::shared::{Plug, Shared};
use super::wire;

/// The port and the thread behind it.
pub struct Port {
    wanted: watch::Sender<Plug>,
    _thread: Background,
}

impl Port {
    /// Takes an address; port 0 is any that is free.
    pub fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    /// Serves the port on a thread of its own.
    pub fn open(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) -> Self {
        let (wanted, wishes) = watch::channel(Plug::In);
        let thread = Background::start("fake-identity-center", move || run(listener, tls, shared, wishes));
        Self { wanted, _thread: thread }
    }

    /// Plugs the port in or out and returns when it is done.
    pub fn set(&self, plug: Plug, shared: &Shared) {
        self.wanted.send_replace(plug);
        assert!(shared.wait_until(PATIENCE, |model| model.plug == plug), "the fake's thread has ended");
    }
}

async fn run(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>, mut wanted: watch::Receiver<Plug>) {
    let address = listener.local_addr().expect("a bound listener has an address");
    let mut listener = Some(listener);
    loop {
        let this_time = match listener.take() {
            Some(first) => tokio::net::TcpListener::from_std(first),
            None => tokio::net::TcpListener::bind(address).await,
        };
        let this_time = this_time.expect("the port is still ours");
        shared.change(|model| model.plug = Plug::In);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = this_time.accept() => match accepted {
                    Ok((connection, _)) => {
                        // Answers are small and must leave at once, above all when they come byte by byte.
                        let _ = connection.set_nodelay(true);
                        shared.change(|model| model.open_connections += 1);
                        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
                        connections.spawn(async move {
                            match tls {
                                None => wire::serve(connection, shared).await,
                                Some(tls) => {
                                    if let Ok(connection) = tls.accept(connection).await {
                                        wire::serve(connection, shared).await;
                                    }
                                }
                            }
                        });
                    }
                    Err(_) => tokio::task::yield_now().await,
                },
                Some(_) = connections.join_next() => shared.change(|model| model.open_connections -= 1),
                changed = wanted.wait_for(|plug| *plug == Plug::Out) => match changed {
                    Ok(_) => break,
                    Err(_) => return,
                },
            }
        }
        drop(this_time);
        connections.shutdown().await;
        shared.change(|model| {
            model.plug = Plug::Out;
            model.open_connections = 0;
        });
        if wanted.wait_for(|plug| *plug == Plug::In).await.is_err() {
            return;
        }
    }
}

/// Closing a port takes no time; this is for a thread that has died.
const PATIENCE: Duration = Duration::from_secs(10);
