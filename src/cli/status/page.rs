//! The report of `status` for people.
//!
//! Owns: what is said about each session, in which order, and when one of these words becomes another as time passes.
//! Refuses to know where it is printed. Invariant: foreign text is cleaned, and nothing is wider than it may be.

use std::fmt::Write;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::api::{AuditStatus, Code, SessionState, SessionStatus, Status, StorageStatus};
use crate::cli::paint::Paint;
use crate::cli::storage::in_short;
use crate::cli::table::{Cell, Table};
use crate::cli::width::fold;
use crate::cli::words;
use crate::paths::shell_word;
use crate::settings::SignInMode;
use crate::time::Timestamp;
use crate::untrusted::shown;

use super::StateWords;

/// A report, and for whom it is.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) status: &'a Status,
    pub(super) words: &'a StateWords,
    pub(super) now: Timestamp,
    pub(super) zone: &'a TimeZone,
    pub(super) colour: bool,
    /// How wide it may be.
    pub(super) columns: Option<usize>,
}

impl Page<'_> {
    /// In place of the sessions, which a locked agent does not name.
    fn locked(&self) -> String {
        let line = super::super::lock::in_words(self.status.lock.as_ref(), self.now, self.zone);
        format!("{}\n", Paint::Yellow.apply(&line, self.colour))
    }

    /// The report.
    pub(super) fn text(&self) -> String {
        let status = self.status;
        let mut text = if status.locked { self.locked() } else { self.sessions() };
        let targets = self.targets();
        if !targets.is_empty() {
            text.push('\n');
            text.push_str(&targets);
        }
        text.push('\n');
        self.storage(&status.storage, &mut text);
        if let Some(audit) = &status.audit {
            self.audit(audit, &mut text);
        }
        let since = words::clock_time(status.started_at, self.now, self.zone);
        let (version, socket) = (shown(&status.version), shown(&status.socket));
        let _ = writeln!(text, "agent:   version {version}, pid {}, since {since}, socket {socket}", status.pid);
        for warning in &status.warnings {
            let _ = writeln!(text, "{}", words::warning(warning, self.colour));
        }
        match self.columns {
            Some(columns) => fold(&text, columns, 2),
            None => text,
        }
    }

    /// How long the words stay as they are.
    pub(super) fn lasts(&self) -> Duration {
        let of_sessions = self.status.sessions.iter().flat_map(|session| {
            let error = session.last_error.as_ref();
            [
                session.access_token_expires_at,
                session.next_refresh_at,
                error.map(|error| error.at),
                error.and_then(|error| error.retry_at),
                session.sign_in_quiet_until,
                session.renewable_until,
            ]
        });
        let of_targets = self.status.targets.iter().map(|target| target.expires_at);
        let times = of_sessions.chain(of_targets).flatten();
        times.map(|time| words::lasts(time, self.now)).fold(words::ONE_MINUTE, Duration::min)
    }

    fn sessions(&self) -> String {
        let status = self.status;
        if status.sessions.is_empty() {
            return "no session is configured; add one with: aws configure sso\n".to_owned();
        }
        let mut table = Table::new(&["SESSION", "STATE", "ACCESS TOKEN", "NEXT REFRESH", "NOTES"]);
        for session in &status.sessions {
            let (state, paint) = self.state(session);
            table.row([
                Cell::new(&session.session),
                Cell::painted(&state, paint),
                self.token_life(session),
                Cell::new(&session.next_refresh_at.map_or("-".to_owned(), |time| self.ahead(time))),
                Cell::new(&self.notes(session)),
            ]);
        }
        let mut text = table.render_within(self.columns, self.colour);
        for session in &status.sessions {
            self.trouble(session, &status.storage, &mut text);
            self.published(session, &mut text);
        }
        text
    }

    /// The life of a token that nothing renews stands out before it is over.
    fn token_life(&self, session: &SessionStatus) -> Cell {
        let Some(end) = session.access_token_expires_at else { return Cell::new("-") };
        let paint = match end.since(self.now) {
            Duration::ZERO => Paint::Red,
            left if left < LITTLE && !session.renewable => Paint::Yellow,
            _ => Paint::Plain,
        };
        Cell::painted(&self.life(end), paint)
    }

    fn notes(&self, session: &SessionStatus) -> String {
        let signed_in = matches!(session.state, SessionState::SignedIn | SessionState::Ending);
        let mut notes = Vec::new();
        if !session.configured {
            notes.push("not in the configuration".to_owned());
        }
        if signed_in && !session.renewable {
            notes.push("not renewable".to_owned());
        }
        if let Some(end) = session.renewable_until.filter(|end| end.since(self.now) < SOON) {
            notes.push(format!("renewable until {} only", words::clock_time(end, self.now, self.zone)));
        }
        if session.sign_in == SignInMode::OnDemand.as_str() {
            let until = session.sign_in_quiet_until.map(|until| words::clock_time(until, self.now, self.zone));
            notes.push(
                until.map_or("sign-in on demand".to_owned(), |until| format!("sign-in not offered before {until}")),
            );
        }
        if !session.saved {
            notes.push("not saved".to_owned());
        }
        notes.join(", ")
    }

    fn state(&self, session: &SessionStatus) -> (String, Paint) {
        let (word, paint) = match session.state {
            SessionState::SignedOut => ("signed out", Paint::Plain),
            SessionState::Pending => ("signing in", Paint::Yellow),
            SessionState::SignedIn => ("signed in", Paint::Green),
            SessionState::Ending => ("ending", Paint::Yellow),
            SessionState::Ended => ("ended", Paint::Red),
            SessionState::Sealed => ("stored, no key", Paint::Yellow),
            SessionState::Unknown => (self.words.of(&session.session), Paint::Plain),
        };
        (word.to_owned(), paint)
    }

    /// What went wrong last, and what helps.
    fn trouble(&self, session: &SessionStatus, storage: &StorageStatus, text: &mut String) {
        let name = shown(&session.session);
        let sign_in = match session.state {
            SessionState::SignedOut | SessionState::Ending | SessionState::Ended => true,
            SessionState::Pending | SessionState::SignedIn | SessionState::Sealed | SessionState::Unknown => false,
        };
        let mut hint = sign_in.then(|| format!("sso-agent login {}", shell_word(session.session.as_ref())));
        let is_wrong = session.last_error.as_ref().is_some_and(|error| error.code == Code::InvalidConfig);
        if is_wrong {
            // A sign-in would end with the same.
            hint = None;
        } else if !session.configured {
            let name = shell_word(session.session.as_ref());
            hint = Some(format!("put it back into the AWS configuration, or forget it with: sso-agent logout {name}"));
        } else if session.state == SessionState::Sealed {
            hint = storage.hint.as_deref().map(|hint| shown(hint).to_string());
        }
        if let Some(error) = &session.last_error {
            let ago = words::duration(self.now.since(error.at));
            let mark = Paint::Red.apply(&format!("{name}:"), self.colour);
            let _ = write!(text, "{mark} {} ({ago} ago)", shown(&error.message));
            if let Some(retry_at) = error.retry_at {
                let _ = write!(text, "; the agent tries again {}", self.ahead(retry_at));
            }
            text.push('\n');
            hint = hint.or_else(|| remedy(error.code, &session.session));
        }
        if let Some(hint) = hint {
            let _ = writeln!(text, "{name}: {} {hint}", Paint::Bold.apply("hint:", self.colour));
        }
    }

    /// What other programs find, and that anybody who reads this user's files finds it too.
    fn published(&self, session: &SessionStatus, text: &mut String) {
        let Some(publish) = &session.publish else { return };
        let name = shown(&session.session);
        let path = publish.path.as_deref().unwrap_or("~/.aws/sso/cache");
        let what = match (publish.mode.as_str(), publish.at) {
            ("full", Some(_)) => "the access token and the refresh token are",
            ("token", Some(_)) => "the access token is",
            _ => "",
        };
        if !what.is_empty() {
            let _ = writeln!(text, "{name}: {what} published as plain text in {}", shown(path));
        }
        if let Some(error) = &publish.error {
            let mark = Paint::Red.apply(&format!("{name}:"), self.colour);
            let _ = writeln!(text, "{mark} not published as it should be: {}", shown(error));
        }
    }

    /// How what is stored is protected; and what is awaited, if the key is.
    fn storage(&self, storage: &StorageStatus, text: &mut String) {
        let (place, in_memory) = (in_short(storage), storage.key == "none");
        let saved = match (storage.available, storage.saved) {
            _ if in_memory => "",
            (true, true) => ", everything is saved",
            (true, false) => ", NOT everything is saved",
            (false, true) => ", awaited",
            (false, false) => ", awaited, NOT everything is saved",
        };
        let _ = writeln!(text, "storage: {place}{saved}");
        if let Some(message) = &storage.message {
            let _ = writeln!(text, "{} {}", Paint::Yellow.apply("storage:", self.colour), shown(message));
        }
        if let Some(hint) = &storage.hint {
            let _ = writeln!(text, "storage: {} {}", Paint::Bold.apply("hint:", self.colour), shown(hint));
        }
    }

    fn audit(&self, audit: &AuditStatus, text: &mut String) {
        let failed = match (audit.mode.as_str(), audit.failed) {
            (_, 0) => String::new(),
            ("required", failed) => {
                let times = if failed == 1 { "once" } else { &format!("{failed} times") };
                let words = format!("refused {times} because the log could not be written");
                format!(", {}", Paint::Red.apply(&words, self.colour))
            }
            (_, failed) => {
                let words = if failed == 1 { "hand-out is" } else { "hand-outs are" };
                format!(", {}", Paint::Yellow.apply(&format!("{failed} {words} missing in the log"), self.colour))
            }
        };
        let _ = writeln!(text, "audit:   {}{failed}", shown(&audit.mode));
    }

    fn targets(&self) -> String {
        if self.status.targets.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["ROLE CREDENTIALS", "ACCOUNT", "SESSION", "PROFILE", "LEFT"]);
        for target in &self.status.targets {
            table.texts(&[
                target.role.as_ref().map_or("-", |role| role.as_str()),
                target.account.as_ref().map_or("-", |account| account.as_str()),
                &target.session,
                target.profile.as_ref().map_or("-", |profile| profile.as_str()),
                &target.expires_at.map_or("-".to_owned(), |time| self.life(time)),
            ]);
        }
        table.render_within(self.columns, self.colour)
    }

    /// `59 min left (until 18:02)`.
    fn life(&self, end: Timestamp) -> String {
        let clock = words::clock_time(end, self.now, self.zone);
        if end > self.now {
            format!("{} left (until {clock})", words::duration(end.since(self.now)))
        } else {
            format!("expired at {clock}")
        }
    }

    /// `in 39 min (17:42)`.
    fn ahead(&self, time: Timestamp) -> String {
        if time > self.now {
            let clock = words::clock_time(time, self.now, self.zone);
            format!("in {} ({clock})", words::duration(time.since(self.now)))
        } else {
            "now".to_owned()
        }
    }
}

/// So much of a life is worth a look.
const LITTLE: Duration = Duration::from_secs(15 * 60);
/// A client registration that ends so soon may end before the session does: signing in again renews both.
const SOON: Duration = Duration::from_secs(24 * 3600);

/// What helps against an error of a session.
pub(in crate::cli) fn remedy(code: Code, session: &str) -> Option<String> {
    let command = |verb: &str| Some(format!("sso-agent {verb} {}", shell_word(session.as_ref())));
    match code {
        Code::SignInRequired | Code::SignInDenied | Code::SignInExpired | Code::SignInCancelled => command("login"),
        Code::Unavailable | Code::Timeout => Some("check the network".to_owned()),
        Code::InvalidConfig | Code::UnknownSession | Code::UnknownProfile => {
            Some("correct the configuration, then: sso-agent reload".to_owned())
        }
        Code::Storage => Some("look at the state directory: is it writable, is the disk full".to_owned()),
        _ => None,
    }
}
