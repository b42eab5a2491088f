//! A keyring that is open: the usual desktop.

use super::*;
use crate::support::fake::Operation;

#[test]
fn the_key_goes_into_the_keyring_and_nowhere_else() {
    let (service, keyring, sandbox) = with_a_past();
    let record = key_record(&sandbox);
    assert_eq!(record["kind"], "keyring");
    assert!(!stored(&sandbox).contains_key("key"), "a key file beside the keyring would be the weaker lock");
    let items = keyring.items();
    assert_eq!(items.len(), 1);
    let attributes = keyring.attributes(&items[0]);
    assert_eq!((&*attributes["service"], Some(&*attributes["username"])), ("sso-agent", record["key_id"].as_str()));

    let agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody signs in again");
    let storage = &agent.get("/v1/status")["storage"];
    assert_eq!((&storage["key"], &storage["available"]), (&"keyring".into(), &true.into()));
    assert_eq!(key_record(&sandbox), record);
    assert_eq!(keyring.items(), items);
    for command in [&["status"][..], &["storage", "status"]] {
        assert!(sandbox.cli(command).expect_success().contains("in the login keyring"));
    }
    let (_, key) = keyring.take_item();
    assert!(!sandbox.log().contains(&key), "the log holds the key");
}

#[test]
fn an_agent_that_has_its_key_leaves_nothing_running_for_it() {
    let threads = |agent: &Agent<'_>| {
        // Whoever answers has started whatever it starts.
        agent.get("/v1/health");
        let all = std::fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
        let names = all.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
        // The runtime's own come and go with what is read.
        names.filter(|name| !name.starts_with("tokio")).count()
    };
    let (service, _keyring, sandbox) = with_a_past();
    let with_file = home(&service, "autolaunch:");
    let usual = threads(&with_file.start_agent());
    let agent = sandbox.start_agent();
    assert!((0..100).any(|_| threads(&agent) == usual), "{} threads, usual are {usual}", threads(&agent));
}

#[test]
fn a_keyring_that_is_locked_while_the_agent_runs_costs_nothing() {
    let (service, keyring, sandbox) = with_a_past();
    let agent = sandbox.start_agent();
    keyring.lock();
    sign_in(&agent, &service, "s1");
    assert_eq!(wait_until_saved(&agent)["storage"]["key"], "keyring");
    keyring.unlock();
    assert_both_survive(&sandbox, agent);
}

#[test]
fn where_there_is_no_keyring_at_first_the_choice_of_a_file_stays() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut keyring = Keyring::absent();
    let sandbox = home(&service, &keyring.address());
    let agent = sandbox.start_agent();
    sign_in(&agent, &service, "s0");
    assert_eq!(agent.get("/v1/status")["storage"]["key"], "file");
    agent.kill();
    keyring.restart(true);
    let agent = sandbox.start_agent();
    assert_eq!(agent.get("/v1/status")["storage"]["key"], "file");
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    assert_eq!(keyring.items().len(), 0);
}

#[test]
fn a_keyring_without_a_collection_is_none() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let keyring = Keyring::without_collection();
    let sandbox = home(&service, &keyring.address());
    let agent = sandbox.start_agent();
    sign_in(&agent, &service, "s0");
    assert_eq!(agent.get("/v1/status")["storage"]["key"], "file");
    assert_eq!(keyring.is_locked(), None, "nothing was made in it");
}

#[test]
fn the_key_moves_into_the_keyring_and_out_of_it() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let keyring = Keyring::unlocked();
    let sandbox = home(&service, &keyring.address());
    sandbox.write("home/.config/sso-agent/config.toml", "[storage]\nkey = \"file\"\n");
    let agent = sandbox.start_agent();
    sign_in(&agent, &service, "s0");
    assert_eq!(keyring.items().len(), 0);
    sandbox.cli(&["storage", "migrate", "--to", "keyring"]).expect_success();
    assert_eq!(keyring.items().len(), 1);
    assert!(!stored(&sandbox).contains_key("key"), "the old key is removed");
    agent.kill();
    let agent = sandbox.start_agent();
    assert_eq!(agent.get("/v1/status")["storage"]["key"], "keyring");
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    sandbox.cli(&["storage", "migrate", "--to", "file"]).expect_success();
    assert_eq!(keyring.items().len(), 0);
    agent.kill();
    let agent = sandbox.start_agent();
    assert_eq!(agent.get("/v1/status")["storage"]["key"], "file");
    assert_eq!(sandbox.shim(&["--profile", "p0"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1);
}
