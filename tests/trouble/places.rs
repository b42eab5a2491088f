//! Directories, sockets and locks that are not what they should be.
//!
//! What belongs to somebody else can be made by root only; without root those parts are left out.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{AGENT, CORP, Finished, Sandbox};

/// A user who is not us.
pub(super) const SOMEBODY: u32 = 12_345;

const PATIENCE: Duration = Duration::from_secs(30);

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_state_directory_that_is_not_ours_alone_is_refused_with_the_mending_command() {
    let sandbox = Sandbox::new();
    let state = sandbox.state();
    for open in [0o755, 0o770, 0o701] {
        mode(&state, open);
        let stderr = sandbox.run_in_vain(&[]).failed_with(4);
        assert!(stderr.contains(&format!("chmod 700 {}", state.display())), "{stderr}");
    }
    mode(&state, 0o700);
    if is_root() {
        chown(&state, Some(SOMEBODY), None).unwrap();
        let stderr = sandbox.run_in_vain(&[]).failed_with(4);
        assert!(stderr.contains(state.to_str().unwrap()) && stderr.contains(&SOMEBODY.to_string()), "{stderr}");
        chown(&state, Some(0), None).unwrap();
    }
    std::fs::remove_dir(&state).unwrap();
    std::fs::write(&state, "").unwrap();
    assert!(sandbox.run_in_vain(&[]).failed_with(4).contains("not a directory"));
    std::fs::remove_file(&state).unwrap();
    // What is not there is made, and made private.
    let _agent = sandbox.start_agent();
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_state_directory_that_cannot_be_read_is_refused() {
    if !is_root() {
        return;
    }
    // Root may read everything, so the agent is somebody else here, who may not.
    let mut sandbox = Sandbox::new();
    mode(sandbox.root(), 0o755);
    for private in ["run", "state"] {
        chown(sandbox.root().join(private), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    let locked = sandbox.root().join("locked");
    std::fs::create_dir(&locked).unwrap();
    mode(&locked, 0o700);
    sandbox.set("SSO_AGENT_STATE_DIR", locked.join("state").to_str().unwrap());
    let as_somebody = ["--reuid", "12345", "--regid", "12345", "--clear-groups"];
    let finished =
        Finished::of(sandbox.command("timeout").args(["30", "setpriv"]).args(as_somebody).args([AGENT, "run"]));
    let stderr = finished.failed_with(4);
    assert!(stderr.contains(locked.to_str().unwrap()) && stderr.contains("ermission denied"), "{stderr}");
}

#[test]
fn files_and_directories_are_private_whatever_the_umask() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    let fresh = sandbox.root().join("deep/state");
    sandbox.set("SSO_AGENT_STATE_DIR", fresh.to_str().unwrap());
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let bits = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(bits(&fresh), 0o700);
    assert_eq!(bits(sandbox.socket().parent().unwrap()), 0o700);
    assert_eq!(bits(&sandbox.socket()), 0o600);
    let list = |directory: &Path| -> Vec<std::path::PathBuf> {
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let records = list(&fresh.join("records"));
    assert_eq!(records.len(), 2, "the client and the tokens");
    for path in list(&fresh).into_iter().chain(records) {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(bits(&path), expected, "{}", path.display());
    }
}

#[test]
fn somebody_elses_place_is_neither_used_nor_repaired() {
    let sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    let directory = sandbox.socket().parent().unwrap().to_owned();
    std::fs::create_dir(&directory).unwrap();
    let listener = UnixListener::bind(sandbox.socket()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let refused = |part: &str| {
        let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(4);
        assert!(stderr.contains(part) && stderr.lines().count() == 1, "{stderr}");
        assert!(sandbox.cli(&["status"]).failed_with(4).contains(part));
        let stderr = sandbox.run_in_vain(&[]).failed_with(4);
        assert_eq!(stderr.matches(part).count(), 1, "once: {stderr}");
        assert!(listener.accept().is_err(), "nobody connects");
    };
    mode(&directory, 0o755);
    refused("chmod 700");
    mode(&directory, 0o700);
    if is_root() {
        chown(&directory, Some(SOMEBODY), None).unwrap();
        refused("belongs to user 12345");
        chown(&directory, Some(0), None).unwrap();
        chown(sandbox.socket(), Some(SOMEBODY), None).unwrap();
        let stderr = sandbox.shim(&["--profile", "dev"]).failed_with(4);
        assert!(stderr.contains("belongs to user 12345"), "{stderr}");
        assert!(listener.accept().is_err(), "nobody connects");
    }
}

#[test]
fn a_peer_of_another_user_is_never_answered() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    let agent = sandbox.start_agent();
    // As if somebody had opened the way by mistake.
    mode(sandbox.root(), 0o755);
    mode(&sandbox.root().join("run"), 0o755);
    mode(sandbox.socket().parent().unwrap(), 0o755);
    mode(&sandbox.socket(), 0o666);
    let knock = |user: &str| {
        let mut curl = sandbox.command("setpriv");
        curl.args(["--reuid", user, "--regid", user, "--clear-groups", "curl", "-sS", "--max-time", "20"]);
        Finished::of(curl.arg("--unix-socket").arg(sandbox.socket()).arg("http://localhost/v1/status"))
    };
    let somebody = knock("12345");
    assert!(somebody.code != Some(0) && somebody.stdout.is_empty(), "{somebody:?}");
    assert_eq!(knock("0").json()["locked"], false);
    drop(agent);
}

#[test]
fn a_socket_path_that_is_too_long_is_an_error() {
    let mut sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    let long = sandbox.root().join("x".repeat(100)).join("agent.sock");
    sandbox.set("SSO_AGENT_SOCK", long.to_str().unwrap());
    for stderr in [
        sandbox.shim(&["--profile", "dev"]).failed_with(5),
        sandbox.cli(&["status"]).failed_with(5),
        sandbox.run_in_vain(&[]).failed_with(5),
    ] {
        assert!(stderr.contains("the most is"), "{stderr}");
        assert_eq!(stderr.matches("SSO_AGENT_SOCK or --socket").count(), 1, "once: {stderr}");
    }
}

#[test]
fn a_second_agent_on_one_state_directory_names_the_first() {
    let sandbox = Sandbox::new();
    let agent = sandbox.start_agent();
    let elsewhere = sandbox.root().join("run/second.sock");
    for arguments in [&[][..], &["--socket", elsewhere.to_str().unwrap()]] {
        let stderr = sandbox.run_in_vain(arguments).failed_with(4);
        assert!(stderr.contains(&format!("stop it: kill {}", agent.pid())), "{stderr}");
        assert!(stderr.contains(sandbox.socket().to_str().unwrap()), "{stderr}");
        assert!(stderr.contains(&format!("kill {}", agent.pid())), "{stderr}");
    }
    assert!(!elsewhere.exists());
    assert_eq!(agent.get("/v1/status")["pid"], agent.pid());
}

#[test]
fn an_agent_with_another_state_directory_does_not_take_the_socket() {
    let mut sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    let other = sandbox.root().join("other-state");
    let usual = sandbox.state();
    sandbox.set("SSO_AGENT_STATE_DIR", other.to_str().unwrap());
    let sandbox = sandbox;
    let agent = sandbox.start_agent();
    let mut command = sandbox.command("timeout");
    let second = Finished::of(command.arg("30").arg(AGENT).arg("run").env("SSO_AGENT_STATE_DIR", usual));
    assert!(second.failed_with(4).contains(sandbox.socket().to_str().unwrap()));
    assert_eq!(agent.get("/v1/status")["pid"], agent.pid());
}

#[test]
fn a_client_that_finds_no_socket_asks_the_lock_for_it() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    // Cron or `su`: another place by the environment, the same state directory.
    std::fs::create_dir(sandbox.root().join("run2")).unwrap();
    mode(&sandbox.root().join("run2"), 0o700);
    let usual = sandbox.root().join("run2").display().to_string();
    let elsewhere = sandbox.root().join("run2/sso-agent/agent.sock").display().to_string();
    {
        let agent = sandbox.start_agent();
        agent.sign_in(&service);
        agent.kill();
    }
    let _ = std::fs::remove_file(sandbox.socket());
    let _agent_elsewhere = {
        sandbox.set("XDG_RUNTIME_DIR", &usual);
        let child = sandbox.spawn_cli(&["run"]);
        Killed(child)
    };
    // Ready when the lock names its socket and somebody answers there.
    let usual_again = sandbox.root().join("run").display().to_string();
    sandbox.set("XDG_RUNTIME_DIR", &usual_again);
    let document = sandbox.shim(&["--profile", "dev", "--timeout", "20"]);
    let document = if document.code == Some(4) {
        wait_for_socket(&elsewhere);
        sandbox.shim(&["--profile", "dev"])
    } else {
        document
    };
    assert_eq!(document.json()["Version"], 1);
    assert_eq!(sandbox.cli(&["status", "--json"]).json()["socket"], elsewhere.as_str());
}

/// A program that is ended when the test is.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tries until somebody listens.
fn wait_for_socket(path: &str) {
    let listens = (0..200_000).any(|_| {
        std::thread::yield_now();
        std::os::unix::net::UnixStream::connect(path).is_ok()
    });
    assert!(listens, "{path}");
}

#[test]
fn a_runtime_directory_that_is_not_ours_counts_as_unset() {
    // With a real one the agent would rightly go there, and this test may not.
    if Path::new(&format!("/run/user/{}", rustix::process::geteuid().as_raw())).exists() {
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.write_config(CORP);
    let foreign = sandbox.root().join("run").display().to_string();
    if is_root() {
        chown(&foreign, Some(SOMEBODY), None).unwrap();
    } else {
        sandbox.set("XDG_RUNTIME_DIR", "/");
    }
    let expected = sandbox.state().join("run/agent.sock");
    for _ in 0..2 {
        let agent = sandbox.start_agent();
        assert!(expected.exists() && !sandbox.socket().exists());
        let status = sandbox.cli(&["status", "--json"]).json();
        assert_eq!(status["socket"], expected.to_str().unwrap());
        sandbox.shim(&["--profile", "dev"]).failed_with(3);
        drop(agent);
        // The second time without the variable at all; an empty value is none.
        sandbox.set("XDG_RUNTIME_DIR", "");
    }
}

#[test]
fn an_agent_whose_socket_is_taken_away_saves_and_ends() {
    let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(Duration::from_secs(6)));
    let sandbox = Sandbox::with_session(service.url());
    for replaced in [false, true] {
        let agent = sandbox.start_agent();
        if service.count(Operation::StartDeviceAuthorization) == 0 {
            agent.sign_in(&service);
        }
        let before = service.count(Operation::CreateTokenRefresh);
        std::fs::remove_file(sandbox.socket()).unwrap();
        let _other = replaced.then(|| UnixListener::bind(sandbox.socket()).unwrap());
        // Its next wake-up is the next refresh, at the latest.
        let status = agent.wait();
        assert_eq!(status.code(), Some(4));
        assert!(sandbox.log().contains("removed or replaced"));
        assert_eq!(sandbox.socket().exists(), replaced, "what is not its own stays");
        assert!(service.count(Operation::CreateTokenRefresh) <= before + 1);
    }
    std::fs::remove_file(sandbox.socket()).unwrap();
    let agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    service.wait_for_answers(Operation::CreateTokenRefresh, 2, PATIENCE).unwrap();
    agent.wait_for_status("signed in", |status| status["sessions"][0]["state"] == "signed_in");
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
}

#[test]
fn a_record_that_does_not_open_is_set_aside_and_the_others_are_served() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    sandbox.write_config(&format!(
        "{CORP}[sso-session second]\nsso_start_url = https://b.awsapps.com/start\nsso_region = eu-west-1\n"
    ));
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let tokens_of = |sandbox: &Sandbox| -> Vec<std::path::PathBuf> {
        let names = std::fs::read_dir(sandbox.state().join("records")).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tokens-")).collect()
    };
    let first = tokens_of(&sandbox);
    assert_eq!(first.len(), 1);
    agent.begin_sign_in(&service, "second");
    assert_eq!(agent.end_of_sign_in("second")["state"], "signed_in");
    agent.kill();
    let mut bytes = std::fs::read(&first[0]).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&first[0], &bytes).unwrap();

    let agent = sandbox.start_agent();
    let status = agent.get("/v1/status");
    let state = |name: &str| {
        let sessions = status["sessions"].as_array().unwrap();
        sessions.iter().find(|session| session["session"] == name).unwrap()["state"].clone()
    };
    assert_eq!((state("corp"), state("second")), ("signed_out".into(), "signed_in".into()), "{status:#}");
    let warning = &status["warnings"][0];
    assert!(warning["message"].as_str().unwrap().contains("set aside"), "{status:#}");
    let aside = Path::new(warning["file"].as_str().unwrap());
    assert_eq!(std::fs::read(aside).unwrap(), bytes, "nothing is deleted");
    assert!(aside.file_name().unwrap().to_str().unwrap().contains(".damaged-") && !first[0].exists());
    assert!(sandbox.cli(&["status"]).expect_success().contains("set aside"));
    let second = ["--session", "second", "--account", "111122223333", "--role", "ReadOnly"];
    assert_eq!(sandbox.shim(&second).json()["Version"], 1);
    // The other one needs nothing but a new sign-in.
    agent.sign_in(&service);
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
}
