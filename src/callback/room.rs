//! The connections of one sign-in: how many, how long, and who waits for the verdict.
//!
//! One task owns the gate and the verdict; connections bring it their requests. So nothing is locked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, header::COOKIE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::gate::{Gate, Visit};
use super::page::{self, Answer};
use super::{Arrival, Limits, Verdict};
use crate::ids::SessionName;

pub(super) struct Room {
    gate: Gate,
    session: SessionName,
    limits: Limits,
    bring: mpsc::Sender<Arrival>,
    verdict: Option<Verdict>,
    /// Who is told when it is there.
    waiting: Vec<oneshot::Sender<Answer>>,
    seats: VecDeque<Seat>,
    connections: JoinSet<()>,
    questions: mpsc::Receiver<Question>,
    ask: mpsc::Sender<Question>,
}

/// A request, and where its answer goes.
struct Question {
    request: Parts,
    answer: oneshot::Sender<Answer>,
}

struct Seat {
    connection: AbortHandle,
    /// Whether a whole request has come.
    asked: Arc<AtomicBool>,
}

impl Room {
    pub(super) fn new(gate: Gate, session: SessionName, limits: Limits, bring: mpsc::Sender<Arrival>) -> Self {
        let (ask, questions) = mpsc::channel(limits.connections);
        let connections = JoinSet::new();
        Self {
            gate,
            session,
            limits,
            bring,
            verdict: None,
            waiting: Vec::new(),
            seats: VecDeque::new(),
            connections,
            questions,
            ask,
        }
    }

    /// Serves until the verdict is there and told. If whoever was to give it is gone, everybody is left alone.
    pub(super) async fn serve(mut self, listener: TcpListener, mut verdict: oneshot::Receiver<Verdict>) {
        loop {
            tokio::select! {
                verdict = &mut verdict => match verdict {
                    Ok(verdict) => break self.tell(verdict),
                    Err(_) => return,
                },
                () = self.next(Some(&listener)) => {}
            }
        }
        let Limits { linger: grace, patience, .. } = self.limits;
        if self.verdict != Some(Verdict::Closed) {
            let linger = async {
                loop {
                    self.next(Some(&listener)).await;
                }
            };
            // It has no end of its own.
            let _ = timeout(grace, linger).await;
        }
        drop(listener);
        let goodbye = async {
            while !self.connections.is_empty() {
                self.next(None).await;
            }
        };
        // Who has not taken its answer by then never will.
        let _ = timeout(patience, goodbye).await;
    }

    /// The next thing that happens.
    async fn next(&mut self, listener: Option<&TcpListener>) {
        let arriving = async {
            match listener {
                Some(listener) => accept(listener).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(question) = self.questions.recv() => self.answer(question),
            Some(_) = self.connections.join_next() => self.seats.retain(|seat| !seat.connection.is_finished()),
            stream = arriving => self.seat(stream),
        }
    }

    fn seat(&mut self, stream: TcpStream) {
        if self.seats.len() >= self.limits.connections {
            let oldest = self.seats.iter().position(|seat| !seat.asked.load(Ordering::Relaxed)).unwrap_or(0);
            if let Some(seat) = self.seats.remove(oldest) {
                seat.connection.abort();
            }
        }
        let asked = Arc::new(AtomicBool::new(false));
        let visitor = Visitor {
            ask: self.ask.clone(),
            asked: Arc::clone(&asked),
            session: self.session.clone(),
            limits: self.limits.clone(),
        };
        let connection = self.connections.spawn(converse(stream, visitor));
        self.seats.push_back(Seat { connection, asked });
    }

    fn answer(&mut self, question: Question) {
        let answer = match self.gate.visit(&question.request) {
            Visit::Stranger => page::nothing(),
            Visit::TooLate => {
                tracing::warn!("the link of a sign-in was opened again, elsewhere");
                page::used()
            }
            Visit::Leave { to, cookie } => page::redirect(&to, cookie.as_deref()),
            Visit::Return(arrival) => {
                tracing::debug!("the browser has come back");
                // There is room for the only one there is; whoever has stopped listening has a verdict.
                drop(self.bring.try_send(arrival));
                return self.wait(question.answer);
            }
            Visit::Again => return self.wait(question.answer),
        };
        // A visitor that has gone away does not need its answer.
        drop(question.answer.send(answer));
    }

    fn wait(&mut self, answer: oneshot::Sender<Answer>) {
        match &self.verdict {
            Some(verdict) => drop(answer.send(page::of(verdict, &self.session))),
            None => {
                self.waiting.retain(|waiting| !waiting.is_closed());
                self.waiting.push(answer);
            }
        }
    }

    fn tell(&mut self, verdict: Verdict) {
        for waiting in self.waiting.drain(..) {
            drop(waiting.send(page::of(&verdict, &self.session)));
        }
        self.verdict = Some(verdict);
    }
}

/// What a connection knows.
struct Visitor {
    ask: mpsc::Sender<Question>,
    asked: Arc<AtomicBool>,
    session: SessionName,
    limits: Limits,
}

/// One request and its answer.
async fn converse(stream: TcpStream, visitor: Visitor) {
    let visitor = &visitor;
    let Limits { patience, hold, .. } = visitor.limits;
    let service = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
        Ok::<_, Infallible>(attend(visitor, request.into_parts().0).await)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        // The least that hyper takes.
        .max_buf_size(8192)
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(patience + hold + patience, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection of a browser ended early"),
        Err(_) => tracing::debug!("a browser does not take its answer"),
    }
}

async fn attend(visitor: &Visitor, request: Parts) -> Answer {
    visitor.asked.store(true, Ordering::Relaxed);
    if length(&request) > visitor.limits.header_bytes {
        return page::too_large();
    }
    let (answer, answered) = oneshot::channel();
    if visitor.ask.send(Question { request, answer }).await.is_err() {
        return page::nothing();
    }
    match timeout(visitor.limits.hold, answered).await {
        Ok(Ok(answer)) => answer,
        // The room is gone, and with it this connection.
        Ok(Err(_)) => page::nothing(),
        Err(_) => page::not_yet(&visitor.session),
    }
}

/// The bytes of a header, without cookies.
fn length(request: &Parts) -> usize {
    let line = request.method.as_str().len() + request.uri.to_string().len() + "  HTTP/1.1\r\n".len();
    line + headers_length(&request.headers)
}

fn headers_length(headers: &HeaderMap) -> usize {
    let counted = headers.iter().filter(|(name, _)| *name != COOKIE);
    counted.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}

/// The next connection. Where the system has no descriptor left, it may have one later.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of a browser");
                sleep_until(Instant::now() + AFTER_FAILURE).await;
            }
        }
    }
}

const AFTER_FAILURE: Duration = Duration::from_millis(100);
