//! The agent as a service: installing, looking at it and removing it, with a service manager of this test's own. The
//! real one has tests of its own.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{AGENT, Finished, Sandbox, request};

#[test]
fn the_service_is_installed_with_what_the_shell_has_and_its_agent_works() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("NO_PROXY", "localhost");
    sandbox.set("https_proxy", "http://user:hunter2@127.0.0.1:1/");
    let manager = Manager::of(&mut sandbox);
    let installed = sandbox.cli(&["service", "install"]);
    assert_eq!(installed.code, Some(0), "{installed:?}");
    assert!(installed.stderr.contains("written:") && installed.stderr.contains("NO_PROXY"), "{installed:?}");
    assert!(!format!("{installed:?}").contains("hunter2"));
    assert_eq!(manager.asked(), ["daemon-reload", "enable --now sso-agent.socket"]);

    let record = sandbox.state().join("env");
    assert_eq!(std::fs::metadata(&record).unwrap().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&record).unwrap().contains("hunter2"), "the agent needs it");
    for unit in manager.units(&sandbox) {
        let text = std::fs::read_to_string(unit).unwrap();
        assert!(!text.contains("hunter2") && !text.contains(service.url()), "{text}");
    }
    // The manager gives the agent nothing of this: it has the endpoints and the proxy's exception from the record.
    let (status, body) = request(&sandbox.socket(), "POST", "/v1/sessions/corp/login", r#"{"flow":"device"}"#);
    assert_eq!(status, 202, "{body}");

    let again = sandbox.cli(&["service", "install"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stderr.contains("unchanged:") && !again.stderr.contains("written:"), "{again:?}");
    assert_eq!(manager.asked(), ["daemon-reload", "enable --now sso-agent.socket"], "nobody is interrupted");

    sandbox.set("NO_PROXY", "localhost,intranet");
    let changed = sandbox.cli(&["service", "install"]);
    assert_eq!(changed.code, Some(0), "{changed:?}");
    assert_eq!(manager.asked().last().unwrap(), "try-restart sso-agent.service");
}

#[test]
fn an_agent_that_runs_by_hand_makes_way_and_the_sign_in_stays() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    let _manager = Manager::of(&mut sandbox);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let installed = sandbox.cli(&["service", "install"]);
    assert_eq!(installed.code, Some(0), "{installed:?}");
    assert!(installed.stderr.contains(&format!("by hand (pid {})", agent.pid())), "{installed:?}");
    assert!(agent.wait().success());
    let (status, body) = request(&sandbox.socket(), "GET", "/v1/credentials?profile=dev", "");
    assert_eq!(status, 200, "{body}");
}

#[test]
fn a_dry_run_shows_everything_and_changes_nothing() {
    let mut sandbox = Sandbox::new();
    sandbox.set("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1/?x=hunter2");
    let manager = Manager::of(&mut sandbox);
    let shown = sandbox.cli(&["service", "install", "--dry-run"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for part in [
        "+[Socket]",
        &format!("+ExecStart={AGENT} run"),
        "record HTTPS_PROXY=http://***@127.0.0.1:1/?***",
        "$ systemctl --user enable --now sso-agent.socket",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {shown:?}");
    }
    assert!(!format!("{shown:?}").contains("hunter2"));
    let json = sandbox.cli(&["service", "install", "--dry-run", "--json"]).json();
    assert_eq!((json["dry_run"].clone(), json["files"][0]["was"].clone()), (true.into(), "missing".into()));
    let removed = sandbox.cli(&["service", "uninstall", "--dry-run"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(!sandbox.home().join(".config").exists() && !sandbox.state().join("env").exists());
    assert_eq!(manager.asked(), [""; 0]);
}

#[test]
fn what_somebody_has_edited_is_kept_until_they_say_otherwise() {
    let mut sandbox = Sandbox::new();
    let manager = Manager::of(&mut sandbox);
    sandbox.cli(&["service", "install"]).expect_success();
    let [socket, service] = manager.units(&sandbox);
    let ours = std::fs::read_to_string(&service).unwrap();
    std::fs::write(&service, format!("{ours}Nice=5\n")).unwrap();
    manager.asked();

    let refused = sandbox.cli(&["service", "install"]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert!(refused.stderr.contains("edited since") && refused.stderr.contains("--force"), "{refused:?}");
    assert!(sandbox.cli(&["service", "install", "--dry-run"]).stdout.contains("-Nice=5"));
    let status = sandbox.cli(&["service", "status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (status["files"][0]["state"].as_str(), status["files"][1]["state"].as_str()),
        (Some("current"), Some("edited"))
    );
    let kept = sandbox.cli(&["service", "uninstall"]);
    assert!(kept.stderr.contains("kept, because it was edited"), "{kept:?}");
    assert!(service.exists() && !socket.exists());

    sandbox.cli(&["service", "install", "--force"]).expect_success();
    assert_eq!(std::fs::read_to_string(&service).unwrap(), ours);
}

#[test]
fn uninstalling_removes_what_was_written_and_leaves_the_sign_ins() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    let manager = Manager::of(&mut sandbox);
    sandbox.cli(&["service", "install"]).expect_success();
    let before: Vec<_> = std::fs::read_dir(sandbox.state()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    manager.asked();
    let removed = sandbox.cli(&["service", "uninstall"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(manager.asked(), ["disable --now sso-agent.socket sso-agent.service", "daemon-reload"]);
    assert!(manager.units(&sandbox).iter().all(|unit| !unit.exists()));
    let after: Vec<_> = std::fs::read_dir(sandbox.state()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let lost: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
    assert_eq!(lost, ["env"]);
    let again = sandbox.cli(&["service", "uninstall"]);
    assert!(again.code == Some(0) && again.stderr.contains("was not installed"), "{again:?}");
    assert_eq!(manager.asked(), [""; 0]);
}

#[test]
fn what_was_removed_by_hand_keeps_nothing_from_being_uninstalled() {
    let mut sandbox = Sandbox::new();
    let manager = Manager::of(&mut sandbox);
    let [socket, service] = manager.units(&sandbox);
    for by_hand in [vec![&service], vec![&socket], vec![&socket, &service]] {
        sandbox.cli(&["service", "install"]).expect_success();
        for unit in by_hand {
            std::fs::remove_file(unit).unwrap();
        }
        let removed = sandbox.cli(&["service", "uninstall"]);
        assert_eq!(removed.code, Some(0), "{removed:?}");
        assert!(!removed.stderr.contains("was not installed"), "{removed:?}");
        assert!(!socket.exists() && !service.exists() && !sandbox.state().join("env").exists());
    }
}

#[test]
fn the_doctor_knows_what_is_installed_and_what_is_not_as_it_should_be() {
    let mut sandbox = Sandbox::new();
    let manager = Manager::of(&mut sandbox);
    let doctor = |sandbox: &Sandbox| -> (String, String) {
        let checks: Value = serde_json::from_str(&sandbox.cli(&["doctor", "--offline", "--json"]).stdout).unwrap();
        let check = checks.as_array().unwrap().iter().find(|check| check["check"] == "service").unwrap();
        (check["result"].as_str().unwrap().to_owned(), format!("{} {}", check["detail"], check["remedy"]))
    };
    assert!(doctor(&sandbox).1.contains("not installed"));
    sandbox.cli(&["service", "install"]).expect_success();
    let [socket, service] = manager.units(&sandbox);
    let (result, told) = doctor(&sandbox);
    assert!(result == "ok" && told.contains(socket.to_str().unwrap()), "{told}");

    sandbox.set("SSO_AGENT_SOCK", sandbox.root().join("elsewhere/agent.sock").to_str().unwrap());
    let (result, told) = doctor(&sandbox);
    assert!(result == "warning" && told.contains("sso-agent service install"), "{told}");
    sandbox.unset("SSO_AGENT_SOCK");
    std::fs::remove_file(&service).unwrap();
    let (result, told) = doctor(&sandbox);
    assert!(result == "warning" && told.contains("sso-agent.service is not there"), "{told}");
    sandbox.cli(&["service", "install"]).expect_success();
    sandbox.write("no-manager", "");
    let (result, told) = doctor(&sandbox);
    assert!(result == "warning" && told.contains("cannot be asked"), "{told}");
    std::fs::remove_file(sandbox.root().join("no-manager")).unwrap();
    std::fs::remove_file(sandbox.root().join("enabled")).unwrap();
    let (result, told) = doctor(&sandbox);
    assert!(result == "warning" && told.contains("nobody listens"), "{told}");
}

#[test]
fn the_status_says_what_is_installed_what_runs_and_what_differs() {
    let mut sandbox = Sandbox::new();
    sandbox.set("https_proxy", "http://user:hunter2@127.0.0.1:1/");
    let manager = Manager::of(&mut sandbox);
    let none = sandbox.cli(&["service", "status"]);
    assert_eq!(none.code, Some(4), "{none:?}");
    assert!(none.stdout.contains("sso-agent service install"), "{none:?}");
    sandbox.cli(&["service", "install"]).expect_success();
    let same = sandbox.cli(&["service", "status", "--json"]).json();
    assert_eq!(same["installed"], true);
    assert_eq!(same["listening"], true);
    assert_eq!(same["running"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(same["environment"]["differences"], serde_json::json!([]));
    manager.asked();

    sandbox.set("https_proxy", "http://user:other@127.0.0.1:1/");
    sandbox.set("AWS_CA_BUNDLE", "/ca.pem");
    let text = sandbox.cli(&["service", "status"]).expect_success();
    assert!(text.contains("AWS_CA_BUNDLE: this shell has /ca.pem, the agent has none"), "{text}");
    assert!(text.contains("https_proxy: the agent has another http://***@127.0.0.1:1/ than this shell"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("other@"));
    assert_eq!(manager.asked(), [""; 0], "looking changes nothing");
}

#[test]
fn without_a_service_manager_it_is_said_what_to_use_instead() {
    let mut sandbox = Sandbox::new();
    sandbox.set("PATH", "/nonexistent");
    let none = sandbox.cli(&["service", "install"]);
    assert_eq!(none.code, Some(4), "{none:?}");
    assert!(none.stderr.contains("no systemctl") && none.stderr.contains("sso-agent start"), "{none:?}");

    let manager = Manager::of(&mut sandbox);
    sandbox.write("no-manager", "");
    let none = sandbox.cli(&["service", "install"]);
    assert_eq!(none.code, Some(4), "{none:?}");
    assert!(none.stderr.contains("Failed to connect to bus") && none.stderr.contains("sso-agent start"), "{none:?}");
    assert!(manager.units(&sandbox).iter().all(|unit| !unit.exists()), "nothing is half done");
    assert!(!sandbox.state().join("env").exists());
    assert_eq!(sandbox.cli(&["service", "status"]).code, Some(4));
}

#[test]
fn a_socket_that_no_client_would_trust_is_refused_before_anything_is_written() {
    let mut sandbox = Sandbox::new();
    let manager = Manager::of(&mut sandbox);
    let open = sandbox.root().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.set("SSO_AGENT_SOCK", open.join("agent.sock").to_str().unwrap());
    let refused = sandbox.cli(&["service", "install"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("chmod 700 "), "{refused:?}");
    assert!(manager.units(&sandbox).iter().all(|unit| !unit.exists()));
    assert_eq!(manager.asked(), [""; 0]);
}

#[test]
fn it_is_not_installed_for_root_by_sudo() {
    let mut sandbox = Sandbox::new();
    sandbox.set("SUDO_USER", "somebody");
    if sandbox.cli(&["service", "install", "--dry-run"]).code == Some(0) {
        assert_ne!(rustix::process::geteuid().as_raw(), 0);
        return;
    }
    let refused = sandbox.cli(&["service", "install", "--dry-run"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("without sudo"), "{refused:?}");
}

#[test]
fn units_of_a_program_with_a_difficult_path_are_what_systemd_reads() {
    let mut sandbox = Sandbox::new();
    sandbox.set("SSO_AGENT_STATE_DIR", sandbox.root().join("100% of \"state\"").to_str().unwrap());
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("100% of $HOME");
    std::fs::create_dir_all(&directory).unwrap();
    let program = directory.join("sso-agent");
    // Another name of the same file: a copy would take longer than everything else.
    if std::fs::hard_link(AGENT, &program).is_err() {
        std::fs::remove_file(&program).unwrap();
        std::fs::hard_link(AGENT, &program).unwrap();
    }
    let _manager = Manager::of(&mut sandbox);
    let shown = Finished::of(sandbox.command(&program).args(["service", "install", "--json"]));
    let units = shown.json();
    let unit = |index: usize| PathBuf::from(units["files"][index]["path"].as_str().unwrap());
    let runtime = sandbox.root().join("verify");
    std::fs::create_dir_all(&runtime).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "verify", "--man=no"]).args([unit(0), unit(1)]).env("XDG_RUNTIME_DIR", runtime);
    let verified = Finished::of(&mut verify);
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!((verified.code, verified.stderr.as_str()), (Some(0), ""), "{verified:?}");
}

#[test]
fn launchd_gets_a_list_it_can_read() {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/launchd/sso-agent.plist");
    let program = "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let list = Finished::of(Command::new("python3").args(["-c", program, list])).json();
    assert_eq!(list["Label"], "sso-agent");
    assert_eq!(list["ProgramArguments"], serde_json::json!(["/usr/local/bin/sso-agent", "run"]));
    let socket = &list["Sockets"]["agent"];
    assert_eq!(socket["SockPathMode"], 0o600);
    assert!(socket["SockPathName"].as_str().unwrap().ends_with("/sso-agent/run/agent.sock"));
    assert_eq!(list["KeepAlive"], serde_json::json!({"SuccessfulExit": false}));
    assert_eq!((list["Umask"].clone(), list["ExitTimeOut"].clone()), (0o077.into(), 30.into()));
}

/// A `systemctl` that writes down what it is asked, and runs the agent as the real one would: with next to nothing in its
/// environment. What it runs ends with this.
struct Manager {
    root: PathBuf,
}

impl Manager {
    fn of(sandbox: &mut Sandbox) -> Self {
        let root = sandbox.root().to_owned();
        let script = SYSTEMCTL.replace("@AGENT@", AGENT).replace("@ROOT@", root.to_str().unwrap());
        let path = sandbox.write("bin/systemctl", &script);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        sandbox.set("PATH", &format!("{}:/usr/bin:/bin", root.join("bin").display()));
        Self { root }
    }

    /// What it was asked to do since this was asked last.
    fn asked(&self) -> Vec<String> {
        let path = self.root.join("asked");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        text.lines().map(str::to_owned).collect()
    }

    fn units(&self, sandbox: &Sandbox) -> [PathBuf; 2] {
        ["sso-agent.socket", "sso-agent.service"].map(|name| sandbox.home().join(".config/systemd/user").join(name))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = Command::new(self.root.join("bin/systemctl")).args(["--user", "stop"]).output();
    }
}

const SYSTEMCTL: &str = r#"#!/bin/sh
root=@ROOT@
[ "$1" = --user ] || exit 64
shift
[ -e "$root/no-manager" ] && { echo "Failed to connect to bus: No medium found" >&2; exit 1; }
start() {
    [ -e "$root/pid" ] && return
    env -i HOME="$HOME" XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" SSO_AGENT_STATE_DIR="$SSO_AGENT_STATE_DIR" \
        '@AGENT@' run </dev/null >>"$root/agent.log" 2>&1 &
    echo $! >"$root/pid"
    until [ -S "$XDG_RUNTIME_DIR/sso-agent/agent.sock" ]; do kill -0 $! || exit 1; done
}
end() {
    [ -e "$root/pid" ] || return
    kill "$(cat "$root/pid")"
    # Its lock is free when it has ended.
    flock "$root/state/lock" true
    rm "$root/pid"
}
case $1 in
show)
    listening=inactive
    [ -e "$root/enabled" ] && listening=active
    printf 'Id=sso-agent.socket\nActiveState=%s\nUnitFileState=enabled\n\n' $listening
    printf 'Id=sso-agent.service\nMainPID=%s\n' "$(cat "$root/pid" 2>/dev/null || echo 0)"
    exit
    ;;
enable) start && : >"$root/enabled" ;;
try-restart) end && start ;;
disable)
    shift 2
    for unit; do
        [ -e "$HOME/.config/systemd/user/$unit" ] && continue
        echo "Failed to disable unit: Unit file $unit does not exist." >&2
        exit 1
    done
    end
    rm -f "$root/enabled"
    set -- disable --now "$@"
    ;;
stop) end; rm -f "$root/enabled" ;;
esac
echo "$*" >>"$root/asked"
"#;
