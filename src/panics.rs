//! What a panic says, and whom it ends.
//!
//! Owns: the one line. Invariants: it tells where it happened and not what the values were, for a message such as "byte
//! index 7 is not a char boundary" quotes the text, which may be a secret (A§17). It ends the process, except on a
//! thread that nobody waits for.

use std::io::{self, Write};
use std::thread;

/// From now on a panic of this process is one line on stderr that names the place. To be called first of all.
pub fn tell_only_where(program: &'static str) {
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let line = format!("{program} {}: internal error at {place}; please report it\n", env!("CARGO_PKG_VERSION"));
        // Nothing is left that could be done about an error here.
        let _ = io::stderr().write_all(line.as_bytes());
        // The process would end when this returns. Nobody may set another hook from now on: that waits for this one.
        while thread::current().name() == Some(EXPENDABLE) {
            thread::park();
        }
    }));
}

/// Does this on a thread that nobody waits for. If it panics, it stands still for ever, as if what it calls hung: the
/// libraries that speak to a keyring panic over some answers, and the agent has more to do than that.
///
/// # Panics
/// The system has no thread to give.
#[cfg(feature = "agent")]
pub(crate) fn spawn_expendable(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name(EXPENDABLE.to_owned()).spawn(work).expect("the system has threads");
}

const EXPENDABLE: &str = "expendable";

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::env::Env;

    /// The test is both sides: the hook is the whole process's, so the panic happens in one of its own.
    #[test]
    fn a_panic_tells_where_and_not_what() {
        if Env::of_process().get(IN_CHILD).is_some() {
            tell_only_where("sso-agent");
            let secret = "s3cr3t-ü";
            let _ = &secret[..8];
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "panics::tests::a_panic_tells_where_and_not_what", "--nocapture"])
            .env(IN_CHILD, "1")
            .output()
            .unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
        assert!(!child.status.success(), "{stdout}");
        assert!(stderr.contains("internal error at src/panics.rs:"), "{stderr}");
        assert!(!stderr.contains("s3cr3t") && !stdout.contains("s3cr3t"), "{stderr}{stdout}");
    }

    /// The rest of that process would be told that the thread has ended, if it had.
    #[test]
    #[cfg(feature = "agent")]
    fn a_panic_on_an_expendable_thread_ends_nothing_else() {
        if Env::of_process().get(IN_CHILD).is_some() {
            tell_only_where("sso-agent");
            let (lives, ended) = std::sync::mpsc::channel::<()>();
            spawn_expendable(move || {
                let _lives = lives;
                panic!("s3cr3t");
            });
            let patience = std::time::Duration::from_millis(500);
            let ended = ended.recv_timeout(patience).unwrap_err();
            leave(i32::from(ended != std::sync::mpsc::RecvTimeoutError::Timeout));
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "panics::tests::a_panic_on_an_expendable_thread_ends_nothing_else", "--nocapture"])
            .env(IN_CHILD, "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{stderr}");
        assert!(stderr.contains("internal error at src/panics.rs:") && !stderr.contains("s3cr3t"), "{stderr}");
    }

    #[cfg(feature = "agent")]
    #[expect(clippy::disallowed_methods, reason = "at its end the test harness sets another hook")]
    fn leave(code: i32) -> ! {
        std::process::exit(code)
    }

    const IN_CHILD: &str = "SSO_AGENT_TEST_PANICS";
}
