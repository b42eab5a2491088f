//! No secret leaves the place it belongs to: a whole life with faults, and then a look everywhere.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use rustix::process::Signal;
use serde_json::Value;

use crate::browser_sign_in;
use crate::support::crowd::seconds;
use crate::support::fake::{Exception, FakeConfig, FakeIdentityCenter, FakeRole, Fault, Operation, Times, When};
use crate::support::proxy::Proxy;
use crate::support::sandbox::{AGENT, CORP, Finished, Sandbox};

/// The one place where secrets are written unprotected, because the user asked for it (`publish = "full"`).
const PUBLISHED: &str = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
/// What that is written as first; a write that is cut off leaves it there until the next one.
const ABOUT_TO_BE: &str = ".aws/sso/cache/.ee0bfd2552fbd840c02cc48b6e823320543c450f.json.sso-agent";
const PATIENCE: Duration = Duration::from_secs(30);
const ROLE: &str = "arn:aws:iam::444455556666:role/Operator";
const OF_THE_PROXY: &str = "FAKEproxypassword-0123456789abcdefghijklmnopqrstuvwxyz";

/// Everything that was seen, with where.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn note(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    fn streams(&mut self, what: &str, finished: &Finished) {
        self.note(format!("{what}: standard error"), finished.stderr.as_bytes());
        if finished.code != Some(0) {
            self.note(format!("{what}: standard output of a failure"), finished.stdout.as_bytes());
        }
    }

    fn process(&mut self, pid: u32) {
        for file in ["cmdline", "environ"] {
            // Not ours to read means nobody else's either.
            if let Ok(bytes) = std::fs::read(format!("/proc/{pid}/{file}")) {
                self.note(format!("{file} of {pid}"), bytes);
            }
        }
    }

    fn directory(&mut self, path: &Path) {
        for entry in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            self.note("a name", path.as_os_str().as_encoded_bytes());
            if kind.is_dir() {
                self.directory(&path);
            } else if kind.is_file() && ![PUBLISHED, ABOUT_TO_BE].iter().any(|published| path.ends_with(published)) {
                self.note(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }

    fn leaks(&self, secrets: &[String]) -> Vec<String> {
        let needles = Needles::of(secrets);
        let leaking = self.0.iter().filter(|(_, bytes)| needles.are_in(bytes));
        leaking.map(|(place, _)| place.clone()).collect()
    }
}

/// Pieces of every secret in every form somebody might write it, so that a part of one is found as well.
struct Needles(HashSet<[u8; PIECE]>);

impl Needles {
    fn of(secrets: &[String]) -> Self {
        let mut pieces = HashSet::new();
        for form in secrets.iter().flat_map(|secret| forms(secret.as_bytes())) {
            pieces.extend(form.chunks_exact(PIECE).map(|piece| <[u8; PIECE]>::try_from(piece).unwrap()));
        }
        Self(pieces)
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        bytes.windows(PIECE).any(|window| self.0.contains(window))
    }
}

/// As it is, in hexadecimal, in base64 wherever it begins in what is encoded, and for a URL.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = |digits: &[u8; 16]| -> Vec<u8> {
        secret.iter().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]).collect()
    };
    let url = |digits: &[u8; 16]| -> Vec<u8> {
        let escaped = |byte: &u8| vec![b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]];
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        secret.iter().flat_map(|byte| if plain(byte) { vec![*byte] } else { escaped(byte) }).collect()
    };
    let mut forms = vec![secret.to_vec()];
    for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
        forms.extend([hex(digits), url(digits)]);
    }
    for before in 0..3 {
        let padded = [&[b'x'; 3][..before], secret].concat();
        // The first and last characters depend on what is around.
        let inner = |text: String| text.as_bytes()[4..text.len() - 4].to_vec();
        forms.extend([inner(STANDARD.encode(&padded)), inner(URL_SAFE.encode(&padded))]);
    }
    forms
}

/// Long enough to be no accident.
const PIECE: usize = 16;

#[test]
fn the_search_finds_a_secret_in_any_form_and_a_part_of_one() {
    let secret = "FAKEsk+/abcdefghijklmnopqrstuvwxyzABCD/+0123456789".to_owned();
    let needles = Needles::of(std::slice::from_ref(&secret));
    let around = |text: &str| format!("error: {text} (and so on)").into_bytes();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    for text in [
        secret.clone(),
        secret[3..40].to_owned(),
        hex.to_uppercase(),
        hex,
        STANDARD.encode(format!("{{\"key\":\"{secret}\"}}")),
        URL_SAFE.encode(format!("k={secret}")),
        secret.replace('+', "%2B").replace('/', "%2f"),
    ] {
        assert!(needles.are_in(&around(&text)), "{text}");
    }
    assert!(!needles.are_in(&around("nothing of that kind, abcdefghijklmno")));
}

#[test]
fn no_secret_is_found_where_it_does_not_belong() {
    let config = FakeConfig { roles: vec![FakeRole::new(ROLE)], ..FakeConfig::with_tokens_of(Duration::from_secs(6)) };
    let service = FakeIdentityCenter::start(config);
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox
        .write_config(&format!("{CORP}[profile ops]\nrole_arn = {ROLE}\nsource_profile = dev\nregion = eu-west-1\n"));
    sandbox.set("AWS_ENDPOINT_URL_SIGNIN", service.url());
    // The way to STS, for a start, which it does not know.
    let proxy = Proxy::with_password(&format!("corp:{OF_THE_PROXY}"));
    sandbox.set("HTTPS_PROXY", &proxy.url(&format!("corp:{OF_THE_PROXY}@")));
    let temporary = sandbox.root().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    sandbox.set("TMPDIR", temporary.to_str().unwrap());
    sandbox.set("RUST_LOG", "trace,hyper=trace,rustls=trace");
    sandbox.write("home/.config/sso-agent/config.toml", "[session.corp]\npublish = \"full\"\n");
    let mut seen = Seen::default();
    let agent = sandbox.start_agent();

    // A sign-in with trouble at every step.
    service.fault(Operation::RegisterClient, Fault::Html200, When::AfterEffect, Times::Next(1));
    seen.streams("login", &sandbox.cli(&["login", "--no-browser"]));
    service.fault(Operation::CreateTokenDeviceCode, Fault::NotJson200, When::BeforeEffect, Times::Next(1));
    let login = sandbox.spawn_cli(&["login", "--json"]);
    let code = service.wait_for_user_code(PATIENCE).unwrap();
    seen.process(login.id());
    seen.note("login state", agent.get("/v1/sessions/corp/login").to_string());
    assert!(service.approve(&code));
    let login = Finished::awaited(login);
    assert_eq!(login.code, Some(0), "{login:?}");
    seen.note("login events", login.stdout.as_bytes());
    seen.streams("login", &login);

    // Another with the browser.
    let (page, login) = browser_sign_in::signed_in(&sandbox, &["--force"]);
    seen.note("page", page.html);
    seen.note("login events", login.stdout.as_bytes());
    seen.streams("login by browser", &login);
    agent.wait_for_status("published", |status| status["sessions"][0]["publish"]["at"].is_string());
    let published = sandbox.home().join(PUBLISHED);
    assert!(Needles::of(&service.issued_secrets()).are_in(&std::fs::read(&published).unwrap()), "there it belongs");
    assert_eq!(published.metadata().unwrap().mode() & 0o777, 0o600);

    // Use, with trouble.
    let shown = sandbox.cli(&["credentials", "--profile", "dev", "--format", "env"]);
    assert!(Needles::of(&service.issued_secrets()).are_in(shown.stdout.as_bytes()), "the search finds what is there");
    seen.streams("credentials", &shown);
    for format in ["process", "env-no-export", "fish", "powershell"] {
        seen.streams(format, &sandbox.cli(&["credentials", "--profile", "dev", "--format", format]));
    }
    for (fault, when) in [
        (Fault::Exception(Exception::Forbidden), When::AfterEffect),
        (Fault::status(500), When::AfterEffect),
        (Fault::TruncatedBody, When::AfterEffect),
        (Fault::Redirect(format!("{}/elsewhere", service.url())), When::AfterEffect),
    ] {
        service.fault(Operation::GetRoleCredentials, fault, when, Times::Next(1));
        let role = ["--account", "444455556666", "--role", "Developer", "--timeout", "2"];
        seen.streams("shim", &sandbox.shim(&role));
        seen.note("problem", agent.request("GET", "/v1/credentials?profile=nobody", "").1.to_string());
    }
    let ops = sandbox.shim(&["--profile", "ops", "--timeout", "2"]);
    assert!(ops.stderr.contains("the proxy http://***@127.0.0.1") && !proxy.heads().is_empty(), "{ops:?}");
    seen.streams("chained", &ops);
    for console in
        [&["console", "--profile", "dev", "--print"][..], &["console", "--profile", "dev", "--print", "--json"]]
    {
        let finished = sandbox.cli(console);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        seen.streams("console", &finished);
    }
    // What is good for credentials at an endpoint is a secret as well.
    let of_container = sandbox.cli(&["container", "token", "add", "--profile", "dev"]);
    let mut of_endpoints = vec![of_container.stdout.trim_end().to_owned()];
    seen.streams("container token add", &of_container);
    let running = crate::exec::endpoint::Running::start(&sandbox, &["--profile", "dev"]);
    of_endpoints.push(running.token.clone());
    seen.process(running.pid());
    let listed = sandbox.cli(&["container", "token", "list", "--json"]);
    seen.note("container token list", listed.stdout.as_bytes());
    assert!(running.finish().success());
    service.fault(Operation::GetSigninToken, Fault::MissingFields200, When::AfterEffect, Times::Next(1));
    seen.streams("console", &sandbox.cli(&["console", "--profile", "dev", "--print"]));
    service.fault(Operation::ListAccounts, Fault::MissingFields200, When::BeforeEffect, Times::Next(1));
    for command in [
        &["accounts"][..],
        &["accounts", "--json"],
        &["roles"],
        &["roles", "--json"],
        &["token"],
        &["token", "--min-validity", "12h"],
        &["refresh"],
        &["status"],
        &["status", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["reload"],
        &["audit"],
        &["audit", "--json"],
        &["login", "--json"],
        &["status", "--nonsense"],
        &["--help"],
    ] {
        let finished = sandbox.cli(command);
        seen.streams(command[0], &finished);
        if command[0] != "token" {
            seen.note(command[0], finished.stdout);
        }
    }

    // A refresh of which the answer is lost, a crash, and a refusal.
    service.fault(Operation::CreateTokenRefresh, Fault::TruncatedBody, When::AfterEffect, Times::Next(1));
    service.wait_for_answers(Operation::CreateTokenRefresh, 1, PATIENCE).unwrap();
    let status = agent.wait_for_status("failed", |status| !status["sessions"][0]["last_error"].is_null());
    seen.note("status", status.to_string());
    seen.process(agent.pid());
    seen.directory(sandbox.root());
    agent.kill();
    seen.directory(sandbox.root());
    let agent = sandbox.start_agent();
    seen.process(agent.pid());
    let status = agent.wait_for_status("refused", |status| status["sessions"][0]["renewable"] == false);
    seen.note("status", status.to_string());
    let expires = seconds(&status["sessions"][0]["access_token_expires_at"]);
    agent.wait_until(&service, expires + 1);
    for path in ["/v1/token?session=corp", "/v1/credentials?session=corp&account=111122223333&role=Administrator"] {
        let (code, problem) = agent.request("GET", path, "");
        assert_eq!(code, 401, "{problem}");
        seen.note("problem", problem.to_string());
    }
    seen.streams("shim", &sandbox.shim(&["--account", "111122223333", "--role", "Administrator"]));

    // A record that does not open is set aside, still sealed.
    agent.sign_in(&service);
    agent.kill();
    sandbox.set("AWS_ENDPOINT_URL_STS", service.url());
    for entry in std::fs::read_dir(sandbox.state().join("records")).unwrap().map(Result::unwrap) {
        let mut bytes = std::fs::read(entry.path()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(entry.path(), bytes).unwrap();
    }
    let agent = sandbox.start_agent_with(&["--log-format", "json"]);
    seen.note("status", agent.get("/v1/status").to_string());
    agent.sign_in(&service);
    sandbox.shim(&["--profile", "dev"]).json();
    service.fault(Operation::AssumeRole, Fault::TruncatedBody, When::AfterEffect, Times::Next(1));
    seen.streams("chained", &sandbox.shim(&["--profile", "ops", "--timeout", "2"]));
    service.fault(Operation::AssumeRole, Fault::MissingFields200, When::AfterEffect, Times::Next(1));
    seen.streams("chained", &sandbox.shim(&["--profile", "ops", "--timeout", "2"]));
    agent.wait_for_status("assumed", |_| sandbox.shim(&["--profile", "ops"]).code == Some(0));
    let (_, problem) = agent.request("POST", "/v1/sessions/corp/login", r#"{"flow":"device","password":"x"}"#);
    seen.note("problem", problem.to_string());
    seen.streams("logout", &sandbox.cli(&["logout"]));
    assert!(agent.stop().success());
    seen.directory(sandbox.root());
    let left = [PUBLISHED, ABOUT_TO_BE].map(|published| sandbox.home().join(published).exists());
    assert_eq!(left, [false, false], "nothing stays published after a sign-out");

    let log = sandbox.log();
    for line in log.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["target"].as_str().unwrap().starts_with("sso_agent"), "RUST_LOG opens nothing up: {line}");
    }
    let audit = std::fs::read_to_string(sandbox.state().join("audit.log")).unwrap();
    assert!(audit.lines().count() > 5 && audit.contains("\"token\"") && audit.contains("ASIA"), "{audit}");

    // The key to the sealed records lies in its file and nowhere else.
    let key = std::fs::read_to_string(sandbox.state().join("key")).unwrap();
    let places = seen.leaks(&[key.trim().to_owned()]);
    assert!(!places.is_empty() && places.iter().all(|place| place.ends_with("/state/key")), "{places:?}");

    // The proxy's password is where the user has put it, and in the environment of whatever was started there.
    let mut places = seen.leaks(&[OF_THE_PROXY.to_owned()]);
    places.retain(|place| !place.starts_with("environ of "));
    assert_eq!(places, [""; 0]);

    let mut secrets = service.issued_secrets();
    assert!(of_endpoints.iter().all(|token| token.len() == 43), "{}", of_endpoints.len());
    secrets.extend(of_endpoints);
    assert!(secrets.len() > 12, "clients, codes, tokens, role keys: {}", secrets.len());
    assert!(seen.0.len() > 60 && sandbox.log().contains("DEBUG"), "{} places", seen.0.len());
    assert_eq!(seen.leaks(&secrets), Vec::<String>::new());
}

#[test]
fn the_memory_of_the_agent_is_nobodys_to_read() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    // A process that is not dumpable belongs to root as far as /proc goes, and leaves no core.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    let owner = std::fs::metadata(format!("/proc/{}/environ", agent.pid())).unwrap().uid();
    assert_eq!(owner, 0);
    // Its pages with secrets stay where they are, as far as the system lets it.
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim();
    let refused = sandbox.log().contains("secrets may be written to swap");
    assert!(locked != "0 kB" || refused, "{status}");
}

#[test]
fn a_crash_leaves_no_core_whatever_the_limit_was() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    for signal in [Signal::SEGV, Signal::ABORT, Signal::QUIT] {
        let mut shell = sandbox.command("sh");
        shell.args(["-c", "ulimit -S -c unlimited; exec \"$0\" \"$@\"", AGENT]);
        let agent = sandbox.start_agent_by(&mut shell, &[]);
        if service.count(Operation::RegisterClient) == 0 {
            agent.sign_in(&service);
        }
        if signal == Signal::SEGV {
            // The runtime looks at the first one, finds that nothing overflowed, and lets the next one through.
            agent.signal(signal);
            agent.get("/v1/health");
        }
        agent.signal(signal);
        let status = agent.wait();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
        assert!(!status.core_dumped(), "{status:?}");
        let names = std::fs::read_dir(sandbox.root()).unwrap().map(|entry| entry.unwrap().file_name());
        let cores: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("core")).collect();
        assert_eq!(cores, [""; 0]);
    }
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    let odd = "\n[services odd]\nsso =\n  endpoint_url = https://user:hunter2-hunter2@portal.example.com\n\
               [profile odd]\nservices = odd\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = R\n";
    sandbox.write_config(&format!("{CORP}{odd}"));
    sandbox.set("AWS_ENDPOINT_URL_SSO", "");
    let agent = sandbox.start_agent();
    let mut seen = vec![
        agent.get("/v1/status").to_string(),
        agent.request("GET", "/v1/credentials?profile=odd", "").1.to_string(),
    ];
    for command in [
        &["status"][..],
        &["doctor", "--offline"],
        &["login", "--no-browser", "--timeout", "1"],
        &["credentials", "--profile", "odd"],
    ] {
        let finished = sandbox.cli(command);
        seen.extend([finished.stdout, finished.stderr]);
    }
    seen.push(sandbox.log());
    assert!(seen.iter().any(|text| text.contains("user name or password")), "{seen:#?}");
    assert!(!seen.iter().any(|text| text.contains("hunter2")), "{seen:#?}");
}
