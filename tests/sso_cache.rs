//! The AWS CLI's cache, both ways: what other programs find there, and what we find that they have left.

mod clients;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::real_clients::sts::StsStub;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{Agent, CORP, Finished, Sandbox};
use clients::Client;

/// A profile as it is everywhere, with no word of us.
const PLAIN: &str = "
[profile plain]
sso_session = corp
sso_account_id = 111122223333
sso_role_name = ReadOnly
region = eu-west-1
";
const START_URL: &str = "https://corp.awsapps.com/start";
const PATIENCE: Duration = Duration::from_secs(90);

/// A home in which session `corp` publishes like this.
fn home(service: &FakeIdentityCenter, publish: &str) -> Sandbox {
    let sandbox = Sandbox::new().at(service.url());
    sandbox.write_config(&format!("{CORP}{PLAIN}"));
    settings(&sandbox, publish);
    sandbox
}

fn settings(sandbox: &Sandbox, publish: &str) {
    sandbox.write("home/.config/sso-agent/config.toml", &format!("[session.corp]\npublish = \"{publish}\"\n"));
}

fn cache(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".aws/sso/cache")
}

fn file(sandbox: &Sandbox) -> PathBuf {
    cache(sandbox).join("ee0bfd2552fbd840c02cc48b6e823320543c450f.json")
}

fn content(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&std::fs::read(file(sandbox)).unwrap()).unwrap()
}

/// Waits until this holds, as long as the agent runs.
fn eventually(agent: &Agent<'_>, what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        assert!(agent.runs_for(Duration::from_millis(10)), "the agent ended");
    }
    panic!("never {what}");
}

/// Waits until the file holds another access token than this.
fn wait_for_another(agent: &Agent<'_>, sandbox: &Sandbox, token: &Value) {
    eventually(agent, "published anew", || {
        let text = std::fs::read(file(sandbox)).unwrap_or_default();
        serde_json::from_slice(&text).is_ok_and(|set: Value| set["accessToken"] != *token)
    });
}

fn wait_for_file(agent: &Agent<'_>, sandbox: &Sandbox) {
    wait_for_another(agent, sandbox, &Value::Null);
}

fn publish_status(agent: &Agent<'_>) -> Value {
    agent.get("/v1/status")["sessions"][0]["publish"].clone()
}

fn seconds_left(set: &Value, service: &FakeIdentityCenter) -> u64 {
    let expires: jiff::Timestamp = set["expiresAt"].as_str().unwrap().parse().unwrap();
    u64::try_from(expires.as_second()).unwrap().saturating_sub(service.now().seconds())
}

#[test]
fn every_sdk_lives_on_what_is_published_across_two_refreshes_of_ours() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let (sandbox, sts) = (home(&service, "token"), StsStub::start());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    wait_for_file(&agent, &sandbox);
    assert_eq!(content(&sandbox).as_object().unwrap().len(), 4, "no refresh token, no client");

    let all_work = |what: &str| {
        let before = std::fs::read(file(&sandbox)).unwrap();
        for client in Client::ALL {
            let identity = client.run(&sandbox, &sts);
            assert_eq!(identity.code, Some(0), "{client:?} {what}: {identity:?}");
            assert!(identity.stdout.contains(StsStub::ARN), "{identity:?}");
            assert!(service.issued_secrets().contains(&sts.last_call().session_token));
        }
        assert_eq!(std::fs::read(file(&sandbox)).unwrap(), before, "nobody but us writes it: {what}");
    };
    all_work("with the token alone");

    settings(&sandbox, "full");
    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    eventually(&agent, "published whole", || content(&sandbox)["refreshToken"].is_string());
    for refresh in 1..=2 {
        let old = content(&sandbox)["accessToken"].clone();
        if refresh == 1 {
            // The portal lets go of the token; whoever asks us for credentials has us refresh it.
            service.expire_access_tokens();
            let dev = "/v1/credentials?session=corp&account=444455556666&role=Developer";
            assert_eq!(agent.request("GET", dev, "").0, 200);
        } else {
            eventually(&agent, "a minute after the last", || {
                assert_eq!(agent.request("POST", "/v1/sessions/corp/refresh", "").0, 200);
                service.count(Operation::CreateTokenRefresh) == refresh || !agent.runs_for(Duration::from_millis(500))
            });
        }
        service.wait_for_answers(Operation::CreateTokenRefresh, refresh, PATIENCE).unwrap();
        wait_for_another(&agent, &sandbox, &old);
        let set = content(&sandbox);
        assert!(seconds_left(&set, &service) > 15 * 60, "{set}");
        all_work(&format!("after refresh {refresh}"));
    }
    assert_eq!(service.count(Operation::CreateTokenRefresh), 2, "nobody has refreshed but us");
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
    assert_eq!(service.count(Operation::RegisterClient), 1);
    assert_eq!(service.refresh_token_reuses(), 0);
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(file(&sandbox)), mode(cache(&sandbox))), (0o600, 0o700));
}

#[test]
fn what_botocore_refreshes_behind_our_back_is_adopted() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let (sandbox, sts) = (home(&service, "full"), StsStub::start());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    wait_for_file(&agent, &sandbox);
    // As if we had slept through our time: the CLI refreshes what has less than fifteen minutes left.
    let mut set = content(&sandbox);
    let old = set["accessToken"].clone();
    set["expiresAt"] = json!("2026-01-01T00:00:00Z");
    std::fs::write(file(&sandbox), set.to_string()).unwrap();
    Client::AwsCli.run(&sandbox, &sts).expect_success();
    assert_eq!(service.count(Operation::CreateTokenRefresh), 1, "by the CLI");
    wait_for_another(&agent, &sandbox, &old);
    let theirs = content(&sandbox)["accessToken"].clone();
    eventually(&agent, "adopted", || agent.get("/v1/token?session=corp")["access_token"] == theirs);
    let status = agent.get("/v1/status")["sessions"][0].clone();
    assert_eq!((&status["state"], &status["renewable"]), (&json!("signed_in"), &json!(true)));

    // And ours goes on from theirs.
    service.expire_access_tokens();
    let dev = "/v1/credentials?session=corp&account=444455556666&role=Developer&timeout=80";
    assert_eq!(agent.request("GET", dev, "").0, 200);
    wait_for_another(&agent, &sandbox, &theirs);
    assert_eq!(service.refresh_token_reuses(), 0);
    Client::Rust.run(&sandbox, &sts).expect_success();
}

#[test]
fn a_file_that_somebody_deletes_comes_back_while_the_session_lives_and_is_a_sign_out_when_it_does_not() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "token");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    wait_for_file(&agent, &sandbox);
    std::fs::remove_dir_all(cache(&sandbox)).unwrap();
    wait_for_file(&agent, &sandbox);
    let asked = service.calls(Operation::ListAccounts);
    assert_eq!(asked.len(), 1);
    assert!(asked[0].request.target.contains("max_result=1"), "{:?}", asked[0].request.target);

    // `aws sso logout`: the portal is told, the file goes.
    service.end_sessions();
    std::fs::remove_file(file(&sandbox)).unwrap();
    let status = agent.wait_for_status("signed out", |status| status["sessions"][0]["state"] == "signed_out");
    let message = status["sessions"][0]["last_error"]["message"].as_str().unwrap();
    assert!(message.contains("signed out by another program"), "{message}");
    assert!(!file(&sandbox).exists());
}

#[test]
fn our_own_sign_out_and_publish_off_remove_the_file() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "full");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    wait_for_file(&agent, &sandbox);
    sandbox.cli(&["logout", "corp"]).expect_success();
    assert!(!file(&sandbox).exists(), "gone when the command ends");

    agent.sign_in(&service);
    wait_for_file(&agent, &sandbox);
    // It knows its file again after a restart.
    agent.kill();
    settings(&sandbox, "off");
    let agent = sandbox.start_agent();
    eventually(&agent, "removed", || !file(&sandbox).exists());
    assert_eq!(agent.get("/v1/status")["sessions"][0]["state"], "signed_in");
}

#[test]
fn a_cache_that_others_can_write_to_is_refused_in_words_and_credentials_are_served() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "token");
    std::fs::create_dir_all(cache(&sandbox)).unwrap();
    std::fs::set_permissions(cache(&sandbox), PermissionsExt::from_mode(0o777)).unwrap();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let status = agent.wait_for_status("told", |status| status["sessions"][0]["publish"]["error"].is_string());
    let publish = &status["sessions"][0]["publish"];
    let error = publish["error"].as_str().unwrap();
    assert!(error.contains("can be written by other users") && error.contains("chmod go-w"), "{error}");
    assert_eq!(publish["path"], json!(file(&sandbox)));
    assert_eq!(agent.request("GET", "/v1/credentials?profile=plain", "").0, 200);
    let shown = sandbox.cli(&["status"]).expect_success();
    assert!(shown.contains("chmod go-w"), "{shown}");
    // Mended, and tried again with the next reload.
    std::fs::set_permissions(cache(&sandbox), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    wait_for_file(&agent, &sandbox);
    eventually(&agent, "mended", || publish_status(&agent)["error"].is_null());
    assert_eq!(cache(&sandbox).metadata().unwrap().permissions().mode() & 0o7777, 0o755, "left as it was");
}

#[test]
fn status_says_what_lies_on_disk_in_plain_text() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "full");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    wait_for_file(&agent, &sandbox);
    eventually(&agent, "told", || publish_status(&agent)["at"].is_string());
    let shown = sandbox.cli(&["status"]).expect_success();
    assert!(shown.contains("plain text") && shown.contains("refresh token"), "{shown}");
}

/// Each form in which one of the SDKs leaves a sign-in. `E` and `R` are times without their zone.
const SHAPES: [(&str, &str); 6] = [
    (
        "AWS CLI v2 and botocore",
        r#"{"startUrl": "U", "region": "eu-west-1", "accessToken": "<token>", "expiresAt": "<E>Z", "clientId": "<id>", "clientSecret": "<secret>", "registrationExpiresAt": "<R>Z", "refreshToken": "<refresh>"}"#,
    ),
    (
        "an old AWS CLI",
        r#"{"startUrl": "U", "region": "eu-west-1", "accessToken": "<token>", "expiresAt": "<E>UTC", "clientId": "<id>", "clientSecret": "<secret>", "registrationExpiresAt": "<R>UTC", "refreshToken": "<refresh>"}"#,
    ),
    (
        "JavaScript",
        "{\n  \"startUrl\": \"U\",\n  \"region\": \"eu-west-1\",\n  \"accessToken\": \"<token>\",\n  \"expiresAt\": \
         \"<E>.628Z\",\n  \"clientId\": \"<id>\",\n  \"clientSecret\": \"<secret>\",\n  \"registrationExpiresAt\": \
         \"<R>Z\",\n  \"refreshToken\": \"<refresh>\",\n  \"extra\": {\"kept\": [true]}\n}",
    ),
    (
        "Rust",
        r#"{"accessToken":"<token>","expiresAt":"<E>.702005Z","refreshToken":"<refresh>","clientId":"<id>","clientSecret":"<secret>","registrationExpiresAt":"<R>Z","region":"eu-west-1","startUrl":"U"}"#,
    ),
    (
        "Go",
        r#"{"accessToken":"<token>","expiresAt":"<E>+00:00","refreshToken":"<refresh>","clientId":"<id>","clientSecret":"<secret>","registrationExpiresAt":"<R>Z","region":"eu-west-1","startUrl":"U","unknown":7}"#,
    ),
    (
        "Java",
        r#"{"accessToken":"<token>","expiresAt":"<E>.000000001Z","region":"eu-west-1","startUrl":"U","clientId":"<id>","clientSecret":"<secret>","registrationExpiresAt":"<R>Z","refreshToken":"<refresh>"}"#,
    ),
];

/// What it said, if it succeeded.
fn told(finished: &Finished) -> String {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stderr.clone()
}

#[test]
fn a_sign_in_is_taken_over_in_every_form_an_sdk_leaves_it() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "off");
    let agent = sandbox.start_agent();
    std::fs::create_dir_all(cache(&sandbox)).unwrap();
    let in_hours = |hours: u64| {
        let at = i64::try_from(service.now().seconds() + hours * 3600).unwrap();
        jiff::Timestamp::from_second(at).unwrap().to_string().trim_end_matches('Z').to_owned()
    };
    for (who, shape) in SHAPES {
        let (client, tokens) = service.sign_in_directly(START_URL);
        let text = shape
            .replace("\"U\"", &json!(START_URL).to_string())
            .replace("<token>", &tokens.access_token)
            .replace("<refresh>", tokens.refresh_token.as_deref().unwrap())
            .replace("<id>", &client.client_id)
            .replace("<secret>", &client.client_secret)
            .replace("<E>", &in_hours(1))
            .replace("<R>", &in_hours(2000));
        std::fs::write(file(&sandbox), text).unwrap();
        std::fs::set_permissions(file(&sandbox), PermissionsExt::from_mode(0o644)).unwrap();
        let said = told(&sandbox.cli(&["adopt", "corp"]));
        assert!(said.contains("signed in") && said.contains("renewed"), "{who}: {said}");
        assert_eq!(agent.get("/v1/token?session=corp")["access_token"], json!(tokens.access_token), "{who}");
        assert_eq!(agent.request("GET", "/v1/credentials?profile=plain", "").0, 200, "{who}");
        let again = told(&sandbox.cli(&["adopt", "corp"]));
        assert!(again.contains("nothing was taken over"), "{again}");
        if who == "Rust" {
            service.expire_access_tokens();
            let dev = "/v1/credentials?session=corp&account=444455556666&role=Developer";
            assert_eq!(agent.request("GET", dev, "").0, 200, "refreshed with what was taken over");
            assert_eq!(service.count(Operation::CreateTokenRefresh), 1);
        }
        sandbox.cli(&["logout", "corp"]).expect_success();
        assert!(file(&sandbox).exists(), "it is not ours to remove");
    }
    std::fs::remove_file(file(&sandbox)).unwrap();
    let refused = sandbox.cli(&["adopt", "corp"]);
    assert_ne!(refused.code, Some(0));
    let path = file(&sandbox).display().to_string();
    assert!(refused.stderr.contains(&path) && refused.stderr.contains("no such file"), "{refused:?}");
}
