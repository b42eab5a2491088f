//! Restricted sockets come, change and go with the settings, and by themselves.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::scene::{Caller, sandbox, section, settings, socket};
use crate::support::fake::{FakeConfig, FakeIdentityCenter};

const DEV: &str = "/v1/credentials?profile=dev";
const ADMIN: &str = "/v1/credentials?profile=admin";

#[test]
fn an_edit_opens_changes_and_closes_sockets_without_touching_the_others() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    let kept = section(&sandbox, "kept", &["dev"], "");
    let one = |targets: &[&str]| section(&sandbox, "changed", targets, "");
    settings(&sandbox, &[kept.clone(), one(&["dev"]), section(&sandbox, "gone", &["dev"], "")]);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let inode = |name| socket(&sandbox, name).symlink_metadata().unwrap().ino();
    let (kept_inode, changed_inode) = (inode("kept"), inode("changed"));
    let mut at_kept = Caller::connect(&socket(&sandbox, "kept"));
    let mut at_changed = Caller::connect(&socket(&sandbox, "changed"));
    let mut at_gone = Caller::connect(&socket(&sandbox, "gone"));
    for caller in [&mut at_kept, &mut at_changed, &mut at_gone] {
        assert_eq!((caller.get(DEV).0, caller.get(ADMIN).0), (200, 403));
    }

    // Another line, too: where a section stands is no difference.
    settings(&sandbox, &["# moved\n".to_owned(), kept, one(&["admin"]), section(&sandbox, "new", &["lab"], "")]);
    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    at_changed.hung_up();
    at_gone.hung_up();
    assert!(!socket(&sandbox, "gone").exists());
    assert_eq!(at_kept.get(DEV).0, 200, "who is connected stays so");
    assert_eq!((inode("kept"), inode("changed")), (kept_inode, changed_inode));
    let mut at_changed = Caller::connect(&socket(&sandbox, "changed"));
    assert_eq!((at_changed.get(DEV).0, at_changed.get(ADMIN).0), (403, 200));
    assert_eq!(Caller::connect(&socket(&sandbox, "new")).get("/v1/credentials?profile=lab").0, 200);

    // A broken edit changes nothing.
    sandbox.write("home/.config/sso-agent/config.toml", "[serve.new]\nsokcet = 1\n");
    assert_ne!(agent.request("POST", "/v1/reload", "").0, 200);
    assert_eq!((at_changed.get(ADMIN).0, at_kept.get(DEV).0), (200, 200));
    assert!(agent.stop().success());
    for name in ["kept", "changed", "new"] {
        assert!(!socket(&sandbox, name).exists(), "{name} is removed at the end");
    }
}

#[test]
fn a_profile_that_comes_to_mean_another_role_means_it_there_too() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    settings(&sandbox, &[section(&sandbox, "role", &["corp/111122223333/ReadOnly"], "")]);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut caller = Caller::connect(&socket(&sandbox, "role"));
    assert_eq!(caller.get(DEV).0, 200);
    sandbox.write_config(&crate::support::sandbox::CORP.replace("ReadOnly", "Administrator"));
    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    assert_eq!(caller.get(DEV).0, 403, "the socket is for a role and not for a name");
}

#[test]
fn a_socket_is_gone_when_its_lifetime_is_over_and_says_until_when() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    let brief = |more: &str| section(&sandbox, "brief", &["dev"], more);
    let long = section(&sandbox, "long", &["dev"], "lifetime = \"8h\"");
    settings(&sandbox, &[brief("lifetime = \"2s\""), long.clone()]);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut at_long = Caller::connect(&socket(&sandbox, "long"));
    Caller::connect(&socket(&sandbox, "brief")).hung_up();
    assert!(!socket(&sandbox, "brief").exists());
    let doors = agent.get("/v1/status")["serve"].clone();
    assert_eq!((&doors[0]["name"], &doors[0]["open"]), (&"brief".into(), &false.into()), "{doors}");
    assert!(doors[0]["until"].is_null() && doors[1]["until"].is_string() && doors[1]["open"] == true, "{doors}");
    assert_eq!(agent.get("/v1/status")["warnings"], serde_json::json!([]), "that is as it should be");

    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    assert!(!socket(&sandbox, "brief").exists(), "over is over");
    settings(&sandbox, &[brief("lifetime = \"1h\""), long]);
    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    assert_eq!(Caller::connect(&socket(&sandbox, "brief")).get(DEV).0, 200);
    assert_eq!(at_long.get(DEV).0, 200);
}

#[test]
fn a_socket_that_cannot_be_opened_is_a_warning_and_the_agent_lives() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    let at = |name: &str, path: &std::path::Path| {
        format!("[serve.{name}]\nsocket = {:?}\ntargets = [\"dev\"]\n", path.to_str().unwrap())
    };
    let private =
        |path: &std::path::Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    private(sandbox.root(), 0o700);
    let public = sandbox.write("public/x", "").with_file_name("agent.sock");
    let public_mode =
        |mode| std::fs::set_permissions(public.parent().unwrap(), PermissionsExt::from_mode(mode)).unwrap();
    public_mode(0o755);
    let plain = sandbox.write("plain/agent.sock", "mine");
    private(plain.parent().unwrap(), 0o700);
    let long = sandbox.root().join("l".repeat(120)).join("s");
    let nested = socket(&sandbox, "good").with_file_name("below").join("agent.sock");
    settings(
        &sandbox,
        &[
            at("a-main", &sandbox.socket().with_file_name("box.sock")),
            at("b-state", &sandbox.state().with_file_name("box.sock")),
            at("c-public", &public),
            at("d-plain", &plain),
            at("e-long", &long),
            section(&sandbox, "good", &["dev"], ""),
            at("nested", &nested),
            section(&sandbox, "nowhere", &["nobody"], ""),
        ],
    );
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    assert_eq!(Caller::connect(&socket(&sandbox, "good")).get(DEV).0, 200);
    let status = agent.get("/v1/status");
    let warnings: Vec<&str> =
        status["warnings"].as_array().unwrap().iter().map(|warning| warning["message"].as_str().unwrap()).collect();
    for (name, says) in [
        ("a-main", "directory of its own"),
        ("b-state", "directory of its own"),
        ("c-public", "chmod 700"),
        ("d-plain", "not a socket"),
        ("e-long", "too long"),
        ("nested", "directory of its own"),
    ] {
        let of_it = warnings.iter().find(|warning| warning.contains(&format!("serve.{name} is not open")));
        assert!(of_it.is_some_and(|warning| warning.contains(says)), "{name}: {warnings:?}");
    }
    assert!(warnings.iter().any(|warning| warning.contains("nobody")), "{warnings:?}");
    assert_eq!(std::fs::read_to_string(&plain).unwrap(), "mine");

    private(public.parent().unwrap(), 0o700);
    assert_eq!(agent.request("POST", "/v1/reload", "").0, 200);
    assert_eq!(Caller::connect(&public).get(DEV).0, 200);
}

#[test]
fn sockets_left_behind_by_a_crash_are_replaced() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    settings(&sandbox, &[section(&sandbox, "box", &["dev"], "")]);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    agent.kill();
    assert!(socket(&sandbox, "box").exists());
    let _agent = sandbox.start_agent();
    let door = socket(&sandbox, "box");
    assert_eq!(Caller::connect(&door).get(DEV).0, 200);
    let mode = |path: &std::path::Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!((mode(&door), mode(door.parent().unwrap())), (0o600, 0o700));
}
