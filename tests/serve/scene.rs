//! An agent with restricted sockets, and callers that keep their connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::sandbox::{CORP, Sandbox};

/// `corp` with three roles under four names, at this service.
pub(super) fn sandbox(service: &str) -> Sandbox {
    let profile = |name: &str, account: &str, role: &str| {
        format!("[profile {name}]\nsso_session = corp\nsso_account_id = {account}\nsso_role_name = {role}\n")
    };
    let sandbox = Sandbox::new();
    let others = [
        profile("same", "111122223333", "ReadOnly"),
        profile("admin", "111122223333", "Administrator"),
        profile("lab", "444455556666", "Developer"),
    ];
    sandbox.write_config(&(CORP.to_owned() + &others.concat()));
    sandbox.at(service)
}

/// Where the socket of this name is put.
pub(super) fn socket(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.root().join("doors").join(name).join("agent.sock")
}

/// A section of `config.toml`.
pub(super) fn section(sandbox: &Sandbox, name: &str, targets: &[&str], more: &str) -> String {
    let socket = socket(sandbox, name);
    format!("[serve.{name}]\nsocket = {:?}\ntargets = {targets:?}\n{more}\n", socket.to_str().unwrap())
}

/// `config.toml`.
pub(super) fn settings(sandbox: &Sandbox, sections: &[String]) {
    sandbox.write("home/.config/sso-agent/config.toml", &sections.concat());
}

/// A connection that is kept.
pub(super) struct Caller(UnixStream);

impl Caller {
    pub(super) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(stream)
    }

    /// One request on it: status and body.
    pub(super) fn get(&mut self, path: &str) -> (u16, Value) {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_slice(&body).unwrap())
    }

    /// Waits until the agent hangs up.
    pub(super) fn hung_up(mut self) {
        let mut rest = Vec::new();
        // A reset says the same as an end.
        let _ = self.0.read_to_end(&mut rest);
        assert!(rest.is_empty(), "it hung up without a word");
    }
}
