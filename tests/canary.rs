//! No secret leaves the place it belongs to: a whole life with faults, and then a look everywhere.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::support::crowd::seconds;
use crate::support::fake::{Exception, FakeConfig, FakeIdentityCenter, Fault, Operation, Times, When, found_in};
use crate::support::sandbox::{Finished, Sandbox};

const PATIENCE: Duration = Duration::from_secs(30);

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
            } else if kind.is_file() {
                self.note(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }

    fn leaks(&self, secrets: &[String]) -> Vec<String> {
        let leaking = self.0.iter().filter(|(_, bytes)| !found_in(bytes, secrets).is_empty());
        leaking.map(|(place, _)| place.clone()).collect()
    }
}

#[test]
fn no_secret_is_found_where_it_does_not_belong() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(6)));
    let mut sandbox = Sandbox::with_session(service.url());
    let temporary = sandbox.root().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    sandbox.set("TMPDIR", temporary.to_str().unwrap());
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

    // Use, with trouble.
    let shown = sandbox.cli(&["credentials", "--profile", "dev", "--format", "env"]);
    assert!(!found_in(shown.stdout.as_bytes(), &service.issued_secrets()).is_empty(), "the search finds what is there");
    seen.streams("credentials", &shown);
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
    service.fault(Operation::ListAccounts, Fault::MissingFields200, When::BeforeEffect, Times::Next(1));
    for command in [&["accounts"][..], &["roles"], &["token"], &["refresh"], &["status"], &["reload"]] {
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
    for entry in std::fs::read_dir(sandbox.state().join("records")).unwrap().map(Result::unwrap) {
        let mut bytes = std::fs::read(entry.path()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(entry.path(), bytes).unwrap();
    }
    let agent = sandbox.start_agent();
    seen.note("status", agent.get("/v1/status").to_string());
    agent.sign_in(&service);
    seen.streams("logout", &sandbox.cli(&["logout"]));
    assert!(agent.stop().success());
    seen.directory(sandbox.root());

    let secrets = service.issued_secrets();
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
}
