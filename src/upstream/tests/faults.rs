//! Every way a request can end, and what it means for a refresh token.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::clock::Clock;
use crate::identity_center::ErrorName;
use crate::time::{Mono, Now};
use crate::upstream::{Answer, Failure, NotSent, Unclear};

const TOKEN: &str = r#"{"accessToken":"at","tokenType":"Bearer","expiresIn":3600,"refreshToken":"rt2"}"#;

/// Refreshes against a listener that does one thing; the number of requests it read must be one.
async fn refreshed(act: Act, timeout: Duration) -> Reply {
    let (address, serving) = listener(vec![act]);
    let endpoint = endpoint(address);
    let reply = https().call(Route { timeout, ..route(&endpoint) }, refresh(&endpoint)).await;
    assert!(read_by(serving).await.len() <= 1);
    reply
}

async fn failure(act: Act) -> Failure {
    refreshed(act, Duration::from_secs(20)).await.result.unwrap_err()
}

#[tokio::test]
async fn a_port_nobody_listens_on_received_nothing() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = endpoint(address);
    for make in [refresh, role_credentials] {
        let reply = call(make(&endpoint), &endpoint).await;
        assert!(matches!(reply.result, Err(Failure::NotSent(NotSent::Connect(_)))), "{reply:?}");
        assert_eq!(reply.service_time, None);
    }
}

#[tokio::test]
async fn a_localhost_endpoint_is_reached_without_dns() {
    let (address, serving) = listener(vec![Act::Answer(response(200, &[], TOKEN))]);
    let endpoint: Endpoint = format!("http://localhost:{}/prefix/", address.port()).parse().unwrap();
    let reply = call(refresh(&endpoint), &endpoint).await;
    assert!(matches!(reply.result, Ok(Answer::Token(_))), "{reply:?}");
    assert!(serving.join().unwrap()[0].starts_with("POST /prefix/token HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_reset_after_the_first_byte_leaves_open_what_happened() {
    for act in [Act::Reset, Act::ResetUnread] {
        let failure = failure(act).await;
        assert!(matches!(failure, Failure::Unknown(Unclear::Broken(_))), "{failure:?}");
    }
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_leaves_open_what_happened() {
    let failure = failure(Act::Answer(String::new())).await;
    assert!(matches!(failure, Failure::Unknown(Unclear::Broken(_))), "{failure:?}");
}

#[tokio::test]
async fn half_an_answer_leaves_open_what_happened() {
    let whole = response(200, &[], TOKEN);
    for half in [&whole[..9], &whole[..whole.len() - TOKEN.len()], &whole[..whole.len() - 5]] {
        let failure = failure(Act::Answer(half.to_owned())).await;
        assert!(matches!(failure, Failure::Unknown(Unclear::Broken(_))), "{half:?}: {failure:?}");
    }
}

#[tokio::test]
async fn a_success_that_is_not_the_services_leaves_open_what_happened() {
    for body in ["<html>welcome to the hotel</html>", "{}", "", "null", "[]", &TOKEN[..40]] {
        let answer = response(200, &[("Date", "Tue, 14 Nov 2023 22:13:20 GMT")], body);
        let reply = refreshed(Act::Answer(answer), Duration::from_secs(20)).await;
        assert!(matches!(reply.result, Err(Failure::Unknown(Unclear::UnusableBody(_)))), "{body}: {reply:?}");
        assert_eq!(reply.service_time, None, "a hotel's clock does not count");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let announced = "HTTP/1.1 200 X\r\nContent-Length: 104857600\r\n\r\n".to_owned();
    assert_eq!(failure(Act::Answer(announced)).await, Failure::Unknown(Unclear::TooLarge));
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let chunked = format!("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(17));
    let (address, _serving) = listener(vec![Act::Answer(chunked)]);
    let endpoint = endpoint(address);
    let reply = call(refresh(&endpoint), &endpoint).await;
    assert_eq!(reply.result, Err(Failure::Unknown(Unclear::TooLarge)));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let location = format!("http://{}/token", elsewhere.local_addr().unwrap());
    for status in [301, 302, 303, 307, 308] {
        let failure = failure(Act::Answer(response(status, &[("Location", &location)], ""))).await;
        assert_eq!(failure, Failure::NotProcessed { status, throttled: false, retry_after: None });
    }
    assert_untouched(&elsewhere);
}

#[tokio::test]
async fn a_request_for_patience_is_not_processed_even_when_its_body_breaks() {
    let answer = "HTTP/1.1 429 X\r\nRetry-After: 3\r\nContent-Length: 99\r\n\r\n{\"mess".to_owned();
    let retry_after = Some(Duration::from_secs(3));
    assert_eq!(failure(Act::Answer(answer)).await, Failure::NotProcessed { status: 429, throttled: true, retry_after });
    let answer = response(503, &[("Retry-After", "3")], "<html>busy</html>");
    let expected = Failure::NotProcessed { status: 503, throttled: false, retry_after };
    assert_eq!(failure(Act::Answer(answer)).await, expected);
    let answer = response(429, &[], "");
    let expected = Failure::NotProcessed { status: 429, throttled: true, retry_after: None };
    assert_eq!(failure(Act::Answer(answer)).await, expected);
}

#[tokio::test]
async fn a_server_error_leaves_open_what_happened() {
    for status in [500, 502, 503, 504] {
        let failure = failure(Act::Answer(response(status, &[], "{}"))).await;
        assert_eq!(failure, Failure::Unknown(Unclear::ServerError(status)));
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_refuses_without_a_name() {
    let answer = response(403, &[("x-amzn-ErrorType", "InvalidGrantException")], "<html>not from here</html>");
    let Failure::Refused(error) = failure(Act::Answer(answer)).await else { panic!() };
    assert_eq!(error.name, ErrorName::Unnamed);
}

#[tokio::test]
async fn silence_after_the_request_leaves_open_what_happened() {
    let reply = refreshed(Act::Hang, Duration::from_millis(200)).await;
    assert_eq!(reply.result, Err(Failure::Unknown(Unclear::TimedOut)));
}

#[tokio::test]
async fn an_answer_that_comes_too_slowly_leaves_open_what_happened() {
    let whole = response(200, &[], TOKEN);
    for end in [1, whole.len() - TOKEN.len(), whole.len() - 1] {
        let reply = refreshed(Act::Stall(whole[..end].to_owned()), Duration::from_millis(200)).await;
        assert_eq!(reply.result, Err(Failure::Unknown(Unclear::TimedOut)), "{end}");
    }
}

#[tokio::test]
async fn silence_before_the_request_means_that_nothing_was_sent() {
    // The backlog takes the connection, but TLS is never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint: Endpoint = format!("https://{}", silent.local_addr().unwrap()).parse().unwrap();
    let bundle = tls::Authority::new().bundle();
    let timeout = Duration::from_millis(300);
    for make in [refresh, role_credentials] {
        let route = Route { ca_bundle: Some(bundle.path().to_owned()), timeout, ..route(&endpoint) };
        let reply = https().call(route, make(&endpoint)).await;
        assert_eq!(reply.result, Err(Failure::NotSent(NotSent::ConnectTimeout)));
    }
}

#[tokio::test]
async fn a_secret_is_not_sent_to_an_origin_that_is_not_its_own() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = endpoint(elsewhere.local_addr().unwrap());
    let home: Endpoint = "https://oidc.eu-west-1.amazonaws.com".parse().unwrap();
    let with_foreign_token = Call::CreateTokenFromRefreshToken {
        registration: registration(&destination),
        refresh_token: secret(&home, "rt"),
    };
    let start = Call::StartDeviceAuthorization { registration: registration(&home), start_url: "x".into() };
    let calls = [
        refresh(&home),
        with_foreign_token,
        poll(&home),
        start,
        role_credentials(&home),
        accounts(&home),
        roles(&home),
        logout(&home),
    ];
    for secret_call in calls {
        let operation = secret_call.operation();
        let reply = call(secret_call, &destination).await;
        assert!(matches!(reply.result, Err(Failure::NotSent(NotSent::WrongOrigin(_)))), "{operation}: {reply:?}");
    }
    assert_untouched(&elsewhere);
}

#[tokio::test]
async fn an_access_token_that_does_not_fit_into_a_header_is_not_sent() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(elsewhere.local_addr().unwrap());
    let smuggling = Call::ListAccounts { access_token: secret(&endpoint, "at\r\nx: y") };
    let reply = call(smuggling, &endpoint).await;
    assert!(matches!(reply.result, Err(Failure::NotSent(NotSent::Malformed(_)))), "{reply:?}");
    assert_untouched(&elsewhere);
}

#[tokio::test]
async fn the_services_clock_is_told_for_answers_of_the_service_only() {
    let date = ("Date", "Tue, 14 Nov 2023 22:13:20 GMT");
    for (status, headers, body, told) in [
        (200, vec![date], TOKEN, true),
        (200, vec![date, ("Age", "3")], TOKEN, false),
        (200, vec![], TOKEN, false),
        (400, vec![date], r#"{"error":"invalid_grant"}"#, true),
        (429, vec![date, ("x-amzn-ErrorType", "TooManyRequestsException")], "{}", true),
        (400, vec![date], r#"{"error":"something_else"}"#, false),
        (403, vec![date], "<html></html>", false),
        (302, vec![date], "", false),
    ] {
        let act = Act::Answer(response(status, &headers, body));
        let reply = refreshed(act, Duration::from_secs(20)).await;
        let service = reply.service_time.map(|time| time.service);
        assert_eq!(service, told.then_some(Timestamp::from_secs(1_700_000_000)), "{status} {body}");
    }
}

#[tokio::test]
async fn each_token_request_has_a_connection_of_its_own_and_portal_reads_share_one() {
    let answers = || (0..2).map(|_| "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}".to_owned()).collect::<Vec<_>>();
    let (address, serving) = listener(vec![Act::KeepAlive(answers())]);
    let portal = endpoint(address);
    let client = https();
    for _ in 0..2 {
        let reply = client.call(route(&portal), role_credentials(&portal)).await;
        assert!(matches!(reply.result, Err(Failure::Unknown(Unclear::UnusableBody(_)))), "{reply:?}");
    }
    assert_eq!(serving.join().unwrap().len(), 2);

    let one = || Act::KeepAlive(answers()[..1].to_vec());
    let (address, serving) = listener(vec![one(), one()]);
    let oidc = endpoint(address);
    for _ in 0..2 {
        let reply = client.call(route(&oidc), refresh(&oidc)).await;
        assert!(matches!(reply.result, Err(Failure::Unknown(Unclear::UnusableBody(_)))), "{reply:?}");
    }
    assert_eq!(serving.join().unwrap().len(), 2);
}

#[tokio::test]
async fn a_connection_from_before_a_suspend_is_not_used_again() {
    struct Stepped(AtomicU64);
    impl Clock for Stepped {
        fn now(&self) -> Now {
            let seconds = self.0.load(Ordering::Relaxed);
            let mono = Mono::from_start(Duration::from_secs(seconds));
            Now { wall: Timestamp::from_millis(1_700_000_000_000).after(Duration::from_secs(seconds)), mono }
        }
    }
    let clock = Arc::new(Stepped(AtomicU64::new(5)));
    let client = Https::new(clock.clone(), &Env::default());
    let answer = || Act::KeepAlive(vec!["HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}".to_owned()]);
    let (address, serving) = listener(vec![answer(), answer()]);
    let portal = endpoint(address);
    for _ in 0..2 {
        let reply = client.call(route(&portal), role_credentials(&portal)).await;
        assert!(matches!(reply.result, Err(Failure::Unknown(Unclear::UnusableBody(_)))), "{reply:?}");
        clock.0.fetch_add(8 * 3600, Ordering::Relaxed);
    }
    assert_eq!(serving.join().unwrap().len(), 2);
}

/// Nobody has even tried to connect.
fn assert_untouched(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    let error = listener.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}
