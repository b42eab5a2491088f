//! A view of the file system of its own, in which a directory can be small or read-only.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::sandbox::{AGENT, Finished, Sandbox};

/// A mount namespace, kept by a process that waits for its standard input to end.
pub(super) struct Mounts<'a> {
    sandbox: &'a Sandbox,
    keeper: Child,
}

impl<'a> Mounts<'a> {
    /// Where `script` mounts what it wants; `None` where this machine does not let us, which is said.
    pub(super) fn with(sandbox: &'a Sandbox, script: &str) -> Option<Self> {
        let script = format!("set -e\n{script}\necho ready\nexec cat");
        let mut command = sandbox.command("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let command = command.args(["--mount", "sh", "-c", &script]).env("STATE", sandbox.state());
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.take()?).read_line(&mut line).ok()?;
        let mounts = Self { sandbox, keeper };
        if line == "ready\n" {
            return Some(mounts);
        }
        let mut stderr = std::io::stderr();
        writeln!(stderr, "left out: this machine allows no mount namespaces, so no disk can be full").ok()?;
        None
    }

    /// A program that sees what is mounted here.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = self.sandbox.command("nsenter");
        let target = format!("--target={}", self.keeper.id());
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args([&target, "--mount", "--", program]);
        command
    }

    pub(super) fn agent(&self) -> Command {
        self.command(AGENT)
    }

    /// Mounts something again, with other options.
    pub(super) fn remount(&self, options: &str) {
        let mut command = self.command("mount");
        Finished::of(command.args(["-o", options]).arg(self.sandbox.state())).expect_success();
    }

    /// A path as seen from outside.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("it is absolute");
        PathBuf::from(format!("/proc/{}/root", self.keeper.id())).join(inside)
    }

    /// Leaves no byte free in the state directory's file system.
    pub(super) fn fill(&self) -> Ballast {
        let path = self.path(&self.sandbox.state().join("ballast"));
        let mut file = File::create(&path).expect("a file takes no room");
        while file.write_all(&[0; 512]).is_ok() {}
        Ballast(path)
    }
}

impl Drop for Mounts<'_> {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// What fills a disk.
pub(super) struct Ballast(PathBuf);

impl Ballast {
    pub(super) fn drop_it(self) {
        std::fs::remove_file(self.0).expect("it is ours");
    }
}
