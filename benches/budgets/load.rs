//! A caller: asks for the same thing over and over, over kept connections.

use std::process::Child;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::process::{again, first_line, now, runtime};

/// Requests a second that a server answers over so many connections.
pub(crate) fn rate(socket: &str, path: &str, connections: usize) -> f64 {
    let callers: Vec<Child> = (0..connections)
        .step_by(MOST_OF_ONE_PROCESS)
        .map(|taken| {
            let share = (connections - taken).min(MOST_OF_ONE_PROCESS).to_string();
            again(&["load", socket, path, &share])
        })
        .collect();
    let rates = callers.into_iter().map(|mut caller| {
        let rate: f64 = first_line(&mut caller).trim().parse().expect("the caller tells its rate");
        assert!(caller.wait().expect("the caller can be reaped").success());
        rate
    });
    rates.sum()
}

/// Asks over so many connections for a while and prints the requests a second.
pub(crate) fn run(socket: &str, path: &str, connections: usize) {
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

/// How long a caller asks.
pub(crate) const ROUND: Duration = Duration::from_secs(1);
/// As many connections as the agent allows one process.
const MOST_OF_ONE_PROCESS: usize = 64;
