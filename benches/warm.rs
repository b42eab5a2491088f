//! Requests a second for a warm target over kept connections, against bare hyper on the same socket type and runtime.
//!
//! `cargo bench --bench warm`; `-- --socket PATH [--path PATH_AND_QUERY]` measures an agent that runs already. Server
//! and callers are processes of their own; each caller process holds at most 64 connections, as many as the agent
//! allows one process.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sso_agent::clock::{Clock, SystemClock};
use sso_agent::time::Mono;
use support::{Scratch, cpu_time, document, is_wanted, line, median, runtime, serve_document};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve-ours", socket] => serve_document(Path::new(socket), sso_agent::server::Limits::default(), ready),
        ["serve-bare", socket] => serve_bare(Path::new(socket)),
        ["load", socket, path, connections] => load(socket, path, connections.parse().expect("a number")),
        _ if is_wanted() => compare(),
        _ => {}
    }
}

fn compare() {
    let scratch = Scratch::new("warm");
    let at = |name: &str| scratch.path().join(name).to_str().expect("the path is text").to_owned();
    let bare = Server::start("serve-bare", at("bare"));
    let ours = match option("--socket") {
        Some(socket) => Server::running(socket),
        None => Server::start("serve-ours", at("ours")),
    };
    let path = option("--path").unwrap_or_else(|| WARM.to_owned());
    for connections in [1, 16, 256] {
        let (mut of_ours, mut of_bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            of_bare.push(bare.measure(WARM, connections));
            of_ours.push(ours.measure(&path, connections));
        }
        let rate = |values: &[Measured]| median(values.iter().map(|value| value.rate).collect());
        let cpu = |values: &[Measured]| median(values.iter().map(|value| value.cpu).collect());
        let name = format!("warm credentials, {connections} connections");
        line(&name, "/s", rate(&of_ours), rate(&of_bare), Some(0.8..=f64::INFINITY));
        line("  the server's CPU time for one of them", "us", cpu(&of_ours), cpu(&of_bare), None);
    }
}

struct Server {
    socket: String,
    process: Option<Child>,
}

struct Measured {
    /// Requests a second.
    rate: f64,
    /// Microseconds for each.
    cpu: f64,
}

impl Server {
    fn start(role: &str, socket: String) -> Self {
        let mut process = again(&[role, &socket]);
        first_line(&mut process);
        Self { socket, process: Some(process) }
    }

    fn running(socket: String) -> Self {
        Self { socket, process: None }
    }

    fn measure(&self, path: &str, connections: usize) -> Measured {
        let cpu = || self.process.as_ref().and_then(|process| cpu_time(process.id())).unwrap_or_default();
        let before = cpu();
        let callers: Vec<Child> = (0..connections)
            .step_by(MOST_OF_ONE_PROCESS)
            .map(|taken| {
                let share = (connections - taken).min(MOST_OF_ONE_PROCESS).to_string();
                again(&["load", &self.socket, path, &share])
            })
            .collect();
        let done: f64 = callers
            .into_iter()
            .map(|mut caller| {
                let rate: f64 = first_line(&mut caller).trim().parse().expect("the caller tells its rate");
                assert!(caller.wait().expect("the caller can be reaped").success());
                rate
            })
            .sum();
        let used = cpu().saturating_sub(before);
        Measured { rate: done, cpu: used.as_secs_f64() * 1e6 / (done * ROUND.as_secs_f64()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// This program again, in another role.
fn again(arguments: &[&str]) -> Child {
    let program = std::env::current_exe().expect("this program has a path");
    Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().expect("this program can be started again")
}

fn first_line(process: &mut Child) -> String {
    let mut text = String::new();
    let out = process.stdout.as_mut().expect("the output is piped");
    BufReader::new(out).read_line(&mut text).expect("the process says something");
    text
}

fn ready() {
    println!("ready");
}

fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// As little as hyper allows, with the same body and headers.
fn serve_bare(socket: &Path) {
    runtime().block_on(async {
        let listener = UnixListener::bind(socket).expect("the socket can be bound");
        let body = Bytes::from(serde_json::to_vec(&document()).expect("the document can be encoded"));
        ready();
        loop {
            let (stream, _) = listener.accept().await.expect("connections can be accepted");
            let body = body.clone();
            tokio::spawn(async move {
                let service = service_fn(|_| {
                    let mut answer = hyper::Response::new(Full::new(body.clone()));
                    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    std::future::ready(Ok::<_, std::convert::Infallible>(answer))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

/// Asks over so many connections for a while and prints the requests a second.
fn load(socket: &str, path: &str, connections: usize) {
    runtime().block_on(async {
        let request = format!("GET {path} HTTP/1.1\r\nhost: sso-agent\r\n\r\n");
        let begun = now();
        let mut callers = JoinSet::new();
        for _ in 0..connections {
            let mut stream = UnixStream::connect(socket).await.expect("the server accepts");
            let request = request.clone();
            callers.spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                let length = first_answer(&mut stream, &request, &mut buffer).await;
                let mut done = 1_u64;
                while now().since(begun) < ROUND {
                    stream.write_all(request.as_bytes()).await.expect("the server reads");
                    stream.read_exact(&mut buffer[..length]).await.expect("the server answers");
                    done += 1;
                }
                done
            });
        }
        let done: u64 = callers.join_all().await.into_iter().sum();
        println!("{}", done as f64 / now().since(begun).as_secs_f64());
    });
}

/// Checks the first answer; all others are as long.
async fn first_answer(stream: &mut UnixStream, request: &str, buffer: &mut [u8]) -> usize {
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut filled = 0;
    loop {
        filled += stream.read(&mut buffer[filled..]).await.expect("the server answers");
        let text = std::str::from_utf8(&buffer[..filled]).expect("the answer is text");
        assert!(text.starts_with("HTTP/1.1 200 "), "the server answered: {text}");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        if body.len() == length.parse::<usize>().expect("a number") {
            return filled;
        }
    }
}

fn now() -> Mono {
    SystemClock.now().mono
}

const WARM: &str = "/v1/credentials?session=corp&account=111122223333&role=Developer";
const MOST_OF_ONE_PROCESS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);
