//! A client without mercy: one blocking connection per request, and everything that came back, byte for byte.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{PATIENCE, START_URL};
use crate::support::fake::FakeIdentityCenter;

/// An answer as a client sees it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        pairs.into_iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The exception's name, with the status it came with.
    pub(super) fn refusal(&self) -> (u16, &str) {
        let name = self.header("x-amzn-ErrorType").unwrap_or("none");
        (self.status, name.split(':').next().unwrap())
    }

    pub(super) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }
}

/// A connection that is kept for the next request.
pub(super) struct Line<S> {
    pub(super) stream: S,
}

impl Line<TcpStream> {
    pub(super) fn open(fake: &FakeIdentityCenter) -> Self {
        let stream = TcpStream::connect(fake.url().trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }
}

impl<S: Read + Write> Line<S> {
    /// Sends these bytes and reads one answer.
    pub(super) fn ask(&mut self, request: &[u8]) -> io::Result<Reply> {
        self.stream.write_all(request)?;
        let mut reply = self.read_head()?;
        let length = reply.header("content-length").unwrap().parse().unwrap();
        reply.body.resize(length, 0);
        self.stream.read_exact(&mut reply.body)?;
        Ok(reply)
    }

    /// Reads the head of an answer and not a byte more.
    pub(super) fn read_head(&mut self) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        Ok(Reply::parse(&bytes))
    }
}

/// Sends these bytes and reads to the end of the connection, or to its error.
pub(super) fn exchange(url: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// A request's bytes; the connection ends with the answer.
pub(super) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

pub(super) fn send(
    fake: &FakeIdentityCenter,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    Reply::parse(&exchange(fake.url(), &request(method, target, headers, body)).unwrap())
}

pub(super) fn post(fake: &FakeIdentityCenter, target: &str, body: &Value) -> Reply {
    send(fake, "POST", target, &[("Content-Type", "application/json")], &body.to_string())
}

pub(super) fn get(fake: &FakeIdentityCenter, bearer: &str, target: &str) -> Reply {
    send(fake, "GET", target, &[("x-amz-sso_bearer_token", bearer)], "")
}

/// A registered client that polls.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: String,
}

impl Client {
    pub(super) fn register(fake: &FakeIdentityCenter) -> Self {
        let scopes = ["sso:account:access"];
        let body = json!({ "clientName": "test", "clientType": "public", "scopes": scopes });
        Self::of(&post(fake, "/client/register", &body).json())
    }

    pub(super) fn of(registered: &Value) -> Self {
        let text = |name: &str| registered[name].as_str().unwrap().to_owned();
        Self { id: text("clientId"), secret: text("clientSecret") }
    }

    pub(super) fn authorize(&self, fake: &FakeIdentityCenter) -> Value {
        let body = json!({ "clientId": self.id, "clientSecret": self.secret, "startUrl": START_URL });
        post(fake, "/device_authorization", &body).json()
    }

    pub(super) fn poll(&self, fake: &FakeIdentityCenter, device_code: &Value) -> Reply {
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        post(fake, "/token", &self.token_request(grant, "deviceCode", device_code))
    }

    pub(super) fn refresh(&self, fake: &FakeIdentityCenter, refresh_token: &Value) -> Reply {
        post(fake, "/token", &self.refresh_request(refresh_token))
    }

    pub(super) fn refresh_request(&self, refresh_token: &Value) -> Value {
        self.token_request("refresh_token", "refreshToken", refresh_token)
    }

    /// A whole sign-in: the body of the first `CreateToken`.
    pub(super) fn sign_in(&self, fake: &FakeIdentityCenter) -> Value {
        let device = self.authorize(fake);
        assert!(fake.approve(device["userCode"].as_str().unwrap()));
        self.poll(fake, &device["deviceCode"]).json()
    }

    fn token_request(&self, grant: &str, name: &str, value: &Value) -> Value {
        json!({ "clientId": self.id, "clientSecret": self.secret, "grantType": grant, name: value })
    }
}

/// The bearer token of a token response.
pub(super) fn bearer(tokens: &Value) -> &str {
    tokens["accessToken"].as_str().unwrap()
}
