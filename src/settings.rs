//! `config.toml`: what AWS's configuration has no key for.
//!
//! Owns: the file's shape, defaults and checks. Refuses to know where the file lies. Invariant: an unknown key is an
//! error with a "did you mean"; a value that was accepted needs no second look.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::identity_center::Flow;
use crate::ids::{InvalidName, SessionName};
use crate::nearest::nearest;
use crate::time::{InvalidDuration, parse_duration};
use crate::untrusted::Untrusted;

/// The settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file they were read from, for messages; empty for defaults.
    pub file: PathBuf,
    /// `[storage]`.
    pub storage: Storage,
    /// How long after its last use a role is still refreshed ahead; 1 h unless set (`keep_warm`).
    pub keep_warm: Duration,
    /// `audit`.
    pub audit: AuditMode,
    /// `[session.NAME]`.
    pub sessions: BTreeMap<SessionName, SessionSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            storage: Storage::default(),
            keep_warm: Duration::from_secs(3600),
            audit: AuditMode::default(),
            sessions: BTreeMap::new(),
        }
    }
}

/// What becomes of a hand-out whose line in the audit log cannot be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditMode {
    /// It is handed out all the same; what is missing in the log is counted.
    #[default]
    BestEffort,
    /// It is refused.
    Required,
    /// There is no log.
    Off,
}

impl AuditMode {
    /// The word in `config.toml` and in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Required => "required",
            Self::Off => "off",
        }
    }

    /// All there are.
    pub const ALL: [Self; 3] = [Self::BestEffort, Self::Required, Self::Off];
}

/// `[storage]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// `key`.
    pub key: KeyKind,
}

/// Where the key to the sealed records is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// The best this machine has, decided once.
    #[default]
    Auto,
    /// The platform's keyring.
    Keyring,
    /// A credential that the service manager passes.
    SystemdCredential,
    /// Derived from what the user types.
    Passphrase,
    /// A file only its owner can read.
    File,
    /// No key: everything stays in memory.
    None,
}

impl KeyKind {
    /// The word in `config.toml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Keyring => "keyring",
            Self::SystemdCredential => "systemd-credential",
            Self::Passphrase => "passphrase",
            Self::File => "file",
            Self::None => "none",
        }
    }
}

/// `[session.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSettings {
    /// `flow`: how to sign in; chosen by the caller's environment where not set.
    pub flow: Option<Flow>,
    /// `refresh_margin`: refresh when this much is left, instead of min(20 min, a third of the lifetime).
    pub refresh_margin: Option<Duration>,
    /// The line of the table, for messages.
    pub line: usize,
}

impl Settings {
    /// Reads the text of a `config.toml`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let root = DeTable::parse(text).map_err(|error| {
            let problem = Problem::Syntax(Untrusted::new(error.message()));
            File(text).error(error.span().unwrap_or_default(), problem)
        })?;
        File(text).settings(root.get_ref())
    }
}

/// What is wrong with a `config.toml`, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line of `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Not TOML, in the parser's words.
    Syntax(Untrusted),
    /// A key that means nothing.
    UnknownKey {
        /// The key.
        key: Untrusted,
        /// The key that was probably meant.
        did_you_mean: Option<&'static str>,
        /// All keys that mean something in that place.
        known: &'static [&'static str],
    },
    /// A value of the wrong type, or one that is none of the choices.
    Value {
        /// The key.
        key: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// A word that is none of the choices.
    UnknownChoice {
        /// The key.
        key: &'static str,
        /// The word.
        word: Untrusted,
        /// The choice that was probably meant.
        did_you_mean: Option<&'static str>,
        /// What it takes.
        expected: &'static str,
    },
    /// Not a length of time.
    Duration {
        /// The key.
        key: &'static str,
        /// Why not.
        source: InvalidDuration,
    },
    /// The name of a session cannot be one.
    SessionName(InvalidName),
    /// A choice that a later version will have.
    NotYet {
        /// The key.
        key: &'static str,
        /// The choice.
        value: &'static str,
        /// What this version has.
        instead: &'static str,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(message) => write!(formatter, "not TOML: {}", message.shown()),
            Self::UnknownKey { key, did_you_mean: Some(near), .. } => {
                write!(formatter, "unknown key `{}` (did you mean `{near}`?)", key.shown())
            }
            Self::UnknownKey { key, known, .. } => {
                write!(formatter, "unknown key `{}`: expected one of {}", key.shown(), known.join(", "))
            }
            Self::Value { key, expected } => write!(formatter, "`{key}` takes {expected}"),
            Self::UnknownChoice { key, word, did_you_mean: Some(near), .. } => {
                write!(formatter, "`{key}` cannot be \"{}\" (did you mean \"{near}\"?)", word.shown())
            }
            Self::UnknownChoice { key, word, expected, .. } => {
                write!(formatter, "`{key}` cannot be \"{}\": it takes {expected}", word.shown())
            }
            Self::Duration { key, source } => write!(formatter, "`{key}` is {source}"),
            Self::SessionName(error) => write!(formatter, "{error}"),
            Self::NotYet { key, value, instead } => {
                write!(formatter, "this version does not have `{key} = \"{value}\"` yet: {instead}")
            }
        }
    }
}

impl std::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Duration { source, .. } => Some(source),
            Problem::SessionName(source) => Some(source),
            _ => None,
        }
    }
}

type Entry<'t, 'a> = (&'t Spanned<Cow<'a, str>>, &'t Spanned<DeValue<'a>>);

/// The text, to say in which line something is.
#[derive(Clone, Copy)]
struct File<'f>(&'f str);

impl File<'_> {
    fn settings(self, root: &DeTable<'_>) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        for (key, value) in root {
            match key.get_ref().as_ref() {
                "storage" => {
                    for entry in self.table("storage", value)? {
                        settings.storage.key = self.storage_key(entry)?;
                    }
                }
                "keep_warm" => settings.keep_warm = self.duration("keep_warm", value)?,
                "audit" => settings.audit = self.audit(value)?,
                "session" => {
                    for (name, value) in self.table("session", value)? {
                        let session = self.session(value)?;
                        let session = SessionSettings { line: self.line(name.span()), ..session };
                        let parsed: Result<SessionName, _> = name.get_ref().parse();
                        let name = parsed.map_err(|error| self.error(name.span(), Problem::SessionName(error)))?;
                        settings.sessions.insert(name, session);
                    }
                }
                _ => return Err(self.unknown(key, &["storage", "keep_warm", "audit", "session"])),
            }
        }
        Ok(settings)
    }

    fn audit(self, value: &Spanned<DeValue<'_>>) -> Result<AuditMode, SettingsError> {
        let (key, expected) = ("audit", "\"best-effort\", \"required\" or \"off\"");
        let Some(word) = value.get_ref().as_str() else {
            return Err(self.error(value.span(), Problem::Value { key, expected }));
        };
        AuditMode::ALL.into_iter().find(|mode| mode.as_str() == word).ok_or_else(|| {
            let words = AuditMode::ALL.map(AuditMode::as_str);
            let did_you_mean = nearest(word, words).and_then(|near| words.into_iter().find(|word| *word == near));
            let problem = Problem::UnknownChoice { key, word: Untrusted::new(word), did_you_mean, expected };
            self.error(value.span(), problem)
        })
    }

    fn storage_key(self, (key, value): Entry<'_, '_>) -> Result<KeyKind, SettingsError> {
        if key.get_ref() != "key" {
            return Err(self.unknown(key, &["key"]));
        }
        let kinds = [
            KeyKind::Auto,
            KeyKind::Keyring,
            KeyKind::SystemdCredential,
            KeyKind::Passphrase,
            KeyKind::File,
            KeyKind::None,
        ];
        let word = value.get_ref().as_str();
        kinds.into_iter().find(|kind| word == Some(kind.as_str())).ok_or_else(|| {
            let expected = "\"auto\", \"keyring\", \"systemd-credential\", \"passphrase\", \"file\" or \"none\"";
            self.error(value.span(), Problem::Value { key: "key", expected })
        })
    }

    fn session(self, value: &Spanned<DeValue<'_>>) -> Result<SessionSettings, SettingsError> {
        let mut session = SessionSettings::default();
        for (key, value) in self.table("session.NAME", value)? {
            match key.get_ref().as_ref() {
                "flow" => session.flow = self.flow(value)?,
                "refresh_margin" => {
                    let margin = self.duration("refresh_margin", value)?;
                    if margin.is_zero() {
                        let problem = Problem::Value { key: "refresh_margin", expected: "a duration above zero" };
                        return Err(self.error(value.span(), problem));
                    }
                    session.refresh_margin = Some(margin);
                }
                _ => return Err(self.unknown(key, &["flow", "refresh_margin"])),
            }
        }
        Ok(session)
    }

    fn flow(self, value: &Spanned<DeValue<'_>>) -> Result<Option<Flow>, SettingsError> {
        match value.get_ref().as_str() {
            Some("auto") => Ok(None),
            Some("device") => Ok(Some(Flow::Device)),
            Some("browser") => {
                let instead = "write \"device\" or \"auto\"";
                Err(self.error(value.span(), Problem::NotYet { key: "flow", value: "browser", instead }))
            }
            _ => {
                let problem = Problem::Value { key: "flow", expected: "\"auto\" or \"device\"" };
                Err(self.error(value.span(), problem))
            }
        }
    }

    fn duration(self, key: &'static str, value: &Spanned<DeValue<'_>>) -> Result<Duration, SettingsError> {
        let expected = "a duration in quotes, such as \"20m\"";
        let text =
            value.get_ref().as_str().ok_or_else(|| self.error(value.span(), Problem::Value { key, expected }))?;
        parse_duration(text).map_err(|source| self.error(value.span(), Problem::Duration { key, source }))
    }

    fn table<'t, 'a>(
        self,
        key: &'static str,
        value: &'t Spanned<DeValue<'a>>,
    ) -> Result<&'t DeTable<'a>, SettingsError> {
        let problem = Problem::Value { key, expected: "a table" };
        value.get_ref().as_table().ok_or_else(|| self.error(value.span(), problem))
    }

    fn unknown(self, key: &Spanned<Cow<'_, str>>, known: &'static [&'static str]) -> SettingsError {
        let text = key.get_ref().as_ref();
        let did_you_mean =
            nearest(text, known.iter().copied()).and_then(|near| known.iter().copied().find(|key| *key == near));
        self.error(key.span(), Problem::UnknownKey { key: Untrusted::new(text), did_you_mean, known })
    }

    fn error(self, span: Range<usize>, problem: Problem) -> SettingsError {
        SettingsError { line: self.line(span), problem }
    }

    fn line(self, span: Range<usize>) -> usize {
        let before = self.0.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Settings::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Settings::parse("# nothing\n"), Ok(Settings::default()));
    }

    #[test]
    fn every_key_is_read() {
        let text = "keep_warm = \"2h\"\naudit = \"required\"\n[storage]\nkey = \"none\"\n[session.corp]\nflow = \"device\"\n\
                    refresh_margin = \"20m\"\n[session.\"https://example.awsapps.com/start#/\"]\nflow = \"auto\"\n";
        let settings = Settings::parse(text).unwrap();
        assert_eq!(settings.keep_warm, Duration::from_secs(7200));
        assert_eq!(settings.storage.key, KeyKind::None);
        assert_eq!(settings.audit, AuditMode::Required);
        let corp = &settings.sessions[&"corp".parse().unwrap()];
        assert_eq!(corp.flow, Some(Flow::Device));
        assert_eq!(corp.refresh_margin, Some(Duration::from_secs(1200)));
        assert_eq!(corp.line, 5);
        let legacy = &settings.sessions[&"https://example.awsapps.com/start#/".parse().unwrap()];
        assert_eq!((legacy.flow, legacy.line), (None, 8));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_known_one() {
        assert_eq!(error("\nkeep_warn = \"1h\""), "line 2: unknown key `keep_warn` (did you mean `keep_warm`?)");
        assert_eq!(error("[storage]\nkeys = \"file\""), "line 2: unknown key `keys` (did you mean `key`?)");
        assert_eq!(
            error("[session.a]\nflow = \"auto\"\nrefresh_margins = \"1h\""),
            "line 3: unknown key `refresh_margins` (did you mean `refresh_margin`?)"
        );
        assert_eq!(
            error("autostart = true"),
            "line 1: unknown key `autostart`: expected one of storage, keep_warm, audit, session"
        );
    }

    #[test]
    fn an_unknown_choice_is_an_error_with_the_nearest_one() {
        assert_eq!(error("audit = \"require\""), "line 1: `audit` cannot be \"require\" (did you mean \"required\"?)");
        assert_eq!(
            error("audit = \"yes\""),
            "line 1: `audit` cannot be \"yes\": it takes \"best-effort\", \"required\" or \"off\""
        );
    }

    #[test]
    fn a_value_that_makes_no_sense_is_an_error_with_its_line() {
        for (text, line) in [
            ("keep_warm = 5", 1),
            ("keep_warm = \"1d\"", 1),
            ("audit = true", 1),
            ("\n[storage]\nkey = \"disk\"", 3),
            ("storage = 1", 1),
            ("[session]\na = 1", 2),
            ("[session.a]\nflow = \"phone\"", 2),
            ("[session.a]\nrefresh_margin = \"0\"", 2),
            ("[session.\"\"]", 1),
            ("[session.a]\nflow = \"auto\"\n[session.a]", 3),
            ("a = = b", 1),
        ] {
            assert_eq!(Settings::parse(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn every_kind_of_key_is_read() {
        for kind in ["auto", "keyring", "systemd-credential", "passphrase", "file", "none"] {
            let settings = Settings::parse(&format!("[storage]\nkey = \"{kind}\"")).unwrap();
            assert_eq!(settings.storage.key.as_str(), kind);
        }
    }

    #[test]
    fn a_flow_that_is_still_to_come_says_so() {
        let error = error("[session.a]\nflow = \"browser\"");
        assert!(error.contains("does not have") && error.contains("browser"), "{error}");
    }
}
