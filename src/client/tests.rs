//! The client against a scripted peer on a socket in a private directory.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

use super::*;
use crate::api::{LoginRequest, SessionQuery, TargetQuery};
use crate::exit::Exit;
use crate::paths::PathError;
use crate::scratch::Scratch;

const PATIENCE: Duration = Duration::from_secs(20);

fn client(dir: &Path) -> Client {
    Client::new(SocketPath::implied(&dir.join("agent.sock")).unwrap(), None)
}

/// What the scripted peer does with a connection.
enum Act {
    /// Reads the request, then writes this and hangs up.
    Answer(&'static str),
    /// Hangs up at once.
    HangUp,
    /// Reads the request and says nothing for as long as the caller stays.
    Silence,
}

/// Serves one connection per act and returns the first lines of the requests it read.
fn peer(dir: &Path, acts: Vec<Act>) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(dir.join("agent.sock")).unwrap();
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        for act in acts {
            let (mut stream, _) = listener.accept().unwrap();
            if !matches!(act, Act::HangUp) {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                    request.push(byte[0]);
                }
                seen.push(String::from_utf8(request).unwrap().lines().next().unwrap().to_owned());
            }
            match act {
                Act::Answer(text) => stream.write_all(text.as_bytes()).unwrap(),
                Act::HangUp => {}
                Act::Silence => assert_eq!(stream.read(&mut [0]).unwrap(), 0),
            }
        }
        seen
    })
}

const HEALTHY: &str = "HTTP/1.1 200 OK\r\nsso-agent-version: 0.1.0\r\ncontent-length: 2\r\n\r\n{}";
const GOODBYE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 24\r\n\r\n{\"code\":\"shutting_down\"}";
const LOCKED: &str = "HTTP/1.1 423 Locked\r\ncontent-length: 35\r\n\r\n{\"code\":\"locked\",\"detail\":\"locked\"}";

#[test]
fn a_request_is_answered() {
    let dir = Scratch::new();
    let peer = peer(dir.path(), vec![Act::Answer(HEALTHY)]);
    let reply = client(dir.path()).send(&Request::Health, PATIENCE).unwrap();
    assert_eq!((reply.status, reply.agent_version.as_deref(), reply.body.expose()), (200, Some("0.1.0"), &b"{}"[..]));
    assert_eq!(peer.join().unwrap(), ["GET /v1/health HTTP/1.1"]);
}

#[test]
fn a_problem_is_an_error_with_its_own_exit_code() {
    let dir = Scratch::new();
    let peer = peer(dir.path(), vec![Act::Answer(LOCKED)]);
    let error = client(dir.path()).send(&Request::Health, PATIENCE).unwrap_err();
    assert_eq!((error.exit(), error.to_string().as_str()), (Exit::Locked, "locked"));
    peer.join().unwrap();
}

#[test]
fn the_agent_is_told_to_answer_a_little_before_patience_ends() {
    let dir = Scratch::new();
    let peer = peer(dir.path(), vec![Act::Answer(HEALTHY)]);
    let target = TargetQuery::Profile("dev".parse().unwrap());
    let request = Request::Credentials { target, min_validity: None, timeout: None };
    client(dir.path()).send(&request, PATIENCE).unwrap();
    assert_eq!(peer.join().unwrap(), ["GET /v1/credentials?profile=dev&timeout=19 HTTP/1.1"]);
    assert_eq!(time_for_the_agent(Duration::from_secs(30)), Duration::from_secs(29));
    assert_eq!(time_for_the_agent(Duration::ZERO), Duration::from_secs(1));
    assert_eq!(time_for_the_agent(Duration::MAX), Duration::from_secs(300));
}

#[test]
fn an_agent_that_says_goodbye_or_hangs_up_is_asked_again() {
    let dir = Scratch::new();
    let peer =
        peer(dir.path(), vec![Act::Answer(GOODBYE), Act::HangUp, Act::Answer("HTTP/1.1 2"), Act::Answer(HEALTHY)]);
    assert_eq!(client(dir.path()).send(&Request::Health, PATIENCE).unwrap().status, 200);
    assert_eq!(peer.join().unwrap().len(), 3);
}

#[test]
fn what_may_have_had_an_effect_is_not_sent_twice() {
    let dir = Scratch::new();
    let peer = peer(dir.path(), vec![Act::Answer("")]);
    let request = Request::Login { session: SessionQuery::Only, login: LoginRequest::default() };
    let error = client(dir.path()).send(&request, PATIENCE).unwrap_err();
    assert!(matches!(error, ClientError::Io { .. }), "{error:?}");
    assert_eq!(peer.join().unwrap().len(), 1);
}

#[test]
fn an_agent_that_has_refused_because_it_leaves_may_be_asked_again_for_anything() {
    let dir = Scratch::new();
    let peer = peer(dir.path(), vec![Act::Answer(GOODBYE), Act::Answer(HEALTHY)]);
    assert_eq!(client(dir.path()).send(&Request::Reload, PATIENCE).unwrap().status, 200);
    assert_eq!(peer.join().unwrap().len(), 2);
}

#[test]
fn patience_ends() {
    let dir = Scratch::new();
    let peer = peer(dir.path(), vec![Act::Silence]);
    let error = client(dir.path()).send(&Request::Health, Duration::from_millis(30)).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Unavailable);
    peer.join().unwrap();
}

#[test]
fn without_a_socket_there_is_no_agent_and_no_waiting() {
    let dir = Scratch::new();
    for client in [client(dir.path()), client(&dir.path().join("none"))] {
        // Patience beyond any test's: whoever waited for it would be noticed.
        let error = client.send(&Request::Health, Duration::from_secs(86_400)).unwrap_err();
        assert!(matches!(error, ClientError::NoAgent { absence: Absence::NoSocket, .. }), "{error:?}");
        assert_eq!(error.exit(), Exit::NoAgent);
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn whoever_is_absent_is_asked_for_once_and_then_waited_for() {
    let dir = Scratch::new();
    let mut started = Vec::new();
    let mut asked = 0;
    let reply = client(dir.path()).send_or(&Request::Health, PATIENCE, &mut |left| {
        asked += 1;
        assert!(left <= PATIENCE && left > Duration::ZERO);
        started.push(peer(dir.path(), vec![Act::HangUp, Act::Answer(HEALTHY)]));
        Ok(true)
    });
    assert_eq!((reply.unwrap().status, asked), (200, 1));
    started.into_iter().for_each(|peer| drop(peer.join().unwrap()));
}

#[test]
fn a_socket_that_was_left_behind_is_an_absence_and_what_that_costs_is_told() {
    let dir = Scratch::new();
    drop(UnixListener::bind(dir.path().join("agent.sock")).unwrap());
    let message = || "no".to_owned();
    let error = client(dir.path())
        .send_or(&Request::Health, PATIENCE, &mut |_| Err(ClientError::NotStarted { message: message() }))
        .unwrap_err();
    assert_eq!((error.to_string(), error.exit()), (message(), Exit::NoAgent));
    // Who must not be trusted is nobody's absence.
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o750)).unwrap();
    let error = client(dir.path()).send_or(&Request::Health, PATIENCE, &mut |_| panic!("it is not asked for"));
    assert!(matches!(error.unwrap_err(), ClientError::Untrusted(_)));
}

#[test]
fn the_version_of_an_agent_with_a_problem_is_known() {
    let dir = Scratch::new();
    let old = "HTTP/1.1 404 Not Found\r\nSso-Agent-Version: 0.0.1\r\ncontent-length: 26\r\n\r\n{\"code\":\"invalid_request\"}";
    let peer = peer(dir.path(), vec![Act::Answer(old)]);
    let client = client(dir.path());
    assert_eq!(client.agent_version(), None);
    client.send(&Request::Health, PATIENCE).unwrap_err();
    assert_eq!(client.agent_version().as_deref(), Some("0.0.1"));
    peer.join().unwrap();
}

#[test]
fn a_socket_that_nobody_listens_on_is_tried_until_patience_ends() {
    let dir = Scratch::new();
    drop(UnixListener::bind(dir.path().join("agent.sock")).unwrap());
    let error = client(dir.path()).send(&Request::Health, Duration::from_millis(30)).unwrap_err();
    assert!(matches!(error, ClientError::NoAgent { absence: Absence::Refused, .. }), "{error:?}");
}

#[test]
fn the_agent_that_holds_the_lock_is_found_on_its_other_socket() {
    let dir = Scratch::new();
    let elsewhere = Scratch::new();
    let peer = peer(elsewhere.path(), vec![Act::Answer(HEALTHY)]);
    let lock = dir.path().join("lock");
    let socket = elsewhere.path().join("agent.sock");
    let line = format!("{{\"pid\":1,\"socket\":{:?},\"host\":\"h\",\"boot_id\":\"b\"}}\n", socket.to_str().unwrap());
    std::fs::write(&lock, line).unwrap();
    let own = SocketPath::implied(&dir.path().join("agent.sock")).unwrap();
    let client = Client::new(own, Some(dir.path().to_owned()));

    std::fs::set_permissions(&lock, PermissionsExt::from_mode(0o666)).unwrap();
    let error = client.send(&Request::Health, PATIENCE).unwrap_err();
    assert!(matches!(error, ClientError::NoAgent { .. }), "a file that others can write is not believed: {error:?}");

    std::fs::set_permissions(&lock, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(client.send(&Request::Health, PATIENCE).unwrap().status, 200);
    peer.join().unwrap();
}

#[test]
fn a_lock_file_left_behind_changes_nothing() {
    let dir = Scratch::new();
    std::fs::write(dir.path().join("lock"), r#"{"socket":"/nonexistent/agent.sock"}"#).unwrap();
    let own = SocketPath::implied(&dir.path().join("agent.sock")).unwrap();
    let error = Client::new(own.clone(), Some(dir.path().to_owned())).send(&Request::Health, PATIENCE).unwrap_err();
    assert!(matches!(error, ClientError::NoAgent { socket, .. } if socket == own.path()));
}

#[test]
fn a_socket_in_a_directory_that_others_can_enter_is_not_talked_to() {
    let dir = Scratch::new();
    let _listener = UnixListener::bind(dir.path().join("agent.sock")).unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o750)).unwrap();
    let error = client(dir.path()).send(&Request::Health, PATIENCE).unwrap_err();
    assert!(matches!(error, ClientError::Untrusted(Distrust::Path(PathError::OpenToOthers { mode: 0o750, .. }))));
    assert_eq!(error.exit(), Exit::NoAgent);
    assert!(error.to_string().contains("chmod 700 "), "{error}");
}

#[test]
fn what_is_not_a_socket_or_not_the_agent_is_told_apart() {
    let dir = Scratch::new();
    std::fs::write(dir.path().join("agent.sock"), "").unwrap();
    let error = client(dir.path()).send(&Request::Health, PATIENCE).unwrap_err();
    assert!(matches!(error, ClientError::Untrusted(Distrust::Path(PathError::NotASocket { .. }))), "{error:?}");
    std::fs::remove_file(dir.path().join("agent.sock")).unwrap();

    let peer = peer(dir.path(), vec![Act::Answer("220 mail.example ESMTP\r\n\r\n")]);
    let error = client(dir.path()).send(&Request::Health, PATIENCE).unwrap_err();
    assert!(matches!(error, ClientError::BadAnswer(_)), "{error:?}");
    peer.join().unwrap();
}
