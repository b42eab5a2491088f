//! Who is served: users as the kernel tells them, translated into the agent's own user namespace.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;

use super::scene::{Caller, sandbox, section, settings, socket};
use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{AGENT, Sandbox};

const USER: u32 = 61_234;

/// Whether a connection from this very process is answered.
fn is_served(socket: &std::path::Path) -> bool {
    use std::io::Read;
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut answer = Vec::new();
    // Whoever is not served may be hung up on before a word is said.
    let _ = stream.write_all(b"GET /v1/health HTTP/1.1\r\nConnection: close\r\n\r\n");
    let _ = stream.read_to_end(&mut answer);
    answer.starts_with(b"HTTP/1.1 200")
}

fn is_root() -> bool {
    // Only root can be two users.
    rustix::process::geteuid().is_root()
}

fn with_two_doors(service: &FakeIdentityCenter) -> Sandbox {
    let sandbox = sandbox(service.url());
    let doors =
        [section(&sandbox, "strict", &["dev"], ""), section(&sandbox, "lenient", &["dev"], "allow_root = true")];
    settings(&sandbox, &doors);
    sandbox
}

#[test]
fn root_is_served_only_where_that_was_allowed_and_nobody_else_ever_is() {
    if !is_root() {
        return;
    }
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = with_two_doors(&service).of_user(USER);
    let _agent = sandbox.start_agent();
    let doors = ["strict", "lenient"].map(|name| socket(&sandbox, name));
    assert_eq!(doors.each_ref().map(|door| is_served(door)), [false, true]);
    assert!(!is_served(&sandbox.socket()), "the main socket serves its owner only");
    // The door of another user, made reachable for the sake of the argument.
    for path in doors.iter().flat_map(|door| door.ancestors().take(3)) {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    std::fs::set_permissions(sandbox.root(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for door in &doors {
        let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                      s.sendall(b'GET /v1/health HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n')\nprint(s.recv(99))";
        let mut stranger = Command::new("/usr/bin/python3");
        stranger.args(["-c", script]).arg(door);
        std::os::unix::process::CommandExt::uid(&mut stranger, USER + 1);
        let heard = stranger.output().unwrap();
        assert!(!String::from_utf8_lossy(&heard.stdout).contains("HTTP"), "{heard:?}");
    }
}

/// In a user namespace of its own the agent sees users that it does not know as the overflow user; root of outside is one
/// of them.
#[test]
fn users_that_the_agents_namespace_does_not_know_are_nobody_even_where_root_is_allowed() {
    if !is_root() {
        return;
    }
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = with_two_doors(&service).of_user(USER);
    let mut command = sandbox.command("/usr/bin/unshare");
    command.args(["--user", "--map-current-user", AGENT]);
    let _agent = sandbox.start_agent_by(&mut command, &[]);
    for name in ["strict", "lenient"] {
        assert!(!is_served(&socket(&sandbox, name)), "{name}");
    }
    // Its own user from outside is itself: translated there and back.
    let mut own = sandbox.command(AGENT);
    own.args(["status", "--json"]);
    let finished = crate::support::sandbox::Finished::of(&mut own);
    assert_eq!(finished.json()["serve"].as_array().unwrap().len(), 2);
}

#[test]
fn an_agent_that_is_itself_the_overflow_user_serves_nobody() {
    if !is_root() {
        return;
    }
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = with_two_doors(&service).of_user(USER);
    let mut command = sandbox.command("/usr/bin/unshare");
    command.args(["--user", "--map-user=65534", AGENT]);
    let _agent = sandbox.start_agent_by(&mut command, &[]);
    for name in ["strict", "lenient"] {
        assert!(!is_served(&socket(&sandbox, name)), "{name}");
    }
}

#[test]
fn the_owner_is_served_whatever_the_setting() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = with_two_doors(&service);
    let _agent = sandbox.start_agent();
    for name in ["strict", "lenient"] {
        assert_eq!(Caller::connect(&socket(&sandbox, name)).get("/v1/health").0, 200, "{name}");
    }
}
