//! The listener of an endpoint: who is let in how often and for how long. What is answered is the desk's.
//!
//! Invariants: a connection is one request and its answer; whoever says nothing for long loses their place to who comes;
//! no answer is given to anybody whom [`rules`] turn away.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{self, Answer};
use super::rules;

/// Who answers.
pub trait Desk: Send + Sync + 'static {
    /// The methods there are.
    const METHODS: &'static [Method];

    /// The answer to somebody at that address whom the rules have let through.
    fn answer(&self, request: Parts, from: IpAddr) -> impl Future<Output = Answer> + Send;
}

/// Serves until `shutdown` completes; then nothing more is accepted, and open answers have a moment.
pub async fn serve<D: Desk>(listener: TcpListener, here: SocketAddr, desk: Arc<D>, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    let mut seats: VecDeque<Seat> = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => seats.retain(|seat| !seat.connection.is_finished()),
            (stream, from) = accept(&listener) => {
                if seats.len() >= MOST_CONNECTIONS {
                    let oldest = seats.iter().position(|seat| !seat.asked.load(Ordering::Relaxed));
                    let Some(seat) = oldest.and_then(|oldest| seats.remove(oldest)) else { continue };
                    seat.connection.abort();
                }
                let asked = Arc::new(AtomicBool::new(false));
                let visitor = Visitor { desk: Arc::clone(&desk), here, from: from.ip(), asked: Arc::clone(&asked) };
                seats.push_back(Seat { connection: connections.spawn(converse(stream, visitor)), asked });
            }
        }
    }
    drop(listener);
    let goodbye = async { while connections.join_next().await.is_some() {} };
    // Who has not taken the answer by then never will.
    let _ = timeout(GOODBYE, goodbye).await;
}

struct Seat {
    connection: AbortHandle,
    /// Whether a whole request has come.
    asked: Arc<AtomicBool>,
}

struct Visitor<D> {
    desk: Arc<D>,
    here: SocketAddr,
    from: IpAddr,
    asked: Arc<AtomicBool>,
}

async fn converse<D: Desk>(stream: TcpStream, visitor: Visitor<D>) {
    let visitor = &visitor;
    let service = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
        Ok::<_, Infallible>(attend(visitor, request.into_parts().0).await)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        // The least that hyper takes.
        .max_buf_size(8192)
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(PATIENCE + HOLD + PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to an endpoint for containers ended early"),
        Err(_) => tracing::debug!("a client of an endpoint for containers does not take its answer"),
    }
}

async fn attend<D: Desk>(visitor: &Visitor<D>, request: Parts) -> Answer {
    visitor.asked.store(true, Ordering::Relaxed);
    if let Err(stranger) = rules::check(&request, visitor.here, D::METHODS) {
        tracing::warn!(from = %visitor.from, ?stranger, "turned a request to an endpoint for containers away");
        let answer = answer::refusal(stranger.status(), "forbidden", stranger.reason());
        return if stranger == rules::Stranger::Method { answer::allow(answer, D::METHODS) } else { answer };
    }
    timeout(HOLD, visitor.desk.answer(request, visitor.from)).await.unwrap_or_else(|_| answer::too_slow())
}

/// The next connection. Where the system has no descriptor left, it may have one later.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to an endpoint for containers");
                sleep_until(Instant::now() + AFTER_FAILURE).await;
            }
        }
    }
}

/// As many as a program with many threads might make at once.
const MOST_CONNECTIONS: usize = 64;
/// For the header of a request, and for taking its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until somebody is told that it takes too long. No SDK waits longer.
const HOLD: Duration = Duration::from_secs(25);
const GOODBYE: Duration = Duration::from_secs(2);
const AFTER_FAILURE: Duration = Duration::from_millis(100);
