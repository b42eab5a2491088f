//! A `credential_process` line that runs our shim.
//!
//! Owns: recognising it, and what its arguments name. Refuses to know which sessions and profiles there are.
//! Invariant: a line is split as the SDKs that use no shell split it, and nothing is ever run.

use std::time::Duration;

use crate::ids::{AccountId, Grant, RoleName};
use crate::time::parse_duration;
use crate::untrusted::shown;

/// What the shim is told to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ShimCall {
    /// `--profile NAME`.
    Profile(String),
    /// `--account ID --role R`, with or without `--session S`.
    Target { session: Option<String>, grant: Grant },
}

/// Reads the line; `None` if it runs something else, else what it names or what is wrong with it.
pub(super) fn parse(line: &str) -> Option<Result<ShimCall, String>> {
    let Some(words) = split(line) else {
        return line.contains(PROGRAM).then(|| Err("a quote is not closed".to_owned()));
    };
    let mut words = words.into_iter();
    let program = words.next()?;
    (program.rsplit('/').next() == Some(PROGRAM)).then(|| arguments(words))
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<ShimCall, String> {
    let (mut profile, mut session, mut account, mut role) = (None, None, None, None);
    let (mut min_validity, mut timeout) = (None, None);
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let slot = match flag {
            "--profile" => &mut profile,
            "--session" => &mut session,
            "--account" => &mut account,
            "--role" => &mut role,
            "--min-validity" => &mut min_validity,
            "--timeout" => &mut timeout,
            _ => return Err(format!("{PROGRAM} has no argument `{}`", shown(flag))),
        };
        let value = value.or_else(|| words.next()).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| format!("{flag} needs a value"))?;
        if slot.replace(value).is_some() {
            return Err(format!("{flag} is there twice"));
        }
    }
    for (flag, duration) in [("--min-validity", min_validity), ("--timeout", timeout)] {
        duration
            .map_or(Ok(Duration::ZERO), |text| parse_duration(&text))
            .map_err(|error| format!("{flag} is {error}"))?;
    }
    match (profile, account, role) {
        (Some(profile), None, None) if session.is_none() => Ok(ShimCall::Profile(profile)),
        (Some(_), _, _) => Err("--profile goes without --session, --account and --role".to_owned()),
        (None, Some(account), Some(role)) => {
            let account: AccountId = account.parse().map_err(|error| format!("--account: {error}"))?;
            let role: RoleName = role.parse().map_err(|error| format!("--role: {error}"))?;
            Ok(ShimCall::Target { session, grant: Grant::Role { account, role } })
        }
        (None, _, _) => Err("it needs --account and --role, or --profile".to_owned()),
    }
}

/// Splits into words as a POSIX shell does, without expanding anything; `None` for an open quote.
fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            escaped @ ('"' | '\\') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next()?),
            space if space.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

const PROGRAM: &str = "sso-credential-process";

#[cfg(test)]
mod tests {
    use super::*;

    fn target(session: Option<&str>) -> ShimCall {
        let grant = Grant::Role { account: "111122223333".parse().unwrap(), role: "Developer".parse().unwrap() };
        ShimCall::Target { session: session.map(str::to_owned), grant }
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
        assert_eq!(parse(line), Some(Ok(ShimCall::Profile("my prof".to_owned()))));
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
