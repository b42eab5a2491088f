//! A company's own start URL (protocol §1.9): where it leads is found out before anything else happens.

use super::*;
use crate::api::SessionState;
use crate::identity_center::start_url::{Misled, Resolved};

const RESOLVE: &str = "resolving the start URL";
const PORTAL: &str = "https://ssoins-1.portal.eu-west-1.app.aws";

fn vanity() -> Configuration {
    configuration_of(SessionDefinition { start_url: "https://login.example.com/".to_owned(), ..definition() })
}

fn leads_to(url: &str, region: Option<&str>) -> Result<Answer, Failure> {
    let region = region.map(|region| region.parse().unwrap());
    Ok(Answer::StartUrl(Ok(Resolved { url: url.to_owned(), region })))
}

#[test]
fn the_service_is_told_the_start_url_that_the_configured_one_leads_to() {
    let mut bench = Bench::configured(vanity(), Vec::new());
    bench.login(by(StartedBy::Cli));
    assert_eq!(bench.calls.len(), 1, "first of all");
    bench.reply(RESOLVE, leads_to(PORTAL, Some("eu-west-1")));
    bench.reply("RegisterClient", Ok(Answer::Registered(registration())));
    let Call::StartDeviceAuthorization { start_url, .. } = bench.open("StartDeviceAuthorization").call else {
        panic!()
    };
    assert_eq!(start_url, PORTAL);
    assert_eq!(bench.session().start_url, "https://login.example.com/", "everywhere else it is the configured one");
    bench.login(LoginRequest { flow: FlowChoice::Browser, ..by(StartedBy::Cli) });
    bench.reply(RESOLVE, leads_to(PORTAL, None));
    let Call::RegisterClient { start_url, .. } = bench.open("RegisterClient").call else { panic!() };
    assert_eq!(start_url, PORTAL);
}

#[test]
fn a_client_is_registered_anew_where_the_start_url_has_come_to_lead_elsewhere() {
    let mut bench = Bench::configured(vanity(), Vec::new());
    for (portal, registered) in [(PORTAL, 1), (PORTAL, 1), ("https://ssoins-2.portal.eu-west-1.app.aws", 2)] {
        bench.login(LoginRequest { force: true, flow: FlowChoice::Browser, ..by(StartedBy::Program) });
        bench.reply(RESOLVE, leads_to(portal, None));
        if bench.flying("RegisterClient").len() == 1 {
            let registration = ClientRegistration { flow: Flow::Browser, ..registration() };
            bench.reply("RegisterClient", Ok(Answer::Registered(registration)));
        }
        assert_eq!(bench.made("RegisterClient"), registered, "{portal}");
        assert_eq!(bench.client_on_disk().unwrap().origin.resolved_start_url, portal);
        bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
    }
}

#[test]
fn a_start_url_that_leads_elsewhere_ends_the_sign_in_with_its_reason() {
    for (answer, word) in [
        (Ok(Answer::StartUrl(Err(Misled::Elsewhere { host: Untrusted::new("evil.example") }))), "evil.example"),
        (leads_to(PORTAL, Some("us-east-1")), "us-east-1"),
    ] {
        let mut bench = Bench::configured(vanity(), Vec::new());
        let waiter = bench.login(by(StartedBy::Cli));
        bench.reply(RESOLVE, answer);
        let problem = bench.problem(waiter);
        assert!(problem.to_string().contains(word), "{problem}");
        assert_eq!((problem.code, bench.made("RegisterClient")), (Code::InvalidConfig, 0));
    }
}

#[test]
fn a_session_is_not_ended_for_a_new_one_whose_start_url_leads_nowhere() {
    let mut bench = Bench::configured(vanity(), Vec::new());
    let mut record = tokens();
    record.origin = bench.state.sessions[&corp()].usable().unwrap().origin();
    bench = Bench::configured(vanity(), vec![Record::Tokens(record)]);
    bench.login(LoginRequest { new_session: true, ..by(StartedBy::Cli) });
    bench.reply(RESOLVE, Ok(Answer::StartUrl(Err(Misled::NoRedirect { host: "h".to_owned(), status: 404 }))));
    assert_eq!((bench.session().state, bench.made("Logout")), (SessionState::SignedIn, 0));
    bench.login(LoginRequest { new_session: true, ..by(StartedBy::Cli) });
    bench.reply(RESOLVE, leads_to(PORTAL, None));
    bench.open("Logout");
}

#[test]
fn a_host_that_is_not_awss_and_away_says_nothing_about_aws() {
    let mut bench = Bench::configured(vanity(), Vec::new());
    bench.login(by(StartedBy::Cli));
    bench.reply(RESOLVE, not_sent());
    bench.login(by(StartedBy::Cli));
    bench.reply(RESOLVE, leads_to(PORTAL, None));
    bench.open("RegisterClient");
}

#[test]
fn neither_does_its_answer_to_a_sign_in_that_was_cancelled() {
    let mut bench = Bench::configured(vanity(), Vec::new());
    bench.login(by(StartedBy::Cli));
    let up = bench.open(RESOLVE);
    bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
    bench.reply_to(&up, not_sent());
    bench.login(by(StartedBy::Cli));
    bench.reply(RESOLVE, leads_to(PORTAL, None));
    bench.open("RegisterClient");
}
