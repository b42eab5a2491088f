//! Every way in which people, editors and programs that manage dotfiles put something new into a file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;

use super::{readings, wait_for_session, with_session};
use crate::support::sandbox::{CORP, Sandbox};

/// Makes a link lead elsewhere in one step.
fn swap(link: &Path, target: impl AsRef<Path>) {
    let new = link.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(&new, link).unwrap();
}

#[test]
fn every_way_to_edit_a_file_is_noticed() {
    let sandbox = Sandbox::with_session("http://127.0.0.1:9");
    let agent = sandbox.start_agent();
    let aws = sandbox.home().join(".aws");
    let config = aws.join("config");

    sandbox.write_config(&with_session("in-place"));
    wait_for_session(&agent, "in-place");

    let beside = sandbox.write("home/.aws/.config.swp", &with_session("renamed-over"));
    fs::rename(&beside, &config).unwrap();
    wait_for_session(&agent, "renamed-over");

    fs::remove_file(&config).unwrap();
    agent.wait_for_status("nothing is configured", |status| status["sessions"].as_array().unwrap().is_empty());
    sandbox.write_config(&with_session("made-anew"));
    wait_for_session(&agent, "made-anew");

    // A directory that is removed with everything in it, and comes back.
    fs::remove_dir_all(&aws).unwrap();
    agent.wait_for_status("nothing is configured", |status| status["sessions"].as_array().unwrap().is_empty());
    sandbox.write_config(&with_session("directory-anew"));
    wait_for_session(&agent, "directory-anew");

    // Another directory in its place.
    sandbox.write("home/other/config", &with_session("directory-swapped"));
    fs::rename(&aws, sandbox.home().join("old")).unwrap();
    fs::rename(sandbox.home().join("other"), &aws).unwrap();
    wait_for_session(&agent, "directory-swapped");

    // What was is not looked at any more, what is is.
    sandbox.write("home/old/config", "[broken");
    sandbox.write_config(&with_session("after-the-swap"));
    wait_for_session(&agent, "after-the-swap");
    assert!(agent.stop().success());
}

#[test]
fn links_are_followed_wherever_they_lead_and_whatever_changes_on_the_way() {
    let sandbox = Sandbox::with_session("http://127.0.0.1:9");
    let home = sandbox.home();
    let aws = home.join(".aws");
    let agent = sandbox.start_agent();

    // The file becomes a link to one of the dotfiles.
    sandbox.write("dotfiles/v1/aws/config", &with_session("linked"));
    sandbox.write("dotfiles/v2/aws/config", &with_session("second-version"));
    swap(&aws.join("config"), sandbox.root().join("dotfiles/v1/aws/config"));
    wait_for_session(&agent, "linked");
    sandbox.write("dotfiles/v1/aws/config", &with_session("target-edited"));
    wait_for_session(&agent, "target-edited");
    let other = sandbox.write("dotfiles/v1/aws/.tmp", &with_session("target-renamed-over"));
    fs::rename(other, sandbox.root().join("dotfiles/v1/aws/config")).unwrap();
    wait_for_session(&agent, "target-renamed-over");
    swap(&aws.join("config"), "../../dotfiles/v2/aws/config");
    wait_for_session(&agent, "second-version");

    // The directory becomes one, through a link that is swapped from version to version.
    symlink("v1", sandbox.root().join("dotfiles/current")).unwrap();
    sandbox.write("dotfiles/v1/aws/config", &with_session("by-directory"));
    sandbox.write("dotfiles/v2/aws/config", &with_session("next-version"));
    fs::rename(&aws, home.join("old")).unwrap();
    symlink("../dotfiles/current/aws", &aws).unwrap();
    wait_for_session(&agent, "by-directory");
    swap(&sandbox.root().join("dotfiles/current"), "v2");
    wait_for_session(&agent, "next-version");
    sandbox.write("dotfiles/v2/aws/config", &with_session("behind-two-links"));
    wait_for_session(&agent, "behind-two-links");

    // A link that leads nowhere yet.
    swap(&sandbox.root().join("dotfiles/current"), "v3");
    agent.wait_for_status("nothing is configured", |status| status["sessions"].as_array().unwrap().is_empty());
    sandbox.write("dotfiles/v3/aws/config", &with_session("there-at-last"));
    wait_for_session(&agent, "there-at-last");
}

#[test]
fn what_is_not_there_yet_is_waited_for() {
    let sandbox = Sandbox::new();
    fs::remove_dir(sandbox.home().join(".aws")).unwrap();
    let agent = sandbox.start_agent();
    // Directory after directory, and the file in the end.
    fs::create_dir(sandbox.home().join(".aws")).unwrap();
    sandbox.write("home/.aws/unrelated", "x");
    sandbox.write_config(CORP);
    wait_for_session(&agent, "corp");
    let status = |wanted: &'static str| {
        agent.wait_for_status(wanted, |status| status["warnings"].to_string().contains(wanted));
    };
    sandbox.write("home/.config/other/file", "x");
    sandbox.write("home/.config/sso-agent/config.toml", "[session.nobody]\nflow = \"device\"\n");
    status("there is no session nobody");
    let credentials = "[second]\nsso_start_url = https://second.awsapps.com/start\nsso_region = eu-west-1\n\
                       sso_account_id = 111122223333\nsso_role_name = ReadOnly\n";
    sandbox.write("home/.aws/credentials", credentials);
    wait_for_session(&agent, "https://second.awsapps.com/start");
}

#[test]
fn files_elsewhere_are_watched_there() {
    let mut sandbox = Sandbox::new();
    for (variable, path) in [
        ("AWS_CONFIG_FILE", "far/away/aws"),
        ("AWS_SHARED_CREDENTIALS_FILE", "elsewhere/secrets"),
        ("SSO_AGENT_CONFIG", "etc/agent.toml"),
    ] {
        let path = sandbox.write(path, "").display().to_string();
        sandbox.set(variable, &path);
    }
    let agent = sandbox.start_agent();
    sandbox.write("far/away/aws", CORP);
    wait_for_session(&agent, "corp");
    sandbox.write("etc/agent.toml", "[session.nobody]\nflow = \"device\"\n");
    agent.wait_for_status("the settings count", |status| status["warnings"].to_string().contains("nobody"));
    sandbox.write("elsewhere/secrets", "[profile nothing\n");
    agent.wait_for_status("the credentials count", |status| status["warnings"].to_string().contains("secrets"));
    // What is at the usual place is nothing to us.
    let before = readings(&sandbox);
    sandbox.write_config(&with_session("nowhere"));
    sandbox.write("far/away/aws", &with_session("here"));
    let status = wait_for_session(&agent, "here");
    assert_eq!(status["sessions"].as_array().unwrap().len(), 2, "{status:#}");
    assert_eq!(readings(&sandbox), before + 1);
}

#[test]
fn many_events_are_few_readings_and_a_reading_is_no_event() {
    let sandbox = Sandbox::with_session("http://127.0.0.1:9");
    let agent = sandbox.start_agent();
    // An editor that saves with every key, and a program that writes in small pieces.
    for count in 0..500 {
        sandbox.write_config(&with_session(&format!("s{count}")));
    }
    wait_for_session(&agent, "s499");
    let stormy = readings(&sandbox);
    assert!(stormy < 100, "500 edits are not {stormy} readings");
    // Whoever reads, changes nothing; and what changes nothing, is not read.
    for path in ["home/.aws/config", "home/.aws", "home"] {
        let path = sandbox.root().join(path);
        fs::metadata(&path).unwrap();
        if path.is_dir() {
            fs::read_dir(&path).unwrap().count();
        } else {
            fs::read(&path).unwrap();
        }
    }
    sandbox.write("home/.bash_history", "ls\n");
    sandbox.write("home/.aws/cli/cache/x", "x");
    sandbox.write("home/.aws/config", &with_session("s499"));
    sandbox.write_config(&with_session("the-end"));
    wait_for_session(&agent, "the-end");
    assert!(readings(&sandbox) <= stormy + 2, "{}", sandbox.log());
}

#[test]
fn whoever_asks_for_a_reload_is_told_what_changed_and_the_log_tells_too() {
    let sandbox = Sandbox::with_session("http://127.0.0.1:9");
    // So that nothing is noticed before somebody asks.
    fs::create_dir(sandbox.home().join("quiet")).unwrap();
    let agent = sandbox.start_agent();
    agent.signal(Signal::STOP);
    sandbox.write_config(&with_session("second"));
    agent.signal(Signal::CONT);
    let (status, reloaded) = agent.request("POST", "/v1/reload", "");
    assert_eq!(status, 200, "{reloaded}");
    let seen = wait_for_session(&agent, "second");
    assert_eq!(seen["warnings"].as_array().unwrap().len(), 0);
    let told = sandbox.log();
    let line = told.lines().find(|line| line.contains("configuration read") && line.contains("session second"));
    assert!(line.is_some(), "{told}");

    sandbox.write("home/.config/sso-agent/config.toml", "keep_warm = \"2h\"\n");
    agent.signal(Signal::HUP);
    sandbox.write_config(&with_session("third"));
    wait_for_session(&agent, "third");
    let told = sandbox.log();
    let all: String = told.lines().filter(|line| line.contains("configuration read")).collect();
    assert!(all.contains("setting keep_warm") && all.contains("session third"), "{told}");
}
