//! A keyring that is locked, with and without a display to ask for its password on.

use super::*;
use crate::support::fake::Operation;

const UNLOCK: &str = "unlock the login keyring";

#[test]
fn locked_without_a_display_it_waits_and_loses_nothing() {
    let (service, mut keyring, sandbox) = with_a_past();
    keyring.restart(false);
    let (before, items) = (stored(&sandbox), keyring.items());
    let agent = sandbox.start_agent();
    assert_sealed(&sandbox, &agent, UNLOCK);
    assert_memory_only(&sandbox, &agent, &service);
    assert_eq!(stored(&sandbox), before, "records and key stay as they are");

    keyring.unlock();
    wait_until_saved(&agent);
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    assert_eq!(stored(&sandbox)["key.json"], before["key.json"]);
    assert_eq!(keyring.items(), items);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 2);
    assert_both_survive(&sandbox, agent);
}

#[test]
fn locked_with_a_display_a_prompt_that_nobody_answers_holds_up_nothing() {
    let (service, mut keyring, sandbox) = with_a_past();
    keyring.show();
    keyring.restart(false);
    let (before, items) = (stored(&sandbox), keyring.items());
    let agent = sandbox.start_agent();
    keyring.wait_for_prompt();
    let storage = &agent.get("/v1/status")["storage"];
    assert_eq!((&storage["key"], &storage["available"]), (&"keyring".into(), &false.into()), "{storage}");
    let (status, problem) = agent.request("GET", "/v1/token?session=s0", "");
    assert_eq!((status, &problem["code"]), (507, &"storage".into()), "{problem}");
    assert_memory_only(&sandbox, &agent, &service);
    assert_eq!(stored(&sandbox), before);
    assert!(keyring.has_prompter(), "the prompt is still there");

    // Elsewhere, as a screen saver does.
    keyring.unlock();
    wait_until_saved(&agent);
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    assert_eq!(stored(&sandbox)["key.json"], before["key.json"]);
    assert_eq!(keyring.items(), items);
    assert_both_survive(&sandbox, agent);
}

#[test]
fn locked_with_a_display_the_user_types_the_password_and_everything_is_back() {
    let (service, mut keyring, sandbox) = with_a_past();
    keyring.show();
    keyring.restart(false);
    let (before, items) = (stored(&sandbox), keyring.items());
    let agent = sandbox.start_agent();
    keyring.wait_for_prompt();
    assert_memory_only(&sandbox, &agent, &service);
    keyring.type_password();
    wait_until_saved(&agent);
    assert_eq!(keyring.is_locked(), Some(false));
    assert_eq!(stored(&sandbox)["key.json"], before["key.json"]);
    assert_eq!(keyring.items(), items);
    assert_both_survive(&sandbox, agent);
}

#[test]
fn a_keyring_with_an_empty_password_is_opened_at_the_start() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let keyring = Keyring::locked_without_a_password();
    let sandbox = home(&service, &keyring.address());
    let agent = sandbox.start_agent();
    sign_in(&agent, &service, "s0");
    let storage = &agent.get("/v1/status")["storage"];
    assert_eq!((&storage["key"], &storage["available"]), (&"keyring".into(), &true.into()), "{storage}");
}

#[test]
fn an_agent_can_be_stopped_while_a_prompt_is_open() {
    let (_service, mut keyring, sandbox) = with_a_past();
    keyring.show();
    keyring.restart(false);
    let before = stored(&sandbox);
    let agent = sandbox.start_agent();
    keyring.wait_for_prompt();
    assert!(agent.stop().success());
    assert_eq!(stored(&sandbox), before);
    assert_eq!(keyring.is_locked(), Some(true), "and the keyring lives");
}

#[test]
fn a_dismissed_prompt_is_not_shown_again_until_a_person_asks() {
    let (_service, mut keyring, sandbox) = with_a_past();
    keyring.show();
    keyring.restart(false);
    let agent = sandbox.start_agent();
    keyring.wait_for_prompt();
    keyring.dismiss_prompt();
    agent.wait_for_status("refused", |status| {
        status["storage"]["hint"].as_str().is_some_and(|hint| hint.contains(UNLOCK))
    });
    assert_sealed(&sandbox, &agent, UNLOCK);
    // It is asked again by itself, silently.
    for _ in 0..2 {
        keyring.wait_for_visitor();
        assert!(!keyring.has_prompter(), "nobody is there to be asked");
    }
    std::thread::scope(|scope| {
        let unlocking = scope.spawn(|| agent.request("POST", "/v1/storage/unlock", "{}"));
        keyring.wait_for_prompt();
        keyring.unlock();
        // "Not yet" is true as well, where this machine took its time to show the prompt.
        let (status, body) = unlocking.join().unwrap();
        assert!(status == 200 && body["available"] == true || body["code"] == "storage", "{body}");
    });
    wait_until_saved(&agent);
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
}

#[test]
fn locked_at_the_very_first_start_no_weaker_key_is_made() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let keyring = Keyring::locked();
    let sandbox = home(&service, &keyring.address());
    let agent = sandbox.start_agent();
    assert_memory_only(&sandbox, &agent, &service);
    let files: Vec<String> = stored(&sandbox).into_keys().collect();
    assert!(files.iter().all(|file| file != "key" && file != "key.json"), "{files:?}");

    keyring.unlock();
    wait_until_saved(&agent);
    assert_eq!(key_record(&sandbox)["kind"], "keyring");
    assert_eq!(keyring.items().len(), 1);
    assert!(!stored(&sandbox).contains_key("key"));
    agent.kill();
    let _agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "p1"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}
