//! Attack by attack, over real connections.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::task::{Context, Waker};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A sign-in under way, and what its own browser knows of it.
struct SignIn {
    callback: Callback,
    landing: String,
    port: u16,
    cookie: String,
    state: String,
}

impl SignIn {
    /// Its browser has opened the short link.
    async fn opened() -> Self {
        Self::opened_within(patient()).await
    }

    async fn opened_within(limits: Limits) -> Self {
        let (landing, port, callback) = listening(plan(), limits).await;
        let reply = get(port, &landing, "").await;
        let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let (_, state) = reply.header("location").unwrap().split_once("&state=").unwrap();
        let state = state.split('&').next().unwrap().to_owned();
        Self { callback, landing, port, cookie, state }
    }

    fn good_query(&self) -> String {
        format!("code=THECODE&state={}", self.state)
    }

    async fn visit(&self, path: &str) -> Reply {
        get(self.port, path, &format!("Cookie: {}\r\n", self.cookie)).await
    }

    /// The browser comes back, and waits for what becomes of it.
    async fn come_back(&self) -> TcpStream {
        let path = format!("/oauth/callback?{}", self.good_query());
        send(self.port, &request("GET", &path, self.port, &format!("Cookie: {}\r\n", self.cookie))).await
    }

    /// Whether nothing has arrived so far.
    fn is_undecided(&mut self) -> bool {
        let mut arrival = std::pin::pin!(self.callback.arrival());
        arrival.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        pairs.find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn plan() -> Plan {
    Plan {
        oidc: "https://oidc.eu-west-1.amazonaws.com".parse().unwrap(),
        client_id: "a-client/of_ours".to_owned(),
        scopes: vec!["sso:account:access".to_owned(), "codewhisperer:completions".to_owned()],
        port: None,
        session: "corp".parse().unwrap(),
    }
}

/// Nothing here takes so long.
fn patient() -> Limits {
    let long = Duration::from_secs(60);
    Limits { patience: long, hold: long, linger: long, ..Limits::default() }
}

async fn listening(plan: Plan, limits: Limits) -> (String, u16, Callback) {
    let (listening, callback) = listen_within(plan, limits).await.unwrap();
    let (port, path) = listening.landing.strip_prefix("http://127.0.0.1:").unwrap().split_once('/').unwrap();
    (format!("/{path}"), port.parse().unwrap(), callback)
}

fn request(method: &str, target: &str, port: u16, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n")
}

async fn send(port: u16, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

async fn answered(mut stream: TcpStream) -> Reply {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    Reply::parse(&text)
}

async fn ask(port: u16, bytes: &str) -> Reply {
    answered(send(port, bytes).await).await
}

async fn get(port: u16, target: &str, headers: &str) -> Reply {
    ask(port, &request("GET", target, port, headers)).await
}

/// Waits until the other side has closed, whatever it sent before.
async fn closed(mut stream: TcpStream) -> usize {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    drop(stream.read_to_end(&mut bytes).await);
    bytes.len()
}

/// Waits until nobody listens.
async fn port_is_free(port: u16) {
    while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
        tokio::task::yield_now().await;
    }
    let refused = TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn the_short_link_leads_to_the_service_as_the_service_wants_to_be_asked() {
    let (landing, port, _callback) = listening(plan(), patient()).await;
    assert_eq!(landing.len(), 1 + 32);
    let reply = get(port, &landing, "").await;
    assert_eq!(reply.status, 303);
    let location = reply.header("location").unwrap();
    let (state, challenge) = location.split_once("&state=").unwrap().1.split_once("&code_challenge_method").unwrap();
    let challenge = challenge.rsplit_once('=').unwrap().1;
    assert_eq!((state.len(), challenge.len()), (32, 43));
    assert_eq!(
        location,
        format!(
            "https://oidc.eu-west-1.amazonaws.com/authorize?response_type=code&client_id=a-client%2Fof_ours\
             &redirect_uri=http%3A%2F%2F127.0.0.1%3A{port}%2Foauth%2Fcallback&state={state}\
             &code_challenge_method=S256&scopes=sso%3Aaccount%3Aaccess%20codewhisperer%3Acompletions\
             &code_challenge={challenge}"
        )
    );
}

#[tokio::test]
async fn who_opens_the_link_first_owns_the_sign_in_and_others_are_told_that_they_are_late() {
    let sign_in = SignIn::opened().await;
    let (landing, port) = (&sign_in.landing, sign_in.port);
    let late = get(port, landing, "").await;
    assert_eq!((late.status, late.header("location"), late.header("set-cookie")), (410, None, None));
    assert!(late.body.contains("This link was used already"), "{}", late.body);
    assert!(!late.body.contains(&sign_in.state));
    let wrong = get(port, landing, &format!("Cookie: {}x\r\n", sign_in.cookie)).await;
    assert_eq!(wrong.status, 410);

    let again = sign_in.visit(landing).await;
    assert_eq!((again.status, again.header("set-cookie")), (303, None));
    assert!(again.header("location").unwrap().contains(&sign_in.state));
}

#[tokio::test]
async fn the_cookie_is_for_this_sign_in_and_no_script_reads_it() {
    let (landing, port, _callback) = listening(plan(), patient()).await;
    let reply = get(port, &landing, "").await;
    let cookie = reply.header("set-cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    let (name, value) = pair.split_once('=').unwrap();
    assert!(name.starts_with("sso-agent-") && value.len() == 32, "{pair}");
    let other = SignIn::opened().await;
    assert!(!other.cookie.starts_with(name), "two sign-ins at once do not overwrite each other's cookie");
}

#[tokio::test]
async fn what_comes_back_is_the_code_with_what_it_takes_to_redeem_it() {
    let mut sign_in = SignIn::opened().await;
    let waiting = sign_in.come_back().await;
    let Arrival::Code(code) = sign_in.callback.arrival().await else { panic!("refused") };
    assert_eq!(code.code.expose(), "THECODE");
    assert_eq!(code.redirect_uri, format!("http://127.0.0.1:{}/oauth/callback", sign_in.port));
    sign_in.callback.conclude(Verdict::SignedIn);
    drop(waiting);

    let mut sign_in = SignIn::opened().await;
    let location = sign_in.visit(&sign_in.landing).await.header("location").unwrap().to_owned();
    let _waiting = sign_in.come_back().await;
    let Arrival::Code(code) = sign_in.callback.arrival().await else { panic!("refused") };
    assert!(location.ends_with(&format!("&code_challenge={}", pkce::challenge(&code.verifier))));
}

#[tokio::test]
async fn the_page_says_how_it_ended_when_that_is_known() {
    let verdicts = [
        (Verdict::SignedIn, 200, "You are signed in to session <strong>corp</strong>. You can close this window."),
        (Verdict::Failed("the service says no".to_owned()), 200, "<p>The service says no.</p>"),
        (Verdict::Closed, 410, "Nobody waits for this sign-in any more"),
    ];
    for (verdict, status, text) in verdicts {
        let mut sign_in = SignIn::opened().await;
        let waiting = sign_in.come_back().await;
        sign_in.callback.arrival().await;
        let early = waiting.try_read(&mut [0; 1]);
        assert_eq!(early.unwrap_err().kind(), ErrorKind::WouldBlock, "nothing is said before it is known");
        sign_in.callback.conclude(verdict);
        let reply = answered(waiting).await;
        assert_eq!(reply.status, status);
        assert!(reply.body.contains(text), "{}", reply.body);
        assert!(!reply.body.contains("THECODE") && !reply.body.contains(&sign_in.state));
    }
}

#[tokio::test]
async fn nothing_but_the_callback_itself_ends_or_steals_a_sign_in() {
    let mut sign_in = SignIn::opened().await;
    let (port, good) = (sign_in.port, sign_in.good_query());
    let (cookie, state) = (format!("Cookie: {}\r\n", sign_in.cookie), sign_in.state.clone());
    let callback = format!("/oauth/callback?{good}");
    let own = sign_in.cookie.clone();
    let (name, value) = own.split_once('=').unwrap();
    let mut requests: Vec<String> = Vec::new();
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "get"] {
        requests.push(request(method, &callback, port, &cookie));
    }
    for path in [
        "/",
        "/favicon.ico",
        "/oauth/callback/",
        "/oauth//callback",
        "/OAUTH/callback",
        "//oauth/callback",
        "/oauth/callbac%6b",
        "/x/../oauth/callback",
    ] {
        requests.push(request("GET", &format!("{path}?{good}"), port, &cookie));
    }
    for query in [
        String::new(),
        "code=THECODE".to_owned(),
        "error=access_denied".to_owned(),
        format!("state={state}"),
        "code=THECODE&state=".to_owned(),
        format!("code=THECODE&state={}", "0".repeat(32)),
        format!("code=THECODE&state={}", &state[..31]),
        format!("code=THECODE&state={state}0"),
        format!("code=THECODE&state={state}&state={state}"),
        format!("code=ANOTHER&{good}"),
        format!("{good}&code=ANOTHER"),
        format!("{good}&c%6fde=ANOTHER"),
        format!("{good}&error=access_denied"),
        format!("error=a&error=b&state={state}"),
        format!("error=a&error_description=b&error_description=c&state={state}"),
        format!("error=&state={state}"),
        format!("code=&state={state}"),
        format!("code=a%00b&state={state}"),
        format!("code=a%0d%0ab&state={state}"),
        format!("code=%ff&state={state}"),
        format!("CODE=THECODE&STATE={state}"),
    ] {
        requests.push(request("GET", &format!("/oauth/callback?{query}"), port, &cookie));
    }
    for cookies in [
        String::new(),
        "Cookie: \r\n".to_owned(),
        format!("Cookie: {name}={}\r\n", "0".repeat(32)),
        format!("Cookie: {name}=\r\n"),
        format!("Cookie: x{name}={value}\r\n"),
        format!("Cookie: {name}=\"{value}\"\r\n"),
        format!("Cookie: {name}={value}; {name}={value}\r\n"),
        format!("Cookie: {name}={value}\r\nCookie: {name}=other\r\n"),
    ] {
        requests.push(request("GET", &callback, port, &cookies));
        requests.push(request("GET", &format!("/oauth/callback?error=x&state={state}"), port, &cookies));
    }
    for host in [
        String::new(),
        "Host: localhost\r\n".to_owned(),
        "Host: 127.0.0.1\r\n".to_owned(),
        format!("Host: localhost:{port}\r\n"),
        format!("Host: evil.example.com:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}.\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}\r\n"),
    ] {
        requests.push(format!("GET {callback} HTTP/1.1\r\n{host}{cookie}\r\n"));
        requests.push(format!("GET {} HTTP/1.1\r\n{host}\r\n", sign_in.landing));
    }
    requests.push(request("GET", &format!("http://127.0.0.1:{port}{callback}"), port, &cookie));
    requests.push("\r\n\r\n".to_owned());
    requests.push("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".to_owned());
    for request in requests {
        let mut text = String::new();
        let mut stream = send(port, &request).await;
        stream.shutdown().await.unwrap();
        stream.read_to_string(&mut text).await.unwrap();
        let status = text.split(' ').nth(1).unwrap_or("none");
        assert!(["404", "400", "none"].contains(&status), "{request}{text}");
        assert!(!text.contains(&state) && !text.contains(value), "{request}{text}");
        assert!(sign_in.is_undecided(), "{request}");
    }

    let waiting = sign_in.come_back().await;
    assert!(matches!(sign_in.callback.arrival().await, Arrival::Code(_)));
    sign_in.callback.conclude(Verdict::SignedIn);
    assert_eq!(answered(waiting).await.status, 200);
}

#[tokio::test]
async fn looking_at_the_link_without_opening_it_does_not_use_it_up() {
    let (landing, port, _callback) = listening(plan(), patient()).await;
    for method in ["HEAD", "OPTIONS", "POST"] {
        assert_eq!(ask(port, &request(method, &landing, port, "")).await.status, 404, "{method}");
    }
    for path in [format!("{landing}/"), format!("{landing}?x"), landing[..32].to_owned(), landing.to_uppercase()] {
        assert_eq!(get(port, &path, "").await.status, 404, "{path}");
    }
    assert_eq!(get(port, &landing, "").await.status, 303);
}

#[tokio::test]
async fn a_refusal_comes_with_its_reason_as_it_was_said() {
    let mut sign_in = SignIn::opened().await;
    let query = format!(
        "error=access_denied&error_description=%3Cscript%3Ealert(1)%3C%2Fscript%3E+no%1b%5B2J&state={}&iss=x&iss=y",
        sign_in.state
    );
    let cookie = format!("Cookie: other=1; {}; more=2\r\n", sign_in.cookie);
    let path = format!("/oauth/callback?{query}");
    let waiting = send(sign_in.port, &request("GET", &path, sign_in.port, &cookie)).await;
    let arrival = sign_in.callback.arrival().await;
    let Arrival::Refused { error, description } = arrival else { panic!("not refused") };
    assert_eq!(error.raw(), "access_denied");
    assert_eq!(description.raw(), "<script>alert(1)</script> no\u{1b}[2J");
    sign_in.callback.conclude(Verdict::Failed(format!("the service said {}", description.raw())));
    let body = answered(waiting).await.body;
    assert!(body.contains("<p>The service said &lt;script&gt;alert(1)&lt;/script&gt; no\u{fffd}[2J.</p>"), "{body}");
    assert!(!body.contains("<script"), "{body}");
}

#[tokio::test]
async fn the_name_of_a_session_is_text() {
    let session = "\"><img src=x onerror='alert(1)'>&{text}\u{202e}".parse().unwrap();
    for verdict in [None, Some(Verdict::SignedIn)] {
        let answer = match verdict {
            Some(verdict) => page::of(&verdict, &session),
            None => page::not_yet(&session),
        };
        use http_body_util::BodyExt;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body = str::from_utf8(&body).unwrap();
        let shown = "<strong>&quot;&gt;&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&amp;{text}\u{fffd}</strong>";
        assert!(body.contains(shown), "{body}");
    }
}

#[tokio::test]
async fn a_second_callback_shows_the_same_end_and_begins_nothing() {
    let mut sign_in = SignIn::opened().await;
    let first = sign_in.come_back().await;
    assert!(matches!(sign_in.callback.arrival().await, Arrival::Code(_)));
    let second = sign_in.come_back().await;
    let other_code = format!("/oauth/callback?code=ANOTHER&state={}", sign_in.state);
    let cookie = format!("Cookie: {}\r\n", sign_in.cookie);
    let third = send(sign_in.port, &request("GET", &other_code, sign_in.port, &cookie)).await;
    let denied = format!("/oauth/callback?error=access_denied&state={}", sign_in.state);
    let fourth = send(sign_in.port, &request("GET", &denied, sign_in.port, &cookie)).await;
    // Answered at once, so those before it have been judged.
    assert_eq!(get(sign_in.port, "/", "").await.status, 404);
    assert!(sign_in.is_undecided(), "there is one arrival");

    let SignIn { callback, landing, port, .. } = sign_in;
    callback.conclude(Verdict::SignedIn);
    for waiting in [first, second, third, fourth] {
        assert!(answered(waiting).await.body.contains("You are signed in"));
    }
    for path in [landing, other_code] {
        assert!(get(port, &path, &cookie).await.body.contains("You are signed in"), "for a moment after the end, too");
    }
}

#[tokio::test]
async fn every_answer_is_guarded() {
    let mut sign_in = SignIn::opened().await;
    let style = include_str!("page.html").split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        STANDARD.encode(Sha256::digest(style))
    );
    let waiting = sign_in.come_back().await;
    sign_in.callback.arrival().await;
    let long = format!("X-Padding: {}\r\n", "x".repeat(5000));
    let mut replies = vec![
        get(sign_in.port, "/", "").await,
        get(sign_in.port, &sign_in.landing, "").await,
        get(sign_in.port, "/", &long).await,
    ];
    sign_in.callback.conclude(Verdict::SignedIn);
    replies.push(answered(waiting).await);
    let (landing, port, _callback) = listening(plan(), patient()).await;
    replies.push(get(port, &landing, "").await);
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [404, 410, 431, 200, 303]);
    for reply in replies {
        assert_eq!(reply.header("content-security-policy"), Some(policy.as_str()), "{}", reply.head);
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(reply.header("access-control-allow-origin").is_none() && reply.header("server").is_none());
        assert!(reply.status == 303 || reply.header("content-type") == Some("text/html; charset=utf-8"));
        let tags = reply.body.split('<').filter_map(|part| part.split('>').next());
        for tag in tags.filter(|tag| !tag.starts_with('/')) {
            for forbidden in ["script", "src=", "href=", " on", " style="] {
                assert!(!tag.contains(forbidden), "{forbidden}: <{tag}>");
            }
        }
        assert!(!reply.body.contains("url(") && !reply.body.contains("@import"));
    }
}

#[tokio::test]
async fn a_connection_is_for_one_request() {
    let sign_in = SignIn::opened().await;
    let one = request("GET", "/a", sign_in.port, "Connection: keep-alive\r\n");
    let landing = request("GET", &sign_in.landing, sign_in.port, &format!("Cookie: {}\r\n", sign_in.cookie));
    let mut text = String::new();
    let mut stream = send(sign_in.port, &format!("{one}{landing}{one}")).await;
    // What was not read makes the end a reset, on some systems.
    drop(stream.read_to_string(&mut text).await);
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
}

#[tokio::test]
async fn a_header_is_short_but_for_the_cookies_of_other_programs() {
    let sign_in = SignIn::opened().await;
    let ask = async |headers: &str| get(sign_in.port, &sign_in.landing, headers).await.status;
    let ours = &sign_in.cookie;
    assert_eq!(ask(&format!("Cookie: {ours}\r\nX-Padding: {}\r\n", "x".repeat(3900))).await, 303);
    assert_eq!(ask(&format!("Cookie: {ours}\r\nX-Padding: {}\r\n", "x".repeat(4096))).await, 431);
    assert_eq!(ask(&format!("Cookie: other={}; {ours}\r\n", "x".repeat(6000))).await, 303);
    let path = format!("/oauth/callback?{}&x={}", sign_in.good_query(), "x".repeat(4096));
    assert_eq!(sign_in.visit(&path).await.status, 431);
}

#[tokio::test]
async fn a_giant_request_is_not_read() {
    let mut sign_in = SignIn::opened().await;
    let begun = format!("GET /{}", "x".repeat(1 << 20));
    let mut stream = TcpStream::connect(("127.0.0.1", sign_in.port)).await.unwrap();
    // It may be cut off before all of it is sent.
    drop(stream.write_all(begun.as_bytes()).await);
    closed(stream).await;
    let body = format!("Content-Length: 99999999\r\n\r\n{}", "x".repeat(1 << 20));
    let mut stream = TcpStream::connect(("127.0.0.1", sign_in.port)).await.unwrap();
    drop(stream.write_all(request("POST", "/oauth/callback", sign_in.port, &body).as_bytes()).await);
    closed(stream).await;
    assert!(sign_in.is_undecided());
    assert_eq!(sign_in.visit(&sign_in.landing).await.status, 303);
}

#[tokio::test]
async fn who_does_not_finish_asking_is_shown_out() {
    let limits = Limits { patience: Duration::from_millis(50), ..patient() };
    let sign_in = SignIn::opened_within(limits).await;
    let silent = send(sign_in.port, "").await;
    let slow = send(sign_in.port, "GET / HTTP/1.1\r\nHost: ").await;
    assert_eq!(closed(silent).await, 0);
    assert_eq!(closed(slow).await, 0);
    assert_eq!(sign_in.visit(&sign_in.landing).await.status, 303);
}

#[tokio::test]
async fn idle_connections_do_not_keep_the_browser_out() {
    let mut sign_in = SignIn::opened().await;
    let waiting = sign_in.come_back().await;
    sign_in.callback.arrival().await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(send(sign_in.port, "GET / HTTP/1.1\r\n").await);
    }
    assert_eq!(sign_in.visit("/").await.status, 404, "there is room for who asks");
    assert_eq!(closed(idle.remove(0)).await, 0, "the oldest had to go");
    sign_in.callback.conclude(Verdict::SignedIn);
    assert_eq!(answered(waiting).await.status, 200, "who waits for the end stays");
}

#[tokio::test]
async fn who_waits_too_long_gets_a_page_that_looks_again_without_script() {
    let limits = Limits { hold: Duration::from_millis(20), ..patient() };
    let mut sign_in = SignIn::opened_within(limits).await;
    let early = answered(sign_in.come_back().await).await;
    assert!(early.body.contains("<meta http-equiv=\"refresh\" content=\"2\">"), "{}", early.body);
    assert!(early.body.contains("fetching the tokens of session <strong>corp</strong>"), "{}", early.body);
    assert!(!early.body.contains("signed in"));
    assert!(matches!(sign_in.callback.arrival().await, Arrival::Code(_)));
    let path = format!("/oauth/callback?{}", sign_in.good_query());
    let headers = format!("Cookie: {}\r\n", sign_in.cookie);
    sign_in.callback.conclude(Verdict::SignedIn);
    assert!(get(sign_in.port, &path, &headers).await.body.contains("You are signed in"));
}

#[tokio::test]
async fn nobody_listens_after_the_end() {
    let limits = Limits { linger: Duration::from_millis(20), ..patient() };
    for verdict in [Verdict::SignedIn, Verdict::Failed("no".to_owned())] {
        let mut sign_in = SignIn::opened_within(limits.clone()).await;
        let waiting = sign_in.come_back().await;
        sign_in.callback.arrival().await;
        sign_in.callback.conclude(verdict);
        assert_eq!(answered(waiting).await.status, 200);
        port_is_free(sign_in.port).await;
    }
    let cancelled = SignIn::opened().await;
    cancelled.callback.conclude(Verdict::Closed);
    port_is_free(cancelled.port).await;
}

#[tokio::test]
async fn dropping_the_callback_ends_everything_at_once() {
    let mut sign_in = SignIn::opened().await;
    let waiting = sign_in.come_back().await;
    sign_in.callback.arrival().await;
    drop(sign_in.callback);
    assert_eq!(closed(waiting).await, 0);
    port_is_free(sign_in.port).await;
}

#[tokio::test]
async fn a_named_port_that_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let limits = Limits { linger: Duration::ZERO, ..patient() };
    let error = listen_within(Plan { port: Some(port), ..plan() }, limits).await.unwrap_err();
    assert!(matches!(error, ListenError::PortTaken(taken) if taken == port));
    assert_eq!(error.to_string(), format!("port {port} on 127.0.0.1, where the browser is to come back to, is taken"));
}

#[tokio::test]
async fn a_named_port_is_handed_from_one_sign_in_to_the_next() {
    let limits = Limits { linger: Duration::from_millis(300), ..patient() };
    let (_, port, first) = listening(plan(), limits.clone()).await;
    first.conclude(Verdict::SignedIn);
    let (_, again, _second) = listening(Plan { port: Some(port), ..plan() }, limits).await;
    assert_eq!(again, port);
}

#[tokio::test]
async fn nobody_listens_but_on_127_0_0_1() {
    let (landing, port, _callback) = listening(plan(), patient()).await;
    for elsewhere in ["127.0.0.2", "::1"] {
        let address = SocketAddr::new(elsewhere.parse().unwrap(), port);
        assert!(TcpStream::connect(address).await.is_err(), "{elsewhere}");
    }
    assert_eq!(get(port, &landing, "").await.status, 303);
}

#[test]
fn neither_link_nor_code_is_formatted_by_accident() {
    let listening = Listening { landing: "http://127.0.0.1:1/secret".to_owned() };
    assert_eq!(format!("{listening:?}"), "Listening { landing: *** }");
    let code = AuthorizationCode {
        code: Secret::new("s3cr3t".to_owned()),
        verifier: Secret::new("s3cr3t".to_owned()),
        redirect_uri: String::new(),
    };
    assert!(!format!("{:?}", Arrival::Code(code)).contains("s3cr3t"));
}
