//! A terminal of its own, with our command line at it.

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::Winsize;

use super::sandbox::{AGENT, Sandbox};

/// The terminal, from both sides.
pub struct Terminal {
    /// What a person types goes in here, and what they see comes out.
    pub master: std::fs::File,
    slave: OwnedFd,
    /// What was started at it.
    pub child: std::process::Child,
}

impl Terminal {
    /// Runs our command line at a new one.
    pub fn run(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there is a terminal to be had");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let path = ptsname(&master, Vec::new()).expect("it has a name");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let slave = rustix::fs::open(path.as_c_str(), flags, rustix::fs::Mode::empty()).expect("it can be opened");
        let end = || slave.try_clone().expect("a descriptor can be copied");
        let mut command = sandbox.command("setsid");
        command.args(["--ctty", "--wait", AGENT]).args(arguments).stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("setsid can be started");
        Self { master: master.into(), slave, child }
    }

    /// Reads until this has been written.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let patience = rustix::time::Timespec { tv_sec: 60, tv_nsec: 0 };
            let came = rustix::io::retry_on_intr(|| rustix::event::poll(&mut ready, Some(&patience)));
            assert_eq!(came, Ok(1), "never {text}: {}", String::from_utf8_lossy(&seen));
            self.master.read_exact(&mut byte).expect("it can be read");
            seen.push(byte[0]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.slave).expect("it is a terminal").local_modes;
        modes.contains(rustix::termios::LocalModes::ECHO)
    }

    /// Gives it another size, and tells whoever is at it.
    pub fn resize(&self, columns: u16, lines: u16) {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).expect("it is ours");
    }
}
