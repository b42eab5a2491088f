//! What a panic says.
//!
//! Owns: the one line. Invariant: it tells where it happened and not what the values were, for a message such as "byte
//! index 7 is not a char boundary" quotes the text, which may be a secret (A§17).

use std::io::{self, Write};

/// From now on a panic of this process is one line on stderr that names the place. To be called first of all.
pub fn tell_only_where(program: &'static str) {
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let line = format!("{program} {}: internal error at {place}; please report it\n", env!("CARGO_PKG_VERSION"));
        // Nothing is left that could be done about an error here.
        let _ = io::stderr().write_all(line.as_bytes());
    }));
}

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

    const IN_CHILD: &str = "SSO_AGENT_TEST_PANICS";
}
