//! The console from the command line to its page, and which browser shows what.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation, found_in};
use crate::support::sandbox::{Finished, Sandbox};

/// A browser that says what it was started with, one argument a line, and does nothing.
struct FakeBrowser {
    program: PathBuf,
    told: PathBuf,
}

impl FakeBrowser {
    fn install(sandbox: &Sandbox) -> Self {
        let told = sandbox.root().join("told");
        let made = std::process::Command::new("mkfifo").arg(&told).status().unwrap();
        assert!(made.success());
        let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\n", told.display());
        let program = sandbox.write("browser", &script);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { program, told }
    }

    /// The arguments of the next one that is started.
    fn arguments(&self) -> Vec<String> {
        std::fs::read_to_string(&self.told).unwrap().lines().map(str::to_owned).collect()
    }
}

/// What a `GET` of this URL answers: status, and where it leads.
fn visit(url: &str) -> std::io::Result<(u16, Option<String>)> {
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(authority)?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
    Ok((status, location.map(|location| location.trim().to_owned())))
}

fn sandbox(service: &FakeIdentityCenter) -> Sandbox {
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("AWS_ENDPOINT_URL_SIGNIN", service.url());
    sandbox.set("DISPLAY", ":0");
    sandbox
}

#[test]
fn the_browser_is_told_a_link_that_leads_into_the_console_once() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(&service);
    let browser = FakeBrowser::install(&sandbox);
    let config = format!("[session.corp]\nbrowser = \"{} -P work {{url}} --new\"\n", browser.program.display());
    sandbox.write("home/.config/sso-agent/config.toml", &config);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);

    let console = sandbox.spawn_cli(&["console", "--profile", "dev", "--destination", "s3"]);
    let arguments = browser.arguments();
    let [before @ .., link, after] = &arguments[..] else { panic!("{arguments:?}") };
    assert_eq!((before, after.as_str()), (&["-P".to_owned(), "work".to_owned()][..], "--new"));
    let (status, address) = visit(link).unwrap();
    let address = address.unwrap();
    assert_eq!(status, 303);
    assert!(address.starts_with(&format!("{}/federation?Action=login&Issuer=https%3A%2F%2Fcorp", service.url())));
    let finished = Finished::awaited(console);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{finished:?}");
    assert!(visit(link).is_err(), "there is one visitor");

    let page = "https://console.aws.amazon.com/s3/home?region=eu-west-1".to_owned();
    assert_eq!(visit(&address).unwrap(), (302, Some(page)), "the service lets them in");
    let exchange = &service.calls(Operation::GetSigninToken)[0];
    assert_eq!(exchange.request.target, "/federation", "nothing is in the URL");

    let secrets = service.issued_secrets();
    for (what, text) in [("arguments", arguments.join("\n")), ("words", finished.stderr), ("log", sandbox.log())] {
        assert_eq!(found_in(text.as_bytes(), &secrets), [""; 0], "{what}");
    }
    let lines = sandbox.cli(&["audit", "--json"]).expect_success();
    let line: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&line["what"], &line["role"]), (&"console".into(), &"ReadOnly".into()));
    let credentials = agent.get("/v1/credentials?profile=dev");
    assert_eq!(line["key_id"], credentials["AccessKeyId"], "it is the role's cached set");
}

#[test]
fn the_address_itself_is_printed_for_who_asks_and_works_in_any_browser() {
    let service = FakeIdentityCenter::start(FakeConfig { console_sessions: false, ..FakeConfig::default() });
    let sandbox = sandbox(&service);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let printed = sandbox.cli(&["console", "--profile", "dev", "--print"]).expect_success();
    assert_eq!(visit(printed.trim()).unwrap().0, 302);
    assert_eq!(service.count(Operation::GetSigninToken), 2, "this role takes no length of a session");
    let body = sandbox.cli(&["console", "--profile", "dev", "--print", "--json"]).json();
    assert_eq!(visit(body["url"].as_str().unwrap()).unwrap().0, 302);

    let refused = sandbox.cli(&["console", "--profile", "dev", "--print", "--destination", "https://evil.example/"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    assert!(refused.stderr.contains("https://console.aws.amazon.com/"), "{}", refused.stderr);
    let nobody = sandbox.cli(&["console", "--account", "111122223333", "--role", "Nobody", "--print"]);
    assert_eq!(nobody.code, Some(6), "{nobody:?}");
}

#[test]
fn a_sign_in_host_that_neither_issued_the_credentials_nor_is_awss_own_gets_nothing() {
    let (service, other) =
        (FakeIdentityCenter::start(FakeConfig::default()), FakeIdentityCenter::start(FakeConfig::default()));
    let mut sandbox = sandbox(&service);
    sandbox.set("AWS_ENDPOINT_URL_SIGNIN", &other.url().replace("127.0.0.1", "localhost"));
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let refused = sandbox.cli(&["console", "--profile", "dev", "--print"]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert!(refused.stderr.contains("AWS_ENDPOINT_URL_SIGNIN"), "{}", refused.stderr);
    assert_eq!(other.all_calls().len(), 0);
    assert_eq!(service.count(Operation::GetSigninToken), 0);
}

#[test]
fn two_identities_on_one_start_url_sign_in_with_a_browser_each() {
    let service = FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() });
    let sandbox = sandbox(&service);
    let start = "sso_start_url = https://corp.awsapps.com/start\nsso_region = eu-west-1\n";
    sandbox.write_config(&format!("[sso-session work]\n{start}[sso-session customer]\n{start}"));
    let browser = FakeBrowser::install(&sandbox);
    let program = browser.program.display();
    let config = format!(
        "[session.work]\nbrowser = \"{program} -P work\"\n[session.customer]\nbrowser = \"{program} {{url}} '-P a b'\"\n"
    );
    sandbox.write("home/.config/sso-agent/config.toml", &config);
    let agent = sandbox.start_agent();
    let link = |arguments: &[String]| arguments.iter().find(|word| word.contains("user_code=")).cloned().unwrap();

    let login = sandbox.spawn_cli(&["login", "work", "--flow", "device"]);
    let work = browser.arguments();
    assert_eq!(work, ["-P".to_owned(), "work".to_owned(), link(&work)]);
    let login = Finished::awaited(login);
    assert_eq!(login.code, Some(0), "{login:?}");
    assert!(login.stderr.starts_with("Signing in by device code: as --flow says.\n"), "{}", login.stderr);

    let login = sandbox.spawn_cli(&["login", "customer", "--flow", "device"]);
    let customer = browser.arguments();
    assert_eq!(customer, [link(&customer), "-P a b".to_owned()]);
    assert_eq!(Finished::awaited(login).code, Some(0));
    assert_ne!(link(&work), link(&customer));
    let status = agent.get("/v1/status");
    assert!(status["sessions"].as_array().unwrap().iter().all(|session| session["state"] == "signed_in"), "{status}");
    assert_eq!(service.registrations().len(), 2, "a registration each");
}
