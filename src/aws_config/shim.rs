//! A `credential_process` line that runs our shim.
//!
//! Owns: recognising it. Refuses to know what its arguments mean (the shim itself says that) and which sessions and
//! profiles there are.
//! Invariant: a line is split as the SDKs that use no shell split it, and nothing is ever run.

use crate::api::TargetQuery;
use crate::shell_words::split;

/// Reads the line; `None` if it runs something else, else what it names or what is wrong with it.
pub(super) fn parse(line: &str) -> Option<Result<TargetQuery, String>> {
    let Some(words) = split(line) else {
        return line.contains(PROGRAM).then(|| Err("a quote is not closed".to_owned()));
    };
    let mut words = words.into_iter();
    let program = words.next()?;
    (program.rsplit('/').next() == Some(PROGRAM))
        .then(|| crate::shim::target(words.map(Into::into)).map_err(|error| error.to_string()))
}

const PROGRAM: &str = "sso-credential-process";

#[cfg(test)]
mod tests {
    use super::*;

    fn target(session: Option<&str>) -> TargetQuery {
        TargetQuery::Role {
            session: session.map(|name| name.parse().unwrap()),
            account: "111122223333".parse().unwrap(),
            role: "Developer".parse().unwrap(),
        }
    }

    #[test]
    fn our_shim_is_recognised_by_its_file_name_however_it_is_quoted() {
        for line in [
            "/usr/bin/sso-credential-process --session corp --account 111122223333 --role Developer",
            "sso-credential-process --account=111122223333 --role=Developer --session=corp --timeout 10s",
            "\"/a b/sso-credential-process\" --session 'corp' --account 111122223333 --role Devel\\oper",
            "sso-credential-process --min-validity=1h --session corp --account 111122223333 --role Developer",
        ] {
            assert_eq!(parse(line), Some(Ok(target(Some("corp")))), "{line}");
        }
        let line = "sso-credential-process --account 111122223333 --role Developer";
        assert_eq!(parse(line), Some(Ok(target(None))));
        let line = "/x/sso-credential-process --profile 'my prof'";
        assert_eq!(parse(line), Some(Ok(TargetQuery::Profile("my prof".parse().unwrap()))));
    }

    #[test]
    fn another_program_is_none_of_our_business() {
        for line in ["", "/usr/bin/other --profile x", "/opt/sso-credential-process/run", "sh -c 'x", "echo"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_that_the_shim_would_refuse_is_refused() {
        for arguments in [
            "",
            "--account 111122223333",
            "--account 1 --role R",
            "--account 111122223333 --role 'R;x'",
            "--profile a --role R",
            "--profile a --session s",
            "--profil a",
            "--profile",
            "--profile=",
            "--profile 'a",
            "extra",
            "--profile a --profile b",
            "--profile a --timeout soon",
        ] {
            assert!(matches!(parse(&format!("sso-credential-process {arguments}")), Some(Err(_))), "{arguments}");
        }
    }
}
