//! The real client against raw listeners on loopback that say exactly what a test wants.

mod captures;
mod faults;
mod lists;
mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Call, Https, Reply, Route, Upstream};
use crate::callback::AuthorizationCode;
use crate::clock::SystemClock;
use crate::env::Env;
use crate::identity_center::{Bound, ClientRegistration, Endpoint, Endpoints, Flow};
use crate::secret::Secret;
use crate::time::Timestamp;

/// What a listener does with one connection.
enum Act {
    /// Reads a request and answers these bytes.
    Answer(String),
    /// Reads requests and answers each of them, on one connection.
    KeepAlive(Vec<String>),
    /// Reads a request and resets the connection.
    Reset,
    /// Waits for the first byte and resets the connection without reading it.
    ResetUnread,
    /// Reads a request and says nothing until the client gives up.
    Hang,
    /// Reads a request, answers these bytes, and no more until the client gives up.
    Stall(String),
}

/// A listener that goes through `acts`, a connection each; joined, it returns the requests it read.
fn listener(acts: Vec<Act>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        acts.into_iter().flat_map(|act| play(act, listener.accept().unwrap().0)).collect::<Vec<_>>()
    });
    (address, serving)
}

/// Waits for a listener while the runtime runs on: it is the client's task that hangs up on a silent listener.
async fn read_by(serving: JoinHandle<Vec<String>>) -> Vec<String> {
    tokio::task::spawn_blocking(|| serving.join().unwrap()).await.unwrap()
}

fn play(act: Act, mut stream: TcpStream) -> Vec<String> {
    match act {
        Act::Answer(answer) => {
            let request = read_request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            vec![request]
        }
        Act::KeepAlive(answers) => answers
            .iter()
            .map(|answer| {
                let request = read_request(&mut stream);
                stream.write_all(answer.as_bytes()).unwrap();
                request
            })
            .collect(),
        Act::Reset => {
            let request = read_request(&mut stream);
            reset(stream);
            vec![request]
        }
        Act::ResetUnread => {
            stream.peek(&mut [0]).unwrap();
            reset(stream);
            vec![]
        }
        Act::Hang => play(Act::Stall(String::new()), stream),
        Act::Stall(beginning) => {
            let request = read_request(&mut stream);
            stream.write_all(beginning.as_bytes()).unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            vec![request]
        }
    }
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn read_request(stream: &mut impl Read) -> String {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8(request.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert_ne!(count, 0, "the client hung up in the middle of {text:?}");
            continue;
        };
        let length = header(head, "content-length").map_or(0, |length| length.parse::<usize>().unwrap());
        if body.len() >= length {
            return text;
        }
    }
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

/// A response after which the listener closes.
fn response(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn https() -> Https {
    Https::new(Arc::new(SystemClock), &Env::default())
}

fn endpoint(address: SocketAddr) -> Endpoint {
    format!("http://{address}").parse().unwrap()
}

fn route(endpoint: &Endpoint) -> Route {
    Route {
        endpoints: Endpoints { oidc: endpoint.clone(), portal: endpoint.clone() },
        ca_bundle: None,
        timeout: Duration::from_secs(20),
    }
}

type Make = fn(&Endpoint) -> Call;

async fn call(call: Call, endpoint: &Endpoint) -> Reply {
    https().call(route(endpoint), call).await
}

fn registration(home: &Endpoint) -> Bound<ClientRegistration> {
    let registration = ClientRegistration {
        client_id: "cid".into(),
        client_secret: Secret::new("csec".into()),
        issued_at: Timestamp::from_secs(1_700_000_000),
        expires_at: Timestamp::from_secs(1_707_776_000),
        scopes: vec![],
        flow: Flow::Device,
    };
    Bound::new(home.clone(), registration)
}

fn secret(home: &Endpoint, text: &str) -> Bound<Secret> {
    Bound::new(home.clone(), Secret::new(text.into()))
}

fn refresh(home: &Endpoint) -> Call {
    Call::CreateTokenFromRefreshToken { registration: registration(home), refresh_token: secret(home, "rt") }
}

fn exchange(home: &Endpoint) -> Call {
    let code = AuthorizationCode {
        code: Secret::new("thecode".into()),
        verifier: Secret::new("v".repeat(64)),
        redirect_uri: "http://127.0.0.1:34567/oauth/callback".into(),
    };
    let code = Bound::new(home.clone(), code);
    Call::CreateTokenFromAuthorizationCode { registration: registration(home), code }
}

fn poll(home: &Endpoint) -> Call {
    Call::CreateTokenFromDeviceCode { registration: registration(home), device_code: secret(home, "dc") }
}

fn role_credentials(home: &Endpoint) -> Call {
    Call::GetRoleCredentials {
        access_token: secret(home, "at-SECRET"),
        account: "123456789012".parse().unwrap(),
        role: "R".parse().unwrap(),
    }
}

fn accounts(home: &Endpoint) -> Call {
    Call::ListAccounts { access_token: secret(home, "at-SECRET") }
}

fn roles(home: &Endpoint) -> Call {
    Call::ListAccountRoles { access_token: secret(home, "at-SECRET"), account: "123456789012".parse().unwrap() }
}

fn logout(home: &Endpoint) -> Call {
    Call::Logout { access_token: secret(home, "at-SECRET") }
}
