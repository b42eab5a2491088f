//! The server on a socket in a private directory, with an engine of a few lines behind it.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;
use crate::api::{Code, CredentialDocument, Health, Problem, Request, Response};
use crate::audit::Programs;
use crate::clock::SystemClock;
use crate::engine::Questions;
use crate::ids::{Grant, TargetId};
use crate::policy::Policies;
use crate::scratch::Scratch;
use crate::secret::Secret;
use crate::settings::AuditMode;
use crate::time::Timestamp;
use crate::upstream::call_meter;

/// A server, the engine's end of its handle, and what stops it.
struct Served {
    dir: Scratch,
    socket: PathBuf,
    questions: Questions,
    stop: Option<oneshot::Sender<()>>,
    server: tokio::task::JoinHandle<()>,
}

fn serve_with(limits: Limits) -> Served {
    serve_audited(limits, AuditMode::BestEffort)
}

fn serve_audited(limits: Limits, mode: AuditMode) -> Served {
    serve_on(Scratch::new(), Restricted::none(), limits, mode)
}

fn serve_on(dir: Scratch, restricted: Restricted, limits: Limits, mode: AuditMode) -> Served {
    let socket = dir.path().join("agent.sock");
    let listeners = Listeners { main: UnixListener::bind(&socket).unwrap(), restricted };
    let (handle, questions) = Handle::channel(1024, Arc::new(SystemClock));
    let (stop, stopped) = oneshot::channel();
    let programs = Programs::of_machine(&crate::env::Env::default());
    let audit = Arc::new(Audit::new(dir.path().to_owned(), mode, programs, Arc::new(SystemClock)));
    let policies = Arc::new(Policies::none(Arc::clone(&audit), Arc::new(SystemClock)));
    let meters = Arc::new(Meters::new(Arc::new(SystemClock), Arc::new(call_meter())));
    let means = Means { handle, audit, policies, meters, limits };
    let server = tokio::spawn(serve(listeners, means, Guests::default(), async {
        let _ = stopped.await;
    }));
    Served { dir, socket, questions, stop: Some(stop), server }
}

impl Served {
    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// Answers everything from now on: credentials with credentials, the rest with health.
    fn answer_all(&mut self) {
        let (_, nothing) = Handle::channel(1, Arc::new(SystemClock));
        let mut questions = std::mem::replace(&mut self.questions, nothing);
        tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                let answer = match question.request {
                    Request::Credentials { .. } => Ok(Response::encoded(&credentials(), target()).unwrap()),
                    Request::Reload => Err(Problem::new(Code::Locked, "locked")),
                    Request::CancelLogin { .. } => Ok(Response::NoContent),
                    _ => Ok(Response::Health(Health { version: "x".into() })),
                };
                let _ = question.answer.send(answer);
            }
        });
    }
}

fn credentials() -> CredentialDocument {
    CredentialDocument {
        version: 1,
        access_key_id: "ASIAEXAMPLE".into(),
        secret_access_key: Secret::new("sk".into()),
        session_token: Secret::new("st".into()),
        expiration: Timestamp::from_secs(1_700_000_000),
        account_id: None,
    }
}

fn target() -> TargetId {
    let grant = Grant::Role { account: "111122223333".parse().unwrap(), role: "ReadOnly".parse().unwrap() };
    TargetId { session: "corp".parse().unwrap(), grant }
}

struct Answered {
    status: u16,
    head: String,
    body: String,
}

/// Sends and reads one answer; the connection stays open.
async fn ask(stream: &mut UnixStream, request: &str) -> Answered {
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

async fn answer(stream: &mut UnixStream) -> Answered {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Answered { status: head[9..12].parse().unwrap(), head, body: String::from_utf8(body).unwrap() }
}

/// Completes when the server has closed the connection.
async fn closed(mut stream: UnixStream) {
    let mut rest = Vec::new();
    // A reset says the same as an end.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "closed without an answer");
}

const HEALTH: &str = "GET /v1/health HTTP/1.1\r\nhost: a\r\n\r\n";
const CREDENTIALS: &str = "GET /v1/credentials?profile=p HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn an_answer_carries_its_headers_and_the_connection_is_kept() {
    let mut served = serve_with(Limits::default());
    served.answer_all();
    let mut stream = served.connect().await;
    for _ in 0..3 {
        let answer = ask(&mut stream, CREDENTIALS).await;
        assert_eq!(answer.status, 200);
        for header in ["cache-control: no-store\r\n", "content-type: application/json\r\n"] {
            assert!(answer.head.contains(header), "{}", answer.head);
        }
        assert!(answer.head.contains(concat!("sso-agent-version: ", env!("CARGO_PKG_VERSION"), "\r\n")));
        assert!(answer.body.contains("\"SecretAccessKey\":\"sk\""));
    }
    let none = ask(&mut stream, "DELETE /v1/sessions/s/login HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((none.status, none.body.as_str()), (204, ""));
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_a_problem_with_the_closest_status() {
    let mut served = serve_with(Limits::default());
    served.answer_all();
    for (request, status, code) in [
        ("GET /v1/nope HTTP/1.1\r\n\r\n", 404, "invalid_request"),
        ("GET / HTTP/1.1\r\n\r\n", 404, "invalid_request"),
        ("OPTIONS /v1/health HTTP/1.1\r\n\r\n", 405, "invalid_request"),
        ("PUT /v1/health HTTP/1.1\r\n\r\n", 405, "invalid_request"),
        ("GET /v1/credentials HTTP/1.1\r\n\r\n", 400, "invalid_request"),
        ("POST /v1/reload HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 423, "locked"),
    ] {
        let answer = ask(&mut served.connect().await, request).await;
        assert_eq!(answer.status, status, "{request}");
        assert!(answer.head.contains("content-type: application/problem+json\r\n"), "{}", answer.head);
        assert!(answer.body.contains(&format!("\"code\":\"{code}\"")), "{}", answer.body);
    }
    let mut stream = served.connect().await;
    stream.write_all(b"HEAD /v1/health HTTP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 405 ") && all.ends_with("\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_or_not_its_length_is_announced() {
    let mut served = serve_with(Limits { body_bytes: 100, ..Limits::default() });
    served.answer_all();
    let announced = "POST /v1/sessions/s/login HTTP/1.1\r\ncontent-length: 101\r\n\r\n";
    assert_eq!(ask(&mut served.connect().await, announced).await.status, 413);
    let chunk = format!("{:x}\r\n{}\r\n", 60, " ".repeat(60));
    let chunked = format!("POST /v1/sessions/s/login HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}");
    assert_eq!(ask(&mut served.connect().await, &chunked).await.status, 413);
    let fits = format!("POST /v1/sessions/s/login HTTP/1.1\r\ncontent-length: 100\r\n\r\n{{}}{}", " ".repeat(98));
    assert_eq!(ask(&mut served.connect().await, &fits).await.status, 200);
}

#[tokio::test]
async fn a_header_over_the_limit_is_refused() {
    let served = serve_with(Limits { header_bytes: 8192, ..Limits::default() });
    let mut stream = served.connect().await;
    let request = format!("GET /v1/health HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(ask(&mut stream, &request).await.status, 431);
}

#[tokio::test]
async fn half_a_request_and_then_silence_is_closed() {
    let brief = Duration::from_millis(20);
    let mut served = serve_with(Limits { header_time: brief, body_time: brief, ..Limits::default() });
    served.answer_all();
    for half in ["GET /v1/health HTT", "POST /v1/sessions/s/login HTTP/1.1\r\ncontent-length: 5\r\n\r\n{"] {
        let mut stream = served.connect().await;
        stream.write_all(half.as_bytes()).await.unwrap();
        closed(stream).await;
    }
    assert_eq!(ask(&mut served.connect().await, HEALTH).await.status, 200);
}

#[tokio::test]
async fn half_a_request_is_closed_on_a_connection_that_was_used_before() {
    let mut served = serve_with(Limits { header_time: Duration::from_millis(20), ..Limits::default() });
    served.answer_all();
    let mut stream = served.connect().await;
    assert_eq!(ask(&mut stream, HEALTH).await.status, 200);
    stream.write_all(b"GET /v1").await.unwrap();
    closed(stream).await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let mut served = serve_with(Limits { idle_time: Duration::from_millis(20), ..Limits::default() });
    served.answer_all();
    let mut used = served.connect().await;
    assert_eq!(ask(&mut used, HEALTH).await.status, 200);
    closed(used).await;
    closed(served.connect().await).await;
}

#[tokio::test]
async fn a_caller_that_does_not_take_its_answer_is_closed() {
    let mut served = serve_with(Limits { answer_time: Duration::from_millis(20), ..Limits::default() });
    let mut stream = served.connect().await;
    stream.write_all(HEALTH.as_bytes()).await.unwrap();
    let question = served.questions.next().await.unwrap();
    // More than the socket's buffers hold.
    let version = "v".repeat(8 * 1024 * 1024);
    question.answer.send(Ok(Response::Health(Health { version }))).unwrap();
    // The server hangs up without being read from; what its end of the socket still held is all there is.
    stream.ready(tokio::io::Interest::READABLE).await.unwrap();
    while !stream.ready(tokio::io::Interest::READABLE).await.unwrap().is_read_closed() {
        tokio::task::yield_now().await;
    }
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken).await;
    assert!(taken.len() < 8 * 1024 * 1024, "cut off");
}

#[tokio::test]
async fn six_hundred_idle_connections_keep_nobody_out() {
    let mut served = serve_with(Limits::default());
    served.answer_all();
    let mut idle = Vec::new();
    for _ in 0..600 {
        idle.push(served.connect().await);
    }
    assert_eq!(ask(&mut served.connect().await, CREDENTIALS).await.status, 200);
    closed(idle.swap_remove(0)).await;
    assert_eq!(ask(idle.last_mut().unwrap(), HEALTH).await.status, 200, "the youngest of them is still served");
}

#[tokio::test]
async fn requests_that_wait_leave_room_for_status() {
    let limits = Limits { connections: 4, connections_per_process: 4, reserved: 2, long_polls: 1, ..Limits::default() };
    let mut served = serve_with(limits);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(CREDENTIALS.as_bytes()).await.unwrap();
        waiting.push((stream, served.questions.next().await.unwrap()));
    }
    let mut third = served.connect().await;
    let refused = ask(&mut third, CREDENTIALS).await;
    assert!(refused.status == 503 && refused.body.contains("\"busy\""), "{}", refused.body);
    let poll = "GET /v1/status?wait=9 HTTP/1.1\r\n\r\n";
    third.write_all(poll.as_bytes()).await.unwrap();
    let polling = served.questions.next().await.unwrap();
    let mut fourth = served.connect().await;
    assert_eq!(ask(&mut fourth, poll).await.status, 503, "one long poll is allowed");

    let (stream, question) = waiting.pop().unwrap();
    question.answer.send(Ok(Response::Credentials(credentials(), target()))).unwrap();
    polling.answer.send(Err(Problem::new(Code::Timeout, "x"))).unwrap();
    served.answer_all();
    assert_eq!(ask(&mut fourth, HEALTH).await.status, 200);
    assert_eq!(ask(&mut fourth, CREDENTIALS).await.status, 200, "a place given back is free");
    drop((stream, waiting));
}

#[tokio::test]
async fn a_caller_that_hangs_up_takes_its_question_back() {
    let mut served = serve_with(Limits::default());
    let mut stream = served.connect().await;
    stream.write_all(CREDENTIALS.as_bytes()).await.unwrap();
    let mut question = served.questions.next().await.unwrap();
    drop(stream);
    question.answer.closed().await;
}

#[tokio::test]
async fn at_shutdown_open_requests_are_answered_and_nothing_more_is_accepted() {
    let mut served = serve_with(Limits::default());
    let idle = served.connect().await;
    let mut stream = served.connect().await;
    stream.write_all(CREDENTIALS.as_bytes()).await.unwrap();
    let question = served.questions.next().await.unwrap();
    served.stop.take().unwrap().send(()).unwrap();
    closed(idle).await;
    assert!(UnixStream::connect(&served.socket).await.is_err());
    question.answer.send(Ok(Response::Credentials(credentials(), target()))).unwrap();
    let answer = answer(&mut stream).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("connection: close\r\n"), "{}", answer.head);
    served.server.await.unwrap();
}

#[tokio::test]
async fn at_shutdown_nobody_is_waited_for_without_end() {
    let mut served = serve_with(Limits { goodbye_time: Duration::from_millis(20), ..Limits::default() });
    let mut stream = served.connect().await;
    stream.write_all(CREDENTIALS.as_bytes()).await.unwrap();
    let _question = served.questions.next().await.unwrap();
    served.stop.take().unwrap().send(()).unwrap();
    served.server.await.unwrap();
    closed(stream).await;
}

#[tokio::test]
async fn what_is_handed_out_is_in_the_log_before_the_answer_is() {
    let mut served = serve_with(Limits::default());
    served.answer_all();
    let mut stream = served.connect().await;
    let lines = || crate::audit::read(served.dir.path()).unwrap().lines;
    assert_eq!(ask(&mut stream, HEALTH).await.status, 200);
    assert_eq!(lines().len(), 0, "health hands nothing out");
    for _ in 0..5 {
        assert_eq!(ask(&mut stream, CREDENTIALS).await.status, 200);
    }
    let lines_before = lines();
    assert_eq!(lines_before.len(), 1, "{lines_before:?}");
    let (_, line) = &lines_before[0];
    assert_eq!(
        (line.what.as_str(), line.session.as_str(), line.key_id.as_deref()),
        ("credentials", "corp", Some("ASIAEXAMPLE"))
    );
    assert_eq!(line.peer.uid, Some(crate::paths::our_uid()));
    served.stop.take().unwrap().send(()).unwrap();
    served.server.await.unwrap();
    let repeats: Vec<u64> =
        crate::audit::read(served.dir.path()).unwrap().lines.iter().map(|(_, line)| line.repeats).collect();
    assert_eq!(repeats, [0, 4], "no count is lost at the end");
}

#[tokio::test]
async fn where_a_log_is_required_and_cannot_be_written_nothing_is_handed_out() {
    for (mode, status) in [(AuditMode::Required, 507), (AuditMode::BestEffort, 200), (AuditMode::Off, 200)] {
        let mut served = serve_audited(Limits::default(), mode);
        served.answer_all();
        std::fs::create_dir(served.dir.path().join("audit.log")).unwrap();
        let mut stream = served.connect().await;
        let answer = ask(&mut stream, CREDENTIALS).await;
        assert_eq!(answer.status, status, "{mode:?}: {}", answer.body);
        assert_eq!(answer.body.contains("\"SecretAccessKey\""), status == 200, "{}", answer.body);
        if status == 507 {
            assert!(answer.body.contains("\"storage\""), "{}", answer.body);
        }
        assert_eq!(ask(&mut stream, HEALTH).await.status, 200);
    }
}

mod restricted;
