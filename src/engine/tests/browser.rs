//! The sign-in in a browser (design 3.4, attacks 7): what the engine makes of what the listener brings.

use super::*;
use crate::api::{FlowChosenBy, LoginState, SessionState};
use crate::callback::{Arrival, AuthorizationCode, ListenError, Listening, Verdict};

const EXCHANGE: &str = "CreateToken (authorization code)";
const LANDING: &str = "http://127.0.0.1:50000/0123456789abcdef0123456789abcdef";

fn browser() -> LoginRequest {
    LoginRequest { flow: FlowChoice::Browser, ..by(StartedBy::Cli) }
}

fn browser_registration() -> ClientRegistration {
    ClientRegistration { client_id: "browser-client".to_owned(), flow: Flow::Browser, ..registration() }
}

/// A sign-in whose listener is to be opened.
fn registered() -> (Bench, WaiterId) {
    let mut bench = Bench::new(Vec::new());
    let waiter = bench.login(browser());
    bench.reply("RegisterClient", Ok(Answer::Registered(browser_registration())));
    (bench, waiter)
}

/// A sign-in that waits for the browser.
fn awaiting() -> (Bench, WaiterId) {
    let (mut bench, waiter) = registered();
    open(&mut bench);
    (bench, waiter)
}

fn open(bench: &mut Bench) -> SignInId {
    let (id, _) = bench.listening.last().expect("a place to come back to").clone();
    bench.handle(Event::Listening(id.clone(), Ok(Listening { landing: LANDING.to_owned() })));
    id
}

fn code() -> AuthorizationCode {
    AuthorizationCode {
        code: secret("code"),
        verifier: secret("verifier"),
        redirect_uri: "http://127.0.0.1:50000/oauth/callback".to_owned(),
    }
}

fn come_back(bench: &mut Bench, arrival: Arrival) {
    let (id, _) = bench.listening.last().expect("a place to come back to").clone();
    bench.handle(Event::BrowserCameBack(id, arrival));
}

fn verdict(bench: &Bench) -> Option<&Verdict> {
    bench.concluded.last().map(|(_, verdict)| verdict)
}

#[test]
fn a_sign_in_in_the_browser_registers_listens_exchanges_saves_and_then_says_so() {
    let mut bench = Bench::new(Vec::new());
    let waiter = bench.login(browser());
    let Call::RegisterClient { flow, start_url, .. } = bench.open("RegisterClient").call else { panic!() };
    assert_eq!((flow, start_url.as_str()), (Flow::Browser, "https://corp.awsapps.com/start"));
    bench.reply("RegisterClient", Ok(Answer::Registered(browser_registration())));
    assert!(bench.is_waiting(waiter), "not before there is a place to come back to");
    let plan = &bench.listening[0].1;
    assert_eq!((plan.client_id.as_str(), &plan.oidc, plan.port), ("browser-client", &oidc(), None));
    open(&mut bench);
    let status = bench.login_status(waiter);
    assert_eq!((status.state, status.flow.as_deref()), (LoginState::Pending, Some("browser")));
    assert_eq!((status.authorization_url, status.user_code), (Some(Untrusted::new(LANDING)), None));
    assert_eq!(status.flow_chosen_by, Some(FlowChosenBy::Request));
    come_back(&mut bench, Arrival::Code(code()));
    let Call::CreateTokenFromAuthorizationCode { code: sent, .. } = bench.open(EXCHANGE).call else { panic!() };
    assert_eq!(sent.for_sending_to(&oidc()), Ok(&code()));
    bench.hold_writes = true;
    bench.reply(EXCHANGE, fresh(1));
    assert_eq!(verdict(&bench), None, "the page says nothing before it is true");
    bench.release_writes();
    assert_eq!(verdict(&bench), Some(&Verdict::SignedIn));
    assert_eq!(bench.session().state, SessionState::SignedIn);
    let record = bench.tokens_on_disk().unwrap();
    assert_eq!(record.tokens.registration, browser_registration(), "the refresh needs the same client");
}

#[test]
fn each_flow_has_a_client_of_its_own_and_both_are_reused() {
    let (mut bench, _) = awaiting();
    bench.login(by(StartedBy::Cli));
    assert_eq!(verdict(&bench), Some(&Verdict::Closed), "replaced");
    bench.reply("RegisterClient", Ok(Answer::Registered(registration())));
    bench.reply("StartDeviceAuthorization", device());
    bench.login(browser());
    assert_eq!(bench.made("RegisterClient"), 2);
    let plans: Vec<_> = bench.listening.iter().map(|(id, plan)| (id.number, plan.client_id.as_str())).collect();
    assert_eq!(plans, [(1, "browser-client"), (3, "browser-client")]);
}

#[test]
fn the_flow_is_the_requests_else_the_settings_else_what_suits_the_callers_machine() {
    let chosen = |flow: FlowChoice, setting: Option<Flow>, browser_likely: bool| {
        let mut configuration = configuration();
        let session = SessionSettings { flow: setting, ..SessionSettings::default() };
        configuration.settings.sessions.insert(corp(), session);
        let mut bench = Bench::configured(configuration, Vec::new());
        bench.login(LoginRequest { flow, browser_likely, ..by(StartedBy::Cli) });
        let status = bench.login_state();
        (status.flow.unwrap(), status.flow_chosen_by.unwrap())
    };
    let (device, browser) = ("device".to_owned(), "browser".to_owned());
    let (asked, set, here) = (FlowChosenBy::Request, FlowChosenBy::Settings, FlowChosenBy::Environment);
    assert_eq!(chosen(FlowChoice::Device, Some(Flow::Browser), true), (device.clone(), asked));
    assert_eq!(chosen(FlowChoice::Browser, Some(Flow::Device), false), (browser.clone(), asked));
    assert_eq!(chosen(FlowChoice::Auto, Some(Flow::Browser), false), (browser.clone(), set));
    assert_eq!(chosen(FlowChoice::Auto, Some(Flow::Device), true), (device.clone(), set));
    assert_eq!(chosen(FlowChoice::Auto, None, true), (browser, here));
    assert_eq!(chosen(FlowChoice::Auto, None, false), (device, here));
}

#[test]
fn a_place_that_cannot_be_opened_is_the_answer_to_the_request() {
    let (mut bench, waiter) = registered();
    let id = bench.listening[0].0.clone();
    bench.handle(Event::Listening(id, Err(ListenError::PortTaken(8123))));
    let problem = bench.problem(waiter);
    assert_eq!(problem.code, Code::Unavailable);
    assert!(problem.detail.contains("8123") && problem.hint.unwrap().contains("callback_port"));
}

#[test]
fn a_denied_sign_in_ends_with_its_reason_here_and_in_the_browser() {
    let (mut bench, _) = awaiting();
    let refused =
        Arrival::Refused { error: Untrusted::new("access_denied"), description: Untrusted::new("not \u{1b}[2Jtoday") };
    come_back(&mut bench, refused);
    let status = bench.login_state();
    assert_eq!((status.state, status.code), (LoginState::Failed, Some(Code::SignInDenied)));
    assert!(!status.message.unwrap().contains('\u{1b}'));
    assert!(matches!(verdict(&bench), Some(Verdict::Failed(words)) if words.contains("denied")));
    let (mut bench, _) = awaiting();
    come_back(&mut bench, Arrival::Refused { error: Untrusted::new("server_error"), description: Untrusted::new("") });
    let status = bench.login_state();
    assert_eq!(status.code, Some(Code::Refused));
    assert!(status.message.unwrap().contains("server_error"));
}

#[test]
fn a_code_that_the_service_does_not_take_fails_the_sign_in_and_the_page_says_so() {
    let (mut bench, _) = awaiting();
    come_back(&mut bench, Arrival::Code(code()));
    bench.reply(EXCHANGE, refused(ErrorName::InvalidGrant));
    assert_eq!(bench.login_state().code, Some(Code::Refused));
    assert!(matches!(verdict(&bench), Some(Verdict::Failed(_))));
    assert_eq!((bench.session().state, bench.tokens_on_disk()), (SessionState::SignedOut, None));
}

#[test]
fn an_exchange_that_is_lost_on_its_way_is_tried_again_until_the_service_has_spoken() {
    let (mut bench, _) = awaiting();
    come_back(&mut bench, Arrival::Code(code()));
    for lost in [not_sent(), throttled(None), lost()] {
        bench.reply(EXCHANGE, lost);
        while bench.flying(EXCHANGE).is_empty() {
            bench.advance_to_next();
        }
    }
    bench.reply(EXCHANGE, refused(ErrorName::InvalidGrant));
    let status = bench.login_state();
    assert_eq!(status.code, Some(Code::SignInExpired));
    assert!(status.message.unwrap().contains("lost"));
    let (mut bench, _) = awaiting();
    come_back(&mut bench, Arrival::Code(code()));
    bench.reply(EXCHANGE, not_sent());
    while bench.flying(EXCHANGE).is_empty() {
        bench.advance_to_next();
    }
    bench.reply(EXCHANGE, fresh(1));
    assert_eq!(bench.session().state, SessionState::SignedIn);
}

#[test]
fn a_browser_that_does_not_come_back_in_ten_minutes_ends_the_sign_in() {
    let (mut bench, _) = awaiting();
    bench.advance(seconds(599));
    assert_eq!(bench.login_state().state, LoginState::Pending);
    bench.advance(seconds(2));
    assert_eq!(bench.login_state().code, Some(Code::SignInExpired));
    assert!(matches!(verdict(&bench), Some(Verdict::Failed(_))));
    come_back(&mut bench, Arrival::Code(code()));
    assert!(bench.flying(EXCHANGE).is_empty(), "too late");
}

#[test]
fn what_a_browser_brings_to_a_sign_in_that_was_replaced_counts_for_nothing() {
    let (mut bench, _) = awaiting();
    let (old, _) = bench.listening[0].clone();
    bench.login(LoginRequest { force: true, ..by(StartedBy::Cli) });
    bench.handle(Event::BrowserCameBack(old, Arrival::Code(code())));
    assert!(bench.flying(EXCHANGE).is_empty());
}

#[test]
fn a_second_code_is_not_exchanged_while_the_first_one_is() {
    let (mut bench, _) = awaiting();
    come_back(&mut bench, Arrival::Code(code()));
    come_back(&mut bench, Arrival::Code(code()));
    assert_eq!(bench.made(EXCHANGE), 1);
}

#[test]
fn tokens_of_a_sign_in_that_was_cancelled_during_the_exchange_are_revoked() {
    let (mut bench, _) = awaiting();
    come_back(&mut bench, Arrival::Code(code()));
    let up = bench.open(EXCHANGE);
    bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
    assert_eq!(verdict(&bench), Some(&Verdict::Closed));
    bench.reply_to(&up, fresh(1));
    assert_eq!((bench.made("Logout"), bench.tokens_on_disk()), (1, None));
}

/// The service's own page says that it does not know the client, and no browser ever comes back from that.
#[test]
fn a_client_from_which_no_browser_comes_back_twice_is_registered_anew() {
    let client = ClientRecord { registrations: vec![browser_registration()], ..client() };
    let mut bench = Bench::new(vec![Record::Client(client)]);
    for _ in 0..2 {
        bench.login(browser());
        open(&mut bench);
        bench.ask(Request::CancelLogin { session: SessionQuery::Only, attempt: None });
    }
    assert_eq!(bench.made("RegisterClient"), 0);
    bench.login(browser());
    assert_eq!(bench.made("RegisterClient"), 1);
}
