//! The way to a service: name, TCP, a proxy's tunnel, TLS.
//!
//! Owns: the connector, its time limit, and telling by error types where it failed. Refuses to know about requests.
//! Invariants: `localhost` and loopback addresses never ask DNS; TLS to the service is inside the tunnel and verified
//! like any other; whoever holds a connection can see whether anything was written to it after it stood.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, vec};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::distrust::{explain, is_about_a_stranger};
use super::proxy::{Proxies, Trouble};
use super::{NotSent, tunnel};
use crate::identity_center::endpoint::is_loopback_host;
use crate::identity_center::partition::{meant_region, region_of_host};
use crate::untrusted::shown;

/// The most that name resolution, TCP and TLS may take together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes connections for hyper's client.
#[derive(Clone)]
pub(super) struct Connector {
    secure: HttpsConnector<Way>,
    proxies: Arc<Proxies>,
}

impl Connector {
    pub(super) fn new(tls: &Arc<ClientConfig>, proxies: Arc<Proxies>) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        http.enforce_http(false);
        http.set_nodelay(true);
        // Divided among a name's addresses, so that a dead first one does not use up the time of all.
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let to_proxy = HttpsConnector::from((Tcp(http.clone()), Arc::clone(tls)));
        let way = Way { direct: Tcp(http), to_proxy, proxies: Arc::clone(&proxies) };
        Self { secure: HttpsConnector::from((way, Arc::clone(tls))), proxies }
    }

    /// What it means that a connection to this place was not there in time.
    pub(super) fn too_late(&self, destination: &Uri) -> NotSent {
        match self.proxies.way_to(destination) {
            Ok(Some(proxy)) => NotSent::Proxy(proxy.failed(Trouble::Silent)),
            _ => NotSent::ConnectTimeout,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Watched;
    type Error = NotSent;
    type Future = Connecting<Watched>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotSent>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let connecting = self.secure.call(destination.clone());
        let too_late = self.too_late(&destination);
        Box::pin(async move {
            match timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => Ok(Watched { stream, written: Written::default() }),
                // What `Way` did not report came from the layer above it.
                Ok(Err(error)) => Err(error.downcast::<NotSent>().map_or_else(
                    |error| {
                        let kind = if is_about_a_stranger(&*error) { NotSent::Untrusted } else { NotSent::Tls };
                        kind(explain(destination.host().unwrap_or_default(), &*error))
                    },
                    |known| *known,
                )),
                Err(_) => Err(too_late),
            }
        })
    }
}

/// A connection that remembers whether anything was written to it.
pub(super) struct Watched {
    stream: MaybeHttpsStream<Raw>,
    written: Written,
}

/// Whether the client began to write to a connection; travels with hyper's connection information.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<AtomicBool>);

impl Written {
    /// Whether a byte of a request may have left on this connection.
    pub(super) fn anything(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    // Before the attempt: a write that fails half-way has still sent something.
    fn attempted(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Connection for Watched {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.written.clone())
    }
}

impl Read for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl Write for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.written.attempted();
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.written.attempted();
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A connection on which the TLS to the service is spoken: TCP, or TLS to a proxy.
type Raw = MaybeHttpsStream<TokioIo<TcpStream>>;

/// To the service directly, or through a proxy's tunnel.
#[derive(Clone)]
struct Way {
    direct: Tcp,
    to_proxy: HttpsConnector<Tcp>,
    proxies: Arc<Proxies>,
}

impl Service<Uri> for Way {
    type Response = Raw;
    type Error = NotSent;
    type Future = Connecting<Raw>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotSent>> {
        self.direct.poll_ready(cx)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let proxy = match self.proxies.way_to(&destination) {
            Ok(Some(proxy)) => proxy,
            Ok(None) => {
                let connecting = self.direct.call(destination);
                return Box::pin(async move { connecting.await.map(MaybeHttpsStream::Http) });
            }
            Err(failure) => return Box::pin(async move { Err(NotSent::Proxy(failure)) }),
        };
        let connecting = self.to_proxy.call(proxy.uri.clone());
        Box::pin(async move {
            let failed = |trouble| NotSent::Proxy(proxy.failed(trouble));
            let stream = connecting.await.map_err(|error| match error.downcast::<NotSent>().map(|known| *known) {
                Ok(NotSent::ConnectTimeout) => failed(Trouble::Silent),
                Ok(NotSent::Dns(cause) | NotSent::Connect(cause)) => failed(Trouble::Unreachable(cause)),
                Ok(other) => other,
                Err(error) => {
                    let cause = explain(proxy.uri.host().unwrap_or_default(), &*error);
                    failed(if is_about_a_stranger(&*error) {
                        Trouble::Untrusted(cause)
                    } else {
                        Trouble::Unreachable(cause)
                    })
                }
            })?;
            let host = destination.host().unwrap_or_default();
            let port = destination.port_u16().unwrap_or(443);
            tunnel::open(stream, &proxy, host, port).await.map_err(NotSent::Proxy)
        })
    }
}

/// TCP alone, so that its errors are distinguishable from those of TLS above it.
#[derive(Clone)]
struct Tcp(HttpConnector<Resolver>);

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = NotSent;
    type Future = Connecting<TokioIo<TcpStream>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotSent>> {
        self.0.poll_ready(cx).map_err(|error| connect(None, &error))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let connecting = self.0.call(destination.clone());
        Box::pin(async move { connecting.await.map_err(|error| connect(destination.host(), &error)) })
    }
}

/// The system's resolver, which is not asked about this machine.
#[derive(Clone)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Unresolved;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Unresolved>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        self.0.poll_ready(cx).map_err(Unresolved)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_loopback_host(name.as_str()) {
            return Box::pin(async { Ok(this_machine()) });
        }
        let resolving = self.0.call(name);
        Box::pin(async move { Ok(resolving.await.map_err(Unresolved)?.collect::<Vec<_>>().into_iter()) })
    }
}

/// A name without an address.
#[derive(Debug)]
struct Unresolved(io::Error);

impl fmt::Display for Unresolved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl Error for Unresolved {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The errors from `error` down to its first cause.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The innermost cause in words; the wrappers above it only repeat where it happened.
pub(super) fn in_words(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(|cause| shown(&cause.to_string()).to_string()).unwrap_or_default()
}

fn connect(host: Option<&str>, error: &(dyn Error + 'static)) -> NotSent {
    let host = host.unwrap_or_default();
    let in_words = || format!("{}: {}", shown(host), in_words(error));
    if causes(error).any(|cause| cause.is::<Unresolved>()) {
        return NotSent::Dns(in_words() + &meant(host));
    }
    let timed_out = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    };
    if causes(error).any(timed_out) { NotSent::ConnectTimeout } else { NotSent::Connect(in_words()) }
}

/// A slip in a region shows as a host that there is not.
pub(super) fn meant(host: &str) -> String {
    let region = region_of_host(host);
    let meant = region.as_ref().and_then(|region| Some((region, meant_region(region.as_str())?)));
    meant.map(|(region, meant)| format!(" (there is no region {region}: did you mean {meant}?)")).unwrap_or_default()
}

fn this_machine() -> vec::IntoIter<SocketAddr> {
    // The port is the request's: zero means "not decided by the resolver".
    vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))].into_iter()
}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, NotSent>> + Send>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::roots::Roots;

    async fn failure(url: &str) -> NotSent {
        let mut connector = Connector::new(&Arc::new(Roots::Unneeded.load().unwrap()), Arc::default());
        connector.call(url.parse().unwrap()).await.map(drop).unwrap_err()
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_not_a_connection_that_failed() {
        // No name server is asked about a label of more than 63 characters.
        let nowhere = failure(&format!("http://{}.invalid/", "a".repeat(64))).await;
        assert!(matches!(nowhere, NotSent::Dns(_)), "{nowhere:?}");
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = failure(&format!("http://{nobody}/")).await;
        assert!(matches!(refused, NotSent::Connect(_)), "{refused:?}");
    }

    #[test]
    fn an_address_that_does_not_answer_is_a_timeout_however_deep_it_is_reported() {
        let error = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(connect(None, &error), NotSent::ConnectTimeout);
        let unresolved = Unresolved(io::Error::from(io::ErrorKind::TimedOut));
        assert!(matches!(connect(None, &unresolved), NotSent::Dns(_)));
    }
}
