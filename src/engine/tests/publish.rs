//! The AWS CLI's cache: what is written when, what is adopted, and what a missing file means (attacks 10).

mod adopt;

use super::*;
use crate::settings::Publish;
use crate::sso_cache::{
    Cache, CacheError, CacheOrder, CacheOutcome, CacheReport, CachedSet, Found, Mark, Material, Renewal, Unusable,
};

/// The cache's directory, as others see it too.
#[derive(Debug, Default)]
pub(super) struct CacheBox {
    lies: BTreeMap<SessionName, Lies>,
    pub(super) watched: bool,
    read_only: bool,
    full: bool,
    written: usize,
    /// Somebody writes this just before we would.
    overtaking: Option<CachedSet>,
    looks: usize,
}

#[derive(Debug, Clone)]
enum Lies {
    Set(CachedSet),
    Half,
    Garbage,
}

impl Cache for CacheBox {
    fn carry_out(&mut self, session: &SessionName, order: CacheOrder) -> CacheReport {
        let failed = || CacheError::Writable { path: "/home/user/.aws/sso/cache".into(), mode: 0o777 };
        let outcome = match order {
            CacheOrder::Look { .. } => {
                self.looks += 1;
                CacheOutcome::Looked(match self.lies.get(session) {
                    None => Found::Missing,
                    Some(Lies::Set(set)) => Found::Set(Box::new(set.clone())),
                    Some(Lies::Half) => Found::Torn,
                    Some(Lies::Garbage) => Found::Unusable(Unusable::NoSignIn("accessToken")),
                })
            }
            CacheOrder::Write { .. } if self.full => CacheOutcome::Written(Err(CacheError::NoHome)),
            _ if self.read_only => CacheOutcome::Written(Err(failed())),
            CacheOrder::Write { set, over } => {
                if let Some(overtaking) = self.overtaking.take() {
                    self.lies.insert(session.clone(), Lies::Set(overtaking));
                }
                if let Some(Lies::Set(lies)) = self.lies.get(session)
                    && !over.contains(&Mark::of(&lies.access_token))
                {
                    return CacheReport { path: "/x.json".into(), outcome: CacheOutcome::Overtaken };
                }
                self.written += 1;
                self.lies.insert(session.clone(), Lies::Set(*set));
                CacheOutcome::Written(Ok(()))
            }
            CacheOrder::Remove(marks) => {
                if let Some(Lies::Set(set)) = self.lies.get(session)
                    && marks.contains(&Mark::of(&set.access_token))
                {
                    self.lies.remove(session);
                }
                CacheOutcome::Removed(Ok(()))
            }
        };
        CacheReport { path: "/home/user/.aws/sso/cache/x.json".into(), outcome }
    }
}

fn publishing(mode: Publish) -> Configuration {
    let mut configuration = configuration();
    let settings = SessionSettings { publish: mode, ..SessionSettings::default() };
    configuration.settings.sessions.insert(corp(), settings);
    configuration
}

/// Signed in, with its file in place.
fn bench(mode: Publish) -> Bench {
    let mut bench = Bench::configured(publishing(mode), vec![Record::Tokens(tokens())]);
    bench.handle(Event::Tick);
    assert_eq!(bench.file().map(|set| set.access_token), Some(secret("access-1")));
    bench
}

impl Bench {
    fn file(&self) -> Option<CachedSet> {
        match self.cache.lies.get(&corp()) {
            Some(Lies::Set(set)) => Some(set.clone()),
            _ => None,
        }
    }

    /// Somebody else writes the file, and the system tells of it.
    fn put(&mut self, lies: Lies) {
        self.cache.lies.insert(corp(), lies);
        self.handle(Event::CacheTouched);
    }

    fn remove(&mut self) {
        self.cache.lies.remove(&corp());
        self.handle(Event::CacheTouched);
    }

    fn restart_publishing(&mut self, mode: Publish) {
        let records = self.disk.values().cloned().collect();
        let mut next = Bench::configured(publishing(mode), Vec::new());
        (next.wall, next.mono) = (self.wall, self.mono);
        next.disk = std::mem::take(&mut self.disk);
        next.cache = std::mem::take(&mut self.cache);
        next.state = State::new(agent(), publishing(mode), records, Vec::new(), next.now());
        *self = next;
        self.handle(Event::Tick);
    }

    fn held(&self) -> Secret {
        self.state.sessions[&corp()].holding.as_ref().expect("signed in").record.tokens.access_token.clone()
    }

    fn trouble(&mut self) -> Option<String> {
        self.session().publish.and_then(|publish| publish.error)
    }

    fn adopt(&mut self) -> Result<Response, Problem> {
        let waiter = self.ask(Request::Adopt { session: SessionQuery::Only });
        self.answer(waiter)
    }

    /// As another program leaves it after a refresh at this moment.
    fn theirs(&self, number: u32) -> CachedSet {
        CachedSet {
            start_url: definition().start_url,
            region: "eu-west-1".to_owned(),
            access_token: secret(&format!("theirs-{number}")),
            expires_at: self.now().wall.after(HOUR),
            renewal: Renewal::Whole(Box::new(Material {
                refresh_token: secret(&format!("their-refresh-{number}")),
                client_id: "client-1".to_owned(),
                client_secret: secret("client-secret"),
                registration_expires_at: registration().expires_at,
            })),
        }
    }
}

fn is_whole(set: &CachedSet) -> bool {
    matches!(set.renewal, Renewal::Whole(_))
}

#[test]
fn nothing_is_looked_at_watched_or_written_where_nothing_is_published() {
    let mut bench = Bench::signed_in();
    bench.advance_to_refresh();
    bench.reply_refresh(fresh(2));
    assert_eq!((bench.cache.looks, bench.cache.written, bench.cache.watched), (0, 0, false));
    assert_eq!(bench.session().publish, None);
}

#[test]
fn the_file_is_there_after_the_start_and_follows_every_refresh() {
    for (mode, whole) in [(Publish::Token, false), (Publish::Full, true)] {
        let mut bench = bench(mode);
        assert!(bench.cache.watched);
        for number in 2..5 {
            bench.advance_to_refresh();
            let before = bench.file().unwrap();
            assert!(before.expires_at.since(bench.now().wall) > 15 * MINUTE, "nobody else refreshes it");
            bench.reply_refresh(fresh(number));
            let after = bench.file().unwrap();
            assert_eq!((&after.access_token, is_whole(&after)), (&secret(&format!("access-{number}")), whole));
        }
        assert_eq!(bench.cache.written, 4, "only what is new");
    }
}

/// Our own set would take the place of the only refresh token that is still worth something.
#[test]
fn what_somebody_refreshed_between_our_look_and_our_write_is_taken_over_and_not_overwritten() {
    let mut bench = Bench::configured(publishing(Publish::Full), vec![Record::Tokens(tokens())]);
    bench.cache.overtaking = Some(bench.theirs(1));
    bench.handle(Event::Tick);
    assert_eq!(bench.file(), Some(bench.theirs(1)));
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.access_token, secret("theirs-1"));
}

#[test]
fn what_somebody_refreshed_within_the_second_of_our_sign_in_is_taken_over() {
    let mut bench = bench(Publish::Full);
    let ours = bench.tokens_on_disk().map_or(START + 3_600_000, |record| record.tokens.expires_at.as_millis());
    let same_second = Timestamp::from_secs(ours.div_euclid(1000));
    bench.put(Lies::Set(CachedSet { expires_at: same_second, ..bench.theirs(1) }));
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.access_token, secret("theirs-1"));
}

/// Its refresh token was presented by us since.
#[test]
fn what_was_taken_over_once_is_not_taken_over_again() {
    let mut bench = bench(Publish::Full);
    let theirs = bench.theirs(1);
    bench.put(Lies::Set(theirs.clone()));
    bench.advance(2 * MINUTE);
    bench.cache.read_only = true;
    bench.ask_refresh(true);
    bench.reply_refresh(fresh(2));
    bench.cache.read_only = false;
    bench.put(Lies::Set(CachedSet { expires_at: theirs.expires_at.after(DAY), ..theirs }));
    assert_eq!(bench.tokens_on_disk().unwrap().tokens.access_token, secret("access-2"));
}

#[test]
fn nothing_wakes_the_agent_for_the_file() {
    let mut publishing = bench(Publish::Full);
    let mut silent = Bench::signed_in();
    assert_eq!(publishing.next_wait(), silent.next_wait());
}

#[test]
fn what_was_written_is_remembered_before_it_is_there() {
    let mut bench = Bench::configured(publishing(Publish::Full), vec![Record::Tokens(tokens())]);
    bench.hold_writes = true;
    bench.handle(Event::Tick);
    while bench.cache.written == 0 {
        let client = bench.client_on_disk().map(|client| client.published.clone());
        if matches!(bench.writes.first(), Some(OpenWrite::Cache(_, CacheOrder::Write { .. }))) {
            let marks = client.expect("the record came first").marks;
            assert_eq!(marks, [Mark::of(&secret("access-1"))]);
        }
        bench.write_one();
    }
}

#[test]
fn switched_off_it_removes_its_own_file_and_nobody_elses() {
    let mut mine = bench(Publish::Token);
    mine.reconfigure(configuration());
    assert!(mine.file().is_none());
    assert!(!mine.cache.watched);

    let mut replaced = bench(Publish::Token);
    let theirs = replaced.theirs(1);
    replaced.put(Lies::Set(theirs.clone()));
    replaced.cache.lies.insert(corp(), Lies::Set(theirs));
    replaced.reconfigure(configuration());
    assert!(replaced.file().is_some(), "it is somebody else's");

    let mut restarted = bench(Publish::Full);
    restarted.restart_publishing(Publish::Off);
    assert!(restarted.file().is_none(), "it knows its file again");
}

#[test]
fn the_file_is_gone_when_the_sign_out_is_answered() {
    let mut bench = bench(Publish::Full);
    let waiter = bench.logout();
    bench.reply("Logout", Ok(Answer::LoggedOut));
    assert!(bench.answer(waiter).is_ok());
    assert!(bench.file().is_none());
    bench.advance(HOUR);
    assert!(bench.file().is_none());
}

#[test]
fn what_another_program_has_refreshed_is_adopted_and_saved_before_it_is_used() {
    let mut bench = bench(Publish::Full);
    bench.advance(30 * MINUTE);
    let theirs = bench.theirs(1);
    bench.hold_writes = true;
    bench.put(Lies::Set(theirs));
    while bench.held() == secret("access-1") {
        bench.write_one();
    }
    let stored = bench.tokens_on_disk().unwrap();
    assert_eq!(stored.tokens.access_token, secret("theirs-1"));
    assert_eq!(stored.origin, origin());
    bench.release_writes();
    assert_eq!(bench.file().unwrap().access_token, secret("theirs-1"), "as they left it");
    bench.advance_to_refresh();
    assert!(bench.presents("their-refresh-1"));
}

#[test]
fn the_last_look_is_just_before_the_refresh() {
    let mut bench = bench(Publish::Full);
    bench.advance(30 * MINUTE);
    // The system does not tell of it.
    let theirs = bench.theirs(1);
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    bench.advance(11 * MINUTE);
    assert_eq!((bench.refreshes(), bench.held()), (0, secret("theirs-1")));
}

#[test]
fn a_refused_refresh_token_ends_nothing_that_another_program_has_refreshed() {
    let mut bench = bench(Publish::Full);
    bench.advance_to_refresh();
    let theirs = bench.theirs(1);
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    bench.reply_refresh(refused(ErrorName::InvalidGrant));
    assert_eq!(bench.held(), secret("theirs-1"));
    assert!(bench.session().renewable);

    let mut alone = self::bench(Publish::Full);
    alone.advance_to_refresh();
    let old = CachedSet { renewal: Renewal::None, expires_at: alone.now().wall.before(MINUTE), ..alone.theirs(2) };
    alone.cache.lies.insert(corp(), Lies::Set(old));
    alone.reply_refresh(refused(ErrorName::InvalidGrant));
    assert!(!alone.session().renewable, "nobody else has");
    assert!(!is_whole(&alone.file().unwrap()), "what is refused is not offered to others");
}

#[test]
fn what_is_not_ours_later_and_whole_is_not_adopted() {
    let far = |set: CachedSet| CachedSet { expires_at: set.expires_at.after(HOUR), ..set };
    type Change = fn(CachedSet) -> CachedSet;
    let cases: [(&str, Change); 6] = [
        ("another start URL", |set| CachedSet { start_url: "https://other.awsapps.com/start".into(), ..set }),
        ("a slash more", |set| CachedSet { start_url: format!("{}/", set.start_url), ..set }),
        ("another region", |set| CachedSet { region: "us-east-1".into(), ..set }),
        ("no refresh token", |set| CachedSet { renewal: Renewal::None, ..set }),
        ("half a client", |set| CachedSet { renewal: Renewal::Incomplete, ..set }),
        ("earlier", |set| CachedSet { expires_at: set.expires_at.before(3 * HOUR), ..set }),
    ];
    for (what, change) in cases {
        let mut bench = bench(Publish::Full);
        bench.advance(MINUTE);
        let theirs = change(far(bench.theirs(1)));
        bench.put(Lies::Set(theirs));
        assert_eq!(bench.held(), secret("access-1"), "{what}");
        bench.advance_to_refresh();
        assert!(bench.presents("refresh-1"), "{what}");
    }
    // What we wrote ourselves, put back from a copy with another date.
    let mut bench = bench(Publish::Full);
    let old = bench.file().unwrap();
    bench.advance_to_refresh();
    bench.reply_refresh(fresh(2));
    bench.put(Lies::Set(far(far(old))));
    assert_eq!(bench.held(), secret("access-2"));
    assert_eq!(bench.file().unwrap().access_token, secret("access-2"), "written again");
}

#[test]
fn a_token_alone_is_published_and_nothing_is_adopted_with_it() {
    let mut bench = bench(Publish::Token);
    bench.advance(MINUTE);
    let theirs = bench.theirs(1);
    bench.put(Lies::Set(theirs));
    assert_eq!(bench.held(), secret("access-1"));
}

#[test]
fn the_file_of_another_session_of_the_same_name_stays_and_is_told() {
    let mut bench = bench(Publish::Full);
    let other = CachedSet { start_url: "https://other.awsapps.com/start".into(), ..bench.theirs(1) };
    bench.put(Lies::Set(other.clone()));
    bench.advance_to_refresh();
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.file(), Some(other));
    assert!(bench.trouble().unwrap().contains("https://other.awsapps.com/start"));
}

#[test]
fn after_a_lost_answer_nobody_finds_the_refresh_token_until_its_fate_is_known() {
    let mut bench = bench(Publish::Full);
    bench.advance_to_refresh();
    bench.reply_refresh(lost());
    let file = bench.file().unwrap();
    assert_eq!((&file.access_token, is_whole(&file)), (&secret("access-1"), false));
    bench.restart_publishing(Publish::Full);
    assert!(!is_whole(&bench.file().unwrap()), "nor after a restart");
    bench.advance_to_refresh();
    bench.reply_refresh(fresh(2));
    assert!(is_whole(&bench.file().unwrap()));
}

#[test]
fn a_missing_file_is_looked_for_twice_and_then_a_question_to_the_portal() {
    let mut bench = bench(Publish::Token);
    bench.remove();
    assert_eq!(bench.made("ListAccounts (one)"), 0);
    bench.advance(seconds(2));
    assert_eq!(bench.made("ListAccounts (one)"), 1);
    bench.reply("ListAccounts (one)", Ok(Answer::Accounts(Vec::new())));
    assert_eq!(bench.file().unwrap().access_token, secret("access-1"), "published again");
    bench.advance(MINUTE);
    assert_eq!(bench.made("ListAccounts (one)"), 1);
}

#[test]
fn a_file_that_comes_back_by_itself_is_no_question() {
    let mut bench = bench(Publish::Token);
    let file = bench.file().unwrap();
    bench.remove();
    bench.put(Lies::Set(file));
    bench.advance(MINUTE);
    assert_eq!(bench.made("ListAccounts (one)"), 0);
}

#[test]
fn a_missing_file_and_a_portal_that_knows_the_token_no_more_are_a_sign_out() {
    let mut bench = bench(Publish::Full);
    bench.remove();
    bench.advance(seconds(2));
    bench.reply("ListAccounts (one)", unauthorized());
    let session = bench.session();
    assert_eq!(session.state, crate::api::SessionState::SignedOut);
    assert!(session.last_error.unwrap().message.contains("another program"));
    assert!(bench.tokens_on_disk().is_none() && bench.file().is_none());
    bench.advance(HOUR);
    assert!(bench.file().is_none());
}

#[test]
fn a_portal_that_does_not_answer_is_asked_later_and_the_session_lives() {
    let mut bench = bench(Publish::Full);
    bench.remove();
    bench.advance(seconds(2));
    for asked in 1..4 {
        assert_eq!(bench.made("ListAccounts (one)"), asked);
        bench.reply("ListAccounts (one)", lost());
        let waiter = bench.ask_token(Duration::ZERO);
        assert_eq!(bench.access_token(waiter), secret("access-1"));
        bench.advance(MINUTE);
    }
    // A refresh is an answer too.
    bench.reply("ListAccounts (one)", lost());
    bench.advance_to_refresh();
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.file().unwrap().access_token, secret("access-2"));
}

#[test]
fn a_file_deleted_while_the_agent_was_down_is_a_question_too() {
    let mut bench = bench(Publish::Token);
    bench.cache.lies.clear();
    bench.restart_publishing(Publish::Token);
    assert!(bench.file().is_none());
    bench.advance(seconds(2));
    bench.reply("ListAccounts (one)", Ok(Answer::Accounts(Vec::new())));
    assert!(bench.file().is_some());
}

#[test]
fn half_a_file_is_read_again_in_a_moment_and_replaced_if_it_stays_so() {
    let mut bench = bench(Publish::Full);
    bench.advance(MINUTE);
    bench.put(Lies::Half);
    assert_eq!(bench.held(), secret("access-1"));
    let theirs = bench.theirs(1);
    bench.cache.lies.insert(corp(), Lies::Set(theirs));
    bench.advance(seconds(1));
    assert_eq!(bench.held(), secret("theirs-1"), "it was being written");
    for lies in [Lies::Half, Lies::Garbage] {
        bench.put(lies);
        bench.advance(seconds(1));
        assert_eq!(bench.file().unwrap().access_token, secret("theirs-1"));
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_told_and_costs_nobody_credentials() {
    let mut bench = Bench::configured(publishing(Publish::Token), vec![Record::Tokens(tokens())]);
    bench.cache.read_only = true;
    bench.handle(Event::Tick);
    assert!(bench.trouble().unwrap().contains("chmod go-w"), "{:?}", bench.trouble());
    let waiter = bench.ask_token(Duration::ZERO);
    assert_eq!(bench.access_token(waiter), secret("access-1"));
    let looks = bench.cache.looks;
    bench.advance(MINUTE);
    assert_eq!(bench.cache.looks, looks, "not again and again");
    bench.cache.read_only = false;
    bench.advance(5 * MINUTE);
    assert!(bench.file().is_some(), "tried again by itself");
    assert_eq!(bench.trouble(), None);
}

#[test]
fn a_session_that_moved_publishes_and_adopts_nothing() {
    let mut bench = bench(Publish::Full);
    let mut moved = elsewhere();
    moved.settings = publishing(Publish::Full).settings;
    bench.reconfigure(moved);
    bench.advance(MINUTE);
    let (theirs, written) = (bench.theirs(1), bench.cache.written);
    bench.put(Lies::Set(theirs));
    bench.advance(HOUR);
    assert_eq!((bench.held(), bench.cache.written), (secret("access-1"), written));
    assert_eq!(bench.adopt().unwrap_err().code, Code::InvalidConfig);
}

#[test]
fn a_file_that_nobody_told_us_is_gone_delays_a_refresh_by_a_moment_and_not_for_ever() {
    let mut bench = bench(Publish::Token);
    bench.cache.lies.clear();
    bench.advance(42 * MINUTE);
    bench.reply("ListAccounts (one)", lost());
    bench.advance(seconds(5));
    assert_eq!((bench.refreshes(), bench.made("ListAccounts (one)")), (1, 1));
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.file().unwrap().access_token, secret("access-2"));
}

#[test]
fn a_write_that_ends_after_publishing_was_switched_off_does_not_watch_the_directory_again() {
    let mut bench = bench(Publish::Full);
    bench.advance_to_refresh();
    bench.hold_writes = true;
    bench.reply_refresh(fresh(2));
    bench.write_one();
    let leaving = bench.logout();
    bench.reply("Logout", Ok(Answer::LoggedOut));
    bench.release_writes();
    assert!(bench.answer(leaving).is_ok());
    assert_eq!((bench.cache.watched, bench.file()), (false, None));
}

#[test]
fn a_portal_that_knows_a_dying_token_no_more_says_nothing_about_the_session() {
    let mut bench = bench(Publish::Token);
    bench.remove();
    bench.advance(seconds(2));
    let asked = bench.open("ListAccounts (one)");
    bench.advance(seconds(57 * 60));
    if !bench.flying("CreateToken (refresh token)").is_empty() {
        bench.reply_refresh(not_sent());
    }
    bench.advance(seconds(140));
    bench.reply_to(&asked, unauthorized());
    assert!(bench.tokens_on_disk().is_some(), "it was over anyway");
}

#[test]
fn a_portal_that_knows_the_token_no_more_does_not_overrule_the_refresh_that_is_up() {
    let mut bench = bench(Publish::Full);
    bench.remove();
    bench.advance(seconds(2));
    let asked = bench.open("ListAccounts (one)");
    bench.advance(2 * MINUTE);
    bench.ask_refresh(false);
    bench.reply_to(&asked, unauthorized());
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.held(), secret("access-2"));
    assert_eq!(bench.file().map(|set| set.access_token), Some(secret("access-2")));
}

#[test]
fn a_question_that_is_open_after_a_write_that_failed_does_not_spin() {
    let mut bench = bench(Publish::Token);
    bench.advance(37 * MINUTE);
    bench.cache.read_only = true;
    bench.reconfigure(publishing(Publish::Full));
    assert!(bench.trouble().is_some());
    // Gone too, and nobody told.
    bench.cache.lies.clear();
    while bench.flying("ListAccounts (one)").is_empty() {
        bench.advance_to_next();
    }
    bench.reply("ListAccounts (one)", lost());
    bench.reply_refresh(not_sent());
    for _ in 0..40 {
        bench.advance(seconds(2));
        if !bench.flying("CreateToken (refresh token)").is_empty() {
            bench.reply_refresh(not_sent());
        }
    }
}

#[test]
fn a_refresh_token_that_is_used_up_does_not_stay_out_there_because_the_disk_is_full() {
    let mut bench = bench(Publish::Full);
    bench.cache.full = true;
    bench.advance_to_refresh();
    bench.reply_refresh(fresh(2));
    assert_eq!(bench.file(), None, "whoever presented it would end the session");
    bench.advance(MINUTE);
    bench.cache.full = false;
    bench.advance(5 * MINUTE);
    assert_eq!(bench.file().map(|set| set.access_token), Some(secret("access-2")));
    assert_eq!(bench.made("ListAccounts (one)"), 0);
}
