//! A key that is kept nowhere: typed after every start.

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};

use super::{begin_with_input, cli_with_input, home, names, storage};

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use crate::support::sandbox::Finished;
use crate::support::terminal::Terminal;

const UNLOCK: [&str; 2] = ["storage", "unlock"];

#[test]
fn a_passphrase_is_chosen_once_and_typed_after_every_start() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "passphrase");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    // Nobody has chosen one: everything works, in memory.
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    let status = agent.get("/v1/status");
    assert_eq!((&status["storage"]["saved"], &status["storage"]["available"]), (&false.into(), &false.into()));
    let text = sandbox.cli(&["status"]).expect_success();
    assert!(text.contains("NOT everything is saved") && text.contains("sso-agent storage unlock"), "{text}");
    assert_eq!((storage(&sandbox)["decided"].clone(), names(&sandbox, "key.json").len()), (false.into(), 0));

    let endless = "x".repeat(5000);
    for (input, part) in
        [("\n", "no passphrase"), ("", "no passphrase"), ("1234567\n", "fewer than 8"), (&*endless, "too long")]
    {
        let stderr = cli_with_input(&sandbox, &UNLOCK, input).failed_with(2);
        assert!(stderr.contains(part), "{stderr}");
    }
    assert_eq!(names(&sandbox, "key").len(), 0);
    cli_with_input(&sandbox, &UNLOCK, "correct horse\r\nwhat follows is not read").expect_success();
    let status = agent.wait_for_status("saved", |status| status["storage"]["saved"] == true);
    assert_eq!(status["storage"]["key"], "passphrase");
    assert!(cli_with_input(&sandbox, &UNLOCK, "").stderr.contains("available already"));
    assert_eq!(names(&sandbox, "key"), ["key.json"], "the key is kept nowhere");
    agent.kill();

    let agent = sandbox.start_agent();
    for (line, code) in [
        (&["credentials", "--profile", "dev"][..], 9),
        (&["token"], 9),
        (&["accounts"], 9),
        (&["status", "--check"], 9),
        (&["status"], 0),
    ] {
        let Finished { code: found, stdout, stderr } = sandbox.cli(line);
        assert_eq!(found, Some(code), "{line:?}: {stderr}");
        let said = line.contains(&"--check") || (stdout + &stderr).contains("sso-agent storage unlock");
        assert!(said, "{line:?}");
    }
    let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(9);
    assert!(stderr.contains("storage unlock"), "{stderr}");
    let stderr = cli_with_input(&sandbox, &UNLOCK, "battery staple\n").failed_with(9);
    assert!(stderr.contains("not the passphrase") && !stderr.contains("battery"), "{stderr}");
    sandbox.shim(&["--profile", "dev"]).failed_with(9);
    cli_with_input(&sandbox, &UNLOCK, "correct horse").expect_success();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(agent.get("/v1/status")["sessions"][0]["state"], "signed_in");
    assert_eq!(service.count(Operation::StartDeviceAuthorization), 1, "nobody had to sign in again");
    assert!(agent.stop().success());
    let (files, holding) = files_with(sandbox.root(), &["correct horse", "battery staple"]);
    assert!(files > 5 && sandbox.log().contains("DEBUG"), "{files} files were looked at, the log among them");
    assert!(holding.is_empty(), "{holding:?}");
}

/// How many files there are below a directory, and those that hold one of these texts.
fn files_with(directory: &Path, texts: &[&str]) -> (usize, Vec<PathBuf>) {
    let (mut files, mut holding) = (0, Vec::new());
    for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            let (more, found) = files_with(&path, texts);
            files += more;
            holding.extend(found);
        } else if let Ok(content) = std::fs::read(&path) {
            files += 1;
            let content = String::from_utf8_lossy(&content);
            if texts.iter().any(|text| content.contains(text)) {
                holding.push(path);
            }
        }
    }
    (files, holding)
}

#[test]
fn a_sign_in_made_while_the_key_is_away_is_saved_when_it_comes() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "passphrase");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    cli_with_input(&sandbox, &UNLOCK, "correct horse").expect_success();
    agent.wait_for_status("saved", |status| status["storage"]["saved"] == true);
    agent.kill();
    let agent = sandbox.start_agent();
    let (status, body) = agent.request("POST", "/v1/sessions/corp/login", r#"{"flow":"device","force":true}"#);
    assert_eq!(status, 202, "{body}");
    assert!(service.approve(body["user_code"].as_str().unwrap()));
    agent.get("/v1/sessions/corp/login?wait=30");
    let before = agent.get("/v1/token?session=corp")["access_token"].clone();
    cli_with_input(&sandbox, &UNLOCK, "correct horse").expect_success();
    agent.wait_for_status("saved", |status| status["storage"]["saved"] == true);
    assert_eq!(agent.get("/v1/token?session=corp")["access_token"], before, "what is in memory is newer");
    agent.kill();
    let agent = sandbox.start_agent();
    cli_with_input(&sandbox, &UNLOCK, "correct horse").expect_success();
    assert_eq!(agent.get("/v1/token?session=corp")["access_token"], before);
}

#[test]
fn two_who_unlock_at_once_are_both_told_that_it_is_done() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "passphrase");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    cli_with_input(&sandbox, &UNLOCK, "correct horse").expect_success();
    agent.wait_for_status("saved", |status| status["storage"]["saved"] == true);
    agent.kill();
    let _agent = sandbox.start_agent();
    let both = [(), ()].map(|()| begin_with_input(&sandbox, &UNLOCK, "correct horse\n"));
    for child in both {
        Finished::from(child.wait_with_output().unwrap()).expect_success();
    }
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
}

#[test]
fn a_passphrase_is_exchanged_for_another_one() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "auto");
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let migrate = ["storage", "migrate", "--to", "passphrase"];
    for passphrase in ["correct horse", "battery staple"] {
        cli_with_input(&sandbox, &migrate, passphrase).expect_success();
    }
    agent.kill();
    let _agent = sandbox.start_agent();
    cli_with_input(&sandbox, &UNLOCK, "correct horse").failed_with(9);
    cli_with_input(&sandbox, &UNLOCK, "battery staple").expect_success();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
}

#[test]
fn at_a_terminal_nothing_typed_is_shown_and_the_terminal_is_left_as_it_was() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "passphrase");
    let _agent = sandbox.start_agent();
    let mut terminal = Terminal::run(&sandbox, &UNLOCK);
    terminal.wait_for("New passphrase: ");
    assert!(!terminal.echoes());
    terminal.master.write_all("großes pferd\n".as_bytes()).unwrap();
    terminal.wait_for("The same again: ");
    terminal.master.write_all("großes pferd\n".as_bytes()).unwrap();
    let shown = terminal.wait_for("passphrase: kept nowhere");
    assert!(!shown.contains("pferd"), "{shown}");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    assert!(terminal.echoes());
    assert_eq!(storage(&sandbox)["available"], true);
}

#[test]
fn what_ends_the_question_leaves_the_terminal_as_it_was() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = home(&service, "passphrase");
    let agent = sandbox.start_agent();
    // Ctrl-C, Ctrl-\, the end of the input.
    for key in [b"\x03", b"\x1c", b"\x04"] {
        let mut terminal = Terminal::run(&sandbox, &UNLOCK);
        terminal.wait_for("New passphrase: ");
        terminal.master.write_all(key).unwrap();
        assert_ne!(terminal.child.wait().unwrap().code(), Some(0));
        assert!(terminal.echoes(), "{key:?}");
    }
    let mut terminal = Terminal::run(&sandbox, &UNLOCK);
    terminal.wait_for("New passphrase: ");
    terminal.master.write_all(b"correct horse\n").unwrap();
    terminal.wait_for("The same again: ");
    terminal.master.write_all(b"\x03").unwrap();
    assert_eq!(terminal.child.wait().unwrap().signal(), Some(2));
    assert!(terminal.echoes(), "at the second question");
    assert_eq!(storage(&sandbox)["decided"], false);
    // After the question a signal means what it ever meant, also while the agent is slow.
    let mut terminal = Terminal::run(&sandbox, &UNLOCK);
    for prompt in ["New passphrase: ", "The same again: "] {
        terminal.wait_for(prompt);
        agent.signal(rustix::process::Signal::STOP);
        terminal.master.write_all(b"correct horse\n").unwrap();
    }
    terminal.wait_for("\n");
    terminal.master.write_all(b"\x03").unwrap();
    let status = terminal.child.wait().unwrap();
    assert_eq!(status.signal(), Some(2), "{status}");
    assert!(terminal.echoes());
    agent.signal(rustix::process::Signal::CONT);
}
