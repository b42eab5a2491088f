//! A keyring that ends, hangs, or has lost the key.

use super::*;
use crate::support::fake::Operation;
use crate::support::keyring::Wedge;

#[test]
fn a_keyring_killed_while_the_agent_runs_costs_nothing() {
    let (service, mut keyring, sandbox) = with_a_past();
    let agent = sandbox.start_agent();
    keyring.kill();
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    sign_in(&agent, &service, "s1");
    let storage = &wait_until_saved(&agent)["storage"];
    assert_eq!(storage["key"], "keyring", "{storage}");
    keyring.restart(true);
    assert_both_survive(&sandbox, agent);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 2);
}

#[test]
fn a_keyring_that_is_away_at_the_start_is_awaited_and_not_replaced() {
    let (service, mut keyring, sandbox) = with_a_past();
    keyring.kill();
    let before = stored(&sandbox);
    let agent = sandbox.start_agent();
    assert_sealed(&sandbox, &agent, "start it");
    assert_memory_only(&sandbox, &agent, &service);
    assert_eq!(stored(&sandbox), before, "no key file, no other record");
    keyring.restart(true);
    wait_until_saved(&agent);
    assert_eq!(stored(&sandbox)["key.json"], before["key.json"]);
    assert_eq!(keyring.items().len(), 1);
    assert_both_survive(&sandbox, agent);
}

#[test]
fn a_keyring_that_hangs_at_the_start_is_awaited_and_not_replaced() {
    let (service, keyring, sandbox) = with_a_past();
    keyring.freeze();
    let before = stored(&sandbox);
    let agent = sandbox.start_agent();
    let storage = &agent.get("/v1/status")["storage"];
    assert_eq!((&storage["key"], &storage["available"]), (&"keyring".into(), &false.into()), "{storage}");
    assert_memory_only(&sandbox, &agent, &service);
    assert_eq!(stored(&sandbox), before);
    keyring.thaw();
    wait_until_saved(&agent);
    assert_eq!(stored(&sandbox)["key.json"], before["key.json"]);
    assert_eq!(keyring.items().len(), 1);
    assert_both_survive(&sandbox, agent);
}

#[test]
fn a_bus_that_never_answers_hangs_neither_start_nor_stop() {
    let (service, _keyring, mut sandbox) = with_a_past();
    let wedge = Wedge::new();
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", &wedge.address());
    let before = stored(&sandbox);
    let agent = sandbox.start_agent();
    wedge.wait_for_victim();
    assert_sealed(&sandbox, &agent, "answer its prompt");
    assert!(agent.stop().success());
    // With something in memory that cannot be saved it ends as well, and says so.
    let agent = sandbox.start_agent();
    assert_memory_only(&sandbox, &agent, &service);
    assert_eq!(agent.stop().code(), Some(9));
    assert_eq!(stored(&sandbox), before);
}

#[test]
fn at_the_very_first_start_a_bus_that_never_answers_decides_nothing() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let wedge = Wedge::new();
    let sandbox = home(&service, &wedge.address());
    let agent = sandbox.start_agent();
    assert_memory_only(&sandbox, &agent, &service);
    let files: Vec<String> = stored(&sandbox).into_keys().collect();
    assert!(files.iter().all(|file| file != "key" && file != "key.json"), "{files:?}");
}

#[test]
fn a_deleted_key_is_not_made_again_and_works_when_it_is_put_back() {
    let (service, keyring, sandbox) = with_a_past();
    let before = stored(&sandbox);
    let (account, content) = keyring.take_item();
    let agent = sandbox.start_agent();
    let storage = &agent.get("/v1/status")["storage"];
    assert_eq!((&storage["key"], &storage["available"]), (&"keyring".into(), &false.into()), "{storage}");
    assert!(storage["message"].as_str().unwrap().contains("missing"), "{storage}");
    let (status, problem) = agent.request("GET", "/v1/token?session=s0", "");
    assert_eq!((status, &problem["code"]), (507, &"storage".into()), "{problem}");
    assert_memory_only(&sandbox, &agent, &service);
    assert_eq!(stored(&sandbox), before);
    assert_eq!(keyring.items().len(), 0, "no second key");

    keyring.put(&account, &content);
    wait_until_saved(&agent);
    assert_eq!(stored(&sandbox)["key.json"], before["key.json"]);
    assert_eq!(keyring.items().len(), 1);
    assert_both_survive(&sandbox, agent);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 2);
}

#[test]
fn another_key_in_its_place_opens_nothing_and_damages_nothing() {
    let (_service, keyring, sandbox) = with_a_past();
    let before = stored(&sandbox);
    let (account, content) = keyring.take_item();
    for wrong in ["no key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        keyring.put(&account, wrong);
        let agent = sandbox.start_agent();
        let (status, problem) = agent.request("GET", "/v1/token?session=s0", "");
        assert_eq!((status, &problem["code"]), (507, &"storage".into()), "{problem}");
        let storage = &agent.get("/v1/status")["storage"];
        assert_eq!((&storage["key"], &storage["available"]), (&"keyring".into(), &false.into()), "{storage}");
        assert_eq!(stored(&sandbox), before, "nothing is set aside");
        assert!(agent.stop().success());
        assert_eq!(keyring.take_item(), (account.clone(), wrong.to_owned()));
    }
    keyring.put(&account, &content);
    let _agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
}
