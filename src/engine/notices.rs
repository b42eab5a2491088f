//! What the user is told without having asked: a sign-in is wanted, a session is about to end, or has ended.
//!
//! Owns: the notices, their words, and that each comes once. Refuses to know desktops. Invariants: what was so already
//! when the agent was started is no news; a notice is about a change, or is remembered on disk; it holds no secret and
//! nothing with which somebody else could sign in.

use std::time::Duration;

use super::event::{Effect, Turn};
use super::session::Session;
use super::words::{clock_time, typed};
use crate::api::SessionState;
use crate::desktop::{Button, Desktop, Notification};
use crate::ids::SessionName;
use crate::time::{Now, Timestamp};
use crate::untrusted::shown;

/// Something the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The session it is about. A newer one takes the place of an older one about the same.
    pub session: SessionName,
    /// What it is.
    pub news: News,
}

/// What there is to be known about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A request has started a sign-in; it goes on at this page, until then.
    SignInWanted {
        /// The page.
        link: String,
        /// The session's browser command, if it has one.
        browser: Option<Vec<String>>,
        /// As a clock time.
        until: String,
    },
    /// What was told last is not so any more: the sign-in is over, however it ended, or the session was begun anew.
    Over,
    /// The session ends soon, if it is as long as the last one: at about this clock time.
    EndsSoon(String),
    /// The service renews it no more; what there is ends at this clock time.
    Ending(String),
    /// It has ended.
    Ended,
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// The sign-in that is on the screen.
    offered: Option<u64>,
    /// Something is on the screen, as far as we know.
    shown: bool,
    /// The state of the session when it was last looked at.
    state: Option<SessionState>,
}

impl Notice {
    /// Shows it, or takes away what it makes untrue.
    pub fn put_on(self, desktop: &dyn Desktop) {
        let about = self.session.to_string();
        match self.notification() {
            Some(notification) => desktop.show(notification),
            None => desktop.withdraw(about),
        }
    }

    /// In words.
    #[must_use]
    pub fn notification(self) -> Option<Notification> {
        let (name, command) = (shown(self.session.as_str()).to_string(), typed(&self.session));
        let (title, body, stays, button) = match self.news {
            News::Over => return None,
            News::SignInWanted { link, browser, until } => (
                format!("Sign in to {name}"),
                format!(
                    "A program needs it. Run: sso-agent login {command}. Only if you expect this; it is offered until \
                     {until}."
                ),
                true,
                Some(Button { label: "Open the sign-in page".to_owned(), link, browser }),
            ),
            News::EndsSoon(at) => (
                format!("{name} will end at about {at}"),
                format!("To begin it anew now, run: sso-agent login --new-session {command}"),
                false,
                None,
            ),
            News::Ending(at) => (
                format!("{name} ends at {at}"),
                format!("The service does not renew it any more. Run: sso-agent login {command}"),
                true,
                None,
            ),
            News::Ended => {
                (format!("{name} has ended"), format!("To sign in again, run: sso-agent login {command}"), true, None)
            }
        };
        Some(Notification { about: self.session.to_string(), title, body, stays, button })
    }
}

impl Session {
    /// Tells what has become news.
    pub(super) fn announce(&mut self, turn: &mut Turn<'_>) {
        self.announce_state(turn);
        self.announce_sign_in(turn);
        self.announce_the_end_to_come(turn);
    }

    fn announce_sign_in(&mut self, turn: &mut Turn<'_>) {
        let offered = self.offered().map(|(number, link, until)| {
            let until = clock_time(self.skew.to_ours(until), turn.now.wall, &turn.agent.time_zone);
            let browser = self.settings.browser.as_ref().map(|browser| browser.words().to_vec());
            (number, News::SignInWanted { link: link.raw().to_owned(), browser, until })
        });
        match (offered, self.notices.offered) {
            (Some((number, _)), Some(told)) if number == told => {}
            (Some((number, wanted)), _) => {
                self.notices.offered = Some(number);
                self.notify(wanted, turn);
            }
            (None, Some(_)) => {
                self.notices.offered = None;
                self.notify(News::Over, turn);
            }
            (None, None) => {}
        }
    }

    fn announce_state(&mut self, turn: &mut Turn<'_>) {
        let state = self.state(turn.now);
        let Some(before) = self.notices.state.replace(state) else { return };
        let ends = self.holding.as_ref().map(|holding| self.skew.to_ours(holding.access.service));
        match (before, state) {
            (SessionState::SignedIn, SessionState::Ending) => {
                let at = ends.map(|at| clock_time(at, turn.now.wall, &turn.agent.time_zone));
                self.notify(News::Ending(at.unwrap_or_default()), turn);
            }
            (SessionState::SignedIn | SessionState::Ending, SessionState::Ended) => self.notify(News::Ended, turn),
            (before, SessionState::SignedIn | SessionState::SignedOut) if before != state => {
                self.notify(News::Over, turn);
            }
            _ => {}
        }
    }

    fn announce_the_end_to_come(&mut self, turn: &mut Turn<'_>) {
        let Some((due, end)) = self.end_to_come(turn.now).filter(|_| turn.notifications) else { return };
        let Some(signed_in_at) = self.holding.as_ref().map(|holding| holding.record.signed_in_at) else { return };
        if turn.now.wall < due || turn.now.wall >= end {
            return;
        }
        self.update_client(turn, |client| client.end_announced = Some(signed_in_at));
        let at = clock_time(end, turn.now.wall, &turn.agent.time_zone);
        self.notify(News::EndsSoon(at), turn);
    }

    /// The pause until the user is told of the end to come.
    pub(super) fn announcement_wait(&self, now: Now) -> Option<Duration> {
        let (due, _) = self.end_to_come(now)?;
        Some(due.since(now.wall)).filter(|wait| !wait.is_zero())
    }

    /// When to tell the user of the end of this session, and when that is thought to be; `None` if they know.
    fn end_to_come(&self, now: Now) -> Option<(Timestamp, Timestamp)> {
        let holding = self.holding.as_ref().filter(|_| self.state(now) == SessionState::SignedIn)?;
        let begun = holding.record.signed_in_at;
        let told = self.client.as_ref().is_some_and(|client| client.end_announced == Some(begun));
        let end = match &holding.record.tokens.refresh_token {
            Some(_) => begun.after(self.client.as_ref()?.last_session?),
            None => self.skew.to_ours(holding.access.service),
        };
        let lead = (end.since(begun) / 10).min(LONGEST_LEAD);
        (!told).then(|| (end.before(lead), end))
    }

    fn notify(&mut self, news: News, turn: &mut Turn<'_>) {
        // What is there is taken away also for who wants no more of it.
        let (shows, shown) = (news != News::Over, self.notices.shown);
        let wanted = if shows { turn.notifications } else { shown };
        if wanted {
            self.notices.shown = shows;
            turn.effects.push(Effect::Notify(Notice { session: self.name.clone(), news }));
        }
    }
}

const LONGEST_LEAD: Duration = Duration::from_secs(30 * 60);
