//! Roles that are assumed with another slot's credentials: what a call takes, and what STS's answers mean.

use std::sync::Arc;

use super::*;
use crate::ids::{Assumption, StsPlace};

const GET: &str = "GetRoleCredentials";
const ASSUME: &str = "AssumeRole";
const STS: &str = "https://sts.eu-west-1.amazonaws.com";

fn assumed(source: Grant, role: &str, duration: Option<&str>) -> Grant {
    Grant::Assumed(Arc::new(Assumption {
        source,
        role: format!("arn:aws:iam::444455556666:role/{role}").parse().unwrap(),
        session_name: "sso-agent-user".parse().unwrap(),
        external_id: None,
        duration: duration.map(|duration| duration.parse().unwrap()),
        sts: StsPlace {
            region: "eu-west-1".parse().unwrap(),
            address: (&STS.parse::<Endpoint>().unwrap()).into(),
            ca_bundle: None,
        },
    }))
}

/// The usual profiles, and some whose role is assumed with them: `ops` with `dev`, `deep` with `ops`, `long` with `dev`.
fn configuration_with_chains() -> Configuration {
    let mut configuration = configuration();
    let ops = assumed(grant("Dev"), "Ops", None);
    let deep = assumed(ops.clone(), "Deep", None);
    for (name, grant) in [("ops", ops), ("deep", deep), ("long", assumed(grant("Dev"), "Long", Some("7200")))] {
        let profile = Profile {
            name: name.parse().unwrap(),
            target: Some(TargetId { session: corp(), grant }),
            session: corp(),
            through_shim: false,
            place: place(),
        };
        configuration.catalog.profiles.insert(profile.name.clone(), Ok(profile));
    }
    configuration
}

impl Bench {
    fn chained() -> Self {
        let mut record = tokens();
        record.tokens.expires_at = record.tokens.issued_at.after(30 * DAY);
        Self::configured(configuration_with_chains(), vec![Record::Tokens(record)])
    }

    fn ask_profile(&mut self, profile: &str) -> WaiterId {
        let target = TargetQuery::Profile(profile.parse().unwrap());
        self.ask(Request::Credentials { target, min_validity: None, timeout: None })
    }

    fn came(&mut self, operation: &str, id: &str) {
        let until = self.now().wall.after(HOUR);
        self.reply(operation, role_keys(id, until));
    }

    /// What the only call to STS that is up is signed with, and when.
    fn signed(&self) -> (String, Timestamp) {
        let open = self.open(ASSUME);
        let Call::AssumeRole { credentials, signed_at, .. } = &open.call else { panic!() };
        (credentials.for_sending_to(&STS.parse().unwrap()).unwrap().access_key_id.clone(), *signed_at)
    }

    fn step_until(&mut self, time: Duration, mut over: impl FnMut(&Self) -> bool) -> bool {
        let end = self.mono + time;
        while self.mono < end {
            if over(self) {
                return true;
            }
            let step = self.next_wait().unwrap_or(time).max(Duration::from_millis(1)).min(end - self.mono);
            self.advance(step);
        }
        over(self)
    }
}

#[test]
fn a_role_is_assumed_with_its_sources_credentials_once_for_many_callers() {
    let mut bench = Bench::chained();
    let waiters: Vec<WaiterId> = (0..50).map(|_| bench.ask_profile("ops")).collect();
    assert_eq!((bench.made(GET), bench.made(ASSUME)), (1, 0), "the source first");
    bench.came(GET, "SOURCE1");
    assert_eq!(bench.signed(), ("SOURCE1".to_owned(), bench.now().wall));
    bench.came(ASSUME, "OPS1");
    for waiter in waiters {
        let Ok(Response::Credentials(document, target)) = bench.answer(waiter) else { panic!() };
        assert_eq!(document.access_key_id, "OPS1");
        assert_eq!(document.account_id.unwrap().as_str(), "444455556666");
        assert_eq!(target.to_string(), "corp arn:aws:iam::444455556666:role/Ops");
    }
    let dev = bench.ask_role("Dev");
    assert_eq!(bench.access_key(dev), "SOURCE1");
    assert_eq!((bench.made(GET), bench.made(ASSUME)), (1, 1));
    let status = bench.status();
    let shown: Vec<_> = status.targets.iter().map(|row| row.profile.as_ref().unwrap().to_string()).collect();
    assert_eq!(shown, ["dev", "ops"]);
}

#[test]
fn a_chain_of_two_roles_is_gone_through_from_its_beginning() {
    let mut bench = Bench::chained();
    let waiter = bench.ask_profile("deep");
    bench.came(GET, "SOURCE1");
    assert_eq!(bench.signed().0, "SOURCE1");
    bench.came(ASSUME, "OPS1");
    assert_eq!(bench.signed().0, "OPS1");
    bench.came(ASSUME, "DEEP1");
    assert_eq!(bench.access_key(waiter), "DEEP1");
    assert_eq!((bench.made(GET), bench.made(ASSUME)), (1, 2));
}

#[test]
fn what_is_in_use_is_assumed_anew_ahead_and_its_source_with_it() {
    let mut bench = Bench::chained();
    let waiter = bench.ask_profile("ops");
    bench.came(GET, "SOURCE1");
    bench.came(ASSUME, "OPS1");
    assert_eq!(bench.access_key(waiter), "OPS1");
    assert!(!bench.step_until(HOUR / 2, |bench| bench.made(ASSUME) > 1), "not before its time");
    assert!(bench.step_until(HOUR / 4, |bench| bench.made(ASSUME) > 1 && bench.made(GET) > 1));
    assert_eq!(bench.signed().0, "SOURCE1", "what is good for anybody is good to sign with");
    let waiter = bench.ask_profile("ops");
    assert_eq!(bench.access_key(waiter), "OPS1", "served while the next one is on its way");
    bench.came(GET, "SOURCE2");
    bench.came(ASSUME, "OPS2");
    let waiter = bench.ask_profile("ops");
    assert_eq!(bench.access_key(waiter), "OPS2");
}

#[test]
fn a_source_that_is_nearly_over_is_fetched_before_it_is_signed_with() {
    let mut bench = Bench::chained();
    let dev = bench.ask_role("Dev");
    let until = bench.now().wall.after(seconds(600));
    bench.reply(GET, role_keys("SHORT1", until));
    assert_eq!(bench.access_key(dev), "SHORT1");
    bench.advance(seconds(580));
    if !bench.flying(GET).is_empty() {
        bench.reply(GET, lost());
    }
    let waiter = bench.ask_profile("ops");
    assert!(bench.step_until(seconds(20), |bench| !bench.flying(GET).is_empty() || !bench.flying(ASSUME).is_empty()));
    if !bench.flying(GET).is_empty() {
        bench.came(GET, "SOURCE2");
        assert_eq!(bench.signed().0, "SOURCE2");
    }
    bench.came(ASSUME, "OPS1");
    assert_eq!(bench.access_key(waiter), "OPS1");
}

#[test]
fn a_role_that_may_not_be_assumed_is_remembered_and_named_with_its_source() {
    let mut bench = Bench::chained();
    let waiter = bench.ask_profile("ops");
    bench.came(GET, "SOURCE1");
    bench.reply(ASSUME, refused(ErrorName::AccessDenied));
    let problem = bench.answer(waiter).unwrap_err();
    assert_eq!(problem.code, Code::AccessDenied);
    let detail = problem.to_string();
    assert!(detail.contains("role Dev in account 111122223333 may not assume"), "{detail}");
    assert!(detail.contains("arn:aws:iam::444455556666:role/Ops"), "{detail}");
    assert!(problem.hint.unwrap().contains("external_id"));
    let again = bench.ask_profile("ops");
    assert_eq!(bench.answer(again).unwrap_err().code, Code::AccessDenied);
    assert_eq!(bench.made(ASSUME), 1);
    let source = bench.ask_role("Dev");
    assert_eq!(bench.access_key(source), "SOURCE1", "its source is not to blame");
}

#[test]
fn credentials_that_sts_does_not_accept_are_fetched_anew_once_and_still_served_to_others() {
    for name in [ErrorName::ExpiredToken, ErrorName::InvalidClientTokenId] {
        let mut bench = Bench::chained();
        let waiter = bench.ask_profile("ops");
        bench.came(GET, "SOURCE1");
        bench.reply(ASSUME, refused(name.clone()));
        assert_eq!(bench.made(GET), 2, "the source is asked for anew");
        let dev = bench.ask_role("Dev");
        assert_eq!(bench.access_key(dev), "SOURCE1", "what is valid is served");
        bench.came(GET, "SOURCE2");
        assert_eq!(bench.signed().0, "SOURCE2");
        bench.reply(ASSUME, refused(name));
        let problem = bench.answer(waiter).unwrap_err();
        assert_eq!(problem.code, Code::Refused);
        assert!(!bench.step_until(seconds(50), |bench| bench.made(GET) > 2 || bench.made(ASSUME) > 2), "once");
    }
}

#[test]
fn a_duration_that_chained_roles_do_not_get_is_explained() {
    let mut bench = Bench::chained();
    let waiter = bench.ask_profile("long");
    bench.came(GET, "SOURCE1");
    bench.reply(ASSUME, refused(ErrorName::Other(Untrusted::new("ValidationError"))));
    let problem = bench.answer(waiter).unwrap_err();
    assert_eq!(problem.code, Code::Refused);
    assert!(problem.hint.unwrap().contains("duration_seconds = 3600"));
}

#[test]
fn an_sts_that_cannot_be_reached_holds_up_nothing_at_the_portal_and_the_other_way_round() {
    let mut bench = Bench::chained();
    bench.ask_profile("ops");
    bench.came(GET, "SOURCE1");
    bench.reply(ASSUME, not_sent());
    let other = bench.ask_role("Other");
    bench.came(GET, "OTHER1");
    assert_eq!(bench.access_key(other), "OTHER1");
    bench.ask_role("Third");
    bench.reply(GET, not_sent());
    assert!(bench.step_until(seconds(20), |bench| !bench.flying(ASSUME).is_empty()), "{:?}", bench.log);
    bench.came(ASSUME, "OPS1");
    let waiter = bench.ask_profile("ops");
    assert_eq!(bench.access_key(waiter), "OPS1");
}

#[test]
fn what_was_assumed_is_served_while_sts_is_away() {
    let mut bench = Bench::chained();
    let waiter = bench.ask_profile("ops");
    bench.came(GET, "SOURCE1");
    bench.came(ASSUME, "OPS1");
    assert_eq!(bench.access_key(waiter), "OPS1");
    bench.advance(seconds(45 * 60));
    let end = bench.mono + seconds(14 * 60);
    while bench.mono < end {
        if !bench.flying(ASSUME).is_empty() {
            bench.reply(ASSUME, not_sent());
        }
        if !bench.flying(GET).is_empty() {
            bench.came(GET, "SOURCE2");
        }
        let waiter = bench.ask_profile("ops");
        if !bench.flying(ASSUME).is_empty() {
            bench.reply(ASSUME, not_sent());
        }
        assert_eq!(bench.access_key(waiter), "OPS1");
        let step = bench.next_wait().unwrap_or(MINUTE).clamp(seconds(1), MINUTE);
        bench.advance(step);
    }
    assert!(bench.made(ASSUME) > 1 && bench.made(ASSUME) < 60, "{}", bench.made(ASSUME));
}

#[test]
fn a_caller_hears_why_the_source_cannot_be_had() {
    let mut bench = Bench::chained();
    let waiter = bench.ask_profile("ops");
    bench.reply(GET, refused(ErrorName::Forbidden));
    let problem = bench.answer(waiter).unwrap_err();
    assert_eq!(problem.code, Code::AccessDenied);
    assert!(problem.to_string().contains("role Dev in account 111122223333"), "{problem}");
    assert_eq!(bench.made(ASSUME), 0);
    let mut signed_out = Bench::configured(configuration_with_chains(), Vec::new());
    let waiter = signed_out.ask_profile("deep");
    assert_eq!(signed_out.answer(waiter).unwrap_err().code, Code::SignInRequired);
}

#[test]
fn a_sign_out_forgets_what_was_assumed() {
    let mut bench = Bench::chained();
    let waiter = bench.ask_profile("ops");
    bench.came(GET, "SOURCE1");
    bench.came(ASSUME, "OPS1");
    assert_eq!(bench.access_key(waiter), "OPS1");
    bench.logout();
    let waiter = bench.ask_profile("ops");
    assert_eq!(bench.answer(waiter).unwrap_err().code, Code::SignInRequired);
    assert_eq!(bench.made(ASSUME), 1);
}

#[test]
fn a_profile_that_says_something_else_is_another_target() {
    let mut bench = Bench::chained();
    let waiter = bench.ask_profile("ops");
    bench.came(GET, "SOURCE1");
    bench.came(ASSUME, "OPS1");
    assert_eq!(bench.access_key(waiter), "OPS1");
    let mut configuration = configuration_with_chains();
    let name = "ops".parse().unwrap();
    let Some(Ok(profile)) = configuration.catalog.profiles.get_mut(&name) else { panic!() };
    profile.target = Some(TargetId { session: corp(), grant: assumed(grant("Dev"), "Ops", Some("900")) });
    bench.reconfigure(configuration);
    bench.ask_profile("ops");
    assert_eq!(bench.signed().0, "SOURCE1");
}

#[test]
fn the_clock_of_awss_own_sts_is_believed_and_that_of_another_is_not() {
    let learned = |sts: &str| {
        let mut configuration = configuration_with_chains();
        for name in ["ops", "long"] {
            let Some(Ok(profile)) = configuration.catalog.profiles.get_mut(&name.parse().unwrap()) else { panic!() };
            let Some(TargetId { grant: Grant::Assumed(assumption), .. }) = &mut profile.target else { panic!() };
            Arc::make_mut(assumption).sts.address = (&sts.parse::<Endpoint>().unwrap()).into();
        }
        let mut bench = Bench::configured(configuration, vec![Record::Tokens(tokens())]);
        for profile in ["ops", "long"] {
            bench.ask_profile(profile);
            if profile == "ops" {
                bench.came(GET, "ROLEKEY1");
            }
            let (up, ours) = (bench.open(ASSUME), bench.now().wall);
            let date = ServiceTime { service: ours.after(5 * HOUR), ours };
            bench.reply_with_date(&up, role_keys("ROLEKEY2", ours.after(6 * HOUR)), Some(date));
        }
        bench.state.sessions[&corp()].skew.ahead_millis()
    };
    assert_eq!(learned(STS), 5 * 3_600_000);
    assert_eq!(learned("https://sts.example.com"), 0);
}
