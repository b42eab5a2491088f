//! Every fault of the wire, before and after the operation took effect.

use std::io;
use std::time::Duration;

use serde_json::Value;

use super::caller::{Client, Line, Reply, bearer, exchange, get, post, request};
use super::{PATIENCE, START_URL};
use crate::support::fake::{Exception, FakeConfig, FakeIdentityCenter, Fault, Operation, Outcome, Times, When};

const AN_HOUR: Duration = Duration::from_secs(3600);

/// A fake with somebody signed in, and the bytes of their next refresh.
struct Stage {
    fake: FakeIdentityCenter,
    client: Client,
    tokens: Value,
}

impl Stage {
    fn set() -> Self {
        let fake = FakeIdentityCenter::start(FakeConfig::default());
        let client = Client::register(&fake);
        let tokens = client.sign_in(&fake);
        Self { fake, client, tokens }
    }

    fn refresh_bytes(&self) -> Vec<u8> {
        let body = self.client.refresh_request(&self.tokens["refreshToken"]).to_string();
        request("POST", "/token", &[("Content-Type", "application/json")], &body)
    }

    fn order(&self, fault: Fault, when: When) {
        self.fake.fault(Operation::CreateTokenRefresh, fault, when, Times::Next(1));
    }

    /// Refreshes into the fault and returns everything that came back.
    fn struck_by(&self, fault: Fault, when: When) -> io::Result<Vec<u8>> {
        self.order(fault, when);
        exchange(self.fake.url(), &self.refresh_bytes())
    }

    fn refreshes(&self) -> usize {
        self.fake.sessions()[0].refreshes
    }
}

/// Plays a fault both ways on fresh stages: the effect must be as ordered, and the same token presented again must
/// work where there was none and end the session where there was one.
fn both_ways(fault: &Fault, check: impl Fn(io::Result<Vec<u8>>)) {
    for (when, effects) in [(When::BeforeEffect, 0), (When::AfterEffect, 1)] {
        let stage = Stage::set();
        check(stage.struck_by(fault.clone(), when));
        assert_eq!(stage.refreshes(), effects, "{fault:?} {when:?}");
        let status = (effects == 1).then_some(200);
        let calls = stage.fake.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
        assert_eq!(calls[0].outcome, Outcome::Struck { fault: fault.clone(), when, status });

        let again = stage.client.refresh(&stage.fake, &stage.tokens["refreshToken"]).status;
        assert_eq!((again, stage.fake.refresh_token_reuses()), if effects == 0 { (200, 0) } else { (400, 1) });
    }
}

fn whole(bytes: io::Result<Vec<u8>>) -> Reply {
    let reply = Reply::parse(&bytes.unwrap());
    assert_eq!(reply.header("content-length").unwrap(), reply.body.len().to_string());
    reply
}

#[test]
fn a_connection_is_reset() {
    both_ways(&Fault::Reset, |bytes| assert_eq!(bytes.unwrap_err().kind(), io::ErrorKind::ConnectionReset));
}

#[test]
fn a_connection_is_closed_without_an_answer() {
    both_ways(&Fault::CloseWithoutAnswer, |bytes| assert!(bytes.unwrap().is_empty()));
}

#[test]
fn a_body_is_shorter_than_promised() {
    both_ways(&Fault::TruncatedBody, |bytes| {
        let reply = Reply::parse(&bytes.unwrap());
        let promised: usize = reply.header("content-length").unwrap().parse().unwrap();
        assert_eq!(reply.status, 200);
        assert!(!reply.body.is_empty() && reply.body.len() < promised);
    });
}

#[test]
fn a_captive_portal_answers() {
    both_ways(&Fault::Html200, |bytes| {
        let reply = whole(bytes);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
    });
}

#[test]
fn a_redirect_points_elsewhere() {
    both_ways(&Fault::Redirect("http://127.0.0.1:9/elsewhere".to_owned()), |bytes| {
        let reply = whole(bytes);
        assert_eq!((reply.status, reply.header("location")), (302, Some("http://127.0.0.1:9/elsewhere")));
    });
}

#[test]
fn any_status_can_be_ordered_with_headers_and_body() {
    both_ways(&Fault::status(500), |bytes| {
        let reply = whole(bytes);
        assert_eq!((reply.status, reply.body.len(), reply.header("content-type")), (500, 0, None));
    });
    both_ways(&Fault::retry_after(503, 7), |bytes| assert_eq!(whole(bytes).header("retry-after"), Some("7")));
    let headers = vec![("X-Cache".to_owned(), "Error".to_owned())];
    both_ways(&Fault::Status { code: 502, headers, body: "bad gateway".to_owned() }, |bytes| {
        let reply = whole(bytes);
        assert_eq!((reply.status, reply.header("x-cache"), &reply.body[..]), (502, Some("Error"), &b"bad gateway"[..]));
    });
}

#[test]
fn a_body_is_not_what_was_expected() {
    both_ways(&Fault::NotJson200, |bytes| {
        assert!(serde_json::from_slice::<Value>(&whole(bytes).body).is_err());
    });
    both_ways(&Fault::MissingFields200, |bytes| assert_eq!(whole(bytes).json(), serde_json::json!({})));
    both_ways(&Fault::HugeBody, |bytes| {
        let reply = whole(bytes);
        assert!(reply.body.len() > 2 << 20 && reply.json().is_object());
    });
}

#[test]
fn an_exception_is_written_as_its_service_writes_it() {
    both_ways(&Fault::Exception(Exception::SlowDown), |bytes| {
        let reply = whole(bytes);
        assert_eq!(reply.refusal(), (400, "SlowDownException"));
        assert_eq!(reply.json()["error"], "slow_down");
    });
    let Stage { fake, tokens, .. } = Stage::set();
    let too_many = Fault::Exception(Exception::TooManyRequests);
    fake.fault(Operation::ListAccounts, too_many, When::BeforeEffect, Times::Next(1));
    let reply = get(&fake, bearer(&tokens), "/assignment/accounts");
    assert_eq!(reply.refusal(), (429, Exception::TooManyRequests.name()));
    assert_eq!(reply.json()["__type"], "com.amazonaws.switchboard.portal#TooManyRequestsException");
    assert_eq!(Exception::InternalServer.status(), 500);
}

#[test]
fn a_body_comes_a_byte_at_a_time() {
    both_ways(&Fault::Dribble { per_byte: Duration::ZERO }, |bytes| assert!(whole(bytes).json().is_object()));

    let stage = Stage::set();
    stage.order(Fault::Dribble { per_byte: AN_HOUR }, When::AfterEffect);
    let mut line = Line::open(&stage.fake);
    io::Write::write_all(&mut line.stream, &stage.refresh_bytes()).unwrap();
    assert_eq!(line.read_head().unwrap().status, 200);
    line.stream.set_nonblocking(true).unwrap();
    let body = io::Read::read(&mut line.stream, &mut [0; 16]);
    assert_eq!(body.unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_hanging_call_ends_when_the_faults_are_cleared_or_the_fake_is_gone() {
    for when in [When::BeforeEffect, When::AfterEffect] {
        let stage = Stage::set();
        stage.fake.fault(Operation::CreateTokenRefresh, Fault::Hang, when, Times::UntilCleared);
        std::thread::scope(|scope| {
            let call = scope.spawn(|| exchange(stage.fake.url(), &stage.refresh_bytes()));
            stage.fake.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
            assert_eq!(stage.refreshes(), usize::from(when == When::AfterEffect));
            assert!(!call.is_finished());
            stage.fake.clear_faults();
            assert!(call.join().unwrap().unwrap().is_empty());
        });

        let stage = Stage::set();
        stage.order(Fault::Hang, when);
        let (url, bytes) = (stage.fake.url().to_owned(), stage.refresh_bytes());
        let call = std::thread::spawn(move || exchange(&url, &bytes));
        stage.fake.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
        drop(stage);
        assert!(call.join().unwrap().is_ok_and(|bytes| bytes.is_empty()));
    }
}

#[test]
fn an_answer_is_late_and_the_effect_with_it_or_before_it() {
    let late = Stage::set();
    late.order(Fault::Delay(AN_HOUR), When::BeforeEffect);
    let mut line = Line::open(&late.fake);
    io::Write::write_all(&mut line.stream, &late.refresh_bytes()).unwrap();
    let calls = late.fake.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    assert_eq!((calls[0].outcome.clone(), late.refreshes()), (Outcome::UnderWay, 0));

    let early = Stage::set();
    early.order(Fault::Delay(AN_HOUR), When::AfterEffect);
    let mut line = Line::open(&early.fake);
    io::Write::write_all(&mut line.stream, &early.refresh_bytes()).unwrap();
    early.fake.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    assert_eq!(early.refreshes(), 1);

    let soon = Stage::set();
    let genuine = whole(soon.struck_by(Fault::Delay(Duration::from_micros(1)), When::BeforeEffect)).json();
    assert!(genuine["accessToken"].is_string());
}

#[test]
fn a_held_call_is_answered_when_the_faults_are_cleared() {
    for when in [When::BeforeEffect, When::AfterEffect] {
        let stage = Stage::set();
        stage.fake.fault(Operation::CreateTokenRefresh, Fault::Hold, when, Times::UntilCleared);
        std::thread::scope(|scope| {
            let call = scope.spawn(|| exchange(stage.fake.url(), &stage.refresh_bytes()));
            match when {
                When::BeforeEffect => stage.fake.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap(),
                When::AfterEffect => stage.fake.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap(),
            };
            assert_eq!(stage.refreshes(), usize::from(when == When::AfterEffect));
            assert!(!call.is_finished());
            stage.fake.clear_faults();
            assert_eq!(whole(call.join().unwrap()).status, 200);
        });
        assert_eq!((stage.refreshes(), stage.fake.refresh_token_reuses()), (1, 0));
    }
}

#[test]
fn an_operation_takes_its_time_before_it_has_its_effect() {
    let stage = Stage::set();
    stage.fake.set_latency(Operation::CreateTokenRefresh, AN_HOUR);
    let mut line = Line::open(&stage.fake);
    io::Write::write_all(&mut line.stream, &stage.refresh_bytes()).unwrap();
    let calls = stage.fake.wait_for_calls(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    assert_eq!((calls[0].outcome.clone(), stage.refreshes()), (Outcome::UnderWay, 0));
    assert_eq!(get(&stage.fake, bearer(&stage.tokens), "/assignment/accounts").status, 200);
}

#[test]
fn faults_strike_their_own_operation_in_the_order_they_were_ordered() {
    let fake = FakeIdentityCenter::start(FakeConfig::default());
    let token = fake.sign_in_directly(START_URL).1.access_token;
    let order = |fault, times| fake.fault(Operation::ListAccounts, fault, When::BeforeEffect, times);
    order(Fault::status(500), Times::Next(2));
    order(Fault::status(502), Times::Next(1));
    order(Fault::status(503), Times::UntilCleared);
    let list = || get(&fake, &token, "/assignment/accounts").status;
    assert_eq!([list(), list(), list(), list(), list()], [500, 500, 502, 503, 503]);
    assert_eq!(get(&fake, &token, "/assignment/roles?account_id=111122223333").status, 200);
    fake.clear_faults_of(Operation::ListAccountRoles);
    assert_eq!(list(), 503);
    fake.clear_faults_of(Operation::ListAccounts);
    assert_eq!(list(), 200);
}

#[test]
fn every_operation_can_be_struck() {
    let stage = Stage::set();
    let fake = &stage.fake;
    let refused = |operation, call: &dyn Fn() -> Reply| {
        fake.fault(operation, Fault::status(500), When::AfterEffect, Times::Next(1));
        assert_eq!(call().status, 500, "{operation:?}");
    };
    let token = bearer(&stage.tokens);
    let register = serde_json::json!({ "clientName": "name", "clientType": "public" });
    refused(Operation::RegisterClient, &|| post(fake, "/client/register", &register));
    assert_eq!(fake.registrations().len(), 2);
    let (id, secret) = (&stage.client.id, &stage.client.secret);
    let start = serde_json::json!({ "clientId": id, "clientSecret": secret, "startUrl": START_URL });
    refused(Operation::StartDeviceAuthorization, &|| post(fake, "/device_authorization", &start));
    let code = fake.pending_user_codes().pop().unwrap();
    fake.approve(&code);
    let device_code = fake.issued_secrets().into_iter().rfind(|secret| secret.starts_with("FAKEdeviceCode")).unwrap();
    let device_code = Value::String(device_code);
    refused(Operation::CreateTokenDeviceCode, &|| stage.client.poll(fake, &device_code));
    assert_eq!(
        stage.client.poll(fake, &device_code).refusal().1,
        "ExpiredTokenException",
        "the answer is lost for good"
    );
    let role = "/federation/credentials?role_name=ReadOnly&account_id=111122223333";
    refused(Operation::GetRoleCredentials, &|| get(fake, token, role));
    refused(Operation::ListAccounts, &|| get(fake, token, "/assignment/accounts"));
    refused(Operation::ListAccountRoles, &|| get(fake, token, "/assignment/roles?account_id=111122223333"));
    let log_out = || super::caller::send(fake, "POST", "/logout", &[("x-amz-sso_bearer_token", token)], "");
    refused(Operation::Logout, &log_out);
    assert_eq!(log_out().status, 401, "the answer was lost, the logout was not");
}
