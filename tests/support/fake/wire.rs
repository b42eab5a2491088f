//! Connections: reads requests, writes answers, and damages them as ordered.
//!
//! HTTP/1.1 is spoken by hand, because a server library takes care that what is wanted here never happens:
//! a reset in place of an answer, a body shorter than promised, a byte at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::answer::{Answer, Request};
use super::fault::{Fault, When};
use super::journal::Outcome;
use super::shared::{Plan, Shared};

/// A connection whose end can be made a reset.
pub trait Connection: AsyncRead + AsyncWrite + Unpin {
    /// Makes the close that follows a reset.
    fn close_with_reset(&self) -> io::Result<()>;
}

impl Connection for TcpStream {
    fn close_with_reset(&self) -> io::Result<()> {
        self.set_zero_linger()
    }
}

impl Connection for TlsStream<TcpStream> {
    fn close_with_reset(&self) -> io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }
}

/// Whether a connection goes on after an answer.
#[derive(PartialEq, Eq)]
enum Then {
    KeepAlive,
    Close,
    Reset,
}

/// Serves one connection to its end. A client that goes away is no error.
pub async fn serve(mut connection: impl Connection, shared: Arc<Shared>) {
    let mut unread = Vec::new();
    loop {
        let request = match read_request(&mut connection, &mut unread, &shared).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let answer = Answer::typed(400, "text/plain", error.to_string());
                let _ = write_answer(&mut connection, &answer, &shared).await;
                return;
            }
            Err(_) => return,
        };
        let plan = shared.admit(&request);
        pause(plan.latency).await;
        match carry_out(&mut connection, plan, &request, &shared).await {
            Ok(Then::KeepAlive) if !wants_close(&request) => {}
            Ok(Then::Reset) => {
                // An orderly end first would be what the client sees.
                let _ = connection.close_with_reset();
                return;
            }
            _ => {
                let _ = connection.shutdown().await;
                return;
            }
        }
    }
}

async fn carry_out(
    connection: &mut impl Connection,
    plan: Plan,
    request: &Request,
    shared: &Shared,
) -> io::Result<Then> {
    let Plan { number, operation, fault, mut released, .. } = plan;
    let Some((fault, when)) = fault else {
        let answer = shared.perform(operation, request);
        let written = write_answer(connection, &answer, shared).await;
        shared.finish(number, Outcome::Answered { status: answer.status, error: answer.error });
        return written.map(|()| Then::KeepAlive);
    };
    if when == When::BeforeEffect {
        held_up_by(&fault, &mut released).await;
    }
    let takes_effect = when == When::AfterEffect || fault.only_delays();
    let genuine = takes_effect.then(|| shared.perform(operation, request));
    let status = genuine.as_ref().map(|answer| answer.status);
    let outcome = Outcome::Struck { fault: fault.clone(), when, status };
    if let Some(substitute) = fault.answer(operation.is_portal()) {
        let written = write_answer(connection, &substitute, shared).await;
        shared.finish(number, outcome);
        return written.map(|()| Then::KeepAlive);
    }
    // From here on a client may never hear the end of it, so the record is complete before.
    shared.finish(number, outcome);
    let answer = genuine.unwrap_or_else(|| Answer::typed(200, "application/json", STAND_IN));
    damage(connection, &fault, when, &answer, released, shared).await
}

async fn held_up_by(fault: &Fault, released: &mut watch::Receiver<()>) {
    match fault {
        Fault::Delay(by) => pause(*by).await,
        // The sender lives as long as the connections do.
        Fault::Hold => drop(released.changed().await),
        _ => {}
    }
}

async fn damage(
    connection: &mut impl Connection,
    fault: &Fault,
    when: When,
    answer: &Answer,
    mut released: watch::Receiver<()>,
    shared: &Shared,
) -> io::Result<Then> {
    match fault {
        Fault::Reset => return Ok(Then::Reset),
        Fault::Hang => {
            let mut nothing = [0];
            tokio::select! {
                _ = released.changed() => {}
                _ = connection.read(&mut nothing) => {}
            }
        }
        Fault::TruncatedBody => {
            connection.write_all(head(answer, shared).as_bytes()).await?;
            connection.write_all(&answer.body[..answer.body.len() / 2]).await?;
            connection.flush().await?;
        }
        Fault::Dribble { per_byte } => {
            connection.write_all(head(answer, shared).as_bytes()).await?;
            for byte in &answer.body {
                pause(*per_byte).await;
                connection.write_all(&[*byte]).await?;
                connection.flush().await?;
            }
            return Ok(Then::KeepAlive);
        }
        Fault::Delay(_) | Fault::Hold => {
            if when == When::AfterEffect {
                held_up_by(fault, &mut released).await;
            }
            write_answer(connection, answer, shared).await?;
            return Ok(Then::KeepAlive);
        }
        _ => {}
    }
    Ok(Then::Close)
}

/// The next request, or `None` at the end of the connection.
async fn read_request(
    connection: &mut impl Connection,
    unread: &mut Vec<u8>,
    shared: &Shared,
) -> io::Result<Option<Request>> {
    let head_end = loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if unread.len() > LONGEST_HEAD {
            return Err(invalid("the head is too long"));
        }
        if read_more(connection, unread, shared).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(unread[..head_end].to_vec()).map_err(|_| invalid("the head is not UTF-8"))?;
    let mut request = parse_head(&head)?;
    let length = match request.header("content-length") {
        Some(text) => text.parse().map_err(|_| invalid("Content-Length is not a number"))?,
        None if request.header("transfer-encoding").is_some() => return Err(invalid("Content-Length is required")),
        None => 0_usize,
    };
    let body_start = head_end + 4;
    while unread.len() < body_start + length {
        if read_more(connection, unread, shared).await? == 0 {
            return Ok(None);
        }
    }
    request.body = unread[body_start..body_start + length].to_vec();
    unread.drain(..body_start + length);
    Ok(Some(request))
}

async fn read_more(connection: &mut impl Connection, unread: &mut Vec<u8>, shared: &Shared) -> io::Result<usize> {
    let before = unread.len();
    let count = connection.read_buf(unread).await?;
    shared.lock().journal.received(&unread[before..]);
    Ok(count)
}

fn parse_head(head: &str) -> io::Result<Request> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid("the request line is not HTTP/1.1"));
    };
    let header = |line: &str| {
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
        Ok((name.to_owned(), value.trim().to_owned()))
    };
    let headers = lines.map(header).collect::<io::Result<Vec<_>>>()?;
    let request = Request { method: method.to_owned(), target: target.to_owned(), headers, body: Vec::new() };
    match request.header("host") {
        Some(_) => Ok(request),
        None => Err(invalid("Host is missing")),
    }
}

async fn write_answer(connection: &mut impl Connection, answer: &Answer, shared: &Shared) -> io::Result<()> {
    let bytes = [head(answer, shared).as_bytes(), &answer.body].concat();
    connection.write_all(&bytes).await?;
    connection.flush().await
}

fn head(answer: &Answer, shared: &Shared) -> String {
    let now = shared.lock().clock.now();
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let date = httpdate::fmt_http_date(now.system_time());
    let length = answer.body.len();
    head.push_str(&format!("Date: {date}\r\nx-amzn-RequestId: {REQUEST_ID}\r\nContent-Length: {length}\r\n\r\n"));
    head
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

fn wants_close(request: &Request) -> bool {
    request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "slowness is what a test ordered, and no test waits for it")]
        tokio::time::sleep(duration).await;
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

const LONGEST_HEAD: usize = 64 << 10;
const REQUEST_ID: &str = "11111111-2222-3333-4444-555555555555";
const STAND_IN: &str = "{\"standIn\": \"the operation has had no effect\"}";
