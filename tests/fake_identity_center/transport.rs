//! Connections: kept alive, over TLS, unplugged, malformed; and the listener that must hear nothing.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::caller::{Line, Reply, exchange, get, request};
use super::{PATIENCE, START_URL};
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, SilentListener, Times, Transport, When};

fn fake() -> FakeIdentityCenter {
    FakeIdentityCenter::start(FakeConfig::default())
}

fn list_accounts(token: &str) -> Vec<u8> {
    let head =
        format!("GET /assignment/accounts HTTP/1.1\r\nHost: localhost\r\nx-amz-sso_bearer_token: {token}\r\n\r\n");
    head.into_bytes()
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let fake = fake();
    let token = fake.sign_in_directly(START_URL).1.access_token;
    let mut line = Line::open(&fake);
    assert_eq!(line.ask(&list_accounts(&token)).unwrap().status, 200);
    assert_eq!(line.ask(&list_accounts("wrong")).unwrap().status, 401);
    // Two requests in one write: the second is not lost with the first one's buffer.
    assert_eq!(line.ask(&[list_accounts(&token), list_accounts(&token)].concat()).unwrap().status, 200);
    assert_eq!(line.ask(b"").unwrap().status, 200);
    assert_eq!(fake.count(Operation::ListAccounts), 4);
}

#[tokio::test(flavor = "current_thread")]
async fn a_real_client_library_is_served_from_an_async_test() {
    let fake = fake();
    let token = fake.sign_in_directly(START_URL).1.access_token;
    let fresh = || -> HyperClient<_, Full<Bytes>> { HyperClient::builder(TokioExecutor::new()).build_http() };
    let client = fresh();
    for _ in 0..2 {
        let request = hyper::Request::get(format!("{}/assignment/accounts", fake.url()))
            .header("x-amz-sso_bearer_token", &token)
            .body(Full::default())
            .unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["accountList"].is_array());
    }
    fake.go_offline();
    let request = hyper::Request::get(fake.url()).body(Full::default()).unwrap();
    assert!(fresh().request(request).await.unwrap_err().is_connect());
}

#[test]
fn over_tls_it_is_trusted_by_who_trusts_its_ca() {
    let config = FakeConfig { transport: Transport::Tls, ..FakeConfig::default() };
    let fake = FakeIdentityCenter::start(config);
    let token = fake.sign_in_directly(START_URL).1.access_token;
    let path = fake.ca_pem_path().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), fake.ca_pem().unwrap());
    let authority = fake.url().strip_prefix("https://").unwrap();

    let ask = |roots: RootCertStore| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let session = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        let tcp = TcpStream::connect(authority.replace("localhost", "127.0.0.1")).unwrap();
        Line { stream: StreamOwned::new(session, tcp) }.ask(&list_accounts(&token))
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&path).unwrap()).unwrap();
    assert_eq!(ask(roots.clone()).unwrap().status, 200);
    fake.fault(Operation::ListAccounts, Fault::Reset, When::BeforeEffect, Times::Next(1));
    assert_eq!(ask(roots).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let stranger = FakeIdentityCenter::start(FakeConfig { transport: Transport::Tls, ..FakeConfig::default() });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(stranger.ca_pem().unwrap().as_bytes()).unwrap()).unwrap();
    assert!(ask(roots).is_err());
    drop(fake);
    assert!(!path.exists());
}

#[test]
fn unplugged_it_refuses_connections_and_plugged_in_again_it_goes_on() {
    let fake = fake();
    let token = fake.sign_in_directly(START_URL).1.access_token;
    let mut line = Line::open(&fake);
    assert_eq!(line.ask(&list_accounts(&token)).unwrap().status, 200);
    fake.go_offline();
    assert!(line.ask(&list_accounts(&token)).is_err());
    assert!(exchange(fake.url(), &list_accounts(&token)).is_err());
    fake.go_online();
    assert_eq!(get(&fake, &token, "/assignment/accounts").status, 200);
    let url = fake.url().to_owned();
    drop(fake);
    assert!(exchange(&url, &list_accounts(&token)).is_err());
}

#[test]
fn every_answer_carries_the_services_own_date() {
    let fake = FakeIdentityCenter::start(FakeConfig { clock_ahead_seconds: -7200, ..FakeConfig::default() });
    let token = fake.sign_in_directly(START_URL).1.access_token;
    let date_of = |reply: &Reply| {
        let date = httpdate::parse_http_date(reply.header("date").unwrap()).unwrap();
        date.duration_since(UNIX_EPOCH).unwrap().as_secs()
    };
    let before = fake.now().seconds();
    let date = date_of(&get(&fake, &token, "/assignment/accounts"));
    assert!((before..=fake.now().seconds()).contains(&date));
    fake.advance_clock(Duration::from_secs(7200));
    assert!(date_of(&get(&fake, "wrong", "/assignment/accounts")) >= date + 7200);
    fake.set_clock_ahead(-86400);
    assert!(date_of(&get(&fake, &token, "/assignment/accounts")) < date);
}

#[test]
fn what_is_not_http_is_answered_400_and_recorded() {
    let fake = fake();
    for bytes in [
        &b"GET / HTTP/1.0\r\nHost: x\r\n\r\n"[..],
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let reply = Reply::parse(&exchange(fake.url(), bytes).unwrap());
        assert_eq!(reply.status, 400, "{}", String::from_utf8_lossy(bytes));
        assert!(fake.received().ends_with(bytes));
    }
    assert!(fake.all_calls().is_empty());
}

#[test]
fn a_silent_listener_answers_500_and_tells_which_secrets_it_heard() {
    let (fake, listener) = (fake(), SilentListener::start());
    fake.sign_in_directly(START_URL);
    let secrets = fake.issued_secrets();
    let silence = exchange(&listener.url(), &request("GET", "/", &[], "")).unwrap();
    assert_eq!(Reply::parse(&silence).status, 500);
    assert_eq!((listener.connections(), listener.secrets_received(&secrets)), (1, Vec::new()));

    let body = format!("a body with {} in it", secrets[1]);
    let bytes = request("POST", "/token", &[], &body);
    let before = listener.received().len();
    TcpStream::connect(listener.url().trim_start_matches("http://")).unwrap().write_all(&bytes).unwrap();
    assert!(listener.wait_for_bytes(before + bytes.len(), PATIENCE));
    assert_eq!(listener.secrets_received(&secrets), [secrets[1].clone()]);
    assert!(!listener.wait_for_bytes(usize::MAX, Duration::ZERO));
}
