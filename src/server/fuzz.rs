//! Anything at all as what a caller sends over a connection.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use super::connection::converse;
use super::seat::{Room, Seat};
use super::{Handle, Limits, Means, Meters};
use crate::api::{Code, Health, Problem, Request, Response};
use crate::audit::{Asker, Audit, Programs};
use crate::clock::{Clock, SystemClock};
use crate::env::Env;
use crate::policy::Policies;
use crate::settings::AuditMode;
use crate::upstream::call_meter;

/// What a caller sends before hanging up: the conversation ends by itself, and everything the caller hears is answers
/// with our headers, or the HTTP library's own refusal of what is no HTTP.
pub fn connection(bytes: &[u8]) {
    let heard = RUNTIME.with(|runtime| runtime.block_on(converse_with(bytes)));
    let mut rest = heard.as_slice();
    let mut answers = 0;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a whole header");
        let head = std::str::from_utf8(&rest[..end]).expect("a header is text").to_ascii_lowercase();
        rest = &rest[end + 4..];
        let status = head.strip_prefix("http/1.").and_then(|rest| rest.get(2..5)).expect("an answer is HTTP");
        if status == "100" {
            continue;
        }
        let says = |header: &str| head.lines().any(|line| line == header);
        let refused_by_library = says("content-length: 0") && ["400", "414", "431"].contains(&status);
        let ours = says("cache-control: no-store") && head.contains("\r\nsso-agent-version: ");
        assert!(ours || refused_by_library, "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(str::parse::<usize>);
        let length = length.map_or(0, |length| length.expect("a length is a number"));
        answers += 1;
        if rest.len() < length || answers_without_body(bytes) {
            // After `HEAD` the length is told and the body is not sent.
            assert!(answers_without_body(bytes), "cut short: {head}");
            break;
        }
        rest = &rest[length..];
    }
    assert!(answers <= bytes.windows(2).filter(|window| *window == b"\n\n" || *window == b"\n\r").count() + 1);
}

async fn converse_with(bytes: &[u8]) -> Vec<u8> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (handle, mut questions) = Handle::channel(64, Arc::clone(&clock));
    let programs = Programs::of_machine(&Env::default());
    let audit = Arc::new(Audit::new(PathBuf::new(), AuditMode::Off, programs, Arc::clone(&clock)));
    let policies = Arc::new(Policies::none(Arc::clone(&audit), Arc::clone(&clock)));
    let meters = Arc::new(Meters::new(clock, Arc::new(call_meter())));
    let room = Arc::new(Room::new(Means { handle, audit, policies, meters, limits: Limits::default() }));
    let Ok((mut caller, served)) = UnixStream::pair() else { return Vec::new() };
    let asker = Asker::of(&served, None, 0);
    let serving = converse(served, Arc::new(Seat::new(room, None, asker)));
    let asking = async move {
        let (mut from, mut to) = caller.split();
        let sending = async {
            // The other side may have heard enough.
            let _ = to.write_all(bytes).await;
            let _ = to.shutdown().await;
        };
        let mut heard = Vec::new();
        let (_, _) = tokio::join!(sending, from.read_to_end(&mut heard));
        heard
    };
    let answering = async {
        while let Some(question) = questions.next().await {
            let _ = question.answer.send(match question.request {
                Request::Reload => Err(Problem::new(Code::Locked, "locked")),
                Request::CancelLogin { .. } => Ok(Response::NoContent),
                _ => Ok(Response::Health(Health { version: "x".into() })),
            });
        }
    };
    tokio::join!(serving, asking, answering).1
}

fn answers_without_body(bytes: &[u8]) -> bool {
    bytes.windows(5).any(|window| window == b"HEAD ")
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_io().build().expect("a runtime can be built");
}
