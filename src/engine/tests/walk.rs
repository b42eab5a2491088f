//! Random walks: whatever happens in whatever order, the invariants hold.

use proptest::prelude::*;

use super::*;
use crate::identity_center::start_url::Resolved;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Pass(u32),
    PassToNext,
    Ask(u8, u16),
    /// Replies to one of the calls that are up.
    Reply(u8, u8),
    HoldWrites,
    ReleaseWrites,
    FailWrites(bool),
    Configure(bool),
    ReadFails,
    /// The wall clock is set, by so many seconds.
    SetClock(i32),
    Sleep(u16),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_u32..5_000).prop_map(Step::Pass),
        3 => (5_000_u32..3_000_000).prop_map(Step::Pass),
        6 => Just(Step::PassToNext),
        10 => (any::<u8>(), any::<u16>()).prop_map(|(kind, detail)| Step::Ask(kind, detail)),
        16 => (any::<u8>(), any::<u8>()).prop_map(|(which, result)| Step::Reply(which, result)),
        1 => Just(Step::HoldWrites),
        2 => Just(Step::ReleaseWrites),
        1 => Just(Step::FailWrites(true)),
        2 => Just(Step::FailWrites(false)),
        1 => Just(Step::Configure(false)),
        2 => Just(Step::Configure(true)),
        1 => Just(Step::ReadFails),
        1 => (-10_000_i32..10_000).prop_map(Step::SetClock),
        1 => any::<u16>().prop_map(Step::Sleep),
        1 => Just(Step::Crash),
    ]
}

/// A walk, and what is known of the world besides what the engine says.
struct Walk {
    bench: Bench,
    deadlines: BTreeMap<WaiterId, Duration>,
    issued: u32,
    checked: usize,
    forced: bool,
    clock_set: bool,
}

impl Walk {
    fn new() -> Self {
        let mut bench = Bench::new(vec![Record::Tokens(tokens()), Record::Client(client())]);
        let end = (Timestamp::from_millis(START).after(HOUR), bench.mono + HOUR);
        bench.lives.push((secret("access-1"), end.0, end.1));
        Self { bench, deadlines: BTreeMap::new(), issued: 1, checked: 0, forced: false, clock_set: false }
    }

    fn take(&mut self, step: &Step) {
        self.forced = false;
        match *step {
            Step::Pass(millis) => self.bench.advance(Duration::from_millis(millis.into())),
            Step::PassToNext => {
                if self.bench.next_wait().is_some() {
                    self.bench.advance_to_next();
                }
            }
            Step::Ask(kind, detail) => self.ask(kind, detail),
            Step::Reply(which, result) => self.reply(which, result),
            Step::HoldWrites => self.bench.hold_writes = true,
            Step::ReleaseWrites => self.bench.release_writes(),
            Step::FailWrites(fail) => self.bench.fail_writes = fail,
            Step::Configure(back) => {
                self.bench.handle(Event::ReloadWanted);
                let configuration = if back { configuration() } else { elsewhere() };
                self.bench.handle(Event::ConfigurationRead(Ok(configuration)));
            }
            Step::ReadFails => {
                self.bench.handle(Event::ConfigurationRead(Err(Box::new(
                    Problem::new(Code::InvalidConfig, "broken").into(),
                ))));
            }
            Step::SetClock(seconds) => {
                self.clock_set = true;
                self.bench.jump(i64::from(seconds) * 1000, Duration::ZERO);
            }
            Step::Sleep(seconds) => {
                self.bench.jump(i64::from(seconds) * 1000, Duration::from_secs(seconds.into()));
            }
            Step::Crash => self.crash(),
        }
        self.check();
    }

    fn crash(&mut self) {
        let mark = self.bench.tokens_on_disk().and_then(|record| record.refresh_sent_at);
        for presented in &mut self.bench.presented {
            match presented.fate {
                Fate::Flying => presented.fate = Fate::Unknown,
                // What the answer brought may not have been on disk.
                Fate::Answered | Fate::NotTaken => presented.fate = Fate::Gone,
                Fate::Unknown | Fate::Gone => {}
            }
            // A mark that could not be saved (it was late, and the disk full) is not there to be heeded.
            match mark {
                None => presented.fate = Fate::Gone,
                // Nor does it say how late it was where the wall clock was set since.
                Some(mark) if mark != presented.wall || self.clock_set => presented.remaining = HOUR,
                Some(_) => {}
            }
        }
        self.bench.restart();
        self.deadlines.clear();
        for (_, _, mono) in &mut self.bench.lives {
            // Within one run only; across a restart the wall clock counts.
            *mono = Duration::MAX;
        }
    }

    fn ask(&mut self, kind: u8, detail: u16) {
        let session = SessionQuery::Only;
        let validity = Duration::from_secs(u64::from(detail) % 43_200);
        let role = ["Dev", "Ops", "Audit"][usize::from(detail) % 3];
        let login = |started_by| LoginRequest {
            force: detail.is_multiple_of(2),
            new_session: detail.is_multiple_of(5),
            ..by(started_by)
        };
        let timeout = seconds(u64::from(detail) % 300);
        let (request, patience) = match kind % 16 {
            0 | 1 => (Request::Token { session, min_validity: validity, kind: TokenKind::Access }, seconds(25)),
            6 if detail.is_multiple_of(3) => (console(role, None), seconds(40)),
            2..=6 => (credentials(role, Some(validity).filter(|_| detail.is_multiple_of(2)), Some(timeout)), timeout),
            7 => (Request::Refresh { session, force: false }, seconds(75)),
            8 => {
                self.forced = true;
                (Request::Refresh { session, force: true }, seconds(75))
            }
            9 => (Request::Login { session, login: login(StartedBy::Cli) }, seconds(45)),
            10 => (Request::Login { session, login: login(StartedBy::Program) }, seconds(45)),
            11 => (Request::LoginState { session, wait: timeout }, timeout),
            12 => (Request::CancelLogin { session, attempt: None }, Duration::ZERO),
            13 if detail.is_multiple_of(3) => (Request::Logout { session }, seconds(25)),
            13 => (Request::Accounts { session }, seconds(60)),
            14 => (Request::Status { wait: timeout, after: Some(u64::from(detail) % 8) }, timeout),
            15 if detail.is_multiple_of(7) => (Request::Lock { passphrase: None }, seconds(60)),
            15 if detail % 7 < 4 => (Request::Unlock { passphrase: None }, seconds(60)),
            _ => (Request::Reload, seconds(25)),
        };
        let deadline = self.bench.mono + patience;
        let waiter = self.bench.ask(request);
        self.deadlines.insert(waiter, deadline);
    }

    fn reply(&mut self, which: u8, result: u8) {
        if self.bench.calls.is_empty() {
            return;
        }
        let open = self.bench.calls[usize::from(which) % self.bench.calls.len()].clone();
        let result = match (&open.call, result % 12) {
            (_, 0) => not_sent(),
            (_, 1) => throttled(Some(Duration::from_secs(result.into()))),
            (_, 2) => lost(),
            (_, 3) => refused(ErrorName::InvalidRequest),
            (Call::CreateTokenFromRefreshToken { .. }, 4) => refused(ErrorName::InvalidGrant),
            (Call::StartDeviceAuthorization { .. }, 4) => refused(ErrorName::InvalidClient),
            (Call::CreateTokenFromDeviceCode { .. }, 4..8) => refused(ErrorName::AuthorizationPending),
            (Call::CreateTokenFromDeviceCode { .. }, 8) => refused(ErrorName::SlowDown),
            (Call::GetRoleCredentials { .. } | Call::ListAccounts { .. } | Call::Logout { .. }, 4) => unauthorized(),
            (Call::GetSigninToken { .. }, 4..7) => refused(ErrorName::Unnamed),
            (Call::GetSigninToken { .. }, _) => Ok(Answer::SigninToken(secret("signin"))),
            (Call::GetRoleCredentials { .. }, 5) => refused(ErrorName::Forbidden),
            (Call::RegisterClient { .. }, _) => Ok(Answer::Registered(ClientRegistration {
                issued_at: self.bench.now().wall,
                expires_at: self.bench.now().wall.after(90 * DAY),
                ..registration()
            })),
            (Call::StartDeviceAuthorization { .. }, _) => device(),
            (Call::CreateTokenFromAuthorizationCode { .. }, 4..8) => refused(ErrorName::InvalidGrant),
            (
                Call::CreateTokenFromDeviceCode { .. }
                | Call::CreateTokenFromAuthorizationCode { .. }
                | Call::CreateTokenFromRefreshToken { .. },
                _,
            ) => {
                self.issued += 1;
                let access_token = secret(&format!("access-{}", self.issued));
                self.bench.lives.push((access_token, open.at.wall.after(HOUR), open.at.mono_from_start() + HOUR));
                fresh(self.issued)
            }
            (Call::AssumeRole { .. }, 4) => refused(ErrorName::AccessDenied),
            (Call::AssumeRole { .. }, 5) => refused(ErrorName::ExpiredToken),
            (Call::GetRoleCredentials { .. } | Call::AssumeRole { .. }, lifetime) => {
                self.issued += 1;
                let id = format!("KEY{}", self.issued);
                let left = Duration::from_secs(u64::from(lifetime) * 400);
                let until = self.bench.now().wall.after(left);
                self.bench.lives.push((secret(&id), until, self.bench.mono + left));
                role_keys(&id, until)
            }
            (Call::ListAccounts { .. } | Call::ProbeAccounts { .. }, _) => Ok(Answer::Accounts(Vec::new())),
            (Call::ListAccountRoles { .. }, _) => Ok(Answer::Roles(Vec::new())),
            (Call::Logout { .. }, _) => Ok(Answer::LoggedOut),
            (Call::ResolveStartUrl { start_url }, _) => {
                let region = None;
                Ok(Answer::StartUrl(Ok(Resolved { url: start_url.clone(), region })))
            }
        };
        if let Call::CreateTokenFromRefreshToken { refresh_token, .. } = &open.call {
            let era = self.bench.state.sessions[&corp()].era;
            let fate = match &result {
                _ if era != open.flight.era => Fate::Gone,
                Err(Failure::Unknown(_)) => Fate::Unknown,
                Err(Failure::NotSent(_) | Failure::NotProcessed { .. }) => Fate::NotTaken,
                _ => Fate::Answered,
            };
            let at = open.at.mono_from_start();
            let homes = [oidc(), "http://localhost:4566".parse().unwrap()];
            let mut flying = self.bench.presented.iter_mut().filter(|presented| presented.fate == Fate::Flying);
            let of_it = flying.find(|presented| {
                presented.at == at
                    && homes.iter().any(|home| refresh_token.for_sending_to(home) == Ok(&presented.token))
            });
            of_it.expect("it was presented").fate = fate;
        }
        self.bench.reply_to(&open, result);
    }

    fn check(&mut self) {
        while !self.bench.hold_writes && !self.bench.latches.is_empty() {
            self.bench.latch();
        }
        self.check_flights();
        self.check_presented();
        for (waiter, deadline) in &self.deadlines {
            let late = self.bench.is_waiting(*waiter) && self.bench.mono > *deadline + Duration::from_millis(1);
            assert!(!late, "{waiter:?} waits for too long");
        }
        for _ in 0..3 {
            if self.bench.next_wait() == Some(Duration::ZERO) {
                self.bench.handle(Event::Tick);
            }
        }
        assert_ne!(self.bench.next_wait(), Some(Duration::ZERO), "the engine spins");
        self.check_presented();
    }

    fn check_flights(&self) {
        let flights: Vec<&Flight> = self.bench.calls.iter().map(|open| &open.flight).collect();
        for (index, flight) in flights.iter().enumerate() {
            assert!(!flights[..index].contains(flight), "twice up: {flight:?}");
            if flight.purpose == Purpose::Refresh {
                let era = self.bench.state.sessions[&corp()].era;
                assert!(flight.era <= era);
            }
        }
        let era = flights.iter().map(|flight| flight.era).max();
        let up =
            flights.iter().filter(|flight| matches!(flight.purpose, Purpose::Portal(_)) && Some(flight.era) == era);
        assert!(up.count() <= 8);
    }

    fn check_presented(&mut self) {
        let presented = &mut self.bench.presented;
        for index in self.checked..presented.len() {
            presented[index].forced = self.forced;
            let this = presented[index].clone();
            let earlier: Vec<&Presented> =
                presented[..index].iter().filter(|earlier| earlier.token == this.token).collect();
            let flying = earlier.iter().filter(|earlier| earlier.fate == Fate::Flying).count();
            assert_eq!(flying, 0, "presented while it is being presented");
            let unknown = earlier.iter().filter(|earlier| earlier.fate == Fate::Unknown);
            for lost in unknown.filter(|_| !this.forced) {
                assert!(this.remaining <= LATE, "presented again with {:?} left", this.remaining);
                let once_late = !lost.forced && !lost.remaining.is_zero() && lost.remaining <= LATE;
                assert!(!once_late || this.remaining.is_zero(), "twice before expiry: {:?}", this.remaining);
            }
            let taken = earlier.iter().filter(|earlier| matches!(earlier.fate, Fate::Answered | Fate::Unknown));
            for before in taken.filter(|before| before.fate == Fate::Answered) {
                assert!(this.at - before.at >= MINUTE, "twice in a minute");
            }
        }
        self.checked = presented.len();
    }

    /// Everything comes to rest: what is in memory is on disk, and everybody is answered.
    fn end(mut self) {
        self.bench.fail_writes = false;
        self.bench.release_writes();
        self.check();
        self.bench.advance(31 * seconds(1));
        let session = &self.bench.state.sessions[&corp()];
        let held = session.holding.as_ref().map(|holding| &holding.record.tokens);
        assert_eq!(held, self.bench.tokens_on_disk().map(|record| &record.tokens));
        self.bench.handle(Event::Stop);
        self.bench.advance(seconds(2));
        assert!(self.bench.waiting.is_empty(), "{:?}", self.bench.waiting);
        assert_eq!(self.bench.next_wait().filter(Duration::is_zero), None);
    }
}

impl Now {
    fn mono_from_start(self) -> Duration {
        self.mono.since(Mono::default())
    }
}

const LATE: Duration = Duration::from_secs(5 * 60);

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_on_any_walk(steps in proptest::collection::vec(step(), 1..120)) {
        let mut walk = Walk::new();
        for step in &steps {
            walk.take(step);
        }
        walk.end();
    }
}
