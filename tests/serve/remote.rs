//! A restricted socket where it is meant for: inside of a container, and at the other end of an SSH connection.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::scene::{sandbox, section, settings, socket};
use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{Finished, SHIM, Sandbox};

const USER: u32 = 61_234;

fn succeeds(command: &mut Command) {
    let finished = Finished::of(command);
    assert_eq!(finished.code, Some(0), "{command:?}: {finished:?}");
}

/// A root directory with the shim, what it is linked to, and a place for the socket's directory: what an image has.
fn image(sandbox: &Sandbox) -> PathBuf {
    let root = sandbox.root().join("image");
    let libraries = Finished::of(Command::new("ldd").arg(SHIM)).expect_success();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for file in libraries {
        let place = root.join(file.strip_prefix("/").unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(&file, place).unwrap();
    }
    std::fs::copy(SHIM, root.join("shim")).unwrap();
    std::fs::create_dir_all(root.join("run/sso-agent")).unwrap();
    root
}

/// As a container without a daemon makes it: namespaces of its own for users, mounts, processes and the network, where
/// the user is root; a root directory with nothing in it but the shim and the directory of the socket.
#[test]
fn a_container_of_the_users_own_has_credentials_of_its_targets_and_nothing_else() {
    let service = FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() });
    let mut sandbox = sandbox(service.url());
    settings(&sandbox, &[section(&sandbox, "box", &["dev"], "")]);
    let image = image(&sandbox);
    if rustix::process::geteuid().is_root() {
        sandbox = sandbox.of_user(USER);
    }
    let agent = sandbox.start_agent();
    sandbox.cli(&["login", "--no-browser"]).expect_success();
    let directory = socket(&sandbox, "box").parent().unwrap().to_owned();
    let run = |arguments: &str| {
        let script = format!(
            "mount --bind {} {image}/run/sso-agent && exec chroot {image} /shim {arguments}",
            directory.display(),
            image = image.display()
        );
        let mut container = sandbox.command("unshare");
        container.args(["--user", "--map-root-user", "--mount", "--pid", "--net", "--fork", "sh", "-c", &script]);
        container.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("SSO_AGENT_SOCK", "/run/sso-agent/agent.sock");
        container.env("HOME", "/").env("SSO_AGENT_STATE_DIR", "/state").env_remove("XDG_RUNTIME_DIR");
        Finished::of(&mut container)
    };
    let document = run("--profile dev").json();
    assert_eq!(document["AccountId"], "111122223333");
    let refused = run("--profile admin");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(6), ""), "{refused:?}");
    assert!(refused.stderr.contains("serve.box") || refused.stderr.contains("hands out"), "{refused:?}");
    // A restart makes a new socket; the directory is the same, so the container finds it.
    assert!(agent.stop().success());
    let agent = sandbox.start_agent();
    assert_eq!(run("--profile dev").json()["AccountId"], "111122223333");
    drop(agent);
}

/// A server of its own for each connection, without a port: it talks to the client through a pipe.
struct Ssh {
    directory: PathBuf,
}

impl Ssh {
    fn new(sandbox: &Sandbox, server_settings: &str) -> Self {
        let directory = sandbox.root().join("ssh");
        std::fs::create_dir_all(&directory).unwrap();
        for key in ["host", "user"].map(|key| directory.join(key)).iter().filter(|key| !key.exists()) {
            succeeds(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key));
        }
        let settings = format!(
            "HostKey {0}/host\nAuthorizedKeysFile {0}/user.pub\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nPidFile none\nAllowStreamLocalForwarding yes\n{server_settings}\n",
            directory.display()
        );
        std::fs::write(directory.join("sshd_config"), settings).unwrap();
        Self { directory }
    }

    /// A client that knows nothing of the real user's settings.
    fn client(&self, arguments: &[&str]) -> Command {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let mut client = Command::new("ssh");
        client.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]);
        client.args(["-o", "IdentitiesOnly=yes", "-o", "GlobalKnownHostsFile=none", "-i", &at("user")]);
        client.args(["-o", &format!("UserKnownHostsFile={}", at("known")), "-o", &format!("ControlPath={}", at("c"))]);
        client.args(["-o", &format!("ProxyCommand=/usr/sbin/sshd -i -f {}", at("sshd_config"))]);
        client.args(arguments).arg("there").env("SSH_AUTH_SOCK", "");
        client
    }

    /// Forwards; returns when the other end listens.
    fn forward(&self, there: &Path, here: &Path) -> Finished {
        let both = format!("{}:{}", there.display(), here.display());
        let mut client = self.client(&["-f", "-N", "-M", "-o", "ExitOnForwardFailure=yes", "-R", &both]);
        // What stays in the background must not keep our pipes.
        client.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        Finished { code: client.status().unwrap().code(), stdout: String::new(), stderr: String::new() }
    }

    fn end(&self) {
        succeeds(&mut self.client(&["-O", "exit"]));
    }
}

#[test]
fn a_forwarded_restricted_socket_serves_the_shim_at_the_other_end() {
    assert!(Path::new("/usr/sbin/sshd").exists(), "there is no sshd: tests/all installs it");
    if rustix::process::geteuid().is_root() {
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = sandbox(service.url());
    settings(&sandbox, &[section(&sandbox, "box", &["dev"], "")]);
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let there = sandbox.write("there/x", "").with_file_name("agent.sock");
    std::fs::set_permissions(there.parent().unwrap(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let shim = |profile: &str| {
        let mut shim = sandbox.command(SHIM);
        // Another machine has no state directory of this agent's to find its main socket by.
        shim.env("SSO_AGENT_SOCK", &there).env("SSO_AGENT_STATE_DIR", sandbox.root().join("elsewhere"));
        Finished::of(shim.args(["--profile", profile]))
    };
    // As an earlier connection leaves it behind.
    drop(std::os::unix::net::UnixListener::bind(&there).unwrap());
    assert_eq!(shim("dev").code, Some(4), "nobody listens there");
    let door = socket(&sandbox, "box");
    assert_ne!(Ssh::new(&sandbox, "StreamLocalBindUnlink no").forward(&there, &door).code, Some(0));
    let ssh = Ssh::new(&sandbox, "StreamLocalBindUnlink yes");
    assert_eq!(ssh.forward(&there, &door).code, Some(0));
    assert_eq!(shim("dev").json()["AccountId"], "111122223333");
    assert_eq!(shim("admin").code, Some(6));
    ssh.end();
}
