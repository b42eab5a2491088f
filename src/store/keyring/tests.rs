//! The keyring's own answers, with the real gnome-keyring on a bus of the test's own.
//!
//! libdbus takes the bus from the process's environment, so what is asked is asked in a process of its own.

use std::process::{Child, Command};
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::asking::DEADLINE;
use super::super::key::{KeyBytes, KeyId};
use super::super::sandbox::Sandbox;
use super::harness::{self, Wedge};
use super::trickster::{self, Trick};
use super::*;
use crate::panics;

/// What a child prints before what it was told.
const SAYS: &str = "the keyring says: ";
const ID: &str = "00112233445566778899aabbccddeeff";

fn id() -> KeyId {
    ID.parse().unwrap()
}

/// In the child: asks, and says what came. In the test run itself it is not there.
#[test]
fn in_a_process_of_its_own_the_keyring_is_asked() {
    let Some(question) = told() else { return };
    let (verb, prompting) = question.split_once(' ').unwrap();
    let prompting = if prompting == "prompting" { Prompting::Allowed } else { Prompting::Forbidden };
    let mut keyring = Keyring::new(&Env::of_process(), prompting);
    let said = match verb {
        "read" => keyring.read(&id()).map(|answer| match answer {
            Answer::Found(key) => format!("found {}", *key.to_text()),
            Answer::Absent => "absent".to_owned(),
            Answer::NotYet { remedy } => format!("not yet: {remedy}"),
            Answer::Nowhere { why } => format!("nowhere: {why}"),
        }),
        "remove" => keyring.remove(&id()).map(|()| "removed".to_owned()),
        "survive" => survive(keyring),
        text => keyring.create(&id(), &KeyBytes::from_text(text.as_bytes()).unwrap()).map(|()| "kept".to_owned()),
    };
    let said = said.unwrap_or_else(|error| format!("{error}; {}", error.hint()));
    println!("{SAYS}{said}");
}

/// What becomes of a thread that asks as the agent asks.
#[expect(clippy::disallowed_methods, reason = "at its end the test harness would wait for that thread's panic hook")]
fn survive(mut keyring: Keyring) -> ! {
    panics::tell_only_where("sso-agent");
    let (lives, ended) = std::sync::mpsc::channel::<()>();
    panics::spawn_expendable(move || {
        let _lives = lives;
        let _ = keyring.read(&id());
    });
    println!("{SAYS}{:?}", ended.recv_timeout(DEADLINE).unwrap_err());
    std::process::exit(0)
}

#[test]
fn what_is_kept_is_found_again_and_removed_and_then_absent() {
    let keyring = harness::Keyring::unlocked();
    assert_eq!(ask(&keyring, "read quietly"), "absent");
    let key = KeyBytes::random().unwrap().to_text();
    assert_eq!(ask(&keyring, &format!("{} quietly", *key)), "kept");
    assert_eq!(ask(&keyring, "read quietly"), format!("found {}", *key));
    let items = keyring.items();
    assert_eq!(items.len(), 1);
    let attributes = keyring.attributes(&items[0]);
    assert_eq!((&*attributes["service"], &*attributes["username"]), ("sso-agent", ID));
    assert_eq!(ask(&keyring, "remove quietly"), "removed");
    assert_eq!(ask(&keyring, "read quietly"), "absent");
    assert_eq!(ask(&keyring, "remove quietly"), "removed", "none there is no error");
}

#[test]
fn a_key_is_never_replaced() {
    let keyring = harness::Keyring::unlocked();
    let key = KeyBytes::random().unwrap().to_text();
    keyring.put(ID, &key);
    let other = KeyBytes::random().unwrap().to_text();
    let said = ask(&keyring, &format!("{} quietly", *other));
    assert!(said.starts_with("the keyring failed: it holds a key of this name already; "), "{said}");
    assert_eq!(ask(&keyring, "read quietly"), format!("found {}", *key));
    assert_eq!(keyring.items().len(), 1);
}

#[test]
fn an_item_that_holds_no_key_is_damaged_and_not_absent() {
    let keyring = harness::Keyring::unlocked();
    keyring.put(ID, "no key");
    let said = ask(&keyring, "read quietly");
    assert!(said.starts_with("the keyring failed: its item of sso-agent is damaged; put the key back"), "{said}");
    let key = KeyBytes::random().unwrap().to_text();
    assert!(ask(&keyring, &format!("{} quietly", *key)).starts_with("the keyring failed: "));
    assert_eq!(keyring.items().len(), 1);
}

#[test]
fn a_locked_keyring_is_not_empty_and_nobody_is_asked_where_prompting_is_forbidden() {
    for holds_one in [false, true] {
        let mut keyring = harness::Keyring::unlocked();
        let key = KeyBytes::random().unwrap().to_text();
        if holds_one {
            keyring.put(ID, &key);
        }
        keyring.show();
        keyring.restart(false);
        for question in ["read quietly", "remove quietly", &format!("{} quietly", *key)] {
            let said = ask(&keyring, question);
            assert!(said.contains("unlock the login keyring") && said.contains("sso-agent storage unlock"), "{said}");
        }
        assert!(!keyring.has_prompter());
        keyring.unlock();
        let expected = if holds_one { format!("found {}", *key) } else { "absent".to_owned() };
        assert_eq!(ask(&keyring, "read quietly"), expected);
        keyring.lock();
        assert!(ask(&keyring, "read quietly").starts_with("not yet: "));
    }
}

#[test]
fn a_prompt_that_cannot_be_shown_is_no_answer() {
    let keyring = harness::Keyring::locked();
    assert!(ask(&keyring, "read prompting").starts_with("not yet: unlock the login keyring"));
}

#[test]
fn a_prompt_waits_for_the_user_and_a_dismissed_one_is_no_answer() {
    let mut keyring = harness::Keyring::locked();
    keyring.show();
    let asking = spawn(&keyring.address(), "read prompting");
    keyring.wait_for_prompt();
    keyring.dismiss_prompt();
    assert!(answer(asking).starts_with("not yet: unlock the login keyring"));
}

#[test]
fn a_prompt_that_is_answered_opens_the_keyring() {
    let bus = harness::Keyring::absent();
    let _trickster = trickster::start(&bus.address(), Trick::OpensWhenAsked);
    assert!(ask(&bus, "read quietly").starts_with("not yet: unlock the login keyring"));
    assert_eq!(ask(&bus, "read prompting"), "absent");
}

#[test]
fn a_keyring_with_an_empty_password_opens_itself_where_it_may_prompt() {
    let keyring = harness::Keyring::locked_without_a_password();
    assert!(ask(&keyring, "read quietly").starts_with("not yet: "));
    assert_eq!(ask(&keyring, "read prompting"), "absent");
    assert_eq!(keyring.is_locked(), Some(false));
}

#[test]
fn a_keyring_that_leaves_the_bus_between_two_answers_is_not_absent_and_not_nowhere() {
    let bus = harness::Keyring::absent();
    let trickster = trickster::start(&bus.address(), Trick::Leaves);
    assert!(ask(&bus, "read quietly").starts_with("not yet: see why the keyring does not answer ("));
    trickster.join().unwrap();
}

#[test]
fn a_keyring_that_takes_a_key_and_keeps_none_is_found_out() {
    let bus = harness::Keyring::absent();
    let _trickster = trickster::start(&bus.address(), Trick::KeepsNothing);
    let key = KeyBytes::random().unwrap().to_text();
    let said = ask(&bus, &format!("{} quietly", *key));
    assert!(said.starts_with("the keyring failed: it took the key and did not keep it; "), "{said}");
}

#[test]
fn a_keyring_that_makes_the_library_panic_ends_nothing() {
    let bus = harness::Keyring::absent();
    let _trickster = trickster::start(&bus.address(), Trick::Garbles);
    let mut child = child_of("survive quietly");
    let child = child.env("DBUS_SESSION_BUS_ADDRESS", bus.address()).stderr(std::process::Stdio::piped());
    let output = child.spawn().unwrap().wait_with_output().unwrap();
    let [said, log] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(said.contains(&format!("{SAYS}Timeout\n")), "{said}{log}");
    assert!(log.contains("internal error at "), "if the library does not panic any more, this is not needed: {log}");
}

#[test]
fn a_copy_in_another_collection_counts_as_far_as_it_is_open() {
    let keyring = harness::Keyring::unlocked();
    let key = KeyBytes::random().unwrap().to_text();
    keyring.put(ID, &key);
    keyring.put_into(SESSION, ID, &key);
    assert_eq!(ask(&keyring, "read quietly"), format!("found {}", *key));
    keyring.lock();
    assert_eq!(ask(&keyring, "read quietly"), format!("found {}", *key), "without opening the other one");
    assert!(ask(&keyring, "remove quietly").contains("unlock the login keyring"), "one is left");
    keyring.unlock();
    assert_eq!(ask(&keyring, "read quietly"), format!("found {}", *key));
    keyring.put_into(SESSION, ID, &KeyBytes::random().unwrap().to_text());
    assert!(ask(&keyring, "read quietly").contains("different keys"));
    assert_eq!(ask(&keyring, "remove quietly"), "removed");
    assert_eq!(keyring.items().len(), 0);
}

#[test]
fn a_keyring_that_hangs_is_no_answer() {
    let keyring = harness::Keyring::unlocked();
    keyring.freeze();
    assert!(ask(&keyring, "read quietly").starts_with("not yet: see why the keyring does not answer ("));
    keyring.thaw();
    assert_eq!(ask(&keyring, "read quietly"), "absent");
}

#[test]
fn a_prompt_nobody_answers_ends_when_the_keyring_is_opened_elsewhere() {
    let mut keyring = harness::Keyring::locked();
    keyring.show();
    let asking = spawn(&keyring.address(), "read prompting");
    keyring.wait_for_prompt();
    keyring.unlock();
    assert_eq!(answer(asking), "absent");
    assert_eq!(keyring.is_locked(), Some(false), "the keyring survived that its prompt was left alone");
}

#[test]
fn whoever_is_killed_during_its_prompt_leaves_the_keyring_alive() {
    let mut keyring = harness::Keyring::locked();
    keyring.show();
    let mut asking = spawn(&keyring.address(), "read prompting");
    keyring.wait_for_prompt();
    asking.kill().unwrap();
    asking.wait().unwrap();
    assert_eq!(keyring.is_locked(), Some(true));
    keyring.unlock();
    assert_eq!(ask(&keyring, "read quietly"), "absent");
}

#[test]
fn a_keyring_that_ends_during_its_prompt_is_no_answer_and_ends_nobody_else() {
    let mut keyring = harness::Keyring::locked();
    keyring.show();
    let asking = spawn(&keyring.address(), "read prompting");
    keyring.wait_for_prompt();
    keyring.kill();
    assert!(answer(asking).starts_with("not yet: "));
    let mut keyring = harness::Keyring::locked();
    keyring.show();
    let asking = spawn(&keyring.address(), "read prompting");
    keyring.wait_for_prompt();
    drop(keyring);
    assert!(answer(asking).starts_with("not yet: "), "libdbus would end the process with its bus if it were let");
}

#[test]
fn no_bus_no_program_and_no_collection_are_nowhere() {
    let keyring = harness::Keyring::absent();
    assert_eq!(
        ask(&keyring, "read quietly"),
        "nowhere: no program on the session bus offers a keyring (Secret Service)"
    );
    let keyring = harness::Keyring::without_collection();
    assert_eq!(ask(&keyring, "read prompting"), "nowhere: the keyring has no default collection");
    let address = keyring.address();
    drop(keyring);
    assert_eq!(
        answer(spawn(&address, "read prompting")),
        "nowhere: the session bus (D-Bus) that the environment names does not exist"
    );
    for address in ["", "autolaunch:", "autolaunch:scope=install-path"] {
        assert_eq!(
            answer(spawn(address, "read prompting")),
            "nowhere: there is no session bus (D-Bus), and so no keyring"
        );
    }
}

#[test]
fn a_bus_that_refuses_connections_is_no_answer() {
    let sandbox = Sandbox::new();
    let path = sandbox.path().join("bus");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let said = answer(spawn(&format!("unix:path={}", path.display()), "read quietly"));
    assert!(said.starts_with("not yet: see why the keyring does not answer ("), "{said}");
}

#[test]
fn a_bus_in_the_runtime_directory_needs_no_variable() {
    let keyring = harness::Keyring::unlocked();
    let mut child = child_of("read quietly");
    let bus = keyring.address();
    let runtime_dir = bus.strip_prefix("unix:path=").and_then(|bus| bus.strip_suffix("/bus")).unwrap();
    child.env("XDG_RUNTIME_DIR", runtime_dir);
    assert_eq!(answer(child.spawn().unwrap()), "absent");
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path().join("bus"), "no socket").unwrap();
    let mut child = child_of("read quietly");
    child.env("XDG_RUNTIME_DIR", sandbox.path());
    assert_eq!(answer(child.spawn().unwrap()), "nowhere: there is no session bus (D-Bus), and so no keyring");
}

#[test]
fn a_bus_that_never_answers_blocks_only_who_asks() {
    let wedge = Wedge::new();
    let mut asking = spawn(&wedge.address(), "read quietly");
    wedge.wait_for_victim();
    assert_eq!(asking.try_wait().unwrap(), None);
    asking.kill().unwrap();
    asking.wait().unwrap();
}

#[test]
fn copies_of_one_key_are_one_and_different_keys_are_none() {
    let [key, other] = [(); 2].map(|()| KeyBytes::random().unwrap());
    let texts = |keys: &[&KeyBytes]| -> Vec<Zeroizing<Vec<u8>>> {
        keys.iter().map(|key| Zeroizing::new(key.to_text().as_bytes().to_vec())).collect()
    };
    assert!(key_in(&[]).unwrap().is_none());
    assert_eq!(*key_in(&texts(&[&key, &key])).unwrap().unwrap().to_text(), *key.to_text());
    let error = key_in(&texts(&[&key, &other])).unwrap_err();
    assert!(error.to_string().contains("different keys"));
}

fn ask(keyring: &harness::Keyring, question: &str) -> String {
    answer(spawn(&keyring.address(), question))
}

fn spawn(address: &str, question: &str) -> Child {
    child_of(question).env("DBUS_SESSION_BUS_ADDRESS", address).spawn().unwrap()
}

fn child_of(question: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "store::keyring::tests::in_a_process_of_its_own_the_keyring_is_asked", "--nocapture"])
        .env_clear()
        .env(TOLD, question)
        .stdout(std::process::Stdio::piped());
    command
}

fn answer(child: Child) -> String {
    // Whoever hangs is killed, so that a test fails instead of standing still.
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    watchdog.join().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let said = output.split_once(SAYS).unwrap_or_else(|| panic!("it ended without a word: {output}")).1;
    said.lines().next().unwrap().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "only a test binary that was started by itself has this variable")]
fn told() -> Option<String> {
    std::env::var(TOLD).ok()
}

const PATIENCE: Duration = Duration::from_secs(100);
/// The collection that is always open and lives in memory.
const SESSION: &str = "/org/freedesktop/secrets/collection/session";
const TOLD: &str = "SSO_AGENT_TEST_KEYRING_QUESTION";
