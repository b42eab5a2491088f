//! From the text of a `config.toml` to the settings.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    AuditMode, BrowserCommand, KeyKind, Problem, Publish, SessionSettings, Settings, SettingsError, SignInMode,
};
use crate::identity_center::Flow;
use crate::ids::SessionName;
use crate::nearest::nearest;
use crate::time::parse_duration;
use crate::untrusted::Untrusted;

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

type Entry<'t, 'a> = (&'t Spanned<Cow<'a, str>>, &'t Spanned<DeValue<'a>>);

/// The text, to say in which line something is.
#[derive(Clone, Copy)]
pub(super) struct File<'f>(&'f str);

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
                "notifications" => settings.notifications = self.flag("notifications", value)?,
                "session" => {
                    for (name, value) in self.table("session", value)? {
                        let session = self.session(value)?;
                        let session = SessionSettings { line: self.line(name.span()), ..session };
                        let parsed: Result<SessionName, _> = name.get_ref().parse();
                        let name = parsed.map_err(|error| self.error(name.span(), Problem::Name(error)))?;
                        settings.sessions.insert(name, session);
                    }
                }
                "autostart" => settings.autostart = self.flag("autostart", value)?,
                "exit_after_idle" => {
                    settings.exit_after_idle = Some(self.positive_duration("exit_after_idle", value)?);
                }
                "target" => settings.targets = self.targets(value)?,
                "serve" => settings.serve = self.serve(value)?,
                "container" => settings.container = self.container(key, value)?,
                "imds" => settings.imds = Some(self.imds(key, value)?),
                _ => return Err(self.unknown(key, TOP_KEYS)),
            }
        }
        Ok(settings)
    }

    fn audit(self, value: &Spanned<DeValue<'_>>) -> Result<AuditMode, SettingsError> {
        let expected = "\"best-effort\", \"required\" or \"off\"";
        self.choice("audit", value, &AuditMode::ALL, AuditMode::as_str, expected)
    }

    fn storage_key(self, (key, value): Entry<'_, '_>) -> Result<KeyKind, SettingsError> {
        if key.get_ref() != "key" {
            return Err(self.unknown(key, &["key"]));
        }
        let expected = "\"auto\", \"keyring\", \"systemd-credential\", \"passphrase\", \"file\" or \"none\"";
        self.choice("key", value, &KeyKind::ALL, KeyKind::as_str, expected)
    }

    fn session(self, value: &Spanned<DeValue<'_>>) -> Result<SessionSettings, SettingsError> {
        let mut session = SessionSettings::default();
        for (key, value) in self.table("session.NAME", value)? {
            match key.get_ref().as_ref() {
                "flow" => session.flow = self.flow(value)?,
                "refresh_margin" => {
                    session.refresh_margin = Some(self.positive_duration("refresh_margin", value)?);
                }
                "sign_in" => {
                    let expected = "\"manual\" or \"on-demand\"";
                    session.sign_in = self.choice("sign_in", value, &SignInMode::ALL, SignInMode::as_str, expected)?;
                }
                "browser" => session.browser = Some(self.browser(value)?),
                "callback_port" => session.callback_port = Some(self.port("callback_port", value)?),
                "publish" => {
                    let expected = "\"off\", \"token\" or \"full\"";
                    session.publish = self.choice("publish", value, &Publish::ALL, Publish::as_str, expected)?;
                }
                _ => return Err(self.unknown(key, SESSION_KEYS)),
            }
        }
        Ok(session)
    }

    fn flow(self, value: &Spanned<DeValue<'_>>) -> Result<Option<Flow>, SettingsError> {
        let word = |flow| match flow {
            None => "auto",
            Some(Flow::Device) => "device",
            Some(Flow::Browser) => "browser",
        };
        let all = [None, Some(Flow::Device), Some(Flow::Browser)];
        self.choice("flow", value, &all, word, "\"auto\", \"device\" or \"browser\"")
    }

    fn browser(self, value: &Spanned<DeValue<'_>>) -> Result<BrowserCommand, SettingsError> {
        let problem = Problem::Value { key: "browser", expected: "a command in quotes, such as \"firefox -P work\"" };
        let text = value.get_ref().as_str().ok_or_else(|| self.error(value.span(), problem))?;
        text.parse().map_err(|error| self.error(value.span(), Problem::Browser(error)))
    }

    fn port(self, key: &'static str, value: &Spanned<DeValue<'_>>) -> Result<u16, SettingsError> {
        let number = value.get_ref().as_integer().filter(|number| number.radix() == 10);
        let port = number.and_then(|number| number.as_str().parse().ok()).filter(|port| *port != 0);
        port.ok_or_else(|| self.error(value.span(), Problem::Value { key, expected: "a port from 1 to 65535" }))
    }

    pub(super) fn flag(self, key: &'static str, value: &Spanned<DeValue<'_>>) -> Result<bool, SettingsError> {
        let problem = Problem::Value { key, expected: "true or false" };
        value.get_ref().as_bool().ok_or_else(|| self.error(value.span(), problem))
    }

    fn choice<T: Copy>(
        self,
        key: &'static str,
        value: &Spanned<DeValue<'_>>,
        all: &[T],
        word_of: fn(T) -> &'static str,
        expected: &'static str,
    ) -> Result<T, SettingsError> {
        let Some(word) = value.get_ref().as_str() else {
            return Err(self.error(value.span(), Problem::Value { key, expected }));
        };
        all.iter().copied().find(|choice| word_of(*choice) == word).ok_or_else(|| {
            let words = || all.iter().copied().map(word_of);
            let did_you_mean = nearest(word, words()).and_then(|near| words().find(|word| *word == near));
            let problem = Problem::UnknownChoice { key, word: Untrusted::new(word), did_you_mean, expected };
            self.error(value.span(), problem)
        })
    }

    pub(super) fn duration(self, key: &'static str, value: &Spanned<DeValue<'_>>) -> Result<Duration, SettingsError> {
        let expected = "a duration in quotes, such as \"20m\"";
        let text =
            value.get_ref().as_str().ok_or_else(|| self.error(value.span(), Problem::Value { key, expected }))?;
        parse_duration(text).map_err(|source| self.error(value.span(), Problem::Duration { key, source }))
    }

    pub(super) fn positive_duration(
        self,
        key: &'static str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Duration, SettingsError> {
        let duration = self.duration(key, value)?;
        if duration.is_zero() {
            let problem = Problem::Value { key, expected: "a duration above zero" };
            return Err(self.error(value.span(), problem));
        }
        Ok(duration)
    }

    pub(super) fn table<'t, 'a>(
        self,
        key: &'static str,
        value: &'t Spanned<DeValue<'a>>,
    ) -> Result<&'t DeTable<'a>, SettingsError> {
        let problem = Problem::Value { key, expected: "a table" };
        value.get_ref().as_table().ok_or_else(|| self.error(value.span(), problem))
    }

    pub(super) fn unknown(self, key: &Spanned<Cow<'_, str>>, known: &'static [&'static str]) -> SettingsError {
        let text = key.get_ref().as_ref();
        let did_you_mean =
            nearest(text, known.iter().copied()).and_then(|near| known.iter().copied().find(|key| *key == near));
        self.error(key.span(), Problem::UnknownKey { key: Untrusted::new(text), did_you_mean, known })
    }

    pub(super) fn error(self, span: Range<usize>, problem: Problem) -> SettingsError {
        SettingsError { line: self.line(span), problem }
    }

    pub(super) fn line(self, span: Range<usize>) -> usize {
        let before = self.0.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

const TOP_KEYS: &[&str] = &[
    "storage",
    "keep_warm",
    "audit",
    "notifications",
    "autostart",
    "exit_after_idle",
    "session",
    "target",
    "serve",
    "container",
    "imds",
];
const SESSION_KEYS: &[&str] = &["flow", "sign_in", "browser", "callback_port", "publish", "refresh_margin"];
