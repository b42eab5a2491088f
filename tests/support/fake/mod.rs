//! A fake IAM Identity Center: sso-oidc and portal on one loopback origin, stateful and strict.
//!
//! A tool of its own: it knows the protocol and nothing of the agent, so that it can also be what the demo and
//! the benchmarks talk to. It refuses what the real service refuses and a little more; faults are ordered
//! per operation. It runs on a thread of its own, so blocking and async tests use it alike, and every method
//! of the handle is synchronous. It ends when the handle is dropped.

#![expect(unreachable_pub, reason = "the module is private to each program that takes it in, its own parts are not")]
#![cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the demo and the benchmarks each use a part of it"))]

use std::fmt;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

pub use background::Background;
pub use clock::{ServiceTime, stopwatch};
pub use config::{FakeAccount, FakeConfig, FakeRole, RefreshTokens, Transport};
pub use fault::{Fault, Times, When};
pub use journal::{CallRecord, Outcome};
pub use operation::Operation;
pub use refusal::Exception;
pub use sessions::{Ended, SignInSummary, Tokens};
pub use silent::SilentListener;
pub use state::{Known, Registration};

use clock::ServiceClock;
use listener::Port;
use shared::{Model, Plug, Shared};
use state::{Grants, Service};
use tls::PrivateCa;

/// The running fake.
pub struct FakeIdentityCenter {
    // Declared first, so that the thread ends before what it serves is gone.
    port: Port,
    shared: Arc<Shared>,
    ca: Option<PrivateCa>,
    address: SocketAddr,
}

impl FakeIdentityCenter {
    /// Starts a fake; it accepts connections when this returns.
    pub fn start(config: FakeConfig) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), config).expect("loopback has a free port")
    }

    /// Starts a fake at an address, if nobody else is there.
    pub fn start_at(address: SocketAddr, config: FakeConfig) -> std::io::Result<Self> {
        let (listener, address) = Port::bind(address)?;
        let (ca, base) = match config.transport {
            Transport::Plain => (None, format!("http://{address}")),
            Transport::Tls => (Some(PrivateCa::new(&[])), format!("https://localhost:{}", address.port())),
            Transport::TlsAs(hosts) => (Some(PrivateCa::new(hosts)), format!("https://{}", hosts[0])),
        };
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).expect("the system has randomness");
        let shared = Arc::new(Shared::new(Service::new(config, seed), base));
        let port = Port::open(listener, ca.as_ref().map(PrivateCa::acceptor), Arc::clone(&shared));
        Ok(Self { port, shared, ca, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The origin of both services, without a slash at the end.
    pub fn url(&self) -> &str {
        self.shared.base()
    }

    /// The private CA's certificate, if the fake speaks TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca.as_ref().map(PrivateCa::pem)
    }

    /// A file with the private CA's certificate, there as long as the fake.
    pub fn ca_pem_path(&self) -> Option<&Path> {
        self.ca.as_ref().map(PrivateCa::path)
    }
}

/// What the user and the administrator do.
impl FakeIdentityCenter {
    /// The user approves a code; false if it does not wait for that.
    pub fn approve(&self, user_code: &str) -> bool {
        self.approve_as(user_code, Service::default_user())
    }

    /// A user of this name approves a code. Two users have two portal sessions, even for one start URL.
    pub fn approve_as(&self, user_code: &str, user: &str) -> bool {
        self.with_time(|model, now| model.service.decide(now, user_code, Some(user)))
    }

    /// The user denies a code; false if it does not wait for that.
    pub fn deny(&self, user_code: &str) -> bool {
        self.with_time(|model, now| model.service.decide(now, user_code, None))
    }

    /// Whether device authorizations that start from now on are approved at once.
    pub fn approve_next(&self, automatically: bool) {
        self.configure(|config| config.auto_approve = automatically);
    }

    /// The codes that wait for the user, oldest first.
    pub fn pending_user_codes(&self) -> Vec<String> {
        self.with_time(|model, now| model.service.pending_user_codes(now))
    }

    /// Waits for a code to wait for the user, and returns the newest.
    pub fn wait_for_user_code(&self, deadline: Duration) -> Result<String, TimedOut> {
        let codes = |model: &Model| model.service.pending_user_codes(model.clock.now());
        let came = self.shared.wait_until(deadline, |model| !codes(model).is_empty());
        let newest = came.then(|| self.pending_user_codes().pop()).flatten();
        newest.ok_or_else(|| self.timed_out("a user code".to_owned()))
    }

    /// Signs a user in without a single request, for tests that begin with a sign-in made elsewhere.
    pub fn sign_in_directly(&self, start_url: &str) -> (Registration, Tokens) {
        self.with_time(|model, now| {
            let grants = Grants { device_code: true, authorization_code: false, refresh_token: true };
            let scopes = vec!["sso:account:access".to_owned()];
            let client = model.service.register(now, "made-elsewhere", scopes, grants);
            let tokens = model.service.sign_in(now, &client, Service::default_user(), start_url);
            (client, tokens)
        })
    }

    /// Goes on with a sign-in that was made at another time.
    pub fn know(&self, known: &Known) {
        self.with_time(|model, now| model.service.know(now, known));
    }

    /// Every access token issued so far stops working; refresh tokens go on.
    pub fn expire_access_tokens(&self) {
        self.with_time(|model, now| model.service.sessions.expire_access_tokens(now));
    }

    /// Every portal session is over: bearer tokens get 401, refresh tokens `InvalidGrantException`.
    pub fn end_sessions(&self) {
        self.shared.change(|model| model.service.sessions.end_sessions());
    }

    /// Every registration is forgotten: `InvalidClientException`.
    pub fn revoke_registrations(&self) {
        self.shared.change(|model| model.service.revoke_registrations());
    }

    /// Sets the service's clock this many seconds ahead of the machine's (behind it, if negative).
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.shared.change(|model| model.clock = ServiceClock::ahead_by(seconds));
    }

    /// Puts the service's clock forward.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.change(|model| model.clock.advance(by));
    }

    /// What time the service believes it is.
    pub fn now(&self) -> ServiceTime {
        self.shared.lock().clock.now()
    }

    /// Changes how the service behaves from now on. What was issued keeps its lifetime.
    pub fn configure(&self, change: impl FnOnce(&mut FakeConfig)) {
        self.shared.change(|model| change(&mut model.service.config));
    }

    /// How long an operation takes before it has its effect.
    pub fn set_latency(&self, operation: Operation, latency: Duration) {
        self.configure(|config| {
            config.latency.insert(operation, latency);
        });
    }
}

/// What goes wrong.
impl FakeIdentityCenter {
    /// Orders a fault; faults of one operation strike in the order they were ordered.
    pub fn fault(&self, operation: Operation, fault: Fault, when: When, times: Times) {
        self.shared.change(|model| model.faults.queue(operation, fault, when, times));
    }

    /// Forgets every fault and lets connections go: hanging ones are closed without an answer, held ones answered.
    pub fn clear_faults(&self) {
        self.shared.change(|model| model.faults.clear());
        self.shared.release();
    }

    /// Forgets the faults of one operation. Connections that hang or are held stay so.
    pub fn clear_faults_of(&self, operation: Operation) {
        self.shared.change(|model| model.faults.clear_of(operation));
    }

    /// Unplugs the network: open connections are gone and new ones are refused when this returns.
    pub fn go_offline(&self) {
        self.port.set(Plug::Out, &self.shared);
    }

    /// Plugs the network in again, on the same port.
    pub fn go_online(&self) {
        self.port.set(Plug::In, &self.shared);
    }
}

/// What a test looks at.
impl FakeIdentityCenter {
    /// The calls of an operation, oldest first, with their secrets in plain view.
    pub fn calls(&self, operation: Operation) -> Vec<CallRecord> {
        self.shared.lock().journal.calls_of(operation).cloned().collect()
    }

    /// Every call, oldest first.
    pub fn all_calls(&self) -> Vec<CallRecord> {
        self.shared.lock().journal.calls().to_vec()
    }

    /// How many calls of an operation have arrived.
    pub fn count(&self, operation: Operation) -> usize {
        self.shared.lock().journal.calls_of(operation).count()
    }

    /// Waits until so many calls of an operation have arrived, answered or not.
    pub fn wait_for_calls(
        &self,
        operation: Operation,
        count: usize,
        deadline: Duration,
    ) -> Result<Vec<CallRecord>, TimedOut> {
        let arrived = |model: &Model| model.journal.calls_of(operation).count() >= count;
        let came = self.shared.wait_until(deadline, arrived);
        came.then(|| self.calls(operation)).ok_or_else(|| self.timed_out(format!("{count} calls of {operation:?}")))
    }

    /// Waits until so many calls of an operation have been answered or struck by a fault.
    pub fn wait_for_answers(
        &self,
        operation: Operation,
        count: usize,
        deadline: Duration,
    ) -> Result<Vec<CallRecord>, TimedOut> {
        let done = |call: &&CallRecord| call.outcome != Outcome::UnderWay;
        let answered = |model: &Model| model.journal.calls_of(operation).filter(done).count() >= count;
        let came = self.shared.wait_until(deadline, answered);
        came.then(|| self.calls(operation)).ok_or_else(|| self.timed_out(format!("{count} answers of {operation:?}")))
    }

    /// Returns when everything that was sent so far by callers who have gone has been read and judged. Faults that hold
    /// or hang must have been cleared.
    pub fn settle(&self) {
        // Connections are taken in the order they came: when this one is answered, those before it are known.
        self.knock().expect("the fake answers");
        let settled = self.shared.wait_until(Duration::from_secs(30), |model| model.open_connections == 0);
        assert!(settled, "somebody still holds a connection");
    }

    fn knock(&self) -> std::io::Result<()> {
        let address = self.url().strip_prefix("http://").expect("the fake speaks without TLS");
        let mut connection = std::net::TcpStream::connect(address)?;
        connection.write_all(b"GET / HTTP/1.1\r\nHost: fake\r\nConnection: close\r\n\r\n")?;
        connection.read_to_end(&mut Vec::new()).map(drop)
    }

    /// How often a superseded refresh token was presented.
    pub fn refresh_token_reuses(&self) -> usize {
        self.shared.lock().service.sessions.refresh_token_reuses()
    }

    /// Every sign-in so far, oldest first.
    pub fn sessions(&self) -> Vec<SignInSummary> {
        self.with_time(|model, now| model.service.sessions.summaries(now))
    }

    /// The registrations that exist, oldest first.
    pub fn registrations(&self) -> Vec<Registration> {
        self.shared.lock().service.registrations()
    }

    /// Every secret so far: client secrets, device codes, authorization codes with `state` and verifier, tokens, role keys.
    pub fn issued_secrets(&self) -> Vec<String> {
        self.shared.lock().service.mint.secrets().to_vec()
    }

    /// Every byte received so far, deciphered.
    pub fn received(&self) -> Vec<u8> {
        self.shared.lock().journal.bytes().to_vec()
    }

    /// The secrets among these that this fake has received; for a fake that is not the one that issued them.
    pub fn secrets_received(&self, secrets: &[String]) -> Vec<String> {
        found_in(&self.received(), secrets)
    }

    fn with_time<T>(&self, act: impl FnOnce(&mut Model, ServiceTime) -> T) -> T {
        self.shared.change(|model| {
            let now = model.clock.now();
            act(model, now)
        })
    }

    fn timed_out(&self, awaited: String) -> TimedOut {
        let seen = self.all_calls().iter().map(|call| format!("{:?} {:?}", call.operation, call.outcome)).collect();
        TimedOut { awaited, seen }
    }
}

/// What was waited for did not come; says what came instead.
#[derive(Debug)]
pub struct TimedOut {
    awaited: String,
    seen: Vec<String>,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "waited in vain for {}; received: {}", self.awaited, self.seen.join(", "))
    }
}

impl std::error::Error for TimedOut {}

/// The secrets among these that occur in `bytes`.
pub fn found_in(bytes: &[u8], secrets: &[String]) -> Vec<String> {
    let occurs = |secret: &&String| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    secrets.iter().filter(occurs).cloned().collect()
}

mod answer;
mod authorize;
mod background;
mod clock;
mod config;
mod fault;
mod journal;
mod listener;
mod mint;
mod oidc;
mod operation;
mod portal;
mod refusal;
mod sessions;
mod shared;
mod signin;
mod silent;
mod state;
mod sts;
mod tls;
mod wire;
