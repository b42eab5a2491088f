//! One connection: hyper reads and writes, the seat is kept up to date, the engine answers.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::convert::{self, Answer};
use super::gate;
use super::seat::{Phase, Seat};
use crate::api::{Code, Problem, Request, Response};
use crate::audit::Refusal;
use crate::policy::Admitted;
use crate::untrusted::shown;

/// Serves one connection until either side ends it.
pub(super) async fn converse(stream: UnixStream, seat: Arc<Seat>) {
    let service = service_fn(|request| answer(&seat, request));
    let stream = TokioIo::new(Watched { stream, seat: &seat });
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(seat.room.limits.header_bytes)
            // Nobody caches what comes from here.
            .auto_date_header(false)
            .serve_connection(stream, service)
    );
    let mut called = false;
    poll_fn(|context| {
        if let Poll::Ready(end) = connection.as_mut().poll(context) {
            if let Err(error) = end {
                tracing::debug!(pid = seat.pid, %error, "a connection ended early");
            }
            return Poll::Ready(());
        }
        match seat.phase().0 {
            Phase::Idle if seat.is_at_its_end() => return Poll::Ready(()),
            Phase::Idle | Phase::Asking => called = false,
            // Something is only half here or half there, so a deadline runs.
            Phase::Header | Phase::Body | Phase::Answering if !called => {
                called = true;
                seat.call();
            }
            Phase::Header | Phase::Body | Phase::Answering => {}
        }
        Poll::Pending
    })
    .await;
}

async fn answer(seat: &Seat, request: hyper::Request<Incoming>) -> Result<Answer, std::convert::Infallible> {
    Ok(match at_once(seat, &request) {
        Some(answer) => answer,
        // Boxed: a connection that is always answered at once takes no memory for this.
        None => Box::pin(at_length(seat, request)).await,
    })
}

/// The path of almost every request: its answer lies ready, and nobody has rules about it.
fn at_once(seat: &Seat, request: &hyper::Request<Incoming>) -> Option<Answer> {
    if seat.gate.is_some() || seat.room.policies.any() {
        return None;
    }
    let ready = laid_out(seat, request)?;
    seat.enter(Phase::Answering);
    let answer = convert::answer(accounted_for(seat, ready), seat.is_at_its_end());
    let status = answer.status().as_u16();
    seat.room.meters.answered_at_once(CREDENTIALS, status);
    tracing::debug!(method = %request.method(), route = CREDENTIALS, status, "answered at once");
    Some(answer)
}

async fn at_length(seat: &Seat, mut request: hyper::Request<Incoming>) -> Answer {
    let begun = Instant::now();
    let mut wanted = None;
    let mut again = None;
    let (route, outcome) = match laid_out(seat, &request) {
        Some(response) => (CREDENTIALS, Ok(response)),
        None => match read(seat, &mut request).await {
            Ok(asked) => {
                wanted = gate::wanted(seat.gate.as_deref(), &asked);
                again = seat.room.policies.any().then(|| asked.clone());
                (convert::route(&asked), ask(seat, asked).await)
            }
            Err(problem) => ("none", Err(problem)),
        },
    };
    if matches!(outcome, Ok(Response::Reloaded(_))) {
        seat.room.doors_follow().await;
    }
    let came = outcome.is_ok();
    let outcome = match outcome {
        Ok(response) => by_the_rules(seat, response, again, &request, begun).await,
        Err(problem) => Err(problem),
    };
    let by_rules = came && outcome.is_err();
    seat.enter(Phase::Answering);
    let outcome = outcome.and_then(|response| seat.lets_out(response));
    if let (Some(_), Err(problem)) = (&seat.gate, &outcome)
        && problem.code == Code::NotAllowed
        && !by_rules
    {
        let what = if wanted.is_some() { route } else { "request" };
        let asked = wanted.unwrap_or_else(|| format!("{} {}", request.method(), request.uri().path()));
        let refusal = Refusal { what, target: None, asked: Some(&asked), setting: "serve" };
        seat.room.audit.note_refusal(refusal, &seat.asker);
    }
    let outcome = outcome.and_then(|response| accounted_for(seat, response)).map(|response| match response {
        Response::Status(status) if route == convert::METRICS => Response::Metrics(seat.room.meters.text(&status)),
        response => response,
    });
    let answer = convert::answer(outcome, seat.is_at_its_end());
    let (elapsed, status) = (begun.elapsed(), answer.status().as_u16());
    seat.room.meters.answered(route, status, elapsed);
    tracing::debug!(method = %shown(request.method().as_str()), route, status, ?elapsed, "answered");
    answer
}

/// What the user's rules say about handing this out. Where that took a while, it is asked for once more: meanwhile
/// somebody may have signed out or locked the agent.
async fn by_the_rules(
    seat: &Seat,
    response: Response,
    asked: Option<Request>,
    request: &hyper::Request<Incoming>,
    arrived: Instant,
) -> Result<Response, Problem> {
    let policies = &seat.room.policies;
    let Some((rule, target)) = response.target().and_then(|target| Some((policies.rule(target)?, target.clone())))
    else {
        return Ok(response);
    };
    if seat.gate.as_ref().is_some_and(|gate| !gate.lets_out(&response)) {
        // Refused further on: nobody there learns of a rule for what is not handed out there.
        return Ok(response);
    }
    // Laid out, it was not read yet.
    let asked = asked.map_or_else(|| parse(request, &[]), Ok)?;
    let what = response.hand_out().map_or("credentials", |told| told.what.as_str());
    let patience = match &asked {
        Request::Credentials { timeout: Some(timeout), .. } => *timeout,
        _ => PATIENCE,
    };
    seat.enter(Phase::Asking);
    let place = rule.confirm.then(|| seat.room.ask().ok_or_else(|| busy("too many callers wait for the agent")));
    let place = place.transpose()?;
    match policies.admit(&rule, &target, what, &seat.asker, arrived + patience).await? {
        Admitted::AtOnce => Ok(response),
        Admitted::AfterAWhile => {
            drop((response, place));
            let response = ask(seat, asked).await?;
            if response.target() == Some(&target) {
                return Ok(response);
            }
            Err(Problem::new(Code::InvalidConfig, "the configuration has changed while the user was asked"))
        }
    }
}

/// The one place that every answer passes on its way out: what hands out a secret is in the audit log before it goes.
fn accounted_for(seat: &Seat, mut response: Response) -> Result<Response, Problem> {
    let audit = &seat.room.audit;
    if let Response::Reloaded(reloaded) = &mut response {
        reloaded.warnings.extend(seat.room.doors().1);
    }
    if let Response::Status(status) = &mut response {
        status.audit = Some(audit.status());
        if !status.locked {
            let (doors, warnings) = seat.room.doors();
            status.serve = doors;
            status.warnings.extend(warnings.into_iter().chain(seat.room.handle.remarks()));
        }
    }
    if response.hand_out().is_some() && seat.room.handle.is_locked() {
        return Err(Problem::new(Code::Locked, "the agent is locked").hint("run: sso-agent unlock"));
    }
    seat.room.meters.handed_out(&response);
    if let Some(hand_out) = response.hand_out() {
        audit.note(hand_out, &seat.asker).map_err(|error| {
            let problem = Problem::new(Code::Storage, error.to_string()).caused_by(error.reason());
            problem.hint(
                "make room in the state directory; or write audit = \"best-effort\" into config.toml, then: sso-agent reload",
            )
        })?;
    }
    Ok(response)
}

/// What the engine has laid out, so that nobody needs to read the question.
fn laid_out(seat: &Seat, request: &hyper::Request<Incoming>) -> Option<Response> {
    if request.method() != http::Method::GET || !request.body().is_end_stream() {
        return None;
    }
    let ready = seat.room.handle.ready(request.uri().path_and_query()?.as_str())?;
    // Laid out for somebody else, perhaps: who may not have it gets on to where that is said.
    seat.gate.as_ref().is_none_or(|gate| gate.lets_out(&ready)).then_some(ready)
}

async fn read(seat: &Seat, request: &mut hyper::Request<Incoming>) -> Result<Request, Problem> {
    if let Some(gate) = &seat.gate {
        gate.admit(request.method(), request.uri().path())?;
    }
    if request.body().is_end_stream() {
        seat.enter(Phase::Asking);
        return parse(request, &[]);
    }
    seat.enter(Phase::Body);
    let most = seat.room.limits.body_bytes;
    let too_large =
        || Problem::new(Code::InvalidRequest, format!("the body has more than {most} bytes")).with_status(413);
    if request.body().size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let body = Limited::new(request.body_mut(), most).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            too_large()
        } else {
            Problem::new(Code::InvalidRequest, "the body cannot be read").caused_by(error)
        }
    })?;
    seat.enter(Phase::Asking);
    parse(request, &body.to_bytes())
}

fn parse(request: &hyper::Request<Incoming>, body: &[u8]) -> Result<Request, Problem> {
    let target = request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    Request::parse(request.method().as_str(), target, body)
}

async fn ask(seat: &Seat, request: Request) -> Result<Response, Problem> {
    let room = &seat.room;
    let _place = match convert::burden(&request) {
        convert::Burden::Light => None,
        convert::Burden::Waiting => Some(room.poll().ok_or_else(|| busy("too many callers wait for a change"))?),
        convert::Burden::Working => Some(room.ask().ok_or_else(|| busy("too many callers wait for the agent"))?),
    };
    match &seat.gate {
        None => room.handle.ask(request).await,
        Some(gate) => room.handle.ask_within(request, Arc::clone(&gate.targets)).await,
    }
}

fn busy(detail: &str) -> Problem {
    Problem::new(Code::Busy, detail).retry_after(std::time::Duration::from_secs(1))
}

/// The route of all that the engine lays out.
const CREDENTIALS: &str = "credentials";

/// The stream, with a note of what passes.
struct Watched<'a> {
    stream: UnixStream,
    seat: &'a Seat,
}

impl AsyncRead for Watched<'_> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, into);
        if into.filled().len() > before {
            this.seat.step(Phase::Idle, Phase::Header);
        }
        polled
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    /// Hyper flushes an answer when it has written all of it.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        if polled.is_ready() {
            this.seat.step(Phase::Answering, Phase::Idle);
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    /// With vectored writes hyper passes a body on where it lies and makes no copy that nobody would wipe.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }
}

/// What the engine gives whoever says nothing about it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(25);
