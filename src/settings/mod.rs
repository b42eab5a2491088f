//! `config.toml`: what AWS's configuration has no key for.
//!
//! Owns: the file's shape, defaults and checks. Refuses to know where the file lies. Invariant: an unknown key is an
//! error with a "did you mean"; a value that was accepted needs no second look.

mod browser;
mod error;
mod read;
mod read_serving;
mod serving;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use self::browser::{BrowserCommand, BrowserError, PLACE};
pub use self::error::{Problem, SettingsError};
pub use self::serving::{ContainerSettings, ImdsSettings, ServeSettings, TargetSettings};
use crate::identity_center::Flow;
use crate::ids::{DoorName, SessionName};

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
    /// `notifications`: whether the desktop may be notified of what a person should know.
    pub notifications: bool,
    /// `autostart`: whether a client that finds no agent may start one.
    pub autostart: bool,
    /// `exit_after_idle`: how long after the last request the agent ends, if it has nothing to keep.
    pub exit_after_idle: Option<Duration>,
    /// `[session.NAME]`.
    pub sessions: BTreeMap<SessionName, SessionSettings>,
    /// `[target."NAME"]`.
    pub targets: BTreeMap<String, TargetSettings>,
    /// `[serve.NAME]`.
    pub serve: BTreeMap<DoorName, ServeSettings>,
    /// `[container]`.
    pub container: ContainerSettings,
    /// `[imds]`.
    pub imds: Option<ImdsSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            storage: Storage::default(),
            keep_warm: Duration::from_secs(3600),
            audit: AuditMode::default(),
            notifications: true,
            autostart: true,
            exit_after_idle: None,
            sessions: BTreeMap::new(),
            targets: BTreeMap::new(),
            serve: BTreeMap::new(),
            container: ContainerSettings::default(),
            imds: None,
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

    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::Auto, Self::Keyring, Self::SystemdCredential, Self::Passphrase, Self::File, Self::None];
}

/// `[session.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSettings {
    /// `flow`: how to sign in; chosen by the caller's environment where not set.
    pub flow: Option<Flow>,
    /// `sign_in`: who may start one.
    pub sign_in: SignInMode,
    /// `browser`: what shows a page to this session's user; the platform's own way where not set.
    pub browser: Option<BrowserCommand>,
    /// `callback_port`: the port that the browser comes back to; any free one where not set.
    pub callback_port: Option<u16>,
    /// `publish`: what other programs find in the AWS CLI's cache.
    pub publish: Publish,
    /// `refresh_margin`: refresh when this much is left, instead of min(20 min, a third of the lifetime).
    pub refresh_margin: Option<Duration>,
    /// The line of the table, for messages.
    pub line: usize,
}

/// Who may start a sign-in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SignInMode {
    /// A person, with `login`.
    #[default]
    Manual,
    /// Also a request that cannot be answered without one.
    OnDemand,
}

impl SignInMode {
    /// The word in `config.toml` and in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::OnDemand => "on-demand",
        }
    }

    /// All there are.
    pub const ALL: [Self; 2] = [Self::Manual, Self::OnDemand];
}

/// What is written to the AWS CLI's cache for programs that read nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Publish {
    /// Nothing.
    #[default]
    Off,
    /// The access token.
    Token,
    /// Also what it is refreshed with.
    Full,
}

impl Publish {
    /// The word in `config.toml` and in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Token => "token",
            Self::Full => "full",
        }
    }

    /// All there are.
    pub const ALL: [Self; 3] = [Self::Off, Self::Token, Self::Full];
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
            error("colour = true"),
            "line 1: unknown key `colour`: expected one of storage, keep_warm, audit, notifications, autostart, \
             exit_after_idle, session, target, serve, container, imds"
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
    fn everything_about_how_a_session_signs_in_is_read() {
        let text = "notifications = false\n[session.corp]\nflow = \"browser\"\nsign_in = \"on-demand\"\n\
                    browser = \"firefox -P work\"\ncallback_port = 8123\npublish = \"full\"\n";
        let settings = Settings::parse(text).unwrap();
        let corp = &settings.sessions[&"corp".parse().unwrap()];
        assert_eq!((corp.flow, corp.sign_in), (Some(Flow::Browser), SignInMode::OnDemand));
        assert_eq!((corp.callback_port, corp.publish), (Some(8123), Publish::Full));
        assert_eq!(corp.browser.as_ref().unwrap().words(), ["firefox", "-P", "work"]);
        assert!(!settings.notifications && Settings::default().notifications);
    }

    #[test]
    fn a_browser_or_a_port_that_cannot_be_is_an_error() {
        assert_eq!(
            error("[session.a]\nbrowser = \"firefox --url={url}\""),
            "line 2: `browser` is not a command: {url} stands for one whole argument, not for a part of one"
        );
        assert_eq!(error("[session.a]\ncallback_port = 0"), "line 2: `callback_port` takes a port from 1 to 65535");
        assert_eq!(
            error("[session.a]\npublish = \"ful\""),
            "line 2: `publish` cannot be \"ful\" (did you mean \"full\"?)"
        );
    }
}
