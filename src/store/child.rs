//! Tests that need a process of their own: the test binary, started again for one test with a word to it.
//!
//! The test is both sides. In the test run itself nobody has told it anything, and it starts the child; in the child
//! it has been told the state directory, and does there what it is about.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The state directory this process was told, if it is a child.
#[expect(clippy::disallowed_methods, reason = "only a test binary that was started by itself has this variable")]
pub(super) fn told() -> Option<PathBuf> {
    std::env::var_os(TOLD).map(PathBuf::from)
}

/// This test binary for this one test, which is told a state directory; `launcher` starts it.
pub(super) fn command(launcher: &[&str], test: &str, state: &Path) -> Command {
    let this = std::env::current_exe().expect("a running program has a path");
    let mut command = match launcher.split_first() {
        None => Command::new(&this),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&this);
            command
        }
    };
    command.args(["--exact", test, "--nocapture"]).env(TOLD, state);
    command
}

const TOLD: &str = "SSO_AGENT_TEST_CHILD_STATE";
