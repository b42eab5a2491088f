//! Places for the key, what is refused, and what is said.

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::Sandbox;

use super::{cli_with_input, credential, home, names, set_key, storage};

#[test]
fn a_credential_of_the_service_manager_opens_what_is_stored_and_is_waited_for() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = home(&service, "auto");
    let directory = credential(&sandbox, b'a').display().to_string();
    sandbox.set("CREDENTIALS_DIRECTORY", &directory);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    assert_eq!(storage(&sandbox)["key"], "systemd-credential", "auto takes it where there is no keyring");
    assert_eq!(names(&sandbox, "key"), ["key.json"], "nothing is written of it");
    agent.kill();

    let other = credential(&sandbox, b'b').display().to_string();
    for (value, part) in [("", "first started with"), (other.as_str(), "not the one")] {
        sandbox.set("CREDENTIALS_DIRECTORY", value);
        let agent = sandbox.start_agent();
        let stderr = sandbox.cli(&["credentials", "--profile", "dev"]).failed_with(9);
        assert!(stderr.contains(part), "{stderr}");
        assert_eq!(agent.get("/v1/status")["sessions"][0]["state"], "sealed");
        let stderr = sandbox.cli(&["storage", "unlock"]).failed_with(9);
        assert!(stderr.contains(part), "{stderr}");
        agent.kill();
    }
    sandbox.set("CREDENTIALS_DIRECTORY", &directory);
    let _agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody had to sign in again");
}

fn migrate(sandbox: &Sandbox, to: &str) -> crate::support::sandbox::Finished {
    let input = if to == "passphrase" { "correct horse\n" } else { "" };
    cli_with_input(sandbox, &["storage", "migrate", "--to", to], input)
}

#[test]
fn a_key_moves_from_place_to_place_and_every_start_finds_everything() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = home(&service, "auto");
    let directory = credential(&sandbox, b'a').display().to_string();
    {
        let agent = sandbox.start_agent();
        agent.sign_in(&service);
    }
    sandbox.set("CREDENTIALS_DIRECTORY", &directory);
    for to in ["passphrase", "file", "systemd-credential", "file", "passphrase"] {
        {
            let agent = sandbox.start_agent();
            if storage(&sandbox)["available"] == false {
                cli_with_input(&sandbox, &["storage", "unlock"], "correct horse").expect_success();
            }
            let stdout = migrate(&sandbox, to).expect_success();
            assert!(stdout.contains("everything is saved"), "{stdout}");
            assert_eq!(agent.get("/v1/status")["storage"]["key"], to);
            assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
            assert_eq!(
                (names(&sandbox, "records").len(), names(&sandbox, "key").len()),
                (1, 1 + usize::from(to == "file"))
            );
        }
        let agent = sandbox.start_agent();
        if to == "passphrase" {
            cli_with_input(&sandbox, &["storage", "unlock"], "correct horse").expect_success();
        }
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
        assert_eq!(agent.get("/v1/status")["warnings"], serde_json::json!([]));
    }
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}

#[test]
fn what_cannot_be_done_about_the_key_is_refused_and_changes_nothing() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "auto");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let key_record = || std::fs::read(sandbox.state().join("key.json")).unwrap();
    let before = key_record();
    let stderr = migrate(&sandbox, "file").failed_with(2);
    assert!(stderr.contains("already"), "{stderr}");
    migrate(&sandbox, "none").failed_with(2);
    let stderr = migrate(&sandbox, "systemd-credential").failed_with(9);
    assert!(stderr.contains("no credential"), "{stderr}");
    for (body, code) in [
        (r#"{"to":"moon"}"#, 400),
        (r#"{}"#, 400),
        (r#"{"to":"passphrase"}"#, 400),
        (r#"{"to":"passphrase","passphrase":""}"#, 400),
        (r#"{"to":"file","colour":"red"}"#, 400),
    ] {
        let (status, problem) = agent.request("POST", "/v1/storage/migrate", body);
        assert_eq!((status, &problem["code"]), (code, &"invalid_request".into()), "{body}: {problem}");
    }
    assert_eq!((key_record(), names(&sandbox, "records").len()), (before, 1));
    cli_with_input(&sandbox, &["storage", "migrate", "--to", "passphrase"], "correct horse").expect_success();
    agent.kill();
    let agent = sandbox.start_agent();
    let stderr = migrate(&sandbox, "file").failed_with(9);
    assert!(stderr.contains("storage unlock"), "{stderr}");
    drop(agent);

    set_key(&sandbox, "none");
    let sandbox = home(&service, "none");
    let _agent = sandbox.start_agent();
    let stderr = migrate(&sandbox, "file").failed_with(2);
    assert!(stderr.contains("nothing is kept"), "{stderr}");
    assert!(sandbox.cli(&["storage", "status"]).expect_success().contains("memory only"));
}

#[test]
fn a_setting_changed_after_the_decision_changes_nothing_and_is_said() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "file");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    set_key(&sandbox, "passphrase");
    sandbox.cli(&["reload"]).expect_success();
    let said = |text: &str| text.contains("storage migrate --to passphrase") && text.contains("config.toml");
    assert!(said(&sandbox.cli(&["status"]).expect_success()));
    agent.kill();
    let _agent = sandbox.start_agent();
    let text = sandbox.cli(&["status"]).expect_success();
    assert!(said(&text) && text.contains("key in a file"), "{text}");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    migrate(&sandbox, "passphrase").expect_success();
    assert!(!said(&sandbox.cli(&["status"]).expect_success()));
}

#[test]
fn odd_things_in_the_state_directory_are_waited_out_and_nothing_is_lost() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "auto");
    {
        let agent = sandbox.start_agent();
        agent.sign_in(&service);
    }
    let state = sandbox.state();
    let key_record = std::fs::read(state.join("key.json")).unwrap();
    let stray = state.join("records.x");
    std::fs::create_dir(&stray).unwrap();
    std::fs::write(stray.join("tokens-x.sealed"), "what somebody put there").unwrap();
    for odd in ["", "{}", "null", &"[".repeat(100_000)] {
        std::fs::write(state.join("key.json"), odd).unwrap();
        let _agent = sandbox.start_agent();
        let stderr = sandbox.cli(&["credentials", "--profile", "dev"]).failed_with(9);
        assert!(stderr.contains("key.json"), "{stderr}");
        // Put back while the agent runs: it asks again by itself, and at once when told to.
        std::fs::write(state.join("key.json"), &key_record).unwrap();
        sandbox.cli(&["storage", "unlock"]).expect_success();
        assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    }
    let elsewhere = sandbox.root().join("elsewhere");
    std::fs::rename(state.join("records"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, state.join("records")).unwrap();
    let _agent = sandbox.start_agent();
    let stderr = sandbox.cli(&["storage", "unlock"]).failed_with(9);
    assert!(stderr.contains("symbolic link"), "{stderr}");
    sandbox.shim(&["--profile", "dev"]).failed_with(9);
    std::fs::remove_file(state.join("records")).unwrap();
    std::fs::rename(&elsewhere, state.join("records")).unwrap();
    sandbox.cli(&["storage", "unlock"]).expect_success();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(std::fs::read(stray.join("tokens-x.sealed")).unwrap(), b"what somebody put there");
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}
