//! Notifications of macOS, by its own `osascript`.
//!
//! Refuses to know buttons: a script has none. Invariant: the text is an argument of the script and never part of it.
//! This file is type-checked where the target's library is installed; no test of ours runs it.

use std::process::{Command, Stdio};

use super::Notification;
use crate::panics;
use crate::untrusted::shown;

/// Shows it, without waiting until it is shown.
pub(super) fn show(notification: Notification) {
    panics::spawn_expendable(move || {
        let (title, body) = (shown(&notification.title).to_string(), shown(&notification.body).to_string());
        let status = Command::new("/usr/bin/osascript")
            .args(["-e", SCRIPT, "--", &title, &body])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::info!(%status, "the notification was not shown"),
            Err(error) => tracing::info!(%error, "the notification was not shown"),
        }
    });
}

const SCRIPT: &str = "on run argv
display notification (item 2 of argv) with title (item 1 of argv)
end run";
