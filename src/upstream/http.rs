//! One exchange over HTTP: a request out, a status, headers and a body back.
//!
//! Owns: the clients and what they trust, the limits of time and size, and whether a request that came to nothing may
//! have been seen by the service. Refuses to know what is asked. Invariant: a request is written at most once; nothing
//! below sends it again and no redirect is followed.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::response::Parts;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use zeroize::{Zeroize, Zeroizing};

use super::connect::{Connector, Written, causes, in_words};
use super::proxy::{Proxies, Proxy, ProxyFailure};
use super::roots::{Roots, Stamp};
use super::{Failure, NotSent, Unclear};
use crate::clock::Clock;
use crate::identity_center::Endpoint;
use crate::time::{Mono, Now};

/// A request and the kind of connection it needs.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request: Request<Full<Bytes>>,
    pub(super) connection: Connection,
}

/// On what a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// One of its own: on a used one the service may have hung up while the request was on its way.
    Fresh,
    /// One that may have served another request before.
    Pooled,
}

/// A response, complete or not.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The whole body, or why there is none.
    pub(super) body: Result<Zeroizing<Vec<u8>>, Unclear>,
    /// Just before the request.
    pub(super) sent: Now,
    /// When the headers were there.
    pub(super) received: Now,
}

/// The clients of every set of roots in use.
pub(super) struct Clients {
    by_roots: Mutex<HashMap<Roots, Entry>>,
    proxies: Arc<Proxies>,
}

struct Entry {
    stamp: Option<Stamp>,
    connector: Connector,
    clients: Pair,
    used: Mono,
}

/// One client for each [`Connection`].
#[derive(Clone)]
pub(super) struct Pair {
    fresh: HttpClient,
    pooled: HttpClient,
    connector: Connector,
}

impl Clients {
    pub(super) fn new(proxies: Proxies) -> Self {
        Self { by_roots: Mutex::new(HashMap::new()), proxies: Arc::new(proxies) }
    }

    /// The proxy on the way to a service.
    pub(super) fn way_to(&self, destination: &Uri) -> Result<Option<Arc<Proxy>>, ProxyFailure> {
        self.proxies.way_to(destination)
    }

    /// The clients that trust what a route trusts. Roots are read when first needed and when their bundle changed.
    pub(super) async fn trusting(
        &self,
        endpoint: &Endpoint,
        bundle: Option<&Path>,
        now: Mono,
    ) -> Result<Pair, NotSent> {
        let roots = Roots::of(endpoint, bundle);
        // Held while the roots are read: ten sessions that wake together read them once.
        let mut by_roots = self.by_roots.lock().await;
        let stamp = roots.stamp()?;
        if let Some(entry) = by_roots.get_mut(&roots)
            && entry.stamp == stamp
        {
            // The pool's own timer does not count suspend, and a connection of before it leads nowhere.
            if now.since(entry.used) > IDLE_TIMEOUT {
                entry.clients = Pair::new(&entry.connector);
            }
            entry.used = now;
            return Ok(entry.clients.clone());
        }
        let reading = roots.clone();
        let config =
            spawn_blocking(move || reading.load()).await.map_err(|error| NotSent::Roots(error.to_string()))??;
        let connector = Connector::new(&Arc::new(config), Arc::clone(&self.proxies));
        let clients = Pair::new(&connector);
        by_roots.insert(roots, Entry { stamp, connector, clients: clients.clone(), used: now });
        Ok(clients)
    }
}

impl Pair {
    fn new(connector: &Connector) -> Self {
        let fresh = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_max_idle_per_host(0)
            .build(connector.clone());
        let pooled = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_max_idle_per_host(MOST_IDLE)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        Self { fresh, pooled, connector: connector.clone() }
    }

    /// Sends one request, once, and takes what comes back until `deadline`.
    pub(super) async fn exchange(
        &self,
        outgoing: Outgoing,
        deadline: Instant,
        clock: &dyn Clock,
    ) -> Result<Response, Failure> {
        let Outgoing { mut request, connection } = outgoing;
        let client = match connection {
            Connection::Fresh => &self.fresh,
            Connection::Pooled => &self.pooled,
        };
        let capture = capture_connection(&mut request);
        let destination = request.uri().clone();
        let sent = clock.now();
        let (head, incoming) = match timeout_at(deadline, client.request(request)).await {
            Ok(Ok(response)) => response.into_parts(),
            Ok(Err(error)) => return Err(without_response(&error, &capture)),
            Err(_) if may_have_left(&capture) => return Err(Failure::Unknown(Unclear::TimedOut)),
            Err(_) => return Err(Failure::NotSent(self.connector.too_late(&destination))),
        };
        let received = clock.now();
        let body = timeout_at(deadline, read(incoming)).await.unwrap_or(Err(Unclear::TimedOut));
        let Parts { status, headers, .. } = head;
        Ok(Response { status, headers, body, sent, received })
    }
}

fn without_response(error: &(dyn Error + 'static), capture: &CaptureConnection) -> Failure {
    if let Some(not_sent) = causes(error).find_map(|cause| cause.downcast_ref::<NotSent>()) {
        return Failure::NotSent(not_sent.clone());
    }
    if may_have_left(capture) {
        Failure::Unknown(Unclear::Broken(in_words(error)))
    } else {
        Failure::NotSent(NotSent::Connect(in_words(error)))
    }
}

/// Whether a byte of the request can have left: there was a connection, and something was written to it. A pooled
/// connection has always been written to, which errs on the safe side.
fn may_have_left(capture: &CaptureConnection) -> bool {
    capture.connection_metadata().as_ref().is_some_and(|connected| {
        let mut extensions = http::Extensions::new();
        connected.get_extras(&mut extensions);
        extensions.get::<Written>().is_none_or(Written::anything)
    })
}

async fn read(mut incoming: Incoming) -> Result<Zeroizing<Vec<u8>>, Unclear> {
    if incoming.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(Unclear::TooLarge);
    }
    let mut body = Zeroizing::new(Vec::with_capacity(FIRST_CAPACITY));
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| Unclear::Broken(in_words(&error)))?;
        let Some(data) = frame.data_ref() else { continue };
        if body.len() + data.len() > LARGEST_BODY {
            return Err(Unclear::TooLarge);
        }
        append(&mut body, data);
    }
    Ok(body)
}

/// Grows by hand: `Vec` would leave the old buffer behind as it was, tokens and all.
fn append(body: &mut Vec<u8>, data: &[u8]) {
    let needed = body.len() + data.len();
    if needed > body.capacity() {
        let mut larger = Vec::with_capacity(needed.max(body.capacity() * 2));
        larger.extend_from_slice(body);
        body.zeroize();
        *body = larger;
    }
    body.extend_from_slice(data);
}

type HttpClient = Client<Connector, Full<Bytes>>;

const MOST_IDLE: usize = 4;
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// No answer of either service comes near it.
const LARGEST_BODY: usize = 1024 * 1024;
const FIRST_CAPACITY: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_outgrows_its_buffer_is_complete() {
        let mut body = Vec::with_capacity(4);
        for piece in [&b"abc"[..], b"", b"defghijkl", b"m"] {
            append(&mut body, piece);
        }
        assert_eq!(body, b"abcdefghijklm");
    }
}
