//! How each session is.

use crate::api::{Code, SessionState, SessionStatus};
use crate::cli::context::Context;
use crate::cli::status::remedy;
use crate::exit::Exit;
use crate::paths::shell_word;

use super::Facts;
use super::sheet::Sheet;

pub(super) fn look(facts: &Facts, sheet: &mut Sheet, context: &Context<'_>) {
    let Some(status) = facts.status() else {
        return sheet.skipped("session_state", "there is no agent to ask");
    };
    if status.sessions.is_empty() {
        sheet.skipped("session_state", "the agent knows no session");
    }
    for session in &status.sessions {
        state(session, status.storage.hint.as_deref(), sheet, context);
    }
}

fn state(session: &SessionStatus, unlock: Option<&str>, sheet: &mut Sheet, context: &Context<'_>) {
    let name = &session.session;
    let command = |verb: &str| format!("sso-agent {verb} {}", shell_word(name.as_ref()));
    if !session.configured {
        let detail = format!("{name} is in the configuration no more, and its sign-in is still here");
        return sheet.warning("session_state", detail, command("logout"));
    }
    if let Some(error) = session.last_error.as_ref().filter(|error| error.code == Code::InvalidConfig) {
        let detail = format!("{name}: {}", error.message);
        return sheet.error("session_state", Exit::Configuration, detail, remedy(error.code, name));
    }
    let until = session.access_token_expires_at.map(|end| context.until(end)).unwrap_or_default();
    match session.state {
        SessionState::SignedIn if session.last_error.is_none() => {
            let renewed = if session.renewable { ", renewed by itself" } else { "" };
            sheet.ok("session_state", format!("{name}: signed in {until}{renewed}"));
        }
        SessionState::SignedIn | SessionState::Unknown => {
            let error = session.last_error.as_ref();
            let detail = error.map_or("its state is not known to this version", |error| error.message.as_str());
            let remedy = error.and_then(|error| remedy(error.code, name));
            sheet.warning("session_state", format!("{name}: {detail}"), remedy);
        }
        SessionState::Sealed => sheet.error(
            "session_state",
            Exit::Storage,
            format!("{name}: its sign-in is stored, and the key to it is not there"),
            unlock.map(str::to_owned),
        ),
        SessionState::Pending => {
            sheet.warning("session_state", format!("{name}: a sign-in waits for you"), command("login"));
        }
        SessionState::Ending => {
            sheet.warning("session_state", format!("{name}: cannot be renewed, ends {until}"), command("login"));
        }
        SessionState::Ended => sheet.warning("session_state", format!("{name}: the session is over"), command("login")),
        SessionState::SignedOut => {
            sheet.warning("session_state", format!("{name}: nobody is signed in"), command("login"));
        }
    }
}
