//! At a terminal: its keys do what they do without `exec`, once.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::signed_in;
use crate::support::sandbox::{AGENT, Sandbox};

#[test]
fn ctrl_c_reaches_the_command_once_and_nothing_else_of_it_is_noticed() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    // Counts, and ends with the second.
    let script =
        "n=0; trap 'n=$((n+1)); echo interrupted $n' INT; echo ready; read line; read line; echo after $n; exit 8";
    let mut terminal =
        Terminal::with(&sandbox, &format!("{AGENT} exec --profile dev -- sh -c \"$0\"; echo ended $?"), script);
    terminal.wait_for("ready");
    terminal.types(b"\x03");
    terminal.wait_for("interrupted 1");
    terminal.types(b"\n\n");
    terminal.wait_for("after 1");
    terminal.wait_for("ended 8");
}

#[test]
fn ctrl_z_stops_the_command_and_fg_continues_it() {
    let (service, sandbox) = signed_in();
    let agent = sandbox.start_agent();
    agent.sign_in(&service);
    let mut terminal = Terminal::interactive(&sandbox);
    terminal
        .types(format!("{AGENT} exec --profile dev -- sh -c 'echo re''ady; read line; echo got $line'\n").as_bytes());
    terminal.wait_for("ready");
    terminal.types(b"\x1a");
    terminal.wait_for("Stopped");
    terminal.wait_for("prompt> ");
    terminal.types(b"fg\n");
    terminal.wait_for("exec --profile dev");
    terminal.types(b"this\n");
    terminal.wait_for("got this");
    // A command that stops itself, and no key did.
    terminal.types(format!("{AGENT} exec --profile dev -- sh -c 'kill -STOP $$; echo go''es on'\n").as_bytes());
    terminal.wait_for("Stopped");
    terminal.wait_for("prompt> ");
    terminal.types(b"fg\n");
    terminal.wait_for("goes on");
    terminal.types(b"exit 0\n");
}

/// A terminal with a shell, and what it has shown.
struct Terminal {
    screen: File,
    seen: String,
    shell: Child,
}

impl Terminal {
    /// A shell that runs this script, with a word for it.
    fn with(sandbox: &Sandbox, script: &str, word: &str) -> Self {
        Self::start(sandbox, &["-c", script, word])
    }

    fn interactive(sandbox: &Sandbox) -> Self {
        Self::start(sandbox, &["--norc", "--noprofile", "--noediting", "-i"])
    }

    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let open = || -> OwnedFd {
            rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, rustix::fs::Mode::empty()).unwrap()
        };
        let mut command: Command = sandbox.command("setsid");
        command.args(["--ctty", "bash"]).args(arguments).env("PS1", "prompt> ").env("TERM", "dumb");
        let shell = command.stdin(Stdio::from(open())).stdout(Stdio::from(open())).stderr(Stdio::from(open())).spawn();
        Self { screen: File::from(screen), seen: String::new(), shell: shell.unwrap() }
    }

    fn types(&mut self, keys: &[u8]) {
        self.screen.write_all(keys).unwrap();
    }

    /// Reads until this is shown; what came before it is not looked at again.
    fn wait_for(&mut self, what: &str) {
        loop {
            if let Some(at) = self.seen.find(what) {
                self.seen.drain(..at + what.len());
                return;
            }
            let patience = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
            let mut shown = [rustix::event::PollFd::new(&self.screen, rustix::event::PollFlags::IN)];
            let count = rustix::io::retry_on_intr(|| rustix::event::poll(&mut shown, Some(&patience))).unwrap();
            assert!(count > 0, "{what} is not shown: {}", self.seen);
            let mut piece = [0; 1024];
            match self.screen.read(&mut piece) {
                Ok(length) if length > 0 => self.seen.push_str(&String::from_utf8_lossy(&piece[..length])),
                end => panic!("never {what}: {end:?}, {}", self.seen),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
