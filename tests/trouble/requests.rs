//! Requests that are not requests, and callers that take more than their place.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{CORP, Sandbox};

/// Sends bytes and reads to the end of the connection.
fn exchange(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // A refusal may come before everything is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn what_the_api_does_not_know_is_refused_with_the_right_status() {
    let sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    let agent = sandbox.start_agent();
    let oversized = format!(r#"{{"flow":"{}"}}"#, "x".repeat(20_000));
    for (method, path, body, status) in [
        ("GET", "/v1/unknown", "", 404),
        ("GET", "/", "", 404),
        ("GET", "/v2/status", "", 404),
        ("GET", "/v1/sessions/corp/unknown", "", 404),
        ("POST", "/v1/credentials?profile=dev", "", 405),
        ("DELETE", "/v1/status", "", 405),
        ("PUT", "/v1/sessions/corp/login", "", 405),
        ("GET", "/v1/reload", "", 405),
        ("POST", "/v1/sessions/corp/login", oversized.as_str(), 413),
        ("POST", "/v1/sessions/corp/login", "{", 400),
        ("POST", "/v1/sessions/corp/login", r#"{"flw":"device"}"#, 400),
        ("GET", "/v1/credentials?profile=dev&colour=red", "", 400),
        ("GET", "/v1/credentials?profile=dev&profile=dev", "", 400),
        ("GET", "/v1/credentials?profile=dev&timeout=301", "", 400),
        ("GET", "/v1/credentials?profile=dev&min_validity=-1", "", 400),
        ("GET", "/v1/credentials", "", 400),
        ("GET", "/v1/credentials?session=corp&account=12&role=R", "", 400),
    ] {
        let (found, problem) = agent.request(method, path, body);
        assert_eq!((found, &problem["code"]), (status, &"invalid_request".into()), "{method} {path}: {problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    let answer = exchange(&sandbox.socket(), b"GET /v1/unknown HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let head = answer.to_lowercase();
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    assert!(head.contains("cache-control: no-store") && head.contains("sso-agent-version: "), "{answer}");
    agent.get("/v1/health");
}

#[test]
fn bytes_that_are_not_http_end_their_own_connection_only() {
    let sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    let agent = sandbox.start_agent();
    let long_header = format!("GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"hello\r\n\r\n", b"\0\0\0\0\r\n\r\n", long_header.as_bytes()] {
        let answer = exchange(&sandbox.socket(), &[bytes, b"\r\n\r\n"].concat());
        assert!(!answer.contains(" 200 "), "{answer}");
        agent.get("/v1/health");
    }
}

#[test]
fn half_a_request_and_then_silence_is_given_up_while_others_are_served() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let half = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(sandbox.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let header = half(b"GET /v1/status HTTP/1.1\r\nHost: loc");
    let body = half(b"POST /v1/sessions/corp/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    for mut stream in [header, body] {
        let mut answer = Vec::new();
        // Answered or not, in the end it is closed by the agent and not by our patience.
        let end = stream.read_to_end(&mut answer).map_err(|error| error.kind());
        assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
        assert!(!String::from_utf8(answer).unwrap().contains(" 20"), "half a request is not carried out");
    }
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
}

#[test]
fn six_hundred_idle_connections_leave_room_for_others() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut idle = Vec::new();
    for number in 0..600 {
        let mut stream = UnixStream::connect(sandbox.socket()).unwrap();
        if number % 3 == 0 {
            // Some have spoken before they fell silent.
            let _ = stream.write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        idle.push(stream);
    }
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(sandbox.cli(&["status", "--check"]).code, Some(0));
    agent.get("/v1/health");
    drop(idle);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
}

#[test]
fn six_hundred_idle_connections_of_many_processes_leave_room_for_others() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    // Ten processes with sixty connections each, which say when they have them and hold them until they are killed.
    let script = "import socket,sys\nheld=[]\nfor _ in range(60):\n s=socket.socket(socket.AF_UNIX)\n \
                  s.connect(sys.argv[1])\n held.append(s)\nprint('ready',flush=True)\nsys.stdin.read()\n";
    let mut holders = Vec::new();
    for _ in 0..10 {
        let mut command = sandbox.command("python3");
        command.args(["-c", script]).arg(sandbox.socket());
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let Ok(mut child) = command.spawn() else { return };
        let mut ready = [0; 5];
        child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        holders.push(child);
    }
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(sandbox.cli(&["status", "--check"]).code, Some(0));
    agent.get("/v1/health");
    for mut holder in holders {
        drop(holder.stdin.take());
        holder.wait().unwrap();
    }
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
}
