//! The lock on the agent: what it refuses, what it lets go on, and what a wrong passphrase costs.

use super::*;
use crate::api::{LockStatus, SessionState};
use crate::store::{Latch, LatchOrder, LatchReport, Lock, Verifier};

fn passphrase() -> Secret {
    Secret::new("correct horse".to_owned())
}

/// Slow, so made once.
fn verifier() -> Verifier {
    static VERIFIER: std::sync::OnceLock<Verifier> = std::sync::OnceLock::new();
    VERIFIER.get_or_init(|| Verifier::of(&passphrase()).unwrap()).clone()
}

fn lock(failures: u32) -> Lock {
    Lock { since: Timestamp::from_secs(7), verifier: Some(verifier()), failures }
}

impl Bench {
    fn locks(&mut self, passphrase: Option<Secret>) -> WaiterId {
        self.ask(Request::Lock { passphrase })
    }

    fn unlocks(&mut self, guess: Option<&str>) -> WaiterId {
        self.ask(Request::Unlock { passphrase: guess.map(|guess| Secret::new(guess.to_owned())) })
    }

    /// The order about the lock is carried out.
    pub(super) fn latch(&mut self) {
        let report = match self.latches.remove(0) {
            LatchOrder::Lock(since, passphrase) => {
                let verifier = passphrase.map(|_| verifier());
                LatchReport::Locked(Lock { since, verifier, failures: 0 }, Ok(()))
            }
            LatchOrder::Unlock(Lock { verifier: None, .. }, _) => LatchReport::Unlocked(Ok(())),
            LatchOrder::Unlock(_, guess) if guess == Some(passphrase()) => LatchReport::Unlocked(Ok(())),
            LatchOrder::Unlock(lock, _) => LatchReport::Wrong(Lock { failures: lock.failures + 1, ..lock }),
        };
        self.latched = match &report {
            LatchReport::Locked(lock, _) | LatchReport::Wrong(lock) => Latch::Locked(lock.clone()),
            _ => Latch::Open,
        };
        self.handle(Event::Latched(report));
    }

    fn locked(&mut self, passphrase: Option<Secret>) {
        let waiter = self.locks(passphrase);
        self.latch();
        assert!(matches!(&self.answers[&waiter], Ok(Response::Locked(LockStatus { locked: true, .. }))));
    }

    fn seconds_until_told(&mut self, waiter: WaiterId) -> u64 {
        let begun = self.mono;
        while !self.answers.contains_key(&waiter) {
            assert!(self.mono - begun < seconds(100), "never told");
            self.advance(seconds(1));
            while !self.latches.is_empty() {
                self.latch();
            }
        }
        (self.mono - begun).as_secs()
    }
}

#[test]
fn a_locked_agent_answers_nothing_but_that_it_is_locked() {
    let mut bench = Bench::signed_in();
    bench.locked(None);
    let session = || SessionQuery::Only;
    let role = || "ReadOnly".parse().unwrap();
    let target = || TargetQuery::Role { session: None, account: "111122223333".parse().unwrap(), role: role() };
    for request in [
        Request::Credentials { target: target(), min_validity: None, timeout: None },
        Request::Token { session: session(), min_validity: Duration::ZERO, kind: TokenKind::Access },
        Request::Console { target: target(), destination: None },
        Request::Login { session: session(), login: LoginRequest::default() },
        Request::LoginState { session: session(), wait: seconds(30) },
        Request::CancelLogin { session: session(), attempt: None },
        Request::Refresh { session: session(), force: true },
        Request::Adopt { session: session() },
        Request::Logout { session: session() },
        Request::Accounts { session: session() },
        Request::Roles { session: session(), account: "111122223333".parse().unwrap() },
        Request::Storage,
        Request::UnlockStorage { passphrase: None },
        Request::MigrateStorage { to: "file".to_owned(), passphrase: None },
        Request::Reload,
    ] {
        let waiter = bench.ask(request.clone());
        assert_eq!(bench.problem(waiter).code, Code::Locked, "{request:?}");
    }
    assert_eq!((bench.calls.len(), bench.reads, bench.managed.len()), (0, 0, 0));
    let health = bench.ask(Request::Health);
    assert!(bench.answers[&health].is_ok());
    let status = bench.status();
    assert!(status.locked && status.sessions.is_empty() && status.targets.is_empty() && status.warnings.is_empty());
    assert!(!serde_json::to_string(&status).unwrap().contains("corp"));
    assert!(!bench.state.headline(bench.now()).contains("session"), "the service manager's page names nothing either");
}

#[test]
fn who_waits_already_gets_nothing_either_and_is_told_at_once() {
    let mut bench = Bench::signed_in();
    let credentials = bench.ask_role("ReadOnly");
    let accounts = bench.ask(Request::Accounts { session: SessionQuery::Only });
    assert_eq!(bench.calls.len(), 2, "both are under way");
    bench.locks(None);
    for waiter in [credentials, accounts] {
        assert_eq!(bench.problem(waiter).code, Code::Locked, "before the lock is even written");
    }
    bench.latch();
    let later = bench.ask_role("ReadOnly");
    assert_eq!(bench.problem(later).code, Code::Locked);
}

#[test]
fn a_sign_in_that_waits_for_the_user_is_cancelled() {
    let mut bench = Bench::new(Vec::new());
    let starter = bench.login(by(StartedBy::Cli));
    bench.reply("RegisterClient", Ok(Answer::Registered(registration())));
    bench.reply("StartDeviceAuthorization", device());
    let watcher = bench.ask(Request::LoginState { session: SessionQuery::Only, wait: seconds(30) });
    bench.locked(None);
    assert!(bench.answers.contains_key(&starter));
    assert_eq!(bench.problem(watcher).code, Code::Locked);
    let calls = bench.made.values().sum::<usize>();
    bench.advance(seconds(700));
    assert_eq!(bench.made.values().sum::<usize>(), calls, "nobody polls for it");
    bench.unlocks(None);
    bench.latch();
    assert_eq!(bench.status().sessions[0].state, SessionState::SignedOut);
}

#[test]
fn a_locked_night_does_not_cost_the_sign_in() {
    let mut bench = Bench::signed_in();
    bench.locked(Some(passphrase()));
    bench.advance_to_refresh();
    bench.reply_refresh(fresh(2));
    let on_disk = bench.tokens_on_disk().unwrap().tokens.refresh_token.clone();
    assert_eq!(on_disk, Some(secret("refresh-2")), "refreshed and saved");
}

#[test]
fn wrong_passphrases_cost_more_and_more_time_however_they_are_tried() {
    let mut bench = Bench::signed_in();
    bench.locked(Some(passphrase()));
    for expected in [1, 2, 4, 8, 10, 10] {
        let waiter = bench.unlocks(Some("battery staple"));
        bench.latch();
        assert_eq!(bench.seconds_until_told(waiter), expected);
        let problem = bench.problem(waiter);
        assert_eq!((problem.code, problem.code.exit().code()), (Code::Locked, 8));
    }
    let right = bench.unlocks(Some("correct horse"));
    bench.latch();
    assert!(matches!(&bench.answers[&right], Ok(Response::Locked(LockStatus { locked: false, lock: None }))));
    bench.ask_role("ReadOnly");
    assert_eq!(bench.calls.len(), 1, "it serves again");
}

#[test]
fn guesses_at_once_are_looked_at_one_after_the_other() {
    let mut bench = Bench::signed_in();
    bench.locked(Some(passphrase()));
    let guesses = ["a", "b", "correct horse"].map(|guess| bench.unlocks(Some(guess)));
    assert_eq!(bench.latches.len(), 1, "one at a time");
    bench.latch();
    assert!(bench.latches.is_empty(), "the second is not looked at before the first is told");
    assert_eq!(bench.seconds_until_told(guesses[0]), 1);
    assert_eq!(bench.seconds_until_told(guesses[2]), 2, "the right one waits for the wrong one before it");
    assert!(!bench.status().locked);
    let mut bench = Bench::signed_in();
    bench.locked(Some(passphrase()));
    let many: Vec<WaiterId> = (0..50).map(|_| bench.unlocks(Some("x"))).collect();
    let busy = many.iter().filter(|waiter| bench.answers.contains_key(waiter)).count();
    assert!(busy >= 45, "more are not kept waiting: {busy}");
    assert_eq!(bench.problem(many[49]).code, Code::Busy);
}

#[test]
fn a_restart_makes_no_guess_cheaper() {
    let mut bench = Bench::signed_in();
    let now = bench.now();
    bench.state = State::new(agent(), configuration(), vec![Record::Tokens(tokens())], Vec::new(), now)
        .with_latch(Latch::Locked(lock(3)), now);
    let guess = bench.unlocks(Some("x"));
    assert!(bench.latches.is_empty(), "the wait for the third is not over");
    assert_eq!(bench.seconds_until_told(guess), 4 + 8);
    let none = bench.unlocks(None);
    assert_eq!(bench.problem(none).code, Code::Locked, "no guess, so nothing to wait for");
}

#[test]
fn locking_twice_and_unlocking_twice_is_no_error_and_keeps_the_passphrase() {
    let mut bench = Bench::signed_in();
    let open = bench.unlocks(Some("anything"));
    assert!(matches!(&bench.answers[&open], Ok(Response::Locked(LockStatus { locked: false, .. }))));
    bench.locked(None);
    let again = bench.locks(None);
    assert!(bench.answers[&again].is_ok() && bench.latches.is_empty());
    bench.locked(Some(passphrase()));
    let weaker = bench.locks(None);
    assert!(bench.answers[&weaker].is_ok() && bench.latches.is_empty());
    let other = bench.locks(Some(Secret::new("another horse".to_owned())));
    assert_eq!(bench.problem(other).code, Code::Locked, "or somebody would think that theirs opens it");
    assert!(bench.status().lock.unwrap().passphrase);
}

#[test]
fn what_nobody_can_read_is_a_lock_that_no_request_opens() {
    let mut bench = Bench::signed_in();
    let now = bench.now();
    let latch = Latch::Unreadable { path: "/state/locked".into(), reason: "expected value".to_owned() };
    bench.state = State::new(agent(), configuration(), Vec::new(), Vec::new(), now).with_latch(latch, now);
    for guess in [None, Some("correct horse")] {
        let waiter = bench.unlocks(guess);
        let problem = bench.problem(waiter);
        assert_eq!(problem.code, Code::Locked);
        assert!(problem.to_string().contains("remove /state/locked"), "{problem}");
    }
    let status = bench.status();
    assert!(status.locked && status.lock.unwrap().message.unwrap().contains("/state/locked"));
}

#[test]
fn a_lock_that_cannot_be_saved_holds_and_is_said() {
    let mut bench = Bench::signed_in();
    let waiter = bench.locks(None);
    bench.latches.clear();
    bench.handle(Event::Latched(LatchReport::Locked(
        Lock { since: Timestamp::from_secs(7), verifier: None, failures: 0 },
        Err(disk_full()),
    )));
    let problem = bench.problem(waiter);
    assert_eq!(problem.code, Code::Storage);
    assert!(problem.detail.contains("a restart would open it"), "{problem}");
    let status = bench.status();
    assert!(status.locked && !status.lock.unwrap().saved);
    let again = bench.locks(None);
    bench.latch();
    assert!(bench.answers[&again].is_ok() && bench.status().lock.unwrap().saved, "tried again when asked again");
}

#[test]
fn the_agent_does_not_end_before_its_lock_is_written() {
    let mut bench = Bench::signed_in();
    let waiter = bench.locks(None);
    bench.handle(Event::Stop);
    assert!(!bench.state.is_settled());
    bench.latch();
    assert!(bench.state.is_settled() && bench.answers[&waiter].is_ok());
}
