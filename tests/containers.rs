//! The standing endpoints: credentials for who has a token, and an instance's metadata for who knows no other way.

mod clients;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{CORP, Sandbox};

#[test]
fn a_token_is_good_for_its_role_until_it_is_revoked() {
    let (service, sandbox, here) = serving_containers();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let token = token(&sandbox, &["--profile", "dev", "--name", "build"]);
    let (status, got) = get(here, &token);
    assert_eq!(status, 200, "{got}");
    let served = agent.get("/v1/credentials?profile=dev");
    for (ours, theirs) in [("AccessKeyId", "AccessKeyId"), ("Token", "SessionToken"), ("Expiration", "Expiration")] {
        assert_eq!(got[ours], served[theirs]);
    }
    let direct = ["--session", "corp", "--account", "111122223333", "--role", "Administrator"];
    let other = self::token(&sandbox, &direct);
    assert_ne!(get(here, &other).1["AccessKeyId"], got["AccessKeyId"], "each has its own");
    let listed = sandbox.cli(&["container", "token", "list"]).expect_success();
    assert!(listed.contains("build") && listed.contains("Administrator") && !listed.contains(&token), "{listed}");
    sandbox.cli(&["container", "token", "revoke", "build"]).expect_success();
    assert_eq!(get(here, &token).0, 401, "at once");
    assert_eq!(get(here, &other).0, 200);
    let audit = sandbox.cli(&["audit"]).expect_success();
    assert!(audit.contains("ReadOnly") && audit.contains("Administrator"), "{audit}");
    let through_tokens = handed_out(&sandbox, "container.");
    assert!(through_tokens.contains(&("container.build".to_owned(), "ReadOnly".to_owned())), "{through_tokens:?}");
    assert!(through_tokens.iter().any(|(_, role)| role == "Administrator"), "{through_tokens:?}");
}

#[test]
fn a_token_lives_through_a_restart_and_says_why_there_is_nothing() {
    let (service, sandbox, here) = serving_containers();
    let agent = sandbox.start_agent();
    let token = token(&sandbox, &["--profile", "dev"]);
    let (status, body) = get(here, &token);
    assert_eq!((status, body["code"].as_str()), (401, Some("sign_in_required")), "{body}");
    assert!(body["Message"].as_str().unwrap().contains("sso-agent login"), "{body}");
    agent.sign_in(&service);
    assert_eq!(get(here, &token).0, 200);
    assert!(agent.stop().success());
    let _agent = sandbox.start_agent();
    assert_eq!(get(here, &token).0, 200);
    let nobody = self::token(&sandbox, &["--profile", "nobody"]);
    let (status, body) = get(here, &nobody);
    assert_eq!((status, body["code"].as_str()), (404, Some("unknown_profile")), "{body}");
}

#[test]
fn strangers_get_nothing_from_a_standing_endpoint() {
    let (service, sandbox, here) = serving_containers();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let token = token(&sandbox, &["--profile", "dev"]);
    let (host, right) = (format!("Host: {here}"), format!("Authorization: {token}"));
    let status = |headers: &[&str]| ask(here, "GET", "/credentials", headers).0;
    assert_eq!(status(&[&host, &right]), 200);
    for stranger in
        ["Origin: null", "Referer: x", "Sec-Fetch-Site: cross-site", "X-Forwarded-For: x", "Forwarded: x", "Via: x"]
    {
        assert_eq!(status(&[&host, &right, stranger]), 403, "{stranger}");
    }
    assert_eq!(status(&["Host: evil.example:9911", &right]), 403);
    assert_eq!(ask(here, "OPTIONS", "/credentials", &[&host, "Origin: x"]).0, 405);
    assert_eq!(ask(here, "GET", "/v1/status", &[&host, &right]).0, 404, "nothing but this");
    for _ in 0..20 {
        assert_eq!(status(&[&host, "Authorization: guess"]), 401);
    }
    assert_eq!(status(&[&host, "Authorization: guess"]), 429);
    assert_eq!(status(&[&host, &right]), 200);
}

#[test]
fn endpoints_follow_the_settings_while_the_agent_runs() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let (one, other) = (place(9911), place(9911));
    let token = token(&sandbox, &["--profile", "dev"]);
    let listen = |text: &str| {
        sandbox.write("home/.config/sso-agent/config.toml", text);
        assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    };
    listen(&format!("[container]\nlisten = [\"{one}\"]\n"));
    assert_eq!(eventually(one, &token), 200);
    listen(&format!("[container]\nlisten = [\"{one}\", \"{other}\"]\n"));
    assert_eq!(eventually(other, &token), 200);
    listen(&format!("[container]\nlisten = [\"{other}\"]\n"));
    gone(one);
    assert_eq!(get(other, &token).0, 200);
}

#[test]
fn an_address_that_somebody_else_has_costs_the_agent_nothing() {
    let taken = place(9911);
    let _other = TcpListener::bind(taken).unwrap();
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    sandbox.write("home/.config/sso-agent/config.toml", &format!("[container]\nlisten = [\"{taken}\"]\n"));
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    agent.get("/v1/credentials?profile=dev");
    let told = |status: &Value| status["warnings"].to_string().contains(&taken.to_string());
    let mut status = agent.get("/v1/status");
    for _ in 0..100 {
        if told(&status) {
            break;
        }
        assert!(agent.runs_for(Duration::from_millis(20)));
        status = agent.get("/v1/status");
    }
    assert!(told(&status), "{status:#}");
}

#[test]
fn a_target_with_rules_about_who_may_have_it_is_not_for_whoever_has_a_token() {
    let (service, sandbox, here) = serving_containers();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let token = token(&sandbox, &["--profile", "dev", "--name", "build"]);
    assert_eq!(get(here, &token).0, 200);
    let settings = sandbox.home().join(".config/sso-agent/config.toml");
    let known = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{known}[target.dev]\nallow = [\"/usr/bin/terraform\"]\n")).unwrap();
    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    let (status, body) = get(here, &token);
    assert_eq!((status, body["code"].as_str()), (403, Some("not_allowed")), "{body}");
    let refused = sandbox.cli(&["audit", "--json"]).expect_success();
    let refused = refused.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let refused = refused.filter(|line| line["refused"] == "allow").collect::<Vec<_>>();
    assert!(refused.iter().any(|line| line["via"] == "container.build"), "{refused:?}");
}

#[test]
fn an_instances_metadata_has_one_role_and_no_first_version() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let here = place(9912);
    let settings = format!("[imds]\nlisten = \"{here}\"\ntarget = \"dev\"\n");
    sandbox.write("home/.config/sso-agent/config.toml", &settings);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let host = format!("Host: {here}");
    let role = "/latest/meta-data/iam/security-credentials/";
    assert_eq!(ask(here, "GET", role, &[&host]).0, 401, "version 1");
    let lifetime = "X-aws-ec2-metadata-token-ttl-seconds: 60";
    for relayed in ["X-Forwarded-For: x", "Origin: null", "Via: x"] {
        assert_eq!(ask(here, "PUT", "/latest/api/token", &[&host, lifetime, relayed]).0, 403, "{relayed}");
    }
    let rebound = ask(here, "PUT", "/latest/api/token", &["Host: evil.example:9912", lifetime]).0;
    assert_eq!(rebound, 403);
    let (status, token) = ask(here, "PUT", "/latest/api/token", &[&host, lifetime]);
    assert_eq!(status, 200);
    let token = format!("X-aws-ec2-metadata-token: {token}");
    assert_eq!(ask(here, "GET", role, &[&host, &token]), (200, "ReadOnly".to_owned()));
    let (status, body) = ask(here, "GET", &format!("{role}ReadOnly"), &[&host, &token]);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["Code"]), (200, &Value::from("Success")));
    assert_eq!(body["AccessKeyId"], agent.get("/v1/credentials?profile=dev")["AccessKeyId"]);
    assert_eq!(ask(here, "GET", &format!("{role}Administrator"), &[&host, &token]).0, 404);
    assert_eq!(handed_out(&sandbox, "imds"), [("imds".to_owned(), "ReadOnly".to_owned())]);
}

/// What the audit log says was handed out through doors of such names: which door, and which role.
fn handed_out(sandbox: &Sandbox, door: &str) -> Vec<(String, String)> {
    let text = sandbox.cli(&["audit", "--json"]).expect_success();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = lines.map(|line| (word(&line["via"]), word(&line["role"])));
    lines.filter(|(via, _)| via.starts_with(door)).collect()
}

/// A home whose agent serves containers, and where.
pub(crate) fn serving_containers() -> (FakeIdentityCenter, Sandbox, SocketAddrV4) {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    let here = place(9911);
    sandbox.write_config(CORP);
    sandbox.write("home/.config/sso-agent/config.toml", &format!("[container]\nlisten = [\"{here}\"]\n"));
    (service, sandbox, here)
}

/// An address of this machine that no other test has.
pub(crate) fn place(port: u16) -> SocketAddrV4 {
    static COUNT: AtomicU8 = AtomicU8::new(2);
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = COUNT.fetch_add(1, Ordering::Relaxed);
    // Not that of everybody, whatever the process's number.
    SocketAddrV4::new(Ipv4Addr::new(127, high | 0x40, low, last), port)
}

/// A new token for that.
pub(crate) fn token(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let arguments = [&["container", "token", "add"], arguments].concat();
    sandbox.cli(&arguments).expect_success().trim_end().to_owned()
}

pub(crate) fn get(here: SocketAddrV4, token: &str) -> (u16, Value) {
    let headers = [format!("Host: {here}"), format!("Authorization: {token}")];
    let (status, body) = ask(here, "GET", "/credentials", &headers.each_ref().map(String::as_str));
    (status, serde_json::from_str(&body).unwrap())
}

/// The answer to a program that fetches the role's credentials as an instance does.
pub(crate) fn get_as_instance(here: SocketAddrV4) -> (u16, String) {
    let host = format!("Host: {here}");
    let lifetime = "X-aws-ec2-metadata-token-ttl-seconds: 60";
    let (status, token) = ask(here, "PUT", "/latest/api/token", &[&host, lifetime]);
    assert_eq!(status, 200, "{token}");
    let token = format!("X-aws-ec2-metadata-token: {token}");
    ask(here, "GET", "/latest/meta-data/iam/security-credentials/ReadOnly", &[&host, &token])
}

/// The same where the endpoint is about to be opened.
fn eventually(here: SocketAddrV4, token: &str) -> u16 {
    settled(|| TcpStream::connect(here).is_ok());
    get(here, token).0
}

/// Waits until nobody is there.
fn gone(here: SocketAddrV4) {
    settled(|| TcpStream::connect(here).is_err());
}

/// The agent opens and closes endpoints when it has answered the reload. Nothing tells of that but the endpoint itself.
fn settled(is: impl Fn() -> bool) {
    let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    for _ in 0..500 {
        if is() {
            return;
        }
        rustix::event::poll(&mut [], Some(&patience)).unwrap();
    }
    panic!("the endpoints do not follow the settings");
}

fn ask(here: SocketAddrV4, method: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(here).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let headers = headers.join("\r\n");
    write!(stream, "{method} {path} HTTP/1.1\r\n{headers}\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("access-control"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
