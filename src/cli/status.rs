//! `status`: who is signed in, until when, and what is wrong.
//!
//! Owns: the table and the judgement of `--check`. Refuses to know secrets: the answer holds none. Invariant: a state
//! this version does not know is printed as it is named, and never counts as signed in by its name.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::api::{Code, Request, SessionState, SessionStatus, Status, StorageStatus};
use crate::client::Reply;
use crate::exit::Exit;
use crate::ids::SessionName;
use crate::paths::shell_word;
use crate::settings::SignInMode;
use crate::time::{Timestamp, parse_duration};
use crate::untrusted::shown;

use super::context::{BRIEFLY, Context, read};
use super::failure::Failure;
use super::lock;
use super::paint::Paint;
use super::storage::in_short;
use super::table::{Cell, Table};
use super::words;

/// Show sessions, expiries, what happens next and what went wrong
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// Only this session
    session: Option<SessionName>,
    /// Print the agent's answer as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing and tell by the exit code: 0 signed in, 3 not, 4 no agent, 5 no session configured, 8 locked, 9
    /// signed in as far as is stored, but the key to that is awaited
    #[arg(long, conflicts_with = "json")]
    check: bool,
    /// With --check: how much of the access token's life must be left
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "check")]
    min_validity: Option<Duration>,
}

/// The request for everything, now.
pub(super) const fn every_status() -> Request {
    Request::Status { wait: Duration::ZERO, after: None }
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let reply = match context.ask(&every_status(), BRIEFLY) {
        Err(failure) if options.check && matches!(failure.exit(), Exit::NoAgent | Exit::Locked) => {
            return Err(Failure::Silent(failure.exit()));
        }
        reply => reply?,
    };
    if options.json && options.session.is_none() {
        return context.print_body(&reply);
    }
    let mut status: Status = read(&reply)?;
    let mut words: StateWords = read(&reply)?;
    if status.locked && options.session.is_some() {
        // It names no session, so there is none to be picked out.
        return Err(if options.check { Failure::Silent(Exit::Locked) } else { lock::refused() });
    }
    if let Some(name) = &options.session {
        keep_only(name, &mut status, &mut words)?;
    }
    if options.json {
        let name = options.session.as_ref().map(SessionName::as_str).unwrap_or_default();
        return print_json_of(name, &reply, context);
    }
    let now = context.now().wall;
    if options.check {
        return match check(&status, options.min_validity.unwrap_or_default(), now) {
            Exit::Success => Ok(()),
            exit => Err(Failure::Silent(exit)),
        };
    }
    let mut text = render(&status, &words, now, &context.zone, context.terminal.colour_out);
    if status.locked {
        let line = lock::in_words(status.lock.as_ref(), context);
        text.insert_str(0, &format!("{}\n\n", Paint::Yellow.apply(&line, context.terminal.colour_out)));
    }
    context.print(text)
}

/// The states by their names on the wire, also those this version has no variant for.
#[derive(Debug, Deserialize)]
struct StateWords {
    sessions: Vec<StateWord>,
}

#[derive(Debug, Deserialize)]
struct StateWord {
    session: String,
    state: String,
}

impl StateWords {
    fn of(&self, session: &str) -> &str {
        self.sessions.iter().find(|entry| entry.session == session).map_or("?", |entry| entry.state.as_str())
    }
}

fn keep_only(name: &SessionName, status: &mut Status, words: &mut StateWords) -> Result<(), Failure> {
    if !status.sessions.iter().any(|entry| entry.session == name.as_str()) {
        return Err(Failure::UnknownSession {
            name: name.as_str().to_owned(),
            known: status.sessions.iter().map(|entry| entry.session.clone()).collect(),
        });
    }
    status.sessions.retain(|entry| entry.session == name.as_str());
    status.targets.retain(|entry| entry.session == name.as_str());
    words.sessions.retain(|entry| entry.session == name.as_str());
    Ok(())
}

/// The answer as it came, but with one session only.
fn print_json_of(name: &str, reply: &Reply, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut value: serde_json::Value = read(reply)?;
    for list in ["sessions", "targets"] {
        if let Some(entries) = value.get_mut(list).and_then(serde_json::Value::as_array_mut) {
            entries.retain(|entry| entry.get("session").and_then(serde_json::Value::as_str) == Some(name));
        }
    }
    context.print_json(&value)
}

/// What `--check` says of the sessions in `status`.
fn check(status: &Status, min_validity: Duration, now: Timestamp) -> Exit {
    let lives = |session: &SessionStatus| {
        !matches!(session.state, SessionState::SignedOut | SessionState::Ended)
            && session.access_token_expires_at.is_some_and(|end| end > now && end.since(now) >= min_validity)
    };
    if status.locked {
        Exit::Locked
    } else if status.sessions.is_empty() {
        Exit::Configuration
    } else if status.sessions.iter().all(lives) {
        Exit::Success
    } else if status.sessions.iter().any(|session| session.state == SessionState::Sealed) {
        // Before any sign-in: it may not be needed, and could not be saved.
        Exit::Storage
    } else {
        Exit::SignInRequired
    }
}

/// The report for people.
fn render(status: &Status, words: &StateWords, now: Timestamp, zone: &TimeZone, colour: bool) -> String {
    let page = Page { words, now, zone, colour };
    let mut text = if status.locked { String::new() } else { page.sessions(status) };
    let targets = page.targets(status);
    if !targets.is_empty() {
        text.push('\n');
        text.push_str(&targets);
    }
    if !status.locked {
        text.push('\n');
    }
    page.storage(&status.storage, &mut text);
    if let Some(audit) = &status.audit {
        let failed = match (audit.mode.as_str(), audit.failed) {
            (_, 0) => String::new(),
            ("required", failed) => {
                let times = if failed == 1 { "once" } else { &format!("{failed} times") };
                let words = format!("refused {times} because the log could not be written");
                format!(", {}", Paint::Red.apply(&words, colour))
            }
            (_, failed) => {
                let words = if failed == 1 { "hand-out is" } else { "hand-outs are" };
                format!(", {}", Paint::Yellow.apply(&format!("{failed} {words} missing in the log"), colour))
            }
        };
        let _ = writeln!(text, "audit:   {}{failed}", shown(&audit.mode));
    }
    let since = words::clock_time(status.started_at, now, zone);
    let (version, socket) = (shown(&status.version), shown(&status.socket));
    let _ = writeln!(text, "agent:   version {version}, pid {}, since {since}, socket {socket}", status.pid);
    for warning in &status.warnings {
        let _ = writeln!(text, "{}", words::warning(warning, colour));
    }
    text
}

struct Page<'a> {
    words: &'a StateWords,
    now: Timestamp,
    zone: &'a TimeZone,
    colour: bool,
}

impl Page<'_> {
    fn sessions(&self, status: &Status) -> String {
        if status.sessions.is_empty() {
            return "no session is configured; add one with: aws configure sso\n".to_owned();
        }
        let mut table = Table::new(&["SESSION", "STATE", "ACCESS TOKEN", "NEXT REFRESH", "NOTES"]);
        for session in &status.sessions {
            let (state, paint) = self.state(session);
            table.row([
                Cell::new(&session.session),
                Cell::painted(&state, paint),
                Cell::new(&session.access_token_expires_at.map_or("-".to_owned(), |time| self.life(time))),
                Cell::new(&session.next_refresh_at.map_or("-".to_owned(), |time| self.ahead(time))),
                Cell::new(&self.notes(session)),
            ]);
        }
        let mut text = table.render(self.colour);
        for session in &status.sessions {
            self.trouble(session, &status.storage, &mut text);
            self.published(session, &mut text);
        }
        text
    }

    fn notes(&self, session: &SessionStatus) -> String {
        let signed_in = matches!(session.state, SessionState::SignedIn | SessionState::Ending);
        let mut notes = Vec::new();
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
        if session.state == SessionState::Sealed {
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

    fn targets(&self, status: &Status) -> String {
        if status.targets.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["ROLE CREDENTIALS", "ACCOUNT", "SESSION", "PROFILE", "LEFT"]);
        for target in &status.targets {
            table.texts(&[
                target.role.as_ref().map_or("-", |role| role.as_str()),
                target.account.as_ref().map_or("-", |account| account.as_str()),
                &target.session,
                target.profile.as_ref().map_or("-", |profile| profile.as_str()),
                &target.expires_at.map_or("-".to_owned(), |time| self.life(time)),
            ]);
        }
        table.render(self.colour)
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

/// A client registration that ends so soon may end before the session does: signing in again renews both.
const SOON: Duration = Duration::from_secs(24 * 3600);

fn remedy(code: Code, session: &str) -> Option<String> {
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

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
